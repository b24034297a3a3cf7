"""Files that say which id of the log is which person -> records, and what is wrong with lines."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa

from pipeline.errors import HourglassError
from pipeline.hours import Hour
from pipeline.lake.people import NO_END_US, NO_START_US
from pipeline.settings.settings import Settings
from pipeline.sources.base import Refusal
from pipeline.sources.field_rules import field_rules_of
from pipeline.sources.fields import is_storable, number_text
from pipeline.sources.item_user_metadata import (
    MOST_CHARS,
    BadLineError,
    header_reader,
    json_line_reader,
    plain_text,
)
from pipeline.sources.json_records.readers import NumberText
from pipeline.sources.lines import (
    Line,
    UnreadableFileError,
    line_encoding,
    lines_of_block,
    read_blocks,
)
from pipeline.sources.times import NOT_ISO, OUT_OF_RANGE, local_zone, read_iso8601, time_reader

#: A record: in event time (microseconds) an id is a person, or no person any more (null).
#: ``told_us`` is when that was said, the least number where nobody knows; ``file`` is the number
#: of its file, ``line`` that of its line.
RECORDS = pa.schema(
    [
        pa.field("anonymous_id", pa.string(), nullable=False),
        pa.field("person_id", pa.string()),
        pa.field("from_us", pa.int64(), nullable=False),
        pa.field("to_us", pa.int64(), nullable=False),
        pa.field("told_us", pa.int64(), nullable=False),
        pa.field("file", pa.int32(), nullable=False),
        pa.field("line", pa.int64(), nullable=False),
    ]
)
NOT_TOLD_US = NO_START_US
_NEEDED = ("anonymous_id", "person_id")
_OPTIONAL = ("valid_from", "valid_to", "told_at")
_BLOCK_BYTES = 1 << 20
_ROWS_AT_ONCE = 1 << 16

_Fields = Mapping[str, str | None]


class FileToRead(NamedTuple):
    """A file under its name, where it really lies, and the folder that it must not leave."""

    name: Path
    real: Path
    root: Path | None


class FileRecords(NamedTuple):
    """Rows of :data:`RECORDS`, how many lines are none, and what is wrong with the first of them.

    A fault names the file and the line.
    """

    records: pa.Table
    bad_lines: int
    faults: list[str]


class RecordReader:
    """Reads files by the settings of the source: their text, ids and times are read as its own."""

    def __init__(self, settings: Settings) -> None:
        source = settings.source
        rules = field_rules_of(source)
        self._encoding = line_encoding(source.encoding)
        self._most_expansion = settings.ingest.max_expansion
        self._most_id_chars = settings.ingest.max_id_chars
        self._trim, self._nothing = rules.trim, frozenset(rules.nothing)
        self._read_own = time_reader(source.time_unit, Hour.parse(source.epoch), rules)
        self._local = local_zone(rules)

    def read(self, file: FileToRead, number: int, most_faults: int) -> FileRecords:
        """The records of a file, which they call by a number, and the faults of the other lines.

        Raises:
            HourglassError: the file cannot be read to its end, or its header is not one of these.
        """
        rows: list[tuple[Any, ...]] = []
        tables: list[pa.Table] = []
        bad_lines, faults = 0, []
        lines = self._lines(file)
        first = next(lines, None)
        if first is None:
            return FileRecords(RECORDS.empty_table(), 0, [])
        if first.text.lstrip().startswith("{"):
            lines, fields_of = chain([first], lines), self._json_fields()
        else:
            fields_of = _delimited_fields(first.text, file.name)
        for line in lines:
            try:
                if line.reason:
                    raise BadLineError(line.reason)
                rows.append((*self._record(fields_of(line.text)), number, line.number))
            except BadLineError as error:
                bad_lines += 1
                if bad_lines <= most_faults:
                    faults.append(f"{file.name}: line {line.number}: {error}")
            if len(rows) == _ROWS_AT_ONCE:
                tables.append(_table(rows))
                rows = []
        return FileRecords(pa.concat_tables([*tables, _table(rows)]), bad_lines, faults)

    def _lines(self, file: FileToRead) -> Iterator[Line]:
        blocks = read_blocks(
            file.real, self._encoding, MOST_CHARS, self._most_expansion, file.root, _BLOCK_BYTES
        )
        for block in blocks:
            if isinstance(block, Line):
                # What is cut off says nothing of those whom it would have named: no withdrawal.
                raise UnreadableFileError(file.name, block.reason or "it is damaged")
            yield from lines_of_block(block, self._encoding, MOST_CHARS)

    def _json_fields(self) -> Callable[[str], _Fields]:
        read_object = json_line_reader(frozenset((*_NEEDED, *_OPTIONAL)))

        def read(line: str) -> _Fields:
            content = read_object(line)
            absent = [name for name in _NEEDED if name not in content]
            if absent:
                withdraws = ": null withdraws it" if absent == ["person_id"] else ""
                raise BadLineError(f"no {absent[0]}{withdraws}")
            return {
                name: None if value is None else self._text(name, value)
                for name, value in content.items()
            }

        return read

    def _text(self, name: str, value: object) -> str:
        if self._trim and name in _NEEDED and isinstance(value, NumberText):
            return number_text(value)
        return plain_text(value, name)

    def _record(self, fields: _Fields) -> tuple[str, str | None, int, int, int]:
        anonymous_id = self._id(fields, "anonymous_id")
        if anonymous_id is None:
            raise BadLineError("no anonymous_id")
        person_id = self._id(fields, "person_id")
        from_us = self._time(fields, "valid_from", NO_START_US)
        to_us = self._time(fields, "valid_to", NO_END_US)
        if to_us <= from_us:
            raise BadLineError("valid_to is not after valid_from")
        return anonymous_id, person_id, from_us, to_us, self._time(fields, "told_at", NOT_TOLD_US)

    def _value(self, fields: _Fields, name: str) -> str:
        """A field's text, "" where it is none."""
        text = fields.get(name) or ""
        return "" if not text.strip() or text.strip() in self._nothing else text

    def _id(self, fields: _Fields, name: str) -> str | None:
        text = self._value(fields, name)
        text = text.strip() if self._trim else text
        if len(text) > self._most_id_chars:
            raise BadLineError(f"{name} is longer than {self._most_id_chars} characters")
        if not is_storable(text):
            raise BadLineError(f"{name} holds a NUL or half a surrogate pair")
        return text or None

    def _time(self, fields: _Fields, name: str, absent_us: int) -> int:
        text = self._value(fields, name)
        if not text:
            return absent_us
        time_us = self._read_own(text)
        if isinstance(time_us, Refusal):
            in_iso = read_iso8601(text.strip(), self._local)
            if isinstance(in_iso, Refusal):
                reason = time_us.reason.replace("event_time", f"{name} = {text[:64]!r}", 1)
                beside = "" if time_us in (NOT_ISO, OUT_OF_RANGE) else ", nor an ISO 8601 time"
                raise BadLineError(f"{reason}{beside}")
            time_us = in_iso
        return time_us


def _delimited_fields(header: str, path: Path) -> Callable[[str], _Fields]:
    columns, split = header_reader(header, "anonymous_id", path)
    names = [name for name, _ in columns]
    unknown = [name for name in names if name not in (*_NEEDED, *_OPTIONAL)]
    if unknown or "person_id" not in names or len(set(names)) < len(names):
        wrong = f"it has {unknown[0]!r}" if unknown else f"they are {', '.join(names)}"
        raise HourglassError(
            f"{path}: its columns must be {' and '.join(_NEEDED)}, each once, and none but "
            f"{', '.join(_OPTIONAL)} beside them; {wrong}"
        )

    def read(line: str) -> _Fields:
        return dict(zip(names, split(line), strict=True))

    return read


def _table(rows: list[tuple[Any, ...]]) -> pa.Table:
    columns = list(zip(*rows, strict=True)) if rows else [()] * len(RECORDS)
    arrays = [pa.array(values, field.type) for values, field in zip(columns, RECORDS, strict=True)]
    return pa.Table.from_arrays(arrays, schema=RECORDS)
