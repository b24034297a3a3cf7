"""Refused records: committed with their reasons, and gone again when they are refused no longer."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.engine.engine import Engine, Frame
from pipeline.hours import Hour, HourRange, contiguous
from pipeline.ingest.file_audit import Versions
from pipeline.ingest.parse import TOO_LATE
from pipeline.ingest.read_raw import ParsedBatch
from pipeline.lake.lake import Lake
from pipeline.lake.parquet_files import HourFile
from pipeline.lake.tables import QUARANTINE


@dataclass(frozen=True)
class StagedQuarantine:
    """Files that take the place of all rows of some hours of ``quarantine``."""

    hours: Sequence[HourRange]
    files: Sequence[HourFile]

    def commit(self, lake: Lake, made_by: Mapping[str, str]) -> None:
        """Put them there."""
        if self.hours:
            lake.replace(QUARANTINE, self.hours, self.files, made_by)


def stage_quarantine(
    engine: Engine,
    lake: Lake,
    parcel: ParsedBatch,
    versions: Versions,
    renewed: Frame,
    let_in: Collection[str],
) -> StagedQuarantine:
    """Add what was refused to ``quarantine``, and take out what is refused no longer.

    ``renewed`` names (in ``source_file``) the files that came with all that was known of them,
    ``let_in`` those of which records were accepted though they had come too late.
    """
    hours = contiguous(parcel.refused_hours | _hours_in_quarantine(lake, parcel, versions))
    if not hours:
        return StagedQuarantine((), ())
    views = {
        "refused": parcel.refused,
        "known": engine.read(lake, QUARANTINE, hours),
        "grown": renewed,
        "let_in": parcel.events.where_in("source_file", let_in).select("source_file", "line"),
    }
    merged = engine.query("merge_quarantine", views, too_late=TOO_LATE)
    return StagedQuarantine(hours, engine.stage(lake, merged, QUARANTINE))


def _hours_in_quarantine(lake: Lake, batch: ParsedBatch, versions: Versions) -> set[Hour]:
    """The hours in which the files that came before have refused records."""
    before = [a.file for a in batch.arrivals if a.file.source_file in versions]
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
    refused = rows.filter(pc.is_in(rows["source_file"], value_set=names))
    return {Hour.of(hour) for hour in pc.unique(refused["hour"]).to_pylist()}
