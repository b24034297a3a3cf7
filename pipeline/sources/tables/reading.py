"""One open file of columns: its records as columns of text, and one by one."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import replace
from functools import cached_property
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.array_types import Bools, Ints
from pipeline.errors import HourglassError
from pipeline.sources.base import HeaderError, Ignored, ParsedEvent, Refusal
from pipeline.sources.columns.fields import MakeEvents, is_trimmed
from pipeline.sources.columns.texts import mapped
from pipeline.sources.columns.types import TextColumns
from pipeline.sources.fields import FIELD_ORDER, UNIX_EPOCH, number_text, plain_fields
from pipeline.sources.json_lines import IDENTITIES, JsonLinesSource
from pipeline.sources.lines import Span, damage_reason
from pipeline.sources.paths import ELEMENT, with_nth
from pipeline.sources.tables.files import BYTES_PER_BATCH, TableFile
from pipeline.sources.tables.layout import Layout, called_by_field
from pipeline.sources.tables.paths import Exploded, explode, type_at, values_at
from pipeline.sources.tables.texts import (
    is_fraction,
    is_time,
    iso_text,
    microseconds,
    plain_value,
    text_column,
)

NOT_UTF8 = "not valid utf-8"
_TIMES = ("event_time", "event_time_fallback", "sent_time", "received_time")


class TextBatch(NamedTuple):
    """Records of a file as columns of text, one for each field that the settings name.

    ``texts`` has its columns in the order of ``FIELD_ORDER``, then ``context.*``, without nulls:
    "" is nothing.  Where the event's time is a timestamp, its column is microseconds since 1970
    (int64, null where there is none) and no unit of the settings applies.  ``not_plain`` says, by
    field, of which records the value is a list or an object; ``is_bad`` of which a text is no
    UTF-8.  ``row`` is the number of each record's row, from 0, and ``nth`` that of its element in
    the row's list.
    """

    texts: pa.RecordBatch
    row: Ints
    nth: Ints
    not_plain: dict[str, Bools]
    is_bad: Bools


class _Field(NamedTuple):
    """A column of :class:`TextBatch`, (n,), and which of its values are bad or not plain if any."""

    texts: pa.Array
    is_bad: Bools | None = None
    not_plain: Bools | None = None

    def take(self, at: Ints) -> _Field:
        """Those rows of it."""
        texts, is_bad, not_plain = self
        return _Field(
            texts.take(pa.array(at)),
            None if is_bad is None else is_bad[at],
            None if not_plain is None else not_plain[at],
        )

    def sizes(self) -> Ints:
        """The bytes of each value, (n,)."""
        if pa.types.is_integer(self.texts.type):
            return np.full(len(self.texts), self.texts.type.bit_width // 8, np.int64)
        sizes: Ints = pc.binary_length(self.texts).to_numpy().astype(np.int64)
        return sizes


def _text_batch(row: Ints, nth: Ints, fields: Mapping[str, _Field]) -> TextBatch:
    is_bad = np.zeros(len(row), np.bool_)
    for field in fields.values():
        if field.is_bad is not None:
            is_bad |= field.is_bad
    not_plain = {
        name: field.not_plain for name, field in fields.items() if field.not_plain is not None
    }
    texts = pa.RecordBatch.from_pydict({name: field.texts for name, field in fields.items()})
    return TextBatch(texts, row, nth, not_plain, is_bad)


def _cuts(sizes: Ints) -> Ints:
    """Where records are cut so that each batch is of about as many bytes, but has one at least."""
    total = np.cumsum(sizes)
    most = int(total[-1]) if len(total) else 0
    cuts = np.searchsorted(total, np.arange(BYTES_PER_BATCH, most, BYTES_PER_BATCH))
    return np.unique(cuts[cuts > 0])


class TableLine:
    """A record as a line of a log is one: its number, and why it cannot be read if so."""

    __slots__ = ("_raw", "nth", "number", "reason", "record")

    def __init__(
        self,
        number: int,
        nth: int,
        record: dict[str, Any],
        reason: str | None,
        raw: Callable[[TableLine], str],
    ) -> None:
        self.number = number
        self.nth = nth
        self.record = record
        self.reason = reason
        self._raw = raw

    @property
    def text(self) -> str:
        """The row as JSON, with one element in the place of a list that is exploded."""
        return self._raw(self)


class TableReading:
    """An open file, read by the rules of a source."""

    def __init__(
        self,
        table: TableFile,
        layout: Layout,
        records: JsonLinesSource,
        file_name: str,
        kind: str,
        max_record_chars: int,
        again: Callable[[], AbstractContextManager[TableFile]],
        span: Span | None = None,
    ) -> None:
        self.table = table
        self._span = span
        self.layout = layout
        self.file_name = file_name
        self._records = records
        self._kind = kind
        self._max_chars = max_record_chars
        self._rows = _Rows(again)

    @cached_property
    def steps(self) -> dict[str, tuple[str, ...]]:
        """The steps to each field, in the order of :class:`TextBatch`.

        Raises:
            HeaderError: the file lacks a column that the settings name.
        """
        steps = self.layout.steps(self.table.schema, self.file_name)
        return {name: steps[name] for name in FIELD_ORDER if name in steps} | steps

    @cached_property
    def _list_steps(self) -> tuple[str, ...] | None:
        return self.layout.list_steps(self.table.schema, self.file_name)

    @cached_property
    def time_is_typed(self) -> bool:
        """Whether the event's time is a timestamp or a date, and not text or a number."""
        steps = self.steps["event_time"]
        schema = self.table.schema
        if steps[0] == ELEMENT and self._list_steps is not None:
            element = type_at(self._list_steps, schema).value_type
            schema = pa.schema([pa.field(ELEMENT, element)])
        return is_time(type_at(steps, schema))

    def text_batches(self) -> Iterator[TextBatch]:
        """The records of the file, in order, in batches that memory holds.

        Raises:
            HeaderError: the file lacks a column that the settings name.
        """
        firsts = {steps[0] for steps in self.steps.values()} - {ELEMENT}
        if self._list_steps is not None:
            firsts.add(self._list_steps[0])
        columns = [name for name in self.table.schema.names if name in firsts]
        for start, rows in self.table.batches(columns, span=self._span):
            yield from self._text_batches_of(start, rows)

    def _text_batches_of(self, start: int, rows: pa.RecordBatch) -> Iterator[TextBatch]:
        n = rows.num_rows
        of_row = {field: steps for field, steps in self.steps.items() if steps[0] != ELEMENT}
        fields = {field: self._field(field, steps, rows) for field, steps in of_row.items()}
        if self._list_steps is None:
            yield _text_batch(start + np.arange(n), np.zeros(n, np.int64), fields)
            return
        exploded: Exploded = explode(values_at(self._list_steps, rows))
        elements = pa.RecordBatch.from_arrays([exploded.elements], names=[ELEMENT])
        of_element = {
            field: self._field(field, steps, elements)
            for field, steps in self.steps.items()
            if steps[0] == ELEMENT
        }
        row = exploded.row
        # Each element repeats the texts of its row: a few of them may fill the memory.
        row_bytes = sum((field.sizes() for field in fields.values()), np.zeros(n, np.int64))
        cuts = _cuts(row_bytes[row])
        for first, stop in pairwise((0, *cuts, len(row))):
            at = np.arange(first, stop)
            chosen = {field: column.take(row[first:stop]) for field, column in fields.items()}
            chosen |= {field: column.take(at) for field, column in of_element.items()}
            in_order = {field: chosen[field] for field in self.steps}
            yield _text_batch(start + row[first:stop], exploded.nth[first:stop], in_order)

    def _field(self, field: str, steps: tuple[str, ...], rows: pa.RecordBatch) -> _Field:
        """A field of some rows as text."""
        values = values_at(steps, rows)
        if field in _TIMES and self.time_is_typed and is_time(values.type):
            return _Field(microseconds(values, self._records.field_rules.timezone))
        column = text_column(values)
        if column is None:
            return _Field(
                pa.array([""] * len(values), pa.string()), not_plain=~np.asarray(values.is_null())
            )
        texts = column.texts
        trims = self._records.field_rules.trim
        if trims and field in IDENTITIES and is_fraction(values.type):
            texts = mapped(texts, number_text)
        return _Field(texts, column.is_bad)

    def lines(self) -> Iterator[TableLine]:
        """The records one by one, and one more that says so where the file is damaged.

        Raises:
            HeaderError: the file lacks a column that the settings name.
            OSError: the file cannot be read.
        """
        for batch in self.batches_to_damage():
            if isinstance(batch, TableLine):
                yield batch
            else:
                yield from self._lines_of(batch)

    def batches_to_damage(self) -> Iterator[TextBatch | TableLine]:
        """The batches that can be read, and one line that says so where the file is damaged.

        Raises:
            HeaderError: the file lacks a column that the settings name.
            OSError: the file cannot be read.
        """
        batches = self.text_batches()
        number = 0
        while True:
            try:
                batch = next(batches, None)
            except HeaderError:
                raise
            except Exception as error:
                yield self._damage(error, number)
                return
            if batch is None:
                return
            number = int(batch.row[-1]) + 1 if len(batch.row) else number
            yield batch

    def refused_lines(self) -> Iterator[TableLine]:
        """As many records as the file has rows, where it lacks what makes records of them."""
        number = 0
        try:
            for start, rows in self.table.batches(self.table.schema.names[:1]):
                for number in range(start + 1, start + rows.num_rows + 1):
                    yield TableLine(number, 0, {}, None, self._row_text)
        except Exception as error:
            yield self._damage(error, number)

    def _damage(self, error: Exception, number: int) -> TableLine:
        """The line that closes a damaged file: libraries raise errors of every kind on one.

        Raises:
            OSError: it is no damage, but the system that does not give the file.
        """
        unless_of_the_system(error)
        reason = damage_reason(f"{self._kind} file is damaged", "row", number)
        return TableLine(number + 1, 0, {}, reason, lambda _line: "")

    def _lines_of(self, batch: TextBatch) -> Iterator[TableLine]:
        names = batch.texts.schema.names
        values = [column.to_pylist() for column in batch.texts.columns]
        too_long = f"longer than {self._max_chars} characters"
        for at, (row, nth, bad) in enumerate(
            zip(batch.row.tolist(), batch.nth.tolist(), batch.is_bad.tolist(), strict=True)
        ):
            record: dict[str, Any] = {
                name: column[at] for name, column in zip(names, values, strict=True)
            }
            reason = NOT_UTF8 if bad else None
            if (
                sum(len(text) for text in record.values() if isinstance(text, str))
                > self._max_chars
            ):
                reason = too_long
            for field, is_not_plain in batch.not_plain.items():
                if is_not_plain[at]:
                    record[field] = []
            yield TableLine(row + 1, nth, record, reason, self._text)

    def line_parser(self) -> Callable[[TableLine], ParsedEvent | Refusal | Ignored]:
        """What makes an event of a record: what makes one of a line of JSON that says the same."""
        parse = self._records_by_field().record_parser()
        numbers_keys = self.layout.numbers_keys

        def parse_line(line: TableLine) -> ParsedEvent | Refusal | Ignored:
            event = parse(line.record, True)
            if numbers_keys and isinstance(event, ParsedEvent):
                return with_nth(event, line.nth)
            return event

        return parse_line

    def event_maker(self) -> MakeEvents | None:
        """What makes events of columns (see :meth:`columns_of`), None where only the parser can.

        Raises:
            HeaderError: the file lacks a column that the settings name.
        """
        if plain_fields(self._records.columns) is None:
            return None
        return self._records_by_field().event_maker()

    def columns_of(self, batch: TextBatch) -> TextColumns:
        """The records of a batch that are plain text; ``line`` is which of them each is."""
        columns = dict(zip(batch.texts.schema.names, batch.texts.columns, strict=True))
        is_sure = ~batch.is_bad
        for is_not_plain in batch.not_plain.values():
            is_sure &= ~is_not_plain
        chars = np.zeros(len(batch.row), np.int64)
        for column in columns.values():
            if pa.types.is_integer(column.type):
                continue
            chars += pc.utf8_length(column).to_numpy()
            has_nul = pc.match_substring(column, "\0").to_numpy(zero_copy_only=False)
            is_sure &= ~has_nul
        is_sure &= chars <= self._max_chars
        mask = pa.array(is_sure)
        columns = {name: column.filter(mask) for name, column in columns.items()}
        if self.layout.numbers_keys:
            # The number comes after what a key would lose, and to none that means nothing.
            is_whole = is_trimmed(columns["event_key"])
            nothing = pa.array(self._records.field_rules.nothing, pa.string())
            means_nothing = pc.is_in(columns["event_key"], value_set=nothing)
            is_whole &= ~means_nothing.to_numpy(zero_copy_only=False)
            is_sure[is_sure] = is_whole
            columns = {name: column.filter(pa.array(is_whole)) for name, column in columns.items()}
            nth = pa.array(batch.nth[is_sure]).cast(pa.string())
            key = columns["event_key"]
            numbered = pc.binary_join_element_wise(key, nth, "#")
            columns["event_key"] = pc.if_else(pc.equal(key, ""), "", numbered)
        return TextColumns(
            np.flatnonzero(is_sure),
            {name: columns[name] for name in FIELD_ORDER if name in columns},
            {
                name.removeprefix("context."): column
                for name, column in columns.items()
                if name.startswith("context.")
            },
            {name: column for name, column in columns.items() if name.startswith("ignored ")},
        )

    def lines_at(self, batch: TextBatch, at: Ints) -> Iterator[TableLine]:
        """Some records of a batch one by one; whose texts are asked for in their order."""
        if not len(at):
            return
        chosen = TextBatch(
            batch.texts.take(pa.array(at)),
            batch.row[at],
            batch.nth[at],
            {field: flags[at] for field, flags in batch.not_plain.items()},
            batch.is_bad[at],
        )
        yield from self._lines_of(chosen)

    def _records_by_field(self) -> JsonLinesSource:
        """What reads records whose fields are called as the layout calls them."""
        records = self._records
        columns, rules = called_by_field(records.columns, records.field_rules)
        if not self.time_is_typed:
            return replace(records, columns=columns, field_rules=rules)
        return replace(
            records,
            columns=columns,
            time_unit="us",
            epoch=UNIX_EPOCH,
            field_rules=replace(rules, time_formats=(), timezone=None),
        )

    def _text(self, line: TableLine) -> str:
        row = self._rows.plain_row(line.number - 1)
        if row is not None:
            if self._list_steps is not None:
                _replace_list(row, self._list_steps, line.nth)
                row[self.layout.nth_name] = line.nth
            text = _json(row)
            if len(text) <= self._max_chars:
                return text
        # Where times without a zone are of another, UTC is told.
        zone = "Z" if self._records.field_rules.timezone else ""
        short = {
            self.layout.paths[field]: iso_text(value, zone) if isinstance(value, int) else value
            for field, value in line.record.items()
        }
        if self._list_steps is not None:
            short[self.layout.nth_name] = line.nth
        text = _json(short)
        # What may be read again stays whole: no text in it is long.
        return text if line.reason is None else text[: self._max_chars]

    def _row_text(self, line: TableLine) -> str:
        return _json(self._rows.plain_row(line.number - 1) or {})[: self._max_chars]

    def close(self) -> None:
        """Close what was opened besides the file."""
        self._rows.close()


def unless_of_the_system(error: Exception) -> None:
    """Raise an error again that tells of no damage: of the system, or of memory.

    Raises:
        OSError: the system gave it; those of libraries have no number.
        MemoryError: there is too little.
    """
    if isinstance(error, MemoryError) or (isinstance(error, OSError) and error.errno is not None):
        raise error


def _json(row: dict[str, Any]) -> str:
    return json.dumps(row, ensure_ascii=False)


def _replace_list(row: dict[str, Any], steps: tuple[str, ...], nth: int) -> None:
    """Put an element in the place of the list; where there is no list there is none either."""
    *above, name = steps
    inner: Any = row
    for step in above:
        inner = inner.get(step) if isinstance(inner, dict) else None
    if isinstance(inner, dict):
        elements = inner.get(name)
        inner[name] = elements[nth] if elements else None


class _Rows:
    """Whole rows, of which only few are wanted: those that are refused."""

    def __init__(self, again: Callable[[], AbstractContextManager[TableFile]]) -> None:
        self._again = again
        self._open: AbstractContextManager[TableFile] | None = None
        self._table: TableFile | None = None
        self._batches: Iterator[tuple[int, pa.RecordBatch]] = iter(())
        self._start = 0
        self._batch: pa.RecordBatch | None = None

    def plain_row(self, number: int) -> dict[str, Any] | None:
        """A row, counted from 0, as JSON can hold it; None where one of its columns is damaged."""
        try:
            while self._batch is None or number >= self._start + self._batch.num_rows:
                if self._table is None:
                    self._open = self._again()
                    self._table = self._open.__enter__()
                    self._batches = self._table.batches(None, number)
                self._start, self._batch = next(self._batches)
        except HourglassError:
            raise
        except Exception as error:
            unless_of_the_system(error)
            return None
        at = number - self._start
        return {
            name: plain_value(column.slice(at, 1))
            for name, column in zip(self._batch.schema.names, self._batch.columns, strict=True)
        }

    def close(self) -> None:
        """Close the file, if it was opened for them."""
        if self._open is not None:
            self._open.__exit__(None, None, None)
            self._open = self._table = None
