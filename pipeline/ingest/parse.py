"""Raw lines to rows: a line becomes an event or a refused record."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from itertools import chain, islice
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa

from pipeline.hours import US_PER_HOUR, Hour
from pipeline.lake.tables import EVENTS, TIMESTAMP
from pipeline.settings.settings import IngestSettings
from pipeline.sources.base import (
    STRAY_RETURN,
    HeaderError,
    ParsedEvent,
    Parser,
    Refusal,
    Source,
    UnreadableHeaderError,
    refuse_all,
)
from pipeline.sources.lines import Line, UnreadableFileError, read_lines

_ROWS_PER_BATCH = 20_000
TOO_LATE = "event_time is more than ingest.max_lateness before the file's arrival"

# An event (kind "event"), a refused record ("refused", with its event_type where that is why) or,
# last in each file, the number of records that the reader saw ("file"), counted apart from what
# became of them, how many of them were accepted though they came too late, and as reason what is
# wrong with the file as a whole if it is no log of the kind that the settings tell.  A file that
# could not be read to its end has an "unreadable" instead, with the reason, and what rows it has
# are worth nothing.
PARSED = pa.schema(
    [
        pa.field("kind", pa.string()),
        *EVENTS.schema,
        pa.field("reason", pa.string()),
        pa.field("raw", pa.string()),
        pa.field("records", pa.int64()),
        pa.field("late", pa.int64()),
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


def files_parser(
    source: Source, encoding: str, rules: IngestSettings
) -> Callable[[Iterator[pa.RecordBatch]], Iterator[pa.RecordBatch]]:
    """What makes rows of :data:`PARSED` of files given as rows of :data:`FILES`."""

    def parse(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            for file in batch.to_pylist():
                rows = file_rows(
                    Path(file["path"]),
                    file["source_file"],
                    Hour(file["arrival_hour"]),
                    Bounds(file["latest_us"], file["timely_us"], file["let_in"]),
                    source,
                    encoding,
                    rules,
                    Path(file["root"]),
                )
                while chunk := list(islice(rows, _ROWS_PER_BATCH)):
                    yield _batch(chunk)

    return parse


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
    arrival_us = arrival.index * US_PER_HOUR
    nothing = (None,) * 8
    try:
        lines = read_lines(path, encoding, rules.max_record_chars, rules.max_expansion, root)
        yield from _rows_of_records(lines, source_file, arrival_us, bounds, source, rules)
    except UnreadableFileError as error:
        yield (
            "unreadable", arrival_us, *nothing, source_file, None,
            error.reason, None, None, None,
        )  # fmt: skip


def _rows_of_records(
    lines: Iterator[Line],
    source_file: str,
    arrival_us: int,
    bounds: Bounds,
    source: Source,
    rules: IngestSettings,
) -> Iterator[tuple[Any, ...]]:
    nothing = (None,) * 8
    records = late = unreadable = 0
    last_reason = None
    parse, lines, fault = _after_header(lines, source, source_file)
    earliest_us = Hour.parse(rules.earliest).index * US_PER_HOUR
    for line in lines:
        records += 1
        event = Refusal(line.reason) if line.reason else parse(line.text)
        if line.reason or event == STRAY_RETURN:
            unreadable += 1
            last_reason = line.reason or STRAY_RETURN.reason
        if isinstance(event, ParsedEvent):
            event = _within_bounds(event, earliest_us, bounds, rules.max_id_chars)
        if isinstance(event, Refusal):
            yield (
                "refused", arrival_us, None, None, None, event.event_type, None, None, None, None,
                source_file, line.number, event.reason, line.text, None, None,
            )  # fmt: skip
        else:
            if bounds.timely_us is not None and event.event_time_us < bounds.timely_us:
                late += 1
            yield (
                "event", event.event_time_us // US_PER_HOUR * US_PER_HOUR, event.event_time_us,
                event.user_id, event.item_id, event.event_type, event.value, event.given_session,
                sorted(event.context.items()), event.event_key or content_key(event),
                source_file, line.number, None, None, None, None,
            )  # fmt: skip
    if fault is None and records and unreadable == records:
        fault = f"none of its lines can be read: {last_reason}"
    yield ("file", arrival_us, *nothing, source_file, None, fault, None, records, late)


def _after_header(
    lines: Iterator[Line], source: Source, source_file: str
) -> tuple[Parser, Iterator[Line], str | None]:
    """What reads the records of a file, their lines, and what is wrong with its header.

    A first line that is no header is a record like any other where it may hold one: where it
    cannot be read, and where nothing else is in the file.
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
            others = [header._replace(reason=error.reason) if second is None else second]
            return parse, chain(others, lines), error.fault
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
    content = (
        event.event_time_us,
        event.user_id,
        event.item_id,
        event.event_type,
        event.value,
        event.given_session,
    )
    # Separates the fields unambiguously whatever characters they hold; repr would write letters
    # that are new in Unicode otherwise in the next version of Python.
    return hashlib.blake2b(ascii(content).encode(), digest_size=16).hexdigest()


def _batch(rows: list[tuple[Any, ...]]) -> pa.RecordBatch:
    columns = list(zip(*rows, strict=True))
    arrays = []
    for field, values in zip(PARSED, columns, strict=True):
        if field.type == TIMESTAMP:
            arrays.append(pa.array(values, pa.int64()).cast(TIMESTAMP))
        else:
            arrays.append(pa.array(values, field.type))
    return pa.record_batch(arrays, schema=PARSED)
