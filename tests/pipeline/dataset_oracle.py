"""What a data set must hold, in plain Python loops over the events, straight from the format."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from session_oracle import (
    HOUR_US,
    US,
    Event,
    Rules,
    chains,
    moments,
    passive_times,
    pieces,
    session_id,
    trails,
)
from session_oracle import robots as robot_events


@dataclass(frozen=True)
class Known:
    """One event as it is known at the time of the freeze."""

    event: Event
    session: str
    dwell_s: float | None


@dataclass(frozen=True)
class Frame:
    """Hours as indices; context is what happened in ``[history_start, window_start)``."""

    history_start: int
    window_start: int
    as_of: int


def known_events(
    events: Iterable[Event], rules: Rules, frame: Frame, types: tuple[str, ...] = ()
) -> list[Known]:
    found = []
    past = [event for event in events if event.hour < frame.as_of]
    active = [event for event in past if event.event_type not in rules.passive_types]
    robots = {e.user for e in robot_events(active, rules) if e.hour >= frame.history_start}
    for event, session, dwell_s in dwells(past, active, rules, frame.as_of):
        wanted = not types or event.event_type in types
        if event.hour >= frame.history_start and wanted and event.user not in robots:
            found.append(Known(event, session, dwell_s))
    return found


def dwells(
    past: list[Event], active: list[Event], rules: Rules, as_of: int
) -> Iterator[tuple[Event, str, float | None]]:
    """Each event with its session, and its dwell time if that is settled."""
    passive = passive_times(past, rules)
    for name, trail in trails(active, rules):
        for chain in chains(trail, rules):
            for session in pieces(chain, rules):
                is_closed = closes_in(session, rules) < as_of
                for place, event in enumerate(session):
                    is_last = event is session[-1]
                    end_us = None if is_last else session[place + 1].time_us
                    if is_closed or not is_last:
                        end_us = max(passive.get(event, []), default=end_us)
                    dwell_s = None if end_us is None else (end_us - event.time_us) / US
                    yield event, session_id(name, session), dwell_s


def closes_in(session: list[Event], rules: Rules) -> int:
    return (session[-1].time_us + rules.gap_s * US) // HOUR_US


def in_window(known: list[Known], frame: Frame) -> list[Known]:
    return [one for one in known if one.event.hour >= frame.window_start]


def before_window(known: list[Known], frame: Frame) -> list[Known]:
    return [one for one in known if one.event.hour < frame.window_start]


def width_s(events: Iterable[Event], rules: Rules, frame: Frame) -> tuple[int, float]:
    """n and Scott's width over sessions that closed in the window or are open at its end."""
    past = [event for event in events if event.hour < frame.as_of]
    active = [event for event in past if event.event_type not in rules.passive_types]
    robots = robot_events(active, rules)
    in_reach = {
        (event, session_id(name, session))
        for name, trail in trails(active, rules)
        for chain in chains(trail, rules)
        for session in pieces(chain, rules)
        if closes_in(session, rules) >= frame.window_start
        for event in session
    }
    of_people = [
        dwell_s
        for event, session, dwell_s in dwells(past, active, rules, frame.as_of)
        if dwell_s is not None and (event, session) in in_reach and event not in robots
    ]
    n, _, m2, _, _ = moments(of_people)
    return n, math.sqrt(m2 / n) * (24 * math.sqrt(math.pi) / n) ** (1 / 3)


def supported(
    known: list[Known], items: int, sessions: int, users: int, until_fixed: bool
) -> tuple[list[Known], list[dict[str, object]]]:
    """The events the filter leaves, and the counts after each of its steps."""
    kept, steps = list(known), [_counts("window", known)]
    while True:
        size = len(kept)
        n_events = Counter(one.event.item for one in kept)
        kept = [one for one in kept if n_events[one.event.item] >= items]
        steps.append(_counts(f"items >= {items}", kept))
        length = Counter(one.session for one in kept)
        kept = [one for one in kept if length[one.session] >= sessions]
        steps.append(_counts(f"sessions >= {sessions}", kept))
        own: dict[str, set[str]] = defaultdict(set)
        for one in kept:
            own[one.event.user].add(one.session)
        kept = [one for one in kept if len(own[one.event.user]) >= users]
        steps.append(_counts(f"users >= {users}", kept))
        if not until_fixed or len(kept) == size:
            return kept, steps


def _counts(step: str, kept: list[Known]) -> dict[str, object]:
    return {
        "step": step,
        "events": len(kept),
        "items": len({one.event.item for one in kept}),
        "users": len({one.event.user for one in kept}),
        "sessions": len({one.session for one in kept}),
    }


def vocabulary_of(kept: list[Known], base: Iterable[str] = ()) -> list[str]:
    counts = Counter(one.event.item for one in kept)
    old = list(base)
    return old + sorted(set(counts) - set(old), key=lambda item: (-counts[item], item))


def histories(
    context: list[Known],
    window: list[Known],
    vocabulary: list[str],
    types: list[str],
    width: float,
    bins: int,
    cap: int,
    keep_idle: bool = False,
) -> dict[str, tuple[int, list[tuple[object, ...]]]]:
    """By user: n_context and its events.

    An event is item, time_us, session_start, dwell_s, dwell_bin, event_type, value.
    """
    number = {item: place for place, item in enumerate(vocabulary, start=1)}
    found = {}
    for user in {one.event.user for one in [*context, *window]}:
        old = sorted(_of(user, context, number), key=lambda one: one.event)
        new = sorted(_of(user, window, number), key=lambda one: one.event)
        if not new and not (keep_idle and old):
            continue
        seen: set[str] = set()
        rows = []
        for one in [*old, *new]:
            dwell_bin = 0
            if one.dwell_s is not None and width > 0:
                dwell_bin = min(math.floor(one.dwell_s / width) + 1, bins)
            rows.append(
                (
                    *(number[one.event.item], one.event.time_us, one.session not in seen),
                    *(one.dwell_s, dwell_bin, types.index(one.event.event_type), one.event.value),
                )
            )
            seen.add(one.session)
        cut = max(0, len(old) - cap)
        found[user] = (len(old) - cut, rows[cut:])
    return found


def _of(user: str, known: list[Known], number: dict[str, int]) -> list[Known]:
    return [one for one in known if one.event.user == user and one.event.item in number]
