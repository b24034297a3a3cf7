"""Ingest: raw files -> ``events`` and ``quarantine``, and an account of every record.

Commits go events, repeated_keys, quarantine, source_files, late_ranges, and last filled_hours,
which makes them one state.  What a killed run committed before that is taken back by the next one,
which does it all again.
"""

from __future__ import annotations

import shutil
import uuid
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from pipeline.errors import HourglassError, telling_of_full_disk
from pipeline.hours import Hour, HourRange, contiguous
from pipeline.ingest.event_keys import find_earlier_keys, hours_no_longer_told, stage_repeated
from pipeline.ingest.file_audit import (
    COUNTS,
    Account,
    Versions,
    check_events,
    check_records,
    commit_audits,
    settle_all,
)
from pipeline.ingest.landing_zone import Arrival, grown
from pipeline.ingest.late_events import accept_late_files, accepted_late_ranges
from pipeline.ingest.new_files import (
    Intake,
    check_headers,
    files_with_duplicates,
    find_intake,
)
from pipeline.ingest.quarantine import commit_quarantine
from pipeline.ingest.read_raw import Parcel, read_once
from pipeline.ingest.reading_rules import FORMAT_PROPERTY
from pipeline.ingest.refusals import Refusals, count_refusals
from pipeline.lake.compute import Compute
from pipeline.lake.lake import Lake
from pipeline.lake.sql import query
from pipeline.lake.steps import INGEST
from pipeline.lake.tables import EVENTS, FILLED_HOURS, REPEATED_KEYS
from pipeline.settings.settings import Settings
from pipeline.sources import Source, source_for
from pipeline.version import code_version

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession


@dataclass(frozen=True)
class IngestSummary:
    """What one run of ingest did; ``hours`` are those whose events changed or were rewritten.

    ``late`` counts the accepted records that had come too late and were let in on purpose.
    ``unreadable`` says of each file that could not be read why (``a.csv: Permission denied``);
    ``missing`` names files with records to let in that are no longer in the landing zone.  The
    other files were taken in all the same.

    ``read_again`` files had been read by other settings; ``outdated`` names those with rows by
    other settings that cannot be read again, because they are no longer there as they were.  Of
    ``unknown_settings`` files nobody knows by which settings they were read.  ``unfit`` says of
    each file that is no log of the kind that the settings tell what is wrong with it.
    """

    files: int
    known_files: int
    records: int = 0
    accepted: int = 0
    duplicates: int = 0
    quarantined: int = 0
    hours: tuple[HourRange, ...] = ()
    late: int = 0
    unreadable: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    read_again: int = 0
    outdated: tuple[str, ...] = ()
    unknown_settings: int = 0
    unfit: tuple[str, ...] = ()
    refusals: Refusals = field(default_factory=Refusals)


def ingest(
    compute: Compute,
    lake: Lake,
    settings: Settings,
    clock: datetime,
    hours: HourRange | None = None,
    late: HourRange | None = None,
) -> IngestSummary:
    """Take in all raw files that are new (of the given hours of arrival, where names tell them).

    ``clock`` is the time of arrival of files whose names tell none; records that claim to be
    later than their file's arrival, plus the tolerated skew, are quarantined, and so are those
    from more than ``ingest.max_lateness`` before an arrival that the name tells.

    Records whose event_time is in ``late`` are let in however late they came: those of the files
    taken in now, and those refused before, whose files are taken in once more.

    Raises:
        UsageError: the source or its folder is not what the settings say.
        HourglassError: no file has a column that is needed, no file could be read, records would
            not add up, or the disk is full.
    """
    spark = compute.spark
    with telling_of_full_disk(settings.work, settings.resolved_warehouse):
        source = source_for(settings.source)
        lake.undo_unfinished()
        intake = find_intake(lake, settings, source, clock, hours, late)
        check_headers(lake, settings, source, intake.arrivals)
        staging = settings.path("scratch") / f"parsed-{uuid.uuid4().hex}"
        try:
            return _take_in(spark, lake, settings, source, clock, intake, late, staging)
        finally:
            shutil.rmtree(staging, ignore_errors=True)


def _take_in(
    spark: SparkSession,
    lake: Lake,
    settings: Settings,
    source: Source,
    clock: datetime,
    intake: Intake,
    late: HourRange | None,
    staging: Path,
) -> IngestSummary:
    summary = IngestSummary(0, intake.known_files)
    unreadable = intake.unreadable
    if intake.arrivals:
        let_in = accepted_late_ranges(lake)

        def read(arrivals: list[Arrival], folder: str) -> Parcel:
            return read_once(
                spark, arrivals, source, settings, clock, let_in, late, staging / folder
            )

        parcel = read(intake.arrivals, "rows")
        gone = _withdrawn(spark, lake, parcel, intake.versions)
        if gone and (doubled := files_with_duplicates(intake)):
            # Another file may have told of these events too, in a record that was a duplicate.
            parcel = read([*intake.arrivals, *doubled], "rows and duplicates")
            gone |= _withdrawn(spark, lake, parcel, intake.versions)
        unreadable = [*unreadable, *parcel.unreadable]
        if parcel.arrivals:
            summary = _commit(spark, lake, settings, intake, parcel, gone, late, source.has_keys)
    said = tuple(map(str, unreadable))
    if said and not summary.files and not summary.known_files:
        raise HourglassError(f"{said[0]}: no file in {settings.source.path} can be read")
    left = {file.source_file for file in unreadable}
    return replace(
        summary,
        unreadable=said,
        missing=tuple(intake.missing),
        read_again=len(set(intake.read_again) - left),
        outdated=tuple(intake.outdated),
        unknown_settings=intake.unknown,
    )


def _commit(
    spark: SparkSession,
    lake: Lake,
    settings: Settings,
    intake: Intake,
    parcel: Parcel,
    gone: set[Hour],
    late: HourRange | None,
    has_keys: bool,
) -> IngestSummary:
    made_by = {
        "hourglass.step": INGEST,
        "hourglass.config": settings.digest("source", "ingest"),
        "hourglass.code": code_version(),
        FORMAT_PROPERTY: settings.digest("source"),
    }
    versions = intake.versions
    renewed = grown(parcel.arrivals, versions)
    names = _names(spark, renewed)
    changed = [
        arrival.file.source_file
        for arrival in parcel.arrivals
        if arrival.file.source_file in {*versions} - {*renewed}
    ]
    key_window = settings.ingest.key_window if has_keys else None
    with find_earlier_keys(
        spark, lake, parcel, parcel.event_hours | gone, changed, key_window
    ) as told:
        hours = told.hours
        known = lake.read(spark, EVENTS, hours)
        reworded = parcel.events.where(parcel.events.source_file.isin(changed))
        views = {
            "arrived": parcel.events,
            "known": known,
            "repeated": told.repeated,
            "elsewhere": told.elsewhere,
            "grown": names,
            "reworded": reworded if changed else known.limit(0),
        }
        judged = query(spark, "deduplicate_events", views, window_us=told.window_us).persist()
        kept = judged.where("is_kept")
        try:
            files = lake.stage(kept, EVENTS)
            repeated = stage_repeated(lake, judged.where("NOT is_kept")) if has_keys else []
            views = {"parsed": parcel.rows, "known": known, "kept": kept}
            counted = query(spark, "account_files", views).collect()
            digests = query(spark, "digest_events", {"kept": kept}).collect()
        finally:
            judged.unpersist()
    arrived = _accounts(parcel.arrivals, counted, intake.read_by)
    check_records(arrived)
    settled = settle_all(
        versions,
        {row.source_file: row.displaced for row in counted if row.displaced},
        {a.file.source_file: a.continues for a in parcel.arrivals if a.continues},
    )
    before = sum(filled.rows for filled in lake.filled(INGEST, hours).values())
    change = sum(row.row_count for row in digests) - before
    rows = int(lake.properties(EVENTS).get("total-records", 0))
    check_events(versions, settled, arrived, rows, rows + change)

    if hours:
        lake.replace(EVENTS, hours, files, made_by)
    if not has_keys:
        # What keys told while there was a column of them means nothing without it.
        former = lake.files(REPEATED_KEYS)
        lake.replace(REPEATED_KEYS, contiguous(f.hour for f in former if f.hour), [], made_by)
    elif hours:
        lake.replace(REPEATED_KEYS, hours, repeated, made_by)
    let_in = [row.source_file for row in counted if row.late]
    commit_quarantine(spark, lake, parcel, versions, names, let_in, made_by)
    commit_audits(lake, versions, settled, arrived, made_by, intake.readers_missing)
    if late is not None:
        accept_late_files(lake, let_in, late, made_by)
    # Also where no record became an event: the new state holds the refused ones and the accounts.
    lake.record_filled(INGEST, hours, _filled_rows(digests, made_by), made_by)
    empty = {row.source_file for row in counted if row.records and not row.events}
    refused = any(account.quarantined for account in arrived)
    totals = {name: sum(vars(account)[name] for account in arrived) for name in COUNTS}
    late_records = sum(row.late or 0 for row in counted)
    return IngestSummary(
        len(arrived),
        intake.known_files,
        hours=tuple(hours),
        late=late_records,
        unfit=tuple(map(str, parcel.unfit)),
        refusals=count_refusals(parcel.refused, empty) if refused else Refusals(),
        **totals,
    )


def _names(spark: SparkSession, files: Iterable[str]) -> DataFrame:
    return spark.createDataFrame([(name,) for name in files], "source_file string")


def _withdrawn(spark: SparkSession, lake: Lake, parcel: Parcel, versions: Versions) -> set[Hour]:
    """The hours of events that files which have grown no longer tell of."""
    renewed = grown(parcel.arrivals, versions)
    if not renewed:
        return set()
    owned = sum(account.accepted for name in renewed for account in versions[name])
    views = {"grown": _names(spark, renewed), "arrived": parcel.events}

    def found(hours: list[HourRange] | None) -> list[Any]:
        known = lake.read(spark, EVENTS, hours)
        return query(spark, "events_of_grown", {"known": known, **views}).collect()

    rows = found(contiguous(parcel.event_hours))
    if sum(row.row_count for row in rows) != owned:
        # Some are in other hours, and only a look at all of them tells in which.
        rows = found(None)
    withdrawn = {Hour(row.hour_index) for row in rows if row.withdrawn}
    return withdrawn | hours_no_longer_told(spark, lake, parcel, views["grown"])


def _accounts(arrivals: Iterable[Arrival], counted: Iterable[Any], read_by: str) -> list[Account]:
    by_name = {row.source_file: row for row in counted}
    return [
        Account(
            source_file=arrival.file.source_file,
            arrival=arrival.file.arrival.start,
            modified=arrival.file.modified,
            bytes=arrival.file.bytes,
            sha256=arrival.sha256,
            records=row.records,
            accepted=row.accepted,
            duplicates=row.events - row.accepted,
            quarantined=row.quarantined,
            read_by=read_by,
        )
        for arrival in arrivals
        for row in (by_name[arrival.file.source_file],)
    ]


def _filled_rows(digests: Iterable[Any], made_by: dict[str, str]) -> pa.Table:
    rows = [
        {
            "hour": Hour(row.hour_index).start,
            "step": INGEST,
            "input_digest": "",
            "output_digest": row.digest,
            "state_digest": "",
            "config_digest": made_by["hourglass.config"],
            "code_version": made_by["hourglass.code"],
            "rows": row.row_count,
        }
        for row in digests
    ]
    return pa.Table.from_pylist(rows, schema=FILLED_HOURS.schema)
