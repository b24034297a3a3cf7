"""Raw lines to rows: a line becomes an event or a refused record."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import accumulate, chain
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa

from pipeline.hours import US_PER_HOUR, Hour
from pipeline.ingest.tally import Tally
from pipeline.lake.tables import EVENTS, TIMESTAMP
from pipeline.settings.tables import IngestSettings
from pipeline.sources.base import (
    STRAY_RETURN,
    HeaderError,
    Ignored,
    Parsed,
    ParsedEvent,
    Parser,
    Record,
    Refusal,
    Source,
    UnreadableHeaderError,
    refuse_all,
)
from pipeline.sources.lines import Line, UnreadableFileError, read_lines
from pipeline.sources.tables.reading import TableLine, TableReading
from pipeline.sources.tables.source import TableSource

TOO_MANY_ELEMENTS = Refusal("its elements hold more than ingest.max_expansion allows")
TOO_LATE = "event_time is more than ingest.max_lateness before the file's arrival"

#: Size of a key that is made of what a record says.
KEY_BYTES = 16

# The columns of a row that only an event has.
_NO_EVENT = (None,) * 8

# An event (kind "event"), a refused record ("refused", with its event_type where that is why) or,
# last in each file, the number of records that the reader saw ("file"), counted apart from what
# became of them, how many of them were accepted though they came too late, as JSON a Tally if there
# is anything to count in it, and as reason what is wrong with the file as a whole if it is no log
# of the kind that the settings tell.  A file that could not be read to its end has an "unreadable"
# instead, with the reason, and what rows it has are worth nothing.  A file that is read in spans
# has such a last row for each of them, whose line is the first one of the span.
PARSED = pa.schema(
    [
        pa.field("kind", pa.string()),
        *EVENTS.schema,
        pa.field("reason", pa.string()),
        pa.field("raw", pa.string()),
        pa.field("records", pa.int64()),
        pa.field("late", pa.int64()),
        pa.field("tally", pa.string()),
    ]
)

FILES = pa.schema(
    [
        pa.field("path", pa.string()),
        pa.field("root", pa.string()),
        pa.field("source_file", pa.string()),
        pa.field("arrival_hour", pa.int64()),
        pa.field("latest_us", pa.int64()),
        pa.field("timely_us", pa.int64()),
        pa.field("let_in", pa.list_(pa.list_(pa.int64()))),
        # Of what is to be read; null: all of it.
        pa.field("span", pa.list_(pa.int64())),
    ]
)


class Bounds(NamedTuple):
    """Which times are believed of the records of one file, in microseconds since 1970.

    From ``timely_us`` (None: from any time on) to ``latest_us``, both inclusive; besides them
    those of the half-open ranges ``accepted_late``, which came too late but were let in on purpose.
    """

    latest_us: int
    timely_us: int | None = None
    accepted_late: Sequence[Sequence[int]] = ()


def file_rows(
    path: Path,
    source_file: str,
    arrival: Hour,
    bounds: Bounds,
    source: Source,
    encoding: str,
    rules: IngestSettings,
    root: Path | None = None,
) -> Iterator[tuple[Any, ...]]:
    """The rows of one file, in the order of PARSED's columns; see ``read_lines`` for ``root``."""
    try:
        if isinstance(source, TableSource):
            reading = (path, source_file, root, rules.max_record_chars, rules.max_expansion)
            with source.opened(*reading) as table:
                records = _of_table(table)
                yield from _rows_of_records(records, source_file, arrival, bounds, rules)
            return
        limits = (rules.max_record_chars, rules.max_expansion)
        lines = read_lines(path, encoding, *limits, root, quotes=source.record_quotes)
        records = _of_text(lines, source, source_file)
        yield from _rows_of_records(records, source_file, arrival, bounds, rules)
    except UnreadableFileError as error:
        yield unreadable_row(source_file, arrival, error)


def unreadable_row(source_file: str, arrival: Hour, error: UnreadableFileError) -> tuple[Any, ...]:
    """What closes a file that could not be read to its end."""
    return (
        "unreadable", arrival.index * US_PER_HOUR, *_NO_EVENT, source_file, None,
        error.reason, None, None, None, None,
    )  # fmt: skip


class LineRows:
    """Makes rows of the lines of one file, and counts them."""

    def __init__(
        self,
        parse: Callable[[Any], Parsed],
        source_file: str,
        arrival: Hour,
        bounds: Bounds,
        rules: IngestSettings,
    ) -> None:
        self._parse, self._source_file, self._bounds = parse, source_file, bounds
        self._arrival_us = arrival.index * US_PER_HOUR
        self._max_id_chars = rules.max_id_chars
        self._max_chars_of_line = rules.max_record_chars * rules.max_expansion
        self._earliest_us = Hour.parse(rules.earliest).index * US_PER_HOUR
        self._records = self._late = self._unreadable = 0
        self._last_reason: str | None = None
        self._tally = Tally()

    def count_events(self, events: int) -> None:
        """Count events whose rows were made elsewhere, none of them late."""
        self._records += events

    def rows(self, lines: Iterable[Line] | Iterable[TableLine]) -> Iterator[tuple[Any, ...]]:
        """The rows of lines, but for those that are ignored."""
        for line in lines:
            parsed = Refusal(line.reason) if line.reason else self._parse(line)
            if isinstance(parsed, list) and self._is_too_much(parsed, line):
                parsed = TOO_MANY_ELEMENTS
            if not isinstance(parsed, list):
                row = self._row(parsed, line.number, line)
                if line.reason or parsed == STRAY_RETURN:
                    self._unreadable += 1
                    self._last_reason = line.reason or STRAY_RETURN.reason
                if row is not None:
                    yield row
                continue
            for record in parsed:
                row = self._row(record.event, line.number, record)
                if row is not None:
                    yield row

    def _is_too_much(self, records: list[Record], line: Line | TableLine) -> bool:
        """Whether the records of a line hold so much more than it that it is made to fill tables.

        Each has all of the line that is not of another one's.
        """
        if len(records) * len(line.text) <= self._max_chars_of_line:
            return False
        chars = accumulate(len(record.text) for record in records)
        return any(total > self._max_chars_of_line for total in chars)

    def _row(
        self,
        event: ParsedEvent | Refusal | Ignored,
        number: int,
        record: Line | TableLine | Record,
    ) -> tuple[Any, ...] | None:
        """The row of a record; None where it is ignored."""
        bounds = self._bounds
        self._records += 1
        if isinstance(event, Ignored):
            self._tally.ignored[event.rule] += 1
            return None
        if isinstance(event, ParsedEvent):
            event = _within_bounds(event, self._earliest_us, bounds, self._max_id_chars)
        if isinstance(event, Refusal):
            return (
                "refused", self._arrival_us, None, None, None, event.event_type, *(None,) * 4,
                self._source_file, number,
                event.reason, record.text, None, None, None,
            )  # fmt: skip
        if bounds.timely_us is not None and event.event_time_us < bounds.timely_us:
            self._late += 1
        if event.dropped:
            self._tally.dropped.update(event.dropped)
        return (
            "event", event.event_time_us // US_PER_HOUR * US_PER_HOUR, event.event_time_us,
            event.user_id, event.item_id, event.event_type, event.value, event.given_session,
            sorted(event.context.items()), event.event_key or content_key(event),
            self._source_file, number, None, None, None, None, None,
        )  # fmt: skip

    def end(self, fault: str | None, first_line: int | None = None) -> tuple[Any, ...]:
        """The row that closes the file, whose header has a fault or none.

        ``first_line`` is that of the span of the file that was read, None where all of it was.
        """
        if fault is None and self._records and self._unreadable == self._records:
            fault = f"none of its lines can be read: {self._last_reason}"
        return (
            "file", self._arrival_us, *_NO_EVENT, self._source_file, first_line,
            fault, None, self._records, self._late, self._tally.text(),
        )  # fmt: skip


class _Records(NamedTuple):
    """What reads the records of a file, these, and what is wrong with the file as a whole."""

    parse: Callable[[Any], Parsed]
    lines: Iterator[Line] | Iterator[TableLine]
    fault: str | None = None


def _of_text(lines: Iterator[Line], source: Source, source_file: str) -> _Records:
    parse, lines, fault = _after_header(lines, source, source_file)
    if not source.lines_stand_alone:
        lines = _shown(lines, parse)
    return _Records(lambda line: parse(line.text), lines, fault)


def _shown(lines: Iterator[Line], parse: Parser) -> Iterator[Line]:
    """The same lines; the parser sees those too that are refused unread."""
    for line in lines:
        if line.reason:
            parse(line.text)
        yield line


def _of_table(table: TableReading) -> _Records:
    try:
        return _Records(table.line_parser(), table.lines())
    except HeaderError as error:
        refusal = Refusal(error.reason)
        return _Records(lambda _line: refusal, table.refused_lines(), error.fault)


def _rows_of_records(
    records: _Records, source_file: str, arrival: Hour, bounds: Bounds, rules: IngestSettings
) -> Iterator[tuple[Any, ...]]:
    rows = LineRows(records.parse, source_file, arrival, bounds, rules)
    yield from rows.rows(records.lines)
    yield rows.end(records.fault)


def _after_header(
    lines: Iterator[Line], source: Source, source_file: str
) -> tuple[Parser, Iterator[Line], str | None]:
    """What reads the records of a file, their lines, and what is wrong with its header.

    A first line that is no header is a record like any other where it may hold one: where it
    cannot be read, where it reads like one, and where nothing else is in the file.
    """
    header = next(lines, None) if source.has_header else None
    if header is None:
        return source.parser(None, source_file), lines, None
    if not header.reason:
        try:
            return source.parser(header.text, source_file), lines, None
        except UnreadableHeaderError:
            header = header._replace(reason=STRAY_RETURN.reason)
        except HeaderError as error:
            # The step has already refused to start where no file has the column; one bad file
            # among good ones is kept, line by line, for a person to look at.
            parse = refuse_all(error.reason)
            second = next(lines, None)
            first = [header._replace(reason=error.reason)]
            if second is not None:
                first = [*first, second] if error.may_be_record else [second]
            return parse, chain(first, lines), error.fault
    fault = f"its first line cannot be read as a header: {header.reason}"
    return source.parser(None, source_file), chain([header], lines), fault


def _within_bounds(
    event: ParsedEvent, earliest_us: int, bounds: Bounds, max_id_chars: int
) -> ParsedEvent | Refusal:
    if event.event_time_us < earliest_us:
        return Refusal("event_time is before ingest.earliest")
    if event.event_time_us > bounds.latest_us:
        return Refusal("event_time is after the file's arrival")
    if len(event.user_id) > max_id_chars or len(event.item_id) > max_id_chars:
        return Refusal(f"an id is longer than {max_id_chars} characters")
    # The last of the checks: a record refused for it is good in every other way.
    timely = bounds.timely_us is None or event.event_time_us >= bounds.timely_us
    if not timely and not any(
        first <= event.event_time_us < stop for first, stop in bounds.accepted_late
    ):
        return Refusal(TOO_LATE)
    return event


def content_key(event: ParsedEvent) -> str:
    """Identity of a record whose log gives it none: 128 bits of what it says happened.

    Context is left out, so that a resend that merely names another server is the same event.
    """
    return key_of(
        (
            event.event_time_us,
            event.user_id,
            event.item_id,
            event.event_type,
            event.value,
            event.given_session,
        )
    )


def key_of(content: tuple[Any, ...]) -> str:
    """The digest of the fields that tell events apart, in the order of :func:`content_key`."""
    # Separates the fields unambiguously whatever characters they hold; repr would write letters
    # that are new in Unicode otherwise in the next version of Python.
    return hashlib.blake2b(ascii(content).encode(), digest_size=KEY_BYTES).hexdigest()


def batch_of(rows: Sequence[tuple[Any, ...]]) -> pa.RecordBatch:
    """Rows as a batch of PARSED."""
    columns = list(zip(*rows, strict=True))
    arrays = []
    for field, values in zip(PARSED, columns, strict=True):
        if field.type == TIMESTAMP:
            arrays.append(pa.array(values, pa.int64()).cast(TIMESTAMP))
        else:
            arrays.append(pa.array(values, field.type))
    return pa.record_batch(arrays, schema=PARSED)
