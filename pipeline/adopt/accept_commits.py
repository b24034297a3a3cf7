"""What other programs committed is let stand: it becomes part of the lake's state.

A row that somebody deleted from ``events`` stays deleted: the account of its file says so, and the
hours that it was in are stale, so that the next backfill computes all that was made from it anew.
What was changed in tables that are computed from events alone is computed anew as well.  The last
commit is the one that makes all of it one state; a run that is killed before is done again.
"""

from __future__ import annotations

import itertools
import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.engine.choice import run_on_engine
from pipeline.engine.engine import Engine
from pipeline.hours import Hour, HourRange, contiguous
from pipeline.ingest.file_audit import (
    FileAudit,
    audit_rows,
    read_audits,
    removed_from,
    versions_of,
)
from pipeline.ingest.in_passes import digests_of
from pipeline.ingest.people.changes import changed_intervals, touched_hours
from pipeline.lake import stale_hours
from pipeline.lake.commits import STEP_PROPERTY, ForeignCommits, is_own, since
from pipeline.lake.lake import Lake, State
from pipeline.lake.parquet_files import HourFile, HourWriter
from pipeline.lake.steps import EMPTY_DIGEST, INGEST, SESSIONIZE
from pipeline.lake.tables import (
    DWELL_HOURS,
    EVENTS,
    FILLED_HOURS,
    ITEM_HOURS,
    OPEN_SESSIONS,
    PEOPLE,
    QUARANTINE,
    SESSIONS,
    SOURCE_FILES,
    STEP_TABLES,
    TableSpec,
)
from pipeline.spark.compute import Compute
from pipeline.version import code_version

STEP = "adopt"
_DERIVED = (SESSIONS, OPEN_SESSIONS, ITEM_HOURS, DWELL_HOURS)
_FILLED = tuple(name for name in FILLED_HOURS.schema.names if name not in ("hour", "step"))
_Rows = dict[tuple[Hour, str], dict[str, Any]]


def commits_of_others(lake: Lake) -> list[ForeignCommits]:
    """What :func:`accept` would let stand; changes nothing.

    Raises:
        HourglassError: a table has row-level deletes, which nothing here reads.
    """
    base = lake.base_state()
    table = lake.table(FILLED_HOURS)
    current = lake.snapshot(FILLED_HOURS)
    if base is None:
        # Nothing is left that says how the tables stood.
        chain = since(table, None)
        return [ForeignCommits(FILLED_HOURS, None, current, chain.foreign, None, None, False)]
    commits = lake.foreign_commits(base)
    if base[FILLED_HOURS.name] != current:
        commits.append(lake.describe_foreign(FILLED_HOURS, base[FILLED_HOURS.name]))
    return commits


def accept(lake: Lake, compute: Compute) -> list[ForeignCommits]:
    """Let stand what other programs committed; returns what that was.

    Only the lake's one writer may call this.  What killed steps left is taken back, also where it
    lies below or above such a commit.

    Args:
        lake: the tables.
        compute: where the events of hours that have changed are read.

    Raises:
        HourglassError: a table has row-level deletes.
    """
    commits = commits_of_others(lake)
    if not commits:
        return []
    base = lake.base_state()
    former: State = lake.snapshots() if base is None else base
    by_table = {each.spec.name: each for each in commits}
    properties = {STEP_PROPERTY: STEP, "hourglass.code": code_version()}
    for spec in STEP_TABLES:
        if spec.name not in by_table:
            lake.roll_back(spec, former.get(spec.name))
    for each in commits:
        if each.spec != FILLED_HOURS:
            _accept_commit(lake, each, properties)

    filled = _filled_rows(lake, lake.snapshot(FILLED_HOURS))
    before = _filled_rows(lake, None if base is None else base[FILLED_HOURS.name])
    refilled = {hour for hour, _ in _differing(filled, before)}
    of_events = _hours(lake, (EVENTS,), by_table, filled, INGEST, base is None) | refilled
    derived = _hours(lake, _DERIVED, by_table, filled, SESSIONIZE, base is None) | refilled
    derived |= _hours_of_people(lake, by_table, filled, former)
    _reconcile_audits(lake, by_table, former, base is None, properties)
    hours = contiguous(of_events | derived)
    rows = {
        **{(h, s): row for (h, s), row in filled.items() if s in (INGEST, SESSIONIZE)},
        **{(h, SESSIONIZE): _stale(filled.get((h, SESSIONIZE))) for h in derived},
    }
    rows = {key: row for key, row in rows.items() if key[0] in of_events | derived}
    for hour in of_events:
        rows.pop((hour, INGEST), None)
    if of_events:
        rows |= _ingested(lake, compute, contiguous(of_events), filled)
    table = pa.Table.from_pylist(
        [{"hour": h.start, "step": s, **row} for (h, s), row in sorted(rows.items(), key=_order)],
        FILLED_HOURS.schema,
    )
    accepted = {"hourglass.accepted": json.dumps([_record(each) for each in commits])}
    steps = (INGEST, SESSIONIZE)
    lake.record_accepted(steps, hours, table, {**properties, **accepted}, former)
    return commits


def _order(row: tuple[tuple[Hour, str], dict[str, Any]]) -> tuple[Hour, str]:
    return row[0]


def _record(commit: ForeignCommits) -> dict[str, Any]:
    return {
        "table": commit.spec.name,
        "snapshots": commit.snapshots,
        "set_to": None if commit.snapshots else commit.current,
        "rows": commit.rows,
    }


def _accept_commit(lake: Lake, commit: ForeignCommits, properties: Mapping[str, str]) -> None:
    """Make a table hold what other programs left of it, without what killed steps committed."""
    spec = commit.spec
    chain = since(lake.table(spec), commit.recorded).snapshots
    stands = commit.current
    if commit.snapshots and chain and is_own(chain[-1]):
        stands = commit.snapshots[-1]
        lake.roll_back(spec, stands)
    lake.adopt_foreign_commit(spec, stands, properties)
    # What is computed from events is computed anew; of items and users each commit is whole.
    if commit.mixed and commit.hours is not None and spec in STEP_TABLES and spec not in _DERIVED:
        _merge(lake, commit, properties)


def _merge(lake: Lake, commit: ForeignCommits, properties: Mapping[str, str]) -> None:
    """Do to the recorded rows what other programs did, and only that.

    A killed step had put (a, b, c) in the place of (a, b); then somebody deleted a: (b, c).  What
    stays is (b).
    """
    spec = commit.spec
    chain = since(lake.table(spec), commit.recorded)
    steps = [(commit.recorded, True)] + [(s.snapshot_id, is_own(s)) for s in chain.snapshots]
    parts: list[HourRange | None] = [None]
    if spec.partition is not None:
        parts = [HourRange(h, h + 1) for hour_range in commit.hours or () for h in hour_range]
    merged: dict[HourRange | None, pa.Table] = {}
    for hour_range in parts:
        wanted = _replay(lake, spec, hour_range, steps)
        rows = pa.Table.from_pylist(wanted, spec.schema)
        if Counter(map(repr, lake.arrow(spec, hour_range).to_pylist())) != Counter(
            map(repr, wanted)
        ):
            merged[hour_range] = rows
    if not merged:
        return
    if spec.partition is None:
        lake.overwrite(spec, "true", merged[None], properties)
        return
    hours = contiguous(hour_range.first for hour_range in merged if hour_range is not None)
    if spec.partition == "day":
        lake.rewrite_days(spec, hours, pa.concat_tables(merged.values()), properties, _every)
        return
    writer = HourWriter(lake.staging(spec))
    files: list[HourFile] = [
        writer.write(hour_range.first, iter([rows]))
        for hour_range, rows in merged.items()
        if hour_range is not None and rows.num_rows
    ]
    lake.replace(spec, hours, files, properties)


def _every(rows: pa.Table) -> pa.Array:
    return pa.repeat(True, rows.num_rows)


def _replay(
    lake: Lake, spec: TableSpec, stored: HourRange | None, steps: Sequence[tuple[int | None, bool]]
) -> list[dict[str, Any]]:
    """The first snapshot's rows, with the changes of those that are not the lake's own."""

    def at(snapshot: int | None) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = lake.arrow(spec, stored, {spec.name: snapshot}).to_pylist()
        return rows

    rows = at(steps[0][0])
    for (before, _), (after, own) in itertools.pairwise(steps):
        if own:
            continue
        old, new = at(before), at(after)
        removed = Counter(map(repr, old)) - Counter(map(repr, new))
        added = Counter(map(repr, new)) - Counter(map(repr, old))
        rows = [*_without_removed(rows, removed), *_with_added(new, added)]
    return rows


def _without_removed(rows: Iterable[dict[str, Any]], removed: Counter[str]) -> list[dict[str, Any]]:
    """The rows without so many of each."""
    left = []
    for row in rows:
        if removed[repr(row)] > 0:
            removed[repr(row)] -= 1
        else:
            left.append(row)
    return left


def _with_added(rows: Iterable[dict[str, Any]], added: Counter[str]) -> list[dict[str, Any]]:
    """So many of each of the rows."""
    chosen = []
    for row in rows:
        if added[repr(row)] > 0:
            added[repr(row)] -= 1
            chosen.append(row)
    return chosen


def _hours(
    lake: Lake,
    specs: Sequence[TableSpec],
    by_table: Mapping[str, ForeignCommits],
    filled: _Rows,
    step: str,
    lost: bool,
) -> set[Hour]:
    """The hours of some tables that others changed; all hours where that is not known any more."""
    changed: set[Hour] = set()
    for spec in specs:
        commit = by_table.get(spec.name)
        if commit is not None and commit.hours is not None:
            changed |= {hour for hour_range in commit.hours for hour in hour_range}
        elif commit is not None or lost:
            changed |= {hour for hour, name in filled if name == step}
            changed |= {file.hour for file in lake.files(spec) if file.hour is not None}
    return changed


def _hours_of_people(
    lake: Lake, by_table: Mapping[str, ForeignCommits], filled: _Rows, former: State
) -> set[Hour]:
    """The filled hours with events of ids that are other persons by what others committed."""
    commit = by_table.get(PEOPLE.name)
    hours = {hour for hour, step in filled if step == SESSIONIZE}
    if commit is None or commit.hours is None:
        return hours if commit else set()
    before = lake.arrow(PEOPLE, state={PEOPLE.name: former.get(PEOPLE.name)})
    return set(touched_hours(lake, changed_intervals(before, lake.arrow(PEOPLE)), hours))


def _filled_rows(lake: Lake, snapshot: int | None) -> _Rows:
    rows = lake.arrow(FILLED_HOURS, state={FILLED_HOURS.name: snapshot}).to_pylist()
    return {
        (Hour.of(row["hour"]), row["step"]): {name: row[name] for name in _FILLED} for row in rows
    }


def _differing(now: _Rows, before: _Rows) -> set[tuple[Hour, str]]:
    """Rows of the two steps from which others follow, that are other ones now or gone."""
    return {
        key
        for key in now.keys() | before.keys()
        if key[1] in (INGEST, SESSIONIZE) and now.get(key) != before.get(key)
    }


def _stale(row: dict[str, Any] | None) -> dict[str, Any]:
    """What is recorded of an hour whose sessions are to be computed anew.

    The state that it left stays: the hours after it were made from that.
    """
    nothing = dict.fromkeys(("output_digest", "state_digest"), EMPTY_DIGEST)
    empty = {"config_digest": "", "code_version": code_version(), "rows": 0}
    return {**nothing, **empty, **(row or {}), "input_digest": stale_hours.CHANGED_BY_OTHERS}


def _ingested(lake: Lake, compute: Compute, hours: Sequence[HourRange], filled: _Rows) -> _Rows:
    """What ingest would record of hours with the events that they hold now."""

    def digested(engine: Engine) -> list[Any]:
        return digests_of(engine, engine.read(lake, EVENTS, hours))

    size = sum(file.bytes for file in lake.files(EVENTS, hours))
    new: _Rows = {}
    for row in run_on_engine(compute, size, digested):
        hour = Hour(row.hour_index)
        former = filled.get((hour, INGEST), {"config_digest": ""})
        new[hour, INGEST] = {
            "input_digest": "",
            "output_digest": row.digest,
            "state_digest": "",
            "config_digest": former["config_digest"],
            "code_version": code_version(),
            "rows": row.row_count,
        }
    return new


def _reconcile_audits(
    lake: Lake,
    by_table: Mapping[str, ForeignCommits],
    former: State,
    lost: bool,
    properties: Mapping[str, str],
) -> None:
    """Let the accounts of raw files say which of their records another program removed."""
    accounts = read_audits(lake)
    settled = versions_of(accounts)
    for spec, column in ((EVENTS, "accepted"), (QUARANTINE, "quarantined")):
        commit = by_table.get(spec.name)
        if commit is None and not lost:
            continue
        if commit is None or commit.hours is None:
            before = Counter[str | None]()
            for account in accounts:
                before[account.source_file] += getattr(account, column)
            after = _rows_by_file(lake, spec, None, None)
        else:
            before = _rows_by_file(lake, spec, commit.hours, {spec.name: former.get(spec.name)})
            after = _rows_by_file(lake, spec, commit.hours, None)
        change = {name: after[name] - before[name] for name in before.keys() | after.keys()}
        by = _by(spec, commit)
        settled = removed_from(settled, column, {n: -c for n, c in change.items() if c}, by)
    rows: list[FileAudit] = [account for each in settled.values() for account in each]
    if Counter(rows) != Counter(accounts):
        lake.overwrite(SOURCE_FILES, "true", audit_rows(rows), properties)


def _by(spec: TableSpec, commit: ForeignCommits | None) -> str:
    if commit is None:
        return f"another program, from {spec.name}"
    ids = ", ".join(map(str, commit.snapshots or (commit.current,)))
    return f"another program, snapshot {ids} of {spec.name}"


def _rows_by_file(
    lake: Lake, spec: TableSpec, hours: Sequence[HourRange] | None, state: State | None
) -> Counter[str | None]:
    """How many rows the hours hold of each raw file."""
    rows = lake.arrow(spec, hours, state, ("source_file",))
    counted = pc.value_counts(rows["source_file"].combine_chunks()).to_pylist()
    return Counter({each["values"]: each["counts"] for each in counted})
