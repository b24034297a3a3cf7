"""Ingest: raw files -> ``events`` and ``quarantine``, and an account of every record.

Commits go events, repeated_keys, quarantine, source_files, late_ranges, and last filled_hours,
which makes them one state.  What a killed run committed before that is taken back by the next one,
which does it all again.
"""

from __future__ import annotations

import shutil
import uuid
from collections.abc import Iterable
from contextlib import ExitStack, nullcontext
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any

import pyarrow as pa

from pipeline.engine.choice import run_on_engine
from pipeline.engine.engine import Engine
from pipeline.errors import HourglassError, explaining_full_disk
from pipeline.hours import Hour, HourRange, contiguous
from pipeline.ingest.event_keys import find_earlier_keys, hours_without_key, stage_repeated
from pipeline.ingest.file_audit import (
    COUNTS,
    FileAudit,
    Versions,
    check_events,
    check_records,
    commit_audits,
    reconcile_all,
)
from pipeline.ingest.in_passes import digests_of, shared_key_ends
from pipeline.ingest.landing.new_files import (
    NewFiles,
    check_headers,
    files_with_duplicates,
    find_new_files,
)
from pipeline.ingest.landing.zone import Arrival, Unreadable, grown
from pipeline.ingest.late_events import accept_late_files, accepted_late_ranges
from pipeline.ingest.quarantine import stage_quarantine
from pipeline.ingest.read_raw import ParsedBatch, read_raw_files
from pipeline.ingest.reading_rules import FORMAT_PROPERTY, numbers_equal_records
from pipeline.ingest.refusals import Reasons, Refusals, count_refusals
from pipeline.ingest.spans.plan import likely_bytes
from pipeline.ingest.tally import Tally, ignored_and_dropped
from pipeline.lake.commits import STEP_PROPERTY, WITHDRAWN_PROPERTY
from pipeline.lake.lake import Lake
from pipeline.lake.steps import INGEST
from pipeline.lake.tables import EVENTS, FILLED_HOURS, REPEATED_KEYS
from pipeline.lake.turns import Alone, Turn, in_turn
from pipeline.settings.settings import Settings
from pipeline.sources import Source, source_for
from pipeline.sources.delimited import GENERIC, OPEN_QUOTE
from pipeline.spark.compute import Compute
from pipeline.version import code_version


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

    ``ignored`` counts records that are none of our business, ``ignored_by`` by the rules that say
    so; ``dropped`` counts optional fields that could not be read, by why: their records count as
    any others.
    ``repeats`` counts the accepted records that say the same as an earlier one of their file, and
    ``equal_records`` is the rule for such; None where the log gives its events keys.
    ``open_quotes`` counts the records refused for a quote of a log whose records are single lines,
    while ``source.quoted_newlines`` might make one of several of them.
    ``no_event_yet``: records were read, but none of these or of any run before is an event.
    ``no_arrival`` names files whose paths do not tell their arrival, though ``source.arrival`` says
    how.
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
    ignored: int = 0
    ignored_by: Reasons = field(default_factory=dict)
    dropped: Reasons = field(default_factory=dict)
    repeats: int = 0
    equal_records: str | None = None
    open_quotes: int = 0
    no_event_yet: bool = False
    no_arrival: tuple[str, ...] = ()


def ingest(
    compute: Compute,
    lake: Lake,
    settings: Settings,
    clock: datetime,
    hours: HourRange | None = None,
    late: HourRange | None = None,
    alone: Alone = nullcontext,
) -> IngestSummary:
    """Take in all raw files that are new (of the given hours of arrival, where paths tell them).

    ``clock`` is the time of arrival of files whose paths tell none; records that claim to be
    later than their file's arrival, plus the tolerated skew, are quarantined, and so are those
    from more than ``ingest.max_lateness`` before an arrival that the path tells.

    Records whose event_time is in ``late`` are let in however late they came: those of the files
    taken in now, and those refused before, whose files are taken in once more.

    ``alone`` takes the lake's lock, which is held for the commits (see `pipeline.lake.turns`);
    by default the caller holds it.

    Raises:
        UsageError: the source or its folder is not what the settings say.
        HourglassError: no file has a column that is needed, no file could be read, records would
            not add up, or the disk is full.
    """
    with explaining_full_disk(settings.work, settings.resolved_warehouse):
        source = source_for(settings.source)
        return in_turn(
            lake,
            alone,
            lambda turn: _ingest(compute, turn, settings, source, clock, hours, late),
        )


def _ingest(
    compute: Compute,
    turn: Turn,
    settings: Settings,
    source: Source,
    clock: datetime,
    hours: HourRange | None,
    late: HourRange | None,
) -> IngestSummary:
    intake = find_new_files(turn.lake, settings, source, clock, hours, late)
    check_headers(turn.lake, settings, source, intake.arrivals)
    summary, unreadable = IngestSummary(0, intake.known_files), intake.unreadable
    if intake.arrivals:

        def take_in(engine: Engine) -> tuple[IngestSummary, list[Unreadable]]:
            staging = settings.path("scratch") / f"parsed-{uuid.uuid4().hex}"
            try:
                return _ingest_files(engine, turn, settings, source, clock, intake, late, staging)
            finally:
                shutil.rmtree(staging, ignore_errors=True)

        spill = settings.path("scratch") / f"spilled-{uuid.uuid4().hex}"
        try:
            input_bytes = sum(likely_bytes(a.file, source) for a in intake.arrivals)
            summary, closed = run_on_engine(compute, input_bytes, take_in, spill)
        finally:
            shutil.rmtree(spill, ignore_errors=True)
        unreadable = [*unreadable, *closed]
    sentences = tuple(map(str, unreadable))
    if sentences and not summary.files and not summary.known_files:
        raise HourglassError(f"{sentences[0]}: no file in {settings.source.path} can be read")
    left = {file.source_file for file in unreadable}
    return replace(
        summary,
        unreadable=sentences,
        missing=tuple(intake.missing),
        read_again=len(set(intake.read_again) - left),
        outdated=tuple(intake.outdated),
        unknown_settings=intake.unknown,
        no_arrival=tuple(name for name in intake.no_arrival if name not in left),
    )


def _ingest_files(
    engine: Engine,
    turn: Turn,
    settings: Settings,
    source: Source,
    clock: datetime,
    new_files: NewFiles,
    late: HourRange | None,
    staging: Path,
) -> tuple[IngestSummary, list[Unreadable]]:
    """Read what has arrived and commit it; the files that cannot be read to their end are apart."""
    lake = turn.lake
    let_in = accepted_late_ranges(lake)

    def read(arrivals: list[Arrival], folder: str) -> ParsedBatch:
        return read_raw_files(
            engine, arrivals, source, settings, clock, let_in, late, staging / folder
        )

    parcel = read(new_files.arrivals, "rows")
    gone = _withdrawn(engine, lake, parcel, new_files.versions)
    if gone and (doubled := files_with_duplicates(new_files)):
        # Another file may have told of these events too, in a record that was a duplicate.
        parcel = read([*new_files.arrivals, *doubled], "rows and duplicates")
        gone |= _withdrawn(engine, lake, parcel, new_files.versions)
    summary = IngestSummary(0, new_files.known_files)
    if parcel.arrivals:
        summary = _commit(engine, turn, settings, new_files, parcel, gone, late, source)
    return summary, parcel.unreadable


def _commit(
    engine: Engine,
    turn: Turn,
    settings: Settings,
    new_files: NewFiles,
    batch: ParsedBatch,
    gone: set[Hour],
    late: HourRange | None,
    source: Source,
) -> IngestSummary:
    lake, has_keys, numbered = turn.lake, source.has_keys, numbers_equal_records(settings, source)
    made_by = _made_by(settings, gone)
    versions = new_files.versions
    renewed = grown(batch.arrivals, versions)
    names = engine.texts("source_file", renewed)
    changed = [
        arrival.file.source_file
        for arrival in batch.arrivals
        if arrival.file.source_file in {*versions} - {*renewed}
    ]
    key_window = settings.ingest.key_window if has_keys else None
    with ExitStack() as stack:
        key_window_rows = stack.enter_context(
            find_earlier_keys(engine, lake, batch, batch.event_hours | gone, changed, key_window)
        )
        hours = key_window_rows.hours
        recorded = engine.read(lake, EVENTS, hours)
        views = {
            "arrived": batch.events,
            "known": recorded,
            "repeated": key_window_rows.repeated,
            "elsewhere": key_window_rows.elsewhere,
            "grown": names,
            "reworded": (
                batch.events.where_in("source_file", changed) if changed else recorded.none()
            ),
        }
        keys = batch.events.select("event_key")
        for others in (recorded, key_window_rows.repeated, key_window_rows.elsewhere):
            keys = keys.union(others.select("event_key"))
        # Looked up first: then it is known to be few rows that all others are compared with.
        shared = shared_key_ends(engine, keys)
        views["shared"] = stack.enter_context(shared.computed_once())
        query = engine.query("deduplicate_events", views, window_us=key_window_rows.window_us)
        with query.computed_once() as judged:
            accepted = judged.where("is_kept")
            files = engine.stage(lake, accepted, EVENTS)
            repeated = stage_repeated(engine, lake, judged.where_not("is_kept")) if has_keys else []
            views = {"parsed": batch.rows, "known": recorded, "kept": accepted}
            counted = engine.query("account_files", views, numbered=numbered).collect()
            digests = digests_of(engine, accepted)
    arrived = _audits(batch, counted, new_files.read_by)
    check_records(arrived)
    settled = reconcile_all(
        versions,
        {row.source_file: row.displaced for row in counted if row.displaced},
        {a.file.source_file: a.continues for a in batch.arrivals if a.continues},
    )
    before = sum(filled.rows for filled in lake.filled(INGEST, hours).values())
    change = sum(row.row_count for row in digests) - before
    rows = int(lake.properties(EVENTS).get("total-records", 0))
    check_events(versions, settled, arrived, rows, rows + change)
    let_in = [row.source_file for row in counted if row.late]
    quarantine = stage_quarantine(engine, lake, batch, versions, names, let_in)
    refusals = _refusals(engine, batch, counted) if any(a.quarantined for a in arrived) else None

    # From here on only commits: an engine that gives up has done so before.
    with turn.commits():
        if hours:
            lake.replace(EVENTS, hours, files, made_by)
        if not has_keys:
            # What keys told while there was a column of them means nothing without it.
            former = lake.files(REPEATED_KEYS)
            lake.replace(REPEATED_KEYS, contiguous(f.hour for f in former if f.hour), [], made_by)
        elif hours:
            lake.replace(REPEATED_KEYS, hours, repeated, made_by)
        quarantine.commit(lake, made_by)
        commit_audits(lake, versions, settled, arrived, made_by, new_files.readers_missing)
        if late is not None:
            accept_late_files(lake, let_in, late, made_by)
        # Also where no record became an event: the new state holds the refused and the accounts.
        lake.record_filled(INGEST, hours, _filled_rows(digests, made_by), made_by)
    totals = {name: sum(vars(account)[name] for account in arrived) for name in COUNTS}
    read_now = {arrival.file.source_file for arrival in batch.arrivals}
    ignored_by, dropped = ignored_and_dropped(
        tally for name, tally in batch.tallies.items() if name in read_now
    )
    return IngestSummary(
        len(arrived),
        new_files.known_files,
        hours=tuple(hours),
        late=sum(row.late or 0 for row in counted),
        unfit=tuple(map(str, batch.unfit)),
        refusals=refusals or Refusals(),
        ignored_by=ignored_by,
        dropped=dropped,
        repeats=sum(row.repeats or 0 for row in counted),
        equal_records=None if has_keys else settings.ingest.equal_records,
        open_quotes=_open_quotes(source, refusals),
        no_event_yet=not rows + change,
        **totals,
    )


def _refusals(engine: Engine, batch: ParsedBatch, counted: Iterable[Any]) -> Refusals:
    empty = {row.source_file for row in counted if row.records and not row.events}
    refused = batch.rows.where_in("kind", ["refused"])
    return count_refusals(engine, refused.select("source_file", "reason", "event_type"), empty)


def _open_quotes(source: Source, refusals: Refusals | None) -> int:
    is_settled = source.name != GENERIC or source.record_quotes is not None
    return 0 if refusals is None or is_settled else refusals.reasons.get(OPEN_QUOTE.reason, 0)


def _made_by(settings: Settings, withdrawn: set[Hour]) -> dict[str, str]:
    """What each commit records of the run that made it, and whether it took events away."""
    return {
        **({WITHDRAWN_PROPERTY: str(len(withdrawn))} if withdrawn else {}),
        STEP_PROPERTY: INGEST,
        "hourglass.config": settings.digest("source", "ingest"),
        "hourglass.code": code_version(),
        FORMAT_PROPERTY: settings.digest("source"),
    }


def _withdrawn(engine: Engine, lake: Lake, batch: ParsedBatch, versions: Versions) -> set[Hour]:
    """The hours of events that files which have grown no longer tell of."""
    renewed = grown(batch.arrivals, versions)
    if not renewed:
        return set()
    owned = sum(account.accepted for name in renewed for account in versions[name])
    views = {"grown": engine.texts("source_file", renewed), "arrived": batch.events}

    def found(hours: list[HourRange] | None) -> list[Any]:
        recorded = engine.read(lake, EVENTS, hours)
        return engine.query("events_of_grown", {"known": recorded, **views}).collect()

    rows = found(contiguous(batch.event_hours))
    if sum(row.row_count for row in rows) != owned:
        # Some are in other hours, and only a look at all of them tells in which.
        rows = found(None)
    withdrawn = {Hour(row.hour_index) for row in rows if row.withdrawn}
    return withdrawn | hours_without_key(engine, lake, batch, views["grown"])


def _audits(batch: ParsedBatch, counted: Iterable[Any], read_by: str) -> list[FileAudit]:
    by_name = {row.source_file: row for row in counted}
    return [
        FileAudit(
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
            ignored=batch.tallies.get(arrival.file.source_file, Tally()).n_ignored,
        )
        for arrival in batch.arrivals
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
