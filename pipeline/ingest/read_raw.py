"""Raw files are read once, and their rows are kept: queries need them again and again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import pyarrow as pa

from pipeline.engine.engine import Engine, Frame
from pipeline.hours import US_PER_S, Hour, HourRange, parse_duration_h
from pipeline.ingest.columns.batches import FilesParser
from pipeline.ingest.in_passes import shared_key_ends
from pipeline.ingest.landing.zone import Arrival, RawFile, Unreadable
from pipeline.ingest.late_events import RangesUs, range_us
from pipeline.ingest.parse import FILES, PARSED
from pipeline.ingest.reading_rules import numbers_equal_records
from pipeline.ingest.spans.close import Closing, changed_files, closing_of
from pipeline.ingest.spans.plan import CutFile, cut_files, likely_bytes
from pipeline.ingest.tally import Tally
from pipeline.lake.tables import EVENTS, QUARANTINE
from pipeline.settings.settings import Settings
from pipeline.sources import Source


@dataclass(frozen=True)
class ParsedBatch:
    """The rows (see ``parsing.PARSED``) of the files that could be read, and what is in them."""

    arrivals: list[Arrival]
    rows: Frame
    #: Rows of ``events``, each event as often as it is told of; equal records of a file have keys
    #: of their own where they are events of their own.
    events: Frame
    #: Rows of ``quarantine``.
    refused: Frame
    event_hours: set[Hour]
    refused_hours: set[Hour]
    unreadable: list[Unreadable]
    #: Files that were taken in but are no log of the kind that the settings tell.
    unfit: list[Unreadable]
    #: What is counted and neither an event nor refused, of the files that have any.
    tallies: dict[str, Tally]


def read_raw_files(
    engine: Engine,
    arrivals: list[Arrival],
    source: Source,
    settings: Settings,
    clock: datetime,
    accepted_late: RangesUs,
    late: HourRange | None,
    staging: Path,
) -> ParsedBatch:
    """Parse the files; their rows may be kept in ``staging``.

    ``accepted_late`` are the ranges of event times in which a file's records may be late by any
    time, ``late`` one that is so for all of them.
    """
    now = [] if late is None else [range_us(late)]
    encoding, rules = settings.source.encoding, settings.ingest

    def parsed(
        some: Sequence[Arrival], cut: Mapping[str, CutFile], folder: Path
    ) -> tuple[Frame, Closing]:
        files: list[dict[str, Any]] = []
        sizes: list[int] = []
        for arrival in some:
            name = arrival.file.source_file
            listed = _listed(arrival.file, settings, clock, [*accepted_late.get(name, []), *now])
            if name in cut:
                files += [listed | {"span": list(span)} for span in cut[name].spans]
                sizes += cut[name].sizes
            else:
                files.append(listed)
                sizes.append(likely_bytes(arrival.file, source))
        table = pa.Table.from_pylist(files, FILES)
        parser = FilesParser(source, encoding, rules)
        rows = engine.made_from(table, parser, PARSED, folder, sizes)
        ends = rows.where_in("kind", ["unreadable", "file"])
        columns = ("kind", "source_file", "line", "records", "reason", "tally")
        return rows, closing_of(ends.select(*columns).collect())

    cut: Mapping[str, CutFile] = {}
    if engine.shares_out(sum(likely_bytes(arrival.file, source) for arrival in arrivals)):
        cut = cut_files(arrivals, source, encoding, rules)
    rows, closing = parsed(arrivals, cut, staging)
    if damaged := closing.not_by_spans:
        # What can be read of them ends where the first damage is.
        rows = rows.where_not_in("source_file", damaged)
        whole = [arrival for arrival in arrivals if arrival.file.source_file in damaged]
        damaged_staging = staging.with_name(f"{staging.name} of damaged")
        rows_of_whole, closing_of_whole = parsed(whole, {}, damaged_staging)
        rows = rows.union(rows_of_whole)
        closing = closing.with_whole(closing_of_whole)
        cut = {name: file for name, file in cut.items() if name not in damaged}
    stopped = {file.source_file for file in closing.unreadable}
    changed = [file for file in changed_files(arrivals, cut) if file.source_file not in stopped]
    closed = [*closing.unreadable, *changed]
    if closed:
        rows = rows.where_not_in("source_file", [file.source_file for file in closed])
    hours = engine.query("parsed_hours", {"parsed": rows}).collect()
    events = rows.where_in("kind", ["event"]).select(*EVENTS.schema.names)
    if numbers_equal_records(settings, source):
        events = _numbered(engine, events)
    bad = {file.source_file for file in closed}
    return ParsedBatch(
        [arrival for arrival in arrivals if arrival.file.source_file not in bad],
        rows,
        events,
        rows.where_in("kind", ["refused"]).select(*QUARANTINE.schema.names),
        {Hour(row.hour_index) for row in hours if row.kind == "event"},
        {Hour(row.hour_index) for row in hours if row.kind == "refused"},
        closed,
        [file for file in closing.unfit if file.source_file not in bad],
        closing.tallies,
    )


def _numbered(engine: Engine, events: Frame) -> Frame:
    """Events, equal ones of a file with keys of their own."""
    shared = shared_key_ends(engine, events.select("event_key"))
    views = {"arrived": events.select("source_file", "event_key"), "shared": shared}
    with engine.query("equal_records", views).computed_once() as repeated:
        if repeated.is_empty():
            return events
        views = {"arrived": events, "repeated": repeated}
        return engine.query("number_equal_records", views)


def _listed(
    file: RawFile, settings: Settings, clock: datetime, accepted_late: Sequence[tuple[int, int]]
) -> dict[str, Any]:
    """A row of FILES: the file, and which times of its records are believed."""
    rules = settings.ingest
    # Without a name, the hour is that of the run, or of the first run that read this content.
    arrived_by = file.arrival.end
    if not file.arrival_is_named:
        arrived_by = min(clock, arrived_by)
    timely_us = None
    if file.may_have_arrived is not None and rules.max_lateness is not None:
        # A file of a day may be as old as its first hour.
        oldest = file.may_have_arrived.first - parse_duration_h(rules.max_lateness)
        timely_us, _ = range_us(HourRange(oldest, oldest))
    return {
        "path": str(file.path),
        "root": str(file.root),
        "source_file": file.source_file,
        "arrival_hour": file.arrival.index,
        "latest_us": int(arrived_by.timestamp() * US_PER_S) + rules.max_skew_s * US_PER_S,
        "timely_us": timely_us,
        "let_in": [list(ends) for ends in accepted_late],
        "span": None,
    }
