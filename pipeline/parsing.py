"""Raw lines to rows, inside Spark's workers: a line becomes an event or a refused record."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from pipeline.errors import HourglassError
from pipeline.hours import HOUR_S, Hour
from pipeline.schemas import EVENTS, TIMESTAMP
from pipeline.settings import IngestSettings
from pipeline.sources.base import ParsedEvent, Refusal, Source, refuse_all
from pipeline.sources.lines import read_lines

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

_HOUR_US = HOUR_S * 1_000_000
_ROWS_PER_BATCH = 20_000

# An event (kind "event"), a refused record ("refused") or, last in each file, the number of
# records that the reader saw ("file"), counted apart from what became of them.
PARSED = pa.schema(
    [
        pa.field("kind", pa.string()),
        *EVENTS.schema,
        pa.field("reason", pa.string()),
        pa.field("raw", pa.string()),
        pa.field("records", pa.int64()),
    ]
)


def parse_files(
    files: DataFrame, source: Source, encoding: str, rules: IngestSettings
) -> DataFrame:
    """Rows of :data:`PARSED` for files given as path, source_file, arrival_hour, latest_us."""
    from pyspark.sql.pandas.types import from_arrow_schema

    return files.mapInArrow(_parser(source, encoding, rules), from_arrow_schema(PARSED))


def _parser(
    source: Source, encoding: str, rules: IngestSettings
) -> Callable[[Iterator[pa.RecordBatch]], Iterator[pa.RecordBatch]]:
    def parse(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            for file in batch.to_pylist():
                rows = file_rows(
                    Path(file["path"]),
                    file["source_file"],
                    Hour(file["arrival_hour"]),
                    file["latest_us"],
                    source,
                    encoding,
                    rules,
                )
                while chunk := list(islice(rows, _ROWS_PER_BATCH)):
                    yield _batch(chunk)

    return parse


def file_rows(
    path: Path,
    source_file: str,
    arrival: Hour,
    latest_us: int,
    source: Source,
    encoding: str,
    rules: IngestSettings,
) -> Iterator[tuple[Any, ...]]:
    """The rows of one file, in the order of PARSED's columns.

    ``latest_us`` is the latest event_time that is still believed.
    """
    lines = read_lines(path, encoding, rules.max_record_chars)
    arrival_us = arrival.index * _HOUR_US
    nothing = (None,) * 8
    records = 0
    header = next(lines, None) if source.has_header else None
    try:
        parse = source.parser(header.text if header and not header.reason else None, source_file)
    except HourglassError:
        # The step has already refused to start where no file has the column; one bad file among
        # good ones is kept, line by line, for a person to look at.
        parse = refuse_all("the file's header lacks a needed column")
    earliest_us = Hour.parse(rules.earliest).index * _HOUR_US
    if header is not None and header.reason:
        # A first line that cannot be read is no header; it is kept like any other.
        lines = chain([header], lines)
    for line in lines:
        records += 1
        event = Refusal(line.reason) if line.reason else parse(line.text)
        if isinstance(event, ParsedEvent):
            event = _believed(event, earliest_us, latest_us, rules.max_id_chars)
        if isinstance(event, Refusal):
            yield (
                "refused", arrival_us, *nothing, source_file, line.number,
                event.reason, line.text, None,
            )  # fmt: skip
        else:
            yield (
                "event", event.event_time_us // _HOUR_US * _HOUR_US, event.event_time_us,
                event.user_id, event.item_id, event.event_type, event.value, event.given_session,
                sorted(event.context.items()), event.event_key or content_key(event),
                source_file, line.number, None, None, None,
            )  # fmt: skip
    yield ("file", arrival_us, *nothing, source_file, None, None, None, records)


def _believed(
    event: ParsedEvent, earliest_us: int, latest_us: int, max_id_chars: int
) -> ParsedEvent | Refusal:
    if event.event_time_us < earliest_us:
        return Refusal("event_time is before ingest.earliest")
    if event.event_time_us > latest_us:
        return Refusal("event_time is after the file's arrival")
    if len(event.user_id) > max_id_chars or len(event.item_id) > max_id_chars:
        return Refusal(f"an id is longer than {max_id_chars} characters")
    return event


def content_key(event: ParsedEvent) -> str:
    """Identity of a record whose log gives it none: 128 bits of what it says happened.

    Context is left out, so that a resend that merely names another server is the same event.
    """
    said = (
        event.event_time_us,
        event.user_id,
        event.item_id,
        event.event_type,
        event.value,
        event.given_session,
    )
    # Separates the fields unambiguously whatever characters they hold; repr would write letters
    # that are new in Unicode otherwise in the next version of Python.
    return hashlib.blake2b(ascii(said).encode(), digest_size=16).hexdigest()


def _batch(rows: list[tuple[Any, ...]]) -> pa.RecordBatch:
    columns = list(zip(*rows, strict=True))
    arrays = []
    for field, values in zip(PARSED, columns, strict=True):
        if field.type == TIMESTAMP:
            arrays.append(pa.array(values, pa.int64()).cast(TIMESTAMP))
        else:
            arrays.append(pa.array(values, field.type))
    return pa.record_batch(arrays, schema=PARSED)
