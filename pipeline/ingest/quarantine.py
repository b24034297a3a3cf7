"""Refused records: committed with their reasons, and gone again when they are refused no longer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.hours import Hour, contiguous
from pipeline.ingest.file_audit import Versions
from pipeline.ingest.parse import TOO_LATE
from pipeline.ingest.read_raw import Parcel
from pipeline.lake.lake import Lake
from pipeline.lake.sql import query
from pipeline.lake.tables import QUARANTINE

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession


def commit_quarantine(
    spark: SparkSession,
    lake: Lake,
    parcel: Parcel,
    versions: Versions,
    renewed: DataFrame,
    let_in: list[str],
    made_by: Mapping[str, str],
) -> None:
    """Add what was refused to ``quarantine``, and take out what is refused no longer.

    ``renewed`` names (in ``source_file``) the files that came with all that was known of them,
    ``let_in`` those of which records were accepted though they had come too late.
    """
    hours = contiguous(parcel.refused_hours | _hours_in_quarantine(lake, parcel, versions))
    if not hours:
        return
    late_events = parcel.events.where(parcel.events.source_file.isin(let_in))
    views = {
        "refused": parcel.refused,
        "known": lake.read(spark, QUARANTINE, hours),
        "grown": renewed,
        "let_in": late_events.select("source_file", "line"),
    }
    merged = query(spark, "merge_quarantine", views, too_late=TOO_LATE)
    lake.replace(QUARANTINE, hours, lake.stage(merged, QUARANTINE), made_by)


def _hours_in_quarantine(lake: Lake, parcel: Parcel, versions: Versions) -> set[Hour]:
    """The hours in which the files that came before have refused records."""
    before = [a.file for a in parcel.arrivals if a.file.source_file in versions]
    if not before:
        return set()
    # What a file held before it grew may have arrived in any hour, unless its name tells it, and
    # told it before: other settings may read names in another way.
    named = all(
        file.arrival_is_named and Hour.of(old.arrival) == file.arrival
        for file in before
        for old in versions[file.source_file]
    )
    hours = contiguous(file.arrival for file in before) if named else None
    rows = lake.arrow(QUARANTINE, hours, columns=("hour", "source_file"))
    names = pa.array([file.source_file for file in before], pa.string())
    found = rows.filter(pc.is_in(rows["source_file"], value_set=names))
    return {Hour.of(hour) for hour in pc.unique(found["hour"]).to_pylist()}
