"""Records that came too late, and were refused for it alone: how to let them in on purpose."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from itertools import chain

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.errors import HourglassError
from pipeline.hours import US_PER_HOUR, US_PER_S, HourRange
from pipeline.ingest.landing.zone import RawFile, lines_of
from pipeline.ingest.parse import TOO_LATE
from pipeline.lake.lake import Lake
from pipeline.lake.tables import LATE_RANGES, QUARANTINE
from pipeline.settings.settings import Settings
from pipeline.sources import ParsedEvent, Parser, Source
from pipeline.sources.base import events_of
from pipeline.sources.lines import UnreadableFileError

RangesUs = dict[str, list[tuple[int, int]]]


def range_us(hours: HourRange) -> tuple[int, int]:
    """A range as microseconds since 1970, its end exclusive."""
    return hours.first.index * US_PER_HOUR, hours.stop.index * US_PER_HOUR


def accepted_late_ranges(lake: Lake) -> RangesUs:
    """For each file, the ranges of event times from which it was let in, in microseconds."""
    ranges: RangesUs = defaultdict(list)
    for row in lake.arrow(LATE_RANGES).to_pylist():
        ends = (row["late_from"], row["late_to"])
        first, stop = (round(end.timestamp()) * US_PER_S for end in ends)
        ranges[row["source_file"]].append((first, stop))
    return ranges


def accept_late_files(
    lake: Lake, files: list[str], hours: HourRange, made_by: Mapping[str, str]
) -> None:
    """Record that these files' records of these hours are let in, however late they came."""
    before = accepted_late_ranges(lake)
    ends = {"late_from": hours.first.start, "late_to": hours.stop.start}
    rows = [{"source_file": name, **ends} for name in files if range_us(hours) not in before[name]]
    if rows:
        lake.append(LATE_RANGES, pa.Table.from_pylist(rows, LATE_RANGES.schema), made_by)


def files_too_late(
    lake: Lake,
    settings: Settings,
    source: Source,
    landing: Mapping[str, RawFile],
    hours: HourRange,
) -> tuple[list[RawFile], list[str]]:
    """Files that have refused records of the given hours of event time, refused as too late.

    Returns those that are in the landing zone, and the names of those that are not.  Where only
    a missing file's header could tell what its records say, it is named all the same.
    """
    first_us, stop_us = range_us(hours)
    columns = ("reason", "source_file", "raw")
    refused = lake.arrow(QUARANTINE, columns=columns)
    refused = refused.filter(pc.equal(refused["reason"], TOO_LATE))
    raws: dict[str, list[str]] = defaultdict(list)
    for name, raw in zip(
        refused["source_file"].to_pylist(), refused["raw"].to_pylist(), strict=True
    ):
        raws[name].append(raw)
    late_files, missing = [], []
    for name in sorted(raws):
        file = landing.get(name)
        parse = _parser_of(name, file, settings, source)
        if parse is not None:
            events = chain.from_iterable(events_of(parse(raw)) for raw in raws[name])
            if not any(
                isinstance(event, ParsedEvent) and first_us <= event.event_time_us < stop_us
                for event in events
            ):
                continue
        if file is None:
            missing.append(name)
        else:
            late_files.append(file)
    return late_files, missing


def _parser_of(
    name: str, file: RawFile | None, settings: Settings, source: Source
) -> Parser | None:
    """What reads the lines of a file; None where its header is needed and cannot be read."""
    header = None
    try:
        if source.has_header:
            if file is None:
                return None
            header = next(lines_of(file, settings, source))
        return source.parser(header.text if header else None, name)
    except (UnreadableFileError, StopIteration, HourglassError):
        # Taken in again, it will be said what is wrong with it.
        return None
