"""The three stages in which tasks, of Spark or of this process, compute the session tables.

1. *scan*: hours of events become an index (:data:`EVENT_INDEX`), parted by session key.
2. *assign*: the index rows of some keys, in order of time, get their sessions (:data:`ASSIGNED`).
3. *write*: the assigned rows of some hours are joined with their events, and written; item counts
   with them, since it is known now which events are robots'.

Events themselves are read where they lie and written where they go: only index rows and
assignments travel.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from pipeline.array_types import Bools, Ints, Ints32
from pipeline.errors import HourglassError
from pipeline.hours import US_PER_HOUR, US_PER_S, Hour, HourRange
from pipeline.lake.fingerprint import content_digest
from pipeline.lake.parquet_files import HourFile, HourWriter, read_file, with_added
from pipeline.lake.tables import (
    DWELL_HOURS,
    ITEM_HOURS,
    OPEN_SESSIONS,
    SESSIONS,
    TIMESTAMP,
    TableSpec,
)
from pipeline.sessions.arrow_exchange import Received, ShuffleBlock
from pipeline.sessions.dwell import moments_of_us
from pipeline.sessions.gap_kernel import (
    EVENT_INDEX,
    NO_RUN,
    PASSIVE_EVENT_INDEX,
    Digests,
    SessionRules,
    assign_sessions,
    session_ids,
    session_key_hashes,
)
from pipeline.sessions.item_counts import item_hours, robots_by_number
from pipeline.sessions.people import as_persons
from pipeline.text.wording import counted, verb

EVENT_INDEX_KIND = "marks"
ASSIGNED_KIND = "places"
WRITTEN_KIND = "written"
EVENT_COLUMNS = (
    *("event_time", "user_id", "item_id", "event_type"),
    *("value", "given_session", "context", "event_key", "anonymous_id"),
)
# How events of equal time are ordered: as their records follow one another in the log.
LOG_ORDER = ("source_file", "line", "event_key")
_OPEN_ROWS_AT_ONCE = 1_500_000

# What a task tells of the files it wrote; of session tables with a digest of the hour's rows, and
# how many of them are robots'.
REPORT = pa.schema(
    [
        pa.field("table", pa.string()),
        pa.field("hour", pa.int64()),
        pa.field("path", pa.string()),
        pa.field("bytes", pa.int64()),
        pa.field("rows", pa.int64()),
        pa.field("digest", pa.string()),
        pa.field("robot_rows", pa.int64()),
    ]
)


@dataclass(frozen=True)
class Plan:
    """What the tasks of one range share.

    ``sources`` are files in the order of their hours, or what such files would hold (only where
    the tasks run in this process); those carried in come before all others.
    ``scans`` and ``groups`` are bounds: task i takes ``[bounds[i], bounds[i + 1])`` of the sources,
    or of the hours (as indices).  ``bucket_bits``: trails are parted by so many leading bits.
    ``people``: the files that say which ids of events are persons.
    """

    hours: HourRange
    rules: SessionRules
    sessions_given: bool
    passive_types: tuple[str, ...]
    robot_events_per_hour: int | None
    sources: tuple[str | pa.Table, ...]
    carried: int
    scans: tuple[int, ...]
    bucket_bits: int
    groups: tuple[int, ...]
    folders: Mapping[str, str]
    people: tuple[str, ...] = ()

    @property
    def buckets(self) -> int:
        """Number of tasks that place."""
        return 1 << self.bucket_bits


def _read(plan: Plan, index: int, columns: Sequence[str]) -> pa.Table:
    source = plan.sources[index]
    if isinstance(source, pa.Table):
        return with_added(source.select([n for n in columns if n in source.column_names]), columns)
    return read_file(source, columns)


def scan(plan: Plan) -> Callable[[int], Iterator[ShuffleBlock]]:
    """First stage: events to marks; a task holds whole hours, or all that is carried in."""

    def run(task: int) -> Iterator[ShuffleBlock]:
        scanned = _scan(plan, range(plan.scans[task], plan.scans[task + 1]))
        for bucket, block in _by_bucket(_event_index(plan, scanned), plan.bucket_bits):
            yield bucket, task, EVENT_INDEX_KIND, block

    return run


def assigning(plan: Plan) -> Callable[[int, Received], Iterator[ShuffleBlock]]:
    """Second stage: marks to places, each for the hours that need it."""

    def run(bucket: int, received: Received) -> Iterator[ShuffleBlock]:
        if EVENT_INDEX_KIND in received:
            placed = assign_sessions(received[EVENT_INDEX_KIND], plan.rules)
            for group, block in _by_group(placed, plan):
                yield group, bucket, ASSIGNED_KIND, block

    return run


def writing(plan: Plan) -> Callable[[int, Received], Iterator[ShuffleBlock]]:
    """Third stage: the rows of the hours' sessions, open ones, moments and counts, on disk."""

    def run(group: int, received: Received) -> Iterator[ShuffleBlock]:
        if ASSIGNED_KIND not in received:
            return
        # Buckets come in the order of their trails, so rows do too.
        placed = pa.concat_tables(received[ASSIGNED_KIND]).combine_chunks()
        first, stop = plan.groups[group], plan.groups[group + 1]
        events, rows = events_of(plan, placed)
        yield 0, group, WRITTEN_KIND, _closed_sessions(plan, placed, events, rows, first, stop)
        for report in _open_sessions(plan, placed, events, rows, first, stop):
            yield 0, group, WRITTEN_KIND, report
        yield 0, group, WRITTEN_KIND, _dwells(plan, placed, first, stop)
        yield 0, group, WRITTEN_KIND, _items(plan, placed, events, rows, first, stop)

    return run


@dataclass(frozen=True)
class _Scanned:
    """The columns of some files that decide about sessions, and where each row stands."""

    carried: bool
    rows: pa.Table
    source: Ints32
    row: Ints32
    event_us: Ints
    user: Ints
    users: list[str]


def _scan(plan: Plan, sources: range) -> _Scanned:
    carried = sources.start < plan.carried
    columns = ["user_id", "event_time"]
    columns += ["chain_start", "tie_rank", "is_robot"] if carried else []
    columns += ["given_session"] if plan.sessions_given else []
    if plan.passive_types:
        columns += ["item_id", "passive_until" if carried else "event_type"]
    tables = [_read(plan, i, columns) for i in sources]
    rows = pa.concat_tables(tables).combine_chunks()
    if not carried:
        rows = as_persons(rows, plan.people)
    lengths = [table.num_rows for table in tables]
    user, users = _codes(rows["user_id"])
    return _Scanned(
        carried,
        rows,
        np.repeat(np.array(sources, np.int32), lengths),
        np.concatenate([np.arange(length, dtype=np.int32) for length in lengths]),
        _microseconds(rows, "event_time"),
        user,
        users,
    )


def _event_index(plan: Plan, scanned: _Scanned) -> pa.Table:
    """Marks in order of trail and time; equal times in the order of the log."""
    trail, low, rank = _session_keys(plan, scanned)
    if scanned.carried:
        order = _ordered(_by_time(rank, scanned.event_us), plan, scanned, ("position",))
        chain_us = _microseconds(scanned.rows, "chain_start")
        tie_rank = pc.fill_null(scanned.rows["tie_rank"], 0).to_numpy()
        is_robot = pc.fill_null(scanned.rows["is_robot"], False).to_numpy()
        is_passive = np.zeros(len(order), np.bool_)
    else:
        order, tie_rank = _log_order(plan, scanned, rank)
        chain_us = np.full(len(order), NO_RUN, np.int64)
        is_passive = _is_passive(plan, scanned)
        is_robot = robots_by_number(
            scanned.event_us, scanned.user, ~is_passive, plan.robot_events_per_hour
        )
    columns = [trail, low, scanned.event_us, scanned.source, scanned.row, chain_us, tie_rank]
    columns.append(is_robot)
    if plan.passive_types:
        columns += [_item_digests(scanned), is_passive, _passive_us(scanned)]
    schema = PASSIVE_EVENT_INDEX if plan.passive_types else EVENT_INDEX
    return pa.Table.from_arrays([pa.array(c[order]) for c in columns], schema=schema)


def _is_passive(plan: Plan, scanned: _Scanned) -> Bools:
    if not plan.passive_types:
        return np.zeros(len(scanned.user), np.bool_)
    types = pa.array(plan.passive_types, pa.string())
    is_passive: Bools = pc.is_in(scanned.rows["event_type"], value_set=types).to_numpy()
    return is_passive


def _item_digests(scanned: _Scanned) -> Digests:
    item, items = _codes(scanned.rows["item_id"])
    return session_key_hashes((name, "") for name in items)[0][item]


def _passive_us(scanned: _Scanned) -> Ints:
    if not scanned.carried:
        return np.full(len(scanned.user), NO_RUN, np.int64)
    until = scanned.rows["passive_until"].cast(pa.int64())
    return np.asarray(pc.fill_null(until, NO_RUN).to_numpy())


def _microseconds(events: pa.Table, name: str) -> Ints:
    values = events[name].cast(pa.int64())
    if values.null_count:
        raise HourglassError(
            f"{counted(values.null_count, 'event')} {verb(values.null_count, 'has', 'have')} no "
            f"{name}: ingest never writes such rows; find out which program did"
        )
    return np.asarray(values.to_numpy())


def _session_keys(plan: Plan, scanned: _Scanned) -> tuple[Digests, Digests, Ints]:
    """Of each event its trail's two digests, and the rank of the trail by them."""
    users = scanned.users
    if plan.sessions_given:
        session, sessions = _codes(pc.fill_null(scanned.rows["given_session"], ""))
        pairs, code = np.unique(scanned.user * len(sessions) + session, return_inverse=True)
        names = [(users[pair // len(sessions)], sessions[pair % len(sessions)]) for pair in pairs]
    else:
        code, names = scanned.user, [(name, "") for name in users]
    high, low = session_key_hashes(names)
    rank = np.empty(len(names), np.int64)
    rank[np.lexsort((low, high))] = np.arange(len(names))
    return high[code], low[code], rank[code]


def _codes(values: pa.ChunkedArray) -> tuple[Ints, list[str]]:
    encoded = values.combine_chunks().dictionary_encode()
    if isinstance(encoded, pa.ChunkedArray):
        encoded = encoded.combine_chunks()
    if encoded.null_count:
        raise HourglassError(
            f"{counted(encoded.null_count, 'event')} {verb(encoded.null_count, 'has', 'have')} no "
            "user or item: ingest never writes such rows; find out which program did"
        )
    return encoded.indices.to_numpy().astype(np.int64), encoded.dictionary.to_pylist()


@dataclass(frozen=True)
class _ByTime:
    """Rows by group and time; ``tied`` are places in ``order``, ``run`` tells which are equal."""

    order: Ints
    tied: Ints
    run: Ints


def _by_time(group: Ints, event_us: Ints) -> _ByTime:
    if not len(group):
        nothing = np.empty(0, np.int64)
        return _ByTime(nothing, nothing, nothing)
    since_us = event_us - event_us.min()
    span_us = int(since_us.max()) + 1
    if (int(group.max()) + 1) * span_us < np.iinfo(np.int64).max:
        # One key sorts several times faster than two.
        combined = group * span_us + since_us
        order = np.argsort(combined)
        equal = np.diff(combined[order]) == 0
    else:
        order = np.lexsort((since_us, group))
        equal = (np.diff(group[order]) == 0) & (np.diff(since_us[order]) == 0)
    tied = np.flatnonzero(np.append(equal, False) | np.insert(equal, 0, False))
    return _ByTime(order, tied, np.cumsum(~np.insert(equal, 0, False))[tied])


def _log_order(plan: Plan, scanned: _Scanned, rank: Ints) -> tuple[Ints, Ints32]:
    """Order by trail, time and place in the log, and each row's rank among its user's equals.

    A user's records of equal time: b.csv line 7, a.csv line 9, a.csv line 2 have the ranks
    3, 2 and 1, whichever trails they are of.
    """
    by_user = _by_time(scanned.user if plan.sessions_given else rank, scanned.event_us)
    order = _ordered(by_user, plan, scanned, LOG_ORDER)
    tie_rank = np.zeros(len(order), np.int32)
    nth = np.arange(len(by_user.run))
    first = np.searchsorted(by_user.run, by_user.run)
    tie_rank[order[by_user.tied]] = nth - first + 1
    if plan.sessions_given:
        by_trail = _by_time(rank, scanned.event_us)
        rows = by_trail.order[by_trail.tied]
        order = by_trail.order
        order[by_trail.tied] = rows[np.lexsort((tie_rank[rows], by_trail.run))]
    return order, tie_rank


def _ordered(by_time: _ByTime, plan: Plan, scanned: _Scanned, columns: Sequence[str]) -> Ints:
    """The order by group and time, equal ones by some columns, which are read only for them."""
    if not len(by_time.tied):
        return by_time.order
    order = by_time.order.copy()
    rows = order[by_time.tied]
    source = scanned.source[rows]
    by_source = np.argsort(source, kind="stable")
    tables = []
    for index, start, length in _runs(source[by_source]):
        wanted = scanned.row[rows[by_source[start : start + length]]]
        tables.append(_read(plan, index, columns).take(pa.array(wanted)))
    equals = pa.concat_tables(tables).append_column("run", pa.array(by_time.run[by_source]))
    by_columns = pc.sort_indices(
        equals,
        # Rows that do not tell their line come first, by what is told.
        sort_keys=[(name, "ascending", "at_start") for name in ("run", *columns)],
    ).to_numpy()
    order[by_time.tied] = rows[by_source[by_columns]]
    return order


def _by_bucket(index: pa.Table, bits: int) -> Iterator[tuple[int, pa.Table]]:
    """Marks by the leading bits of their trails, which they are in the order of."""
    if not index.num_rows:
        return
    trail = index["trail"].to_numpy()
    bucket = (trail >> np.uint64(64 - bits)).astype(np.int64) if bits else np.zeros(len(trail), int)
    yield from ((b, index.slice(i, n)) for b, i, n in _runs(bucket))


def _runs(values: NDArray[np.generic]) -> Iterator[tuple[int, int, int]]:
    """Value, start and length of each run of equal values."""
    bounds = [0, *(np.flatnonzero(np.diff(values)) + 1).tolist(), len(values)]
    for start, stop in itertools.pairwise(bounds):
        if stop > start:
            yield int(values[start]), start, stop - start


def _by_group(assigned: pa.Table, plan: Plan) -> Iterator[tuple[int, pa.Table]]:
    """Places by the groups of hours that need them: those it stands open in or closes in."""
    bounds = np.array(plan.groups)
    seen_from = np.maximum(assigned["hour"].to_numpy(), plan.hours.first.index)
    seen_to = np.minimum(assigned["close_hour"].to_numpy(), plan.hours.stop.index - 1)
    first = np.searchsorted(bounds, seen_from, "right") - 1
    last = np.searchsorted(bounds, seen_to, "right") - 1
    for group in range(len(plan.groups) - 1):
        rows = np.flatnonzero((first <= group) & (group <= last))
        if len(rows):
            yield group, assigned.take(pa.array(rows)).combine_chunks()


def events_of(plan: Plan, assigned: pa.Table) -> tuple[pa.Table, Ints]:
    """The events that places speak of, and which of them each place speaks of."""
    source = assigned["source"].to_numpy().astype(np.int64)
    row = assigned["row"].to_numpy().astype(np.int64)
    wanted = np.flatnonzero(np.bincount(source))
    tables = [_read(plan, int(i), EVENT_COLUMNS) for i in wanted]
    base = np.zeros(len(plan.sources), np.int64)
    base[wanted] = np.cumsum([0, *(table.num_rows for table in tables)])[:-1]
    where = base[source] + row
    needed = np.zeros(sum(table.num_rows for table in tables), np.bool_)
    needed[where] = True
    needed_tables = []
    for index, table in zip(wanted, tables, strict=True):
        mask = needed[base[index] : base[index] + table.num_rows]
        needed_tables.append(table if mask.all() else table.filter(pa.array(mask)))
    n_carried = int(np.searchsorted(wanted, plan.carried))
    events = _of_persons(plan, needed_tables, n_carried)
    return events.combine_chunks(), (np.cumsum(needed) - 1)[where]


def _of_persons(plan: Plan, tables: Sequence[pa.Table], n_carried: int) -> pa.Table:
    """The rows of all tables; those that were carried in come first, and are of persons already."""
    if n_carried == len(tables):
        return pa.concat_tables(tables)
    events = as_persons(pa.concat_tables(tables[n_carried:]), plan.people)
    return pa.concat_tables([*tables[:n_carried], events])


def _closed_sessions(
    plan: Plan, assigned: pa.Table, events: pa.Table, rows: Ints, first: int, stop: int
) -> pa.Table:
    close = assigned["close_hour"].to_numpy()
    chosen = np.flatnonzero((close >= first) & (close < stop))
    chosen = chosen[_stable(close[chosen], first)]
    table = session_rows(assigned, events, rows, chosen, close[chosen], SESSIONS)
    return _written(plan, SESSIONS, table, close[chosen])


def _open_sessions(
    plan: Plan, assigned: pa.Table, events: pa.Table, rows: Ints, first: int, stop: int
) -> Iterator[pa.Table]:
    """A row stands open from its own hour to the one before its session closes.

    Within a session no silence is long enough to close it, so no hour between is left out.
    """
    hour, close = assigned["hour"].to_numpy(), assigned["close_hour"].to_numpy()
    for part_first, part_stop in _open_parts(hour, close, first, stop):
        opens = np.maximum(hour, part_first)
        times = np.maximum(np.minimum(close, part_stop) - opens, 0)
        chosen = np.repeat(np.arange(len(times)), times)
        nth = np.arange(len(chosen)) - np.repeat(np.cumsum(times) - times, times)
        open_hour = opens[chosen] + nth
        order = _stable(open_hour, part_first)
        chosen, open_hour = chosen[order], open_hour[order]
        table = session_rows(assigned, events, rows, chosen, open_hour, OPEN_SESSIONS)
        yield _written(plan, OPEN_SESSIONS, table, open_hour)


def _open_parts(hour: Ints32, close: Ints32, first: int, stop: int) -> Iterator[tuple[int, int]]:
    """Hours in a row whose open rows fit into memory together: an event may stand open for many."""
    span = stop - first
    begins = np.bincount(np.clip(hour - first, 0, span), minlength=span + 1)
    ends = np.bincount(np.clip(close - first, 0, span), minlength=span + 1)
    standing = np.cumsum(begins - ends)[:span]
    part_first, standing_rows = first, 0
    for offset, count in enumerate(standing.tolist()):
        if standing_rows and standing_rows + count > _OPEN_ROWS_AT_ONCE:
            yield part_first, first + offset
            part_first, standing_rows = first + offset, 0
        standing_rows += count
    yield part_first, stop


def _stable(hour: NDArray[np.generic], first: int) -> Ints:
    """Order by hour that keeps the order within one."""
    since = hour.astype(np.int64) - first
    # Sixteen bits are sorted in linear time.
    narrow = since.astype(np.int16) if len(since) and since.max() < 1 << 15 else since
    return np.argsort(narrow, kind="stable")


def session_rows(
    assigned: pa.Table, events: pa.Table, rows: Ints, chosen: Ints, hour: NDArray[np.generic],
    spec: TableSpec,
) -> pa.Table:  # fmt: skip
    """Rows of ``sessions`` or ``open_sessions`` for the chosen places."""
    moved = events.take(pa.array(rows[chosen]))
    tie_rank = assigned["tie_rank"].to_numpy()[chosen]
    start_us = assigned["start_us"].to_numpy()[chosen]
    columns = {
        "hour": pa.array(hour.astype(np.int64) * US_PER_HOUR).cast(TIMESTAMP),
        "session_id": session_ids(assigned["trail"].to_numpy()[chosen], start_us),
        "session_start": pa.array(start_us).cast(TIMESTAMP),
        "position": assigned["position"].take(pa.array(chosen)),
        "tie_rank": pa.array(tie_rank, mask=tie_rank == 0),
        "is_robot": _true_or_null(assigned["is_robot"].to_numpy()[chosen]),
    }
    if spec is SESSIONS:
        dwell_us = assigned["dwell_us"].to_numpy()[chosen]
        columns["dwell_s"] = pa.array(dwell_us / US_PER_S, mask=dwell_us < 0)
    else:
        chain_us = assigned["chain_us"].to_numpy()[chosen]
        columns["chain_start"] = pa.array(chain_us).cast(TIMESTAMP)
        columns["passive_until"] = _passive_until(assigned, chosen, hour)
    return pa.table(
        {name: columns[name] if name in columns else moved[name] for name in spec.schema.names},
        schema=spec.schema,
    )


def _true_or_null(values: Bools) -> pa.Array:
    return pa.array(values, mask=~values)


def _passive_until(assigned: pa.Table, chosen: Ints, hour: NDArray[np.generic]) -> pa.Array:
    """When the last passive event on each row was that the end of its hour knows of."""
    if "passive_us" not in assigned.column_names:
        return pa.nulls(len(chosen), TIMESTAMP)
    lists = assigned["passive_us"].combine_chunks()
    times_us, offsets = lists.values.to_numpy(), lists.offsets.to_numpy()
    first, length = offsets[chosen], np.diff(offsets)[chosen]
    end_us = (hour.astype(np.int64) + 1) * US_PER_HOUR
    until_us = np.full(len(chosen), NO_RUN, np.int64)
    # An event has passive ones in no more hours than a gap is long.
    for nth in range(int(length.max(initial=0))):
        rows = np.flatnonzero(length > nth)
        time_us = times_us[first[rows] + nth]
        rows, time_us = rows[time_us < end_us[rows]], time_us[time_us < end_us[rows]]
        until_us[rows] = time_us
    return pa.array(until_us, mask=until_us == NO_RUN).cast(TIMESTAMP)


def _written(plan: Plan, spec: TableSpec, rows: pa.Table, hour: NDArray[np.generic]) -> pa.Table:
    # Open sessions are read once, by the next hour, and gone with it.
    writer = HourWriter(plan.folders[spec.name], brief=spec is OPEN_SESSIONS)
    files, digests, robot_rows = [], [], []
    for index, start, length in _runs(hour):
        rows_of_hour = rows.slice(start, length)
        files.append(writer.write(Hour(index), iter([rows_of_hour])))
        digests.append(content_digest(rows_of_hour.drop_columns(["hour"])))
        robot_rows.append(length - rows_of_hour["is_robot"].null_count)
    return _report(spec, files, digests, robot_rows)


def _dwells(plan: Plan, assigned: pa.Table, first: int, stop: int) -> pa.Table:
    close, dwell_us = assigned["close_hour"].to_numpy(), assigned["dwell_us"].to_numpy()
    is_told = (dwell_us >= 0) & ~assigned["is_robot"].to_numpy()
    chosen = np.flatnonzero((close >= first) & (close < stop) & is_told)
    chosen = chosen[_stable(close[chosen], first)]
    writer = HourWriter(plan.folders[DWELL_HOURS.name])
    files = []
    for index, start, length in _runs(close[chosen]):
        row = {"hour": Hour(index).start, **moments_of_us(dwell_us[chosen[start : start + length]])}
        table = pa.Table.from_pylist([row], schema=DWELL_HOURS.schema)
        files.append(writer.write(Hour(index), iter([table])))
    return _report(DWELL_HOURS, files)


def _items(
    plan: Plan, assigned: pa.Table, events: pa.Table, rows: Ints, first: int, stop: int
) -> pa.Table:
    """Counts of the hours' own events; what was carried in lies before them."""
    hour = assigned["hour"].to_numpy()
    counts_here = (hour >= first) & (hour < stop) & ~assigned["is_robot"].to_numpy()
    chosen = np.flatnonzero(counts_here)
    of_events = events.select(["user_id", "item_id"]).take(pa.array(rows[chosen]))
    counts = item_hours(hour[chosen].astype(np.int64), of_events)
    writer = HourWriter(plan.folders[ITEM_HOURS.name])
    files = [
        writer.write(Hour(index), iter([counts.slice(start, length)]))
        for index, start, length in _runs(counts["hour"].cast(pa.int64()).to_numpy() // US_PER_HOUR)
    ]
    return _report(ITEM_HOURS, files)


def _report(
    spec: TableSpec,
    files: Sequence[HourFile],
    digests: Iterable[str] = (),
    robot_rows: Iterable[int] = (),
) -> pa.Table:
    rows = [
        (
            spec.name,
            file.hour.index if file.hour else None,
            file.path,
            file.bytes,
            file.rows,
            digest,
            robots,
        )
        for file, digest, robots in itertools.zip_longest(files, digests, robot_rows)
    ]
    columns = list(zip(*rows, strict=True)) if rows else [()] * len(REPORT)
    return pa.table(
        [pa.array(values, field.type) for values, field in zip(columns, REPORT, strict=True)],
        schema=REPORT,
    )
