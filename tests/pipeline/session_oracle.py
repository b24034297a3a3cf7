"""What the session tables must hold, in plain Python, straight from the definitions.

Nothing here comes from the pipeline.  A trail is one user's events in order (with given session
ids: those of one id); at least ``gap_s`` of silence ends a chain; a chain is cut into pieces of
``max_session_hours`` counted from its first event; a piece is a session.  A session that has been
silent for ``gap_s`` closes in the hour in which that silence ends; until then it stands open at the
end of every hour, with the events that had happened by then.

Events of passive types are in no trail.  One tells when the event before it ended: the latest that
is not passive, of its trail and at or before it, if both are on one item and less than ``gap_s``
(and more than nothing) lies between them.  A user's events of an hour, passive ones aside, are a
robot's where they are more than ``robot_events_per_hour``; so are those of a chain that lie
``robot_run_hours`` or more after its first.
"""

from __future__ import annotations

import hashlib
import math
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

US = 1_000_000
HOUR_US = 3600 * US


@dataclass(frozen=True)
class Event:
    """One event; ``line`` is its record's in the file, None where the table does not tell it."""

    time_us: int
    key: str
    user: str
    item: str
    event_type: str = "view"
    value: float | None = None
    given: str | None = None
    context: tuple[tuple[str, str], ...] = ()
    file: str = "test"
    line: int | None = None

    def __lt__(self, other: Event) -> bool:
        return self.order < other.order

    @property
    def order(self) -> tuple[object, ...]:
        """That of the definitions: time, then as the records follow in the log, then key."""
        line = -1 if self.line is None else self.line
        return (self.time_us, self.file, line, self.key)

    @property
    def hour(self) -> int:
        return self.time_us // HOUR_US

    @property
    def said(self) -> tuple[object, ...]:
        return (
            *(self.time_us, self.user, self.item, self.event_type),
            *(self.value, self.given, self.context, self.key),
        )


@dataclass(frozen=True)
class Rules:
    gap_s: int = 3600
    max_session_hours: int = 24
    given: bool = False
    passive_types: tuple[str, ...] = ()
    robot_events_per_hour: int | None = 1000
    robot_run_hours: int | None = 24


Row = tuple[object, ...]


@dataclass
class Tables:
    """Rows by table.

    ``sessions`` ends in is_robot and dwell_s, ``open_sessions`` in is_robot, passive_until and
    chain_start (us).
    """

    sessions: set[Row] = field(default_factory=set)
    open_sessions: set[Row] = field(default_factory=set)
    item_hours: set[Row] = field(default_factory=set)
    dwells: dict[int, list[float]] = field(default_factory=dict)


def trails(events: Iterable[Event], rules: Rules) -> Iterator[tuple[str, list[Event]]]:
    found: dict[tuple[str, str], list[Event]] = defaultdict(list)
    for event in events:
        found[event.user, (event.given or "") if rules.given else ""].append(event)
    for (_, name), trail in found.items():
        yield name, sorted(trail)


def chains(trail: list[Event], rules: Rules) -> list[list[Event]]:
    found: list[list[Event]] = []
    for event in trail:
        if found and event.time_us - found[-1][-1].time_us < rules.gap_s * US:
            found[-1].append(event)
        else:
            found.append([event])
    return found


def pieces(chain: list[Event], rules: Rules) -> list[list[Event]]:
    found: dict[int, list[Event]] = defaultdict(list)
    for event in chain:
        since_start = event.time_us - chain[0].time_us
        found[since_start // (rules.max_session_hours * HOUR_US)].append(event)
    return [found[place] for place in sorted(found)]


def session_id(trail_name: str, session: list[Event]) -> str:
    user = session[0].user
    digest = hashlib.blake2b(f"{len(user)}:{user}{trail_name}".encode(), digest_size=16)
    return digest.hexdigest()[:16] + format(session[0].time_us % 2**64, "016x")


@dataclass(frozen=True)
class Marks:
    """What is known of single events: rank among equals, robots', and passive events on them."""

    rank: dict[Event, int | None]
    robots: set[Event]
    passive: dict[Event, list[int]]


def session_tables(events: Iterable[Event], rules: Rules, first: int, stop: int) -> Tables:
    """All four tables for hours ``[first, stop)``, from every event before ``stop``."""
    known = [event for event in events if event.hour < stop]
    active = [event for event in known if event.event_type not in rules.passive_types]
    made = Tables(dwells=defaultdict(list))
    marks = Marks(tie_ranks(known), robots(active, rules), passive_times(known, rules))
    for name, trail in trails(active, rules):
        for chain in chains(trail, rules):
            for session in pieces(chain, rules):
                _close(made, name, session, rules, first, stop, marks)
            _stand_open(made, name, chain, rules, first, stop, marks)
    users: dict[tuple[int, str], list[str]] = defaultdict(list)
    for event in active:
        if event not in marks.robots:
            users[event.hour, event.item].append(event.user)
    made.item_hours = {
        (hour, item, len(seen), len(set(seen)))
        for (hour, item), seen in users.items()
        if hour >= first
    }
    return made


def robots(active: list[Event], rules: Rules) -> set[Event]:
    marked: set[Event] = set()
    by_hour: dict[tuple[str, int], list[Event]] = defaultdict(list)
    for event in active:
        by_hour[event.user, event.hour].append(event)
    for here in by_hour.values():
        if rules.robot_events_per_hour is not None and len(here) > rules.robot_events_per_hour:
            marked.update(here)
    if rules.robot_run_hours is not None:
        for _, trail in trails(active, rules):
            for chain in chains(trail, rules):
                late_us = chain[0].time_us + rules.robot_run_hours * HOUR_US
                marked.update(event for event in chain if event.time_us >= late_us)
    return marked


def passive_times(known: list[Event], rules: Rules) -> dict[Event, list[int]]:
    """Of each event that is not passive, when passive events were on it."""
    times: dict[Event, list[int]] = defaultdict(list)
    for _, trail in trails(known, rules):
        before: Event | None = None
        for event in trail:
            if event.event_type not in rules.passive_types:
                before = event
            elif (
                before is not None
                and before.item == event.item
                and 0 < event.time_us - before.time_us < rules.gap_s * US
            ):
                times[before].append(event.time_us)
    return times


def tie_ranks(events: Iterable[Event]) -> dict[Event, int | None]:
    """The place of each event among its user's events of the same time, if there are several."""
    equals: dict[tuple[str, int], list[Event]] = defaultdict(list)
    for event in events:
        equals[event.user, event.time_us].append(event)
    return {
        event: nth if len(tied) > 1 else None
        for tied in equals.values()
        for nth, event in enumerate(sorted(tied), start=1)
    }


def _close(
    made: Tables,
    name: str,
    session: list[Event],
    rules: Rules,
    first: int,
    stop: int,
    marks: Marks,
) -> None:
    hour = (session[-1].time_us + rules.gap_s * US) // HOUR_US
    if not first <= hour < stop:
        return
    for place, event in enumerate(session):
        end_us = None if event is session[-1] else session[place + 1].time_us
        end_us = max(marks.passive.get(event, []), default=end_us)
        dwell_s = None if end_us is None else (end_us - event.time_us) / US
        is_robot = True if event in marks.robots else None
        if dwell_s is not None and not is_robot:
            made.dwells[hour].append(dwell_s)
        start = session[0].time_us
        identity = (hour, session_id(name, session), start, place)
        made.sessions.add((*identity, *event.said, marks.rank[event], is_robot, dwell_s))


def _stand_open(
    made: Tables,
    name: str,
    chain: list[Event],
    rules: Rules,
    first: int,
    stop: int,
    marks: Marks,
) -> None:
    last_us = chain[-1].time_us + rules.gap_s * US
    for hour in range(max(first, chain[0].hour), min(stop, last_us // HOUR_US + 1)):
        end_us = (hour + 1) * HOUR_US
        seen = [event for event in chain if event.time_us < end_us]
        for session in pieces(seen, rules):
            if session[-1].time_us + rules.gap_s * US < end_us:
                continue
            start = session[0].time_us
            for place, event in enumerate(session):
                is_robot = True if event in marks.robots else None
                by_then = [us for us in marks.passive.get(event, []) if us < end_us]
                until = max(by_then, default=None)
                identity = (hour, session_id(name, session), start, place)
                rest = (marks.rank[event], is_robot, until, chain[0].time_us)
                made.open_sessions.add((*identity, *event.said, *rest))


def moments(values: list[float]) -> tuple[int, float, float, float, float]:
    """n, mean, sum of squared deviations, least and greatest."""
    mean = math.fsum(values) / len(values)
    return (
        *(len(values), mean, math.fsum((value - mean) ** 2 for value in values)),
        *(min(values), max(values)),
    )
