"""Raw files to batches of rows: clean lines as columns, the others one by one."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.array_types import Bools, Ints
from pipeline.hours import US_PER_HOUR, Hour
from pipeline.ingest.columns.content_keys import content_keys
from pipeline.ingest.parse import (
    PARSED,
    Bounds,
    LineRows,
    batch_of,
    file_rows,
    unreadable_row,
)
from pipeline.lake.tables import TIMESTAMP
from pipeline.settings.tables import IngestSettings
from pipeline.sources.base import HeaderError, Source, UnreadableHeaderError
from pipeline.sources.columns.fields import MakeEvents, rows_of
from pipeline.sources.columns.line_blocks import PlainLines, plain_lines, reads_encoding
from pipeline.sources.columns.types import EventColumns, ReadColumns
from pipeline.sources.lines import (
    CHANGED,
    NOT_BY_SPANS,
    Block,
    Line,
    Span,
    UnreadableFileError,
    line_encoding,
    line_of,
    read_blocks,
    read_lines,
)
from pipeline.sources.quoted_records.cutter import RecordCutter
from pipeline.sources.tables.reading import TableLine, TableReading
from pipeline.sources.tables.source import TableSource

_ROWS_PER_BATCH = 20_000
_BLOCK_BYTES = 1 << 20
_LINES_AT_ONCE = 1 << 12


@dataclass(frozen=True)
class FilesParser:
    """Makes rows of PARSED of files given as rows of FILES; it can be sent to other processes."""

    source: Source
    encoding: str
    rules: IngestSettings

    def __call__(self, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """The rows of the files of those batches, in order."""
        for batch in batches:
            for file in batch.to_pylist():
                yield from file_batches(
                    Path(file["path"]),
                    file["source_file"],
                    Hour(file["arrival_hour"]),
                    Bounds(file["latest_us"], file["timely_us"], file["let_in"]),
                    self.source,
                    self.encoding,
                    self.rules,
                    Path(file["root"]),
                    span=None if file["span"] is None else Span(*file["span"]),
                )


def file_batches(
    path: Path,
    source_file: str,
    arrival: Hour,
    bounds: Bounds,
    source: Source,
    encoding: str,
    rules: IngestSettings,
    root: Path | None = None,
    block_bytes: int = _BLOCK_BYTES,
    span: Span | None = None,
) -> Iterator[pa.RecordBatch]:
    """The rows of one file, those of ``file_rows`` in some order, as batches of PARSED.

    With ``span`` they are those of some lines of a text file, whose header, if it has one, has no
    fault, or of some groups of rows of a table file; see :mod:`pipeline.ingest.spans`.
    """
    if isinstance(source, TableSource):
        yield from _table_batches(path, source_file, arrival, bounds, source, rules, root, span)
        return
    encoding = line_encoding(encoding)
    limits, quotes = (rules.max_record_chars, rules.max_expansion), source.record_quotes
    try:
        header = None
        if source.has_header:
            header = next(read_lines(path, encoding, *limits, root, quotes=quotes), None)
        read = None
        text = header.text if header is not None and not header.reason else None
        if reads_encoding(encoding):
            read = source.column_reader(text, source_file)
        if read is None and span is None:
            rows = file_rows(path, source_file, arrival, bounds, source, encoding, rules, root)
            yield from _batches(rows)
            return
        # What reads columns has found no fault with the header, nor has who made spans of the file.
        parse = source.parser(text, source_file)
        line_rows = LineRows(lambda line: parse(line.text), source_file, arrival, bounds, rules)
        begin = header.number if header is not None else 0
        if read is None:
            lines = read_lines(path, encoding, *limits, root, span, quotes)
            records = (line for line in lines if line.number > begin)
            yield from _batches(line_rows.rows(records))
        else:
            cutter = quotes and RecordCutter(quotes, encoding, rules.max_record_chars)
            for block in read_blocks(path, encoding, *limits, root, block_bytes, span, cutter):
                if isinstance(block, Line):
                    yield from _batches(line_rows.rows([block]))
                    continue
                records_of = _from_line(block, begin + 1)
                yield from _block_batches(
                    records_of, read, line_rows, source_file, bounds, encoding, rules
                )
        yield batch_of([line_rows.end(None, _first_line(span))])
    except (HeaderError, UnreadableHeaderError):
        if span is None:
            raise
        # It had none when the spans were made.
        yield batch_of([unreadable_row(source_file, arrival, UnreadableFileError(path, CHANGED))])
    except UnreadableFileError as error:
        yield batch_of([unreadable_row(source_file, arrival, error)])


def _table_batches(
    path: Path,
    source_file: str,
    arrival: Hour,
    bounds: Bounds,
    source: TableSource,
    rules: IngestSettings,
    root: Path | None,
    span: Span | None,
) -> Iterator[pa.RecordBatch]:
    reading = (path, source_file, root, rules.max_record_chars, rules.max_expansion)
    try:
        with source.opened(*reading, span) as table:
            try:
                make, parse = table.event_maker(), table.line_parser()
            except HeaderError:
                make = parse = None
            if parse is not None and (make is not None or span is not None):
                line_rows = LineRows(parse, source_file, arrival, bounds, rules)
                batches = _rows_of_table(
                    table, make, line_rows, source_file, bounds, rules, path, span
                )
                yield from batches
                return
        if span is not None:
            raise UnreadableFileError(path, CHANGED)
        rows = file_rows(path, source_file, arrival, bounds, source, "utf-8", rules, root)
        yield from _batches(rows)
    except UnreadableFileError as error:
        yield batch_of([unreadable_row(source_file, arrival, error)])


def _rows_of_table(
    table: TableReading,
    make: MakeEvents | None,
    line_rows: LineRows,
    source_file: str,
    bounds: Bounds,
    rules: IngestSettings,
    path: Path,
    span: Span | None,
) -> Iterator[pa.RecordBatch]:
    for batch in table.batches_to_damage():
        if isinstance(batch, TableLine):
            if span is not None:
                # Nothing behind the damage is read, whatever other spans say.
                raise UnreadableFileError(path, NOT_BY_SPANS)
            yield from _batches(line_rows.rows([batch]))
            continue
        is_left = np.ones(len(batch.row), bool)
        if make is not None:
            events = make(table.columns_of(batch))
            events = _chosen(events, _within_bounds(events, bounds, rules))
            if len(events.line):
                line_rows.count_events(len(events.line))
                yield _event_batch(events, batch.row[events.line] + 1, source_file)
            is_left[events.line] = False
        yield from _batches(line_rows.rows(table.lines_at(batch, np.flatnonzero(is_left))))
    yield batch_of([line_rows.end(None, _first_line(span))])


def _first_line(span: Span | None) -> int | None:
    return None if span is None else span.lines_before + 1


def _batches(rows: Iterable[tuple[Any, ...]]) -> Iterator[pa.RecordBatch]:
    rows = iter(rows)
    while chunk := list(islice(rows, _ROWS_PER_BATCH)):
        yield batch_of(chunk)


def _from_line(block: Block, number: int) -> Block:
    """The records of a block that begin on a line or below it."""
    lines = number - block.number
    if lines <= 0:
        return block
    ends = block.ends
    if ends is not None:
        nth = int(np.searchsorted(ends, lines - 1))
        lines = int(ends[min(nth, len(ends) - 1)]) + 1
        ends = ends[nth + 1 :] - lines
    end = 0
    for _ in range(lines):
        end = block.content.find(b"\n", end) + 1
        if not end:
            return Block(number, b"")
    return Block(block.number + lines, block.content[end:], ends)


def _block_batches(
    block: Block,
    read: ReadColumns,
    line_rows: LineRows,
    source_file: str,
    bounds: Bounds,
    encoding: str,
    rules: IngestSettings,
) -> Iterator[pa.RecordBatch]:
    if not block.content:
        return
    plain = plain_lines(block.content, encoding, rules.max_record_chars, block.ends)
    events = read(plain.block)
    events = _chosen(events, _within_bounds(events, bounds, rules))
    if len(events.line):
        line_rows.count_events(len(events.line))
        number = block.number + plain.newlines_before[plain.line[events.line]]
        yield _event_batch(events, number, source_file)
    others = _other_lines(plain, events, block.number, encoding, rules)
    yield from _batches(line_rows.rows(others))


def _within_bounds(events: EventColumns, bounds: Bounds, rules: IngestSettings) -> Bools:
    """Which events are in time and of ids that are not too long, (n,)."""
    first_us = Hour.parse(rules.earliest).index * US_PER_HOUR
    if bounds.timely_us is not None:
        first_us = max(first_us, bounds.timely_us)
    time_us = events.event_time_us
    is_within: Bools = (time_us >= first_us) & (time_us <= bounds.latest_us)
    for ids in (events.user_id, events.item_id):
        is_within &= pc.utf8_length(ids).to_numpy() <= rules.max_id_chars
    return is_within


def _chosen(events: EventColumns, wanted: Bools) -> EventColumns:
    return events if wanted.all() else rows_of(events, wanted)


def _other_lines(
    plain: PlainLines, events: EventColumns, number: int, encoding: str, rules: IngestSettings
) -> Iterator[Line]:
    """The lines of a block that have not become events, but for blank ones, in order."""
    is_left = np.ones(len(plain.line), bool)
    is_left[events.line] = False
    left = np.flatnonzero(is_left)
    # Plain ones have been read as text already.
    lines = np.concatenate([plain.line[left], plain.other])
    where = np.concatenate([left, np.full(len(plain.other), -1)])
    order = np.argsort(lines)
    for first in range(0, len(order), _LINES_AT_ONCE):
        some = order[first : first + _LINES_AT_ONCE]
        numbers = number + plain.newlines_before[lines[some]]
        for line, at, nr in zip(
            lines[some].tolist(), where[some].tolist(), numbers.tolist(), strict=True
        ):
            block, nth = (plain.raw, line) if at < 0 else (plain.block, at)
            raw = block.content[block.start[nth] : block.stop[nth]]
            if at >= 0:
                yield Line(nr, raw.decode(), None)
            elif other := line_of(nr, raw, encoding, rules.max_record_chars):
                yield other


def _event_batch(events: EventColumns, line: Ints, source_file: str) -> pa.RecordBatch:
    n = len(events.line)
    keys = events.event_key
    if keys.null_count:
        keys = pc.coalesce(keys, content_keys(events))
    hour_us = events.event_time_us // US_PER_HOUR * US_PER_HOUR
    columns = {
        "kind": pa.repeat("event", n),
        "hour": pa.array(hour_us).cast(TIMESTAMP),
        "event_time": pa.array(events.event_time_us).cast(TIMESTAMP),
        "user_id": events.user_id,
        "item_id": events.item_id,
        "event_type": events.event_type,
        "value": events.value,
        "given_session": events.given_session,
        "context": events.context,
        "event_key": keys,
        "source_file": pa.repeat(source_file, n),
        "line": pa.array(line),
    }
    arrays = [
        columns[field.name].cast(field.type) if field.name in columns else pa.nulls(n, field.type)
        for field in PARSED
    ]
    return pa.record_batch(arrays, schema=PARSED)
