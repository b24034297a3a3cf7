"""Raw files are read once, into a scratch folder: queries need the rows again and again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.hours import Hour, HourRange, parse_duration_h
from pipeline.ingest.landing_zone import Arrival, RawFile, Unreadable
from pipeline.ingest.late_events import RangesUs, range_us
from pipeline.ingest.parse import FILES, parse_files
from pipeline.lake.parquet_files import literal_path
from pipeline.lake.tables import EVENTS, QUARANTINE
from pipeline.settings.settings import Settings
from pipeline.sources import Source

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

_US = 1_000_000


@dataclass(frozen=True)
class Parcel:
    """The rows (see ``parsing.PARSED``) of the files that could be read, and what is in them."""

    arrivals: list[Arrival]
    rows: DataFrame
    event_hours: set[Hour]
    refused_hours: set[Hour]
    unreadable: list[Unreadable]
    #: Files that were taken in but are no log of the kind that the settings tell.
    unfit: list[Unreadable]

    @property
    def events(self) -> DataFrame:
        """Rows of ``events``, each event as often as it is told of."""
        return self.rows.where("kind = 'event'").select(*EVENTS.schema.names)

    @property
    def refused(self) -> DataFrame:
        """Rows of ``quarantine``."""
        return self.rows.where("kind = 'refused'").select(*QUARANTINE.schema.names)


def read_once(
    spark: SparkSession,
    arrivals: list[Arrival],
    source: Source,
    settings: Settings,
    clock: datetime,
    let_in: RangesUs,
    late: HourRange | None,
    staging: Path,
) -> Parcel:
    """Parse the files and leave their rows in ``staging``.

    ``let_in`` are the ranges of event times in which a file's records may be late by any time,
    ``late`` one that is so for all of them.
    """
    now = [] if late is None else [range_us(late)]
    files = [
        _listed(a.file, settings, clock, [*let_in.get(a.file.source_file, []), *now])
        for a in arrivals
    ]
    slices = min(len(files), 4 * spark.sparkContext.defaultParallelism)
    listed = spark.createDataFrame(files, FILES).repartition(slices)
    parse_files(listed, source, settings.source.encoding, settings.ingest).write.parquet(
        str(staging)
    )
    rows = spark.read.parquet(literal_path(str(staging)))
    faults = (
        rows.where("kind = 'unreadable' OR (kind = 'file' AND reason IS NOT NULL)")
        .select("kind", "source_file", "reason")
        .collect()
    )
    closed = [Unreadable(row.source_file, row.reason) for row in faults if row.kind == "unreadable"]
    if closed:
        names = [(file.source_file,) for file in closed]
        nameless = spark.createDataFrame(names, "source_file string")
        rows = rows.join(nameless, "source_file", "left_anti").select(*rows.columns)
    found = (
        rows.where("kind IN ('event', 'refused')")
        .selectExpr("kind", "UNIX_MICROS(hour) DIV 3600000000 AS hour_index")
        .distinct()
        .collect()
    )
    bad = {file.source_file for file in closed}
    return Parcel(
        [arrival for arrival in arrivals if arrival.file.source_file not in bad],
        rows,
        {Hour(row.hour_index) for row in found if row.kind == "event"},
        {Hour(row.hour_index) for row in found if row.kind == "refused"},
        closed,
        sorted(Unreadable(row.source_file, row.reason) for row in faults if row.kind == "file"),
    )


def _listed(
    file: RawFile, settings: Settings, clock: datetime, let_in: Sequence[tuple[int, int]]
) -> tuple[Any, ...]:
    """A row of FILES: the file, and which times of its records are believed."""
    rules = settings.ingest
    # Without a name, the hour is that of the run, or of the first run that read this content.
    arrived_by = file.arrival.end
    if not file.arrival_is_named:
        arrived_by = min(clock, arrived_by)
    timely_us = None
    if file.arrival_is_named and rules.max_lateness is not None:
        oldest = file.arrival - parse_duration_h(rules.max_lateness)
        timely_us, _ = range_us(HourRange(oldest, oldest))
    return (
        str(file.path),
        str(file.root),
        file.source_file,
        file.arrival.index,
        int(arrived_by.timestamp() * _US) + rules.max_skew_s * _US,
        timely_us,
        [list(ends) for ends in let_in],
    )
