"""Events that came later than they happened, and all else that their users did.

An event is late where its file arrived in a later hour than the event's own.  An hour most of whose
events came more than a day after it was loaded afterwards: nothing says when they were first there,
so they all count as known when they happened.
"""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.array_types import Bools, Ints
from pipeline.dataset.as_known.arrivals import FileArrival, read_arrivals
from pipeline.dataset.as_known.delays import LOADED_AFTER_H, Delays
from pipeline.hours import US_PER_HOUR, Hour, HourRange, contiguous
from pipeline.lake.lake import Lake, State
from pipeline.lake.parquet_files import HourFile, read_file
from pipeline.lake.tables import ADDED_LATER, EVENTS, OPEN_SESSIONS, PEOPLE
from pipeline.sessions.in_memory import COLUMNS
from pipeline.sessions.people import as_persons
from pipeline.settings.settings import Settings
from pipeline.settings.tables import SessionSettings

# `events` has no ids that a person took the place of: sessions tell them.
_EVENTS = pa.schema(
    [
        EVENTS.schema.field(name)
        if name in EVENTS.schema.names
        else pa.field(name, ADDED_LATER[name])
        for name in COLUMNS
    ]
)


@dataclass(frozen=True)
class LateEvents:
    """Late events, and all other events of their users: n events of ``hours``.

    Users are persons, where ``people`` names somebody.
    """

    hours: HourRange
    sessions: SessionSettings
    events: pa.Table  # (n) with `pipeline.sessions.in_memory.COLUMNS`
    carried: pa.Table  # rows of `open_sessions` of these users at the end of the hour before
    user: Ints  # (n,) places in user_ids
    user_ids: pa.Array  # ascending
    time_us: Ints  # (n,)
    known_us: Ints  # (n,) since when each is known; when it happened, where it was on time
    delays: Delays

    def unknown_at(self, hour: Hour) -> Bools:
        """Which events (n,) had happened before an hour, and were not known at its start."""
        start_us = hour.index * US_PER_HOUR
        return (self.time_us < start_us) & (self.known_us > start_us)

    def digest_at(self, hour: Hour) -> str:
        """Names the events that were not known at an hour, whatever files they were in."""
        unknown = self.events.filter(pa.array(self.unknown_at(hour)))
        columns = (unknown[name].cast(pa.string()) for name in ("event_time", "event_key"))
        names = sorted(zip(*(column.to_pylist() for column in columns), strict=True))
        return hashlib.sha256(repr(names).encode()).hexdigest()


def read_late_events(
    lake: Lake, settings: Settings, state: State, hours: HourRange, since: Hour
) -> LateEvents:
    """The events of ``hours`` that came late and were not known yet at ``since``, or after.

    Args:
        lake: read as it was at ``state``.
        settings: say how paths tell arrivals, and when sessions end.
        state: of the lake's tables.
        hours: of the events.
        since: what was known before need not be told apart.
    """
    arrivals = read_arrivals(lake, settings, state)
    late, delays = _late_files(_events_by_file(lake, state, hours), arrivals)
    people = tuple(file.path for file in lake.files(PEOPLE))
    users = _late_users(lake, state, late, since, people)
    if not len(users):
        return _nobody(hours, settings.sessions, delays)
    events, known_us = _events_of(lake, state, hours, late, people, users)
    before = HourRange(hours.first - 1, hours.first)
    carried = lake.arrow(OPEN_SESSIONS, before, state)
    return LateEvents(
        hours=hours,
        sessions=settings.sessions,
        events=events,
        carried=carried.filter(pc.is_in(carried["user_id"], value_set=users)),
        user=_codes(events["user_id"], users),
        user_ids=users,
        time_us=events["event_time"].cast(pa.int64()).to_numpy(),
        known_us=known_us,
        delays=delays,
    )


def read_delays(lake: Lake, settings: Settings, state: State, hours: HourRange) -> Delays:
    """How many events of some hours came late."""
    arrivals = read_arrivals(lake, settings, state)
    return _late_files(_events_by_file(lake, state, hours), arrivals)[1]


def _nobody(hours: HourRange, sessions: SessionSettings, delays: Delays) -> LateEvents:
    nothing = np.empty(0, np.int64)
    return LateEvents(
        hours=hours,
        sessions=sessions,
        events=_EVENTS.empty_table(),
        carried=OPEN_SESSIONS.schema.empty_table(),
        user=nothing,
        user_ids=pa.array([], pa.string()),
        time_us=nothing,
        known_us=nothing,
        delays=delays,
    )


def _codes(user_ids: pa.ChunkedArray, users: pa.Array) -> Ints:
    return np.asarray(pc.index_in(user_ids, value_set=users).to_numpy(), np.int64)


def _events_by_file(lake: Lake, state: State, hours: HourRange) -> dict[Hour, Counter[str]]:
    """How many events of each hour are of each file."""
    counts: dict[Hour, Counter[str]] = defaultdict(Counter)
    for file in lake.files(EVENTS, hours, state):
        if file.hour is None:
            continue
        of_file = pc.value_counts(read_file(file.path, ["source_file"])["source_file"])
        for each in of_file.to_pylist():
            counts[file.hour][each["values"]] += each["counts"]
    return counts


def _late_files(
    counts: Mapping[Hour, Mapping[str, int]], arrivals: Mapping[str, FileArrival]
) -> tuple[dict[Hour, dict[str, int]], Delays]:
    """Of each hour the files whose events of it are late, and from when they are known.

    What another program put into the table is of no file, and on time.
    """
    late: dict[Hour, dict[str, int]] = {}
    n_events = n_late = n_loaded = loaded_hours = 0
    for hour, by_file in counts.items():
        files = {
            name: arrivals[name].known_from
            for name in by_file
            if name in arrivals and hour.index < arrivals[name].on_time_from
        }
        n_hour, n_late_of_hour = sum(by_file.values()), sum(by_file[name] for name in files)
        n_after = sum(
            by_file[name]
            for name, known_from in files.items()
            if known_from - (hour.index + 1) > LOADED_AFTER_H
        )
        n_events += n_hour
        if 2 * n_after > n_hour:
            n_loaded += n_hour
            loaded_hours += 1
        elif files:
            late[hour] = files
            n_late += n_late_of_hour
    return late, Delays(n_events, n_late, n_loaded, loaded_hours)


def _late_users(
    lake: Lake,
    state: State,
    late: Mapping[Hour, Mapping[str, int]],
    since: Hour,
    people: tuple[str, ...],
) -> pa.Array:
    """Who has a late event that was not known at ``since``, in ascending order."""
    users: set[str] = set()
    for hours in contiguous(late):
        for file in lake.files(EVENTS, hours, state):
            names = [
                n for n, known_from in late.get(_hour(file), {}).items() if known_from > since.index
            ]
            if not names:
                continue
            rows = read_file(file.path, ["user_id", "event_time", "source_file"])
            rows = rows.filter(pc.is_in(rows["source_file"], value_set=pa.array(names)))
            users.update(as_persons(rows, people)["user_id"].to_pylist())
    return pa.array(sorted(users), pa.string())


def _events_of(
    lake: Lake,
    state: State,
    hours: HourRange,
    late: Mapping[Hour, Mapping[str, int]],
    people: tuple[str, ...],
    users: pa.Array,
) -> tuple[pa.Table, Ints]:
    """All events of these users, and since when each is known, in microseconds."""
    tables, times_us = [_EVENTS.empty_table()], [np.empty(0, np.int64)]
    for file in lake.files(EVENTS, hours, state):
        rows = as_persons(read_file(file.path, COLUMNS).select(COLUMNS), people)
        rows = rows.filter(pc.is_in(rows["user_id"], value_set=users))
        tables.append(rows.cast(_EVENTS))
        known_us = rows["event_time"].cast(pa.int64()).to_numpy().copy()
        for name, known_from in late.get(_hour(file), {}).items():
            known_us[pc.equal(rows["source_file"], name).to_numpy()] = known_from * US_PER_HOUR
        times_us.append(known_us)
    return pa.concat_tables(tables).combine_chunks(), np.concatenate(times_us)


def _hour(file: HourFile) -> Hour:
    if file.hour is None:
        raise AssertionError(f"{file.path}: events are kept by hour")
    return file.hour
