"""What a data set must hold, in plain Python loops over the events, straight from the format."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise

from session_oracle import HOUR_US, US, Event, Rules, chains, moments, pieces, session_id, trails


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
    for name, trail in trails(past, rules):
        for chain in chains(trail, rules):
            for session in pieces(chain, rules):
                for place, event in enumerate(session):
                    dwell_s = None
                    if event is not session[-1]:
                        dwell_s = (session[place + 1].time_us - event.time_us) / US
                    if event.hour >= frame.history_start and (
                        not types or event.event_type in types
                    ):
                        found.append(Known(event, session_id(name, session), dwell_s))
    return found


def in_window(known: list[Known], frame: Frame) -> list[Known]:
    return [one for one in known if one.event.hour >= frame.window_start]


def before_window(known: list[Known], frame: Frame) -> list[Known]:
    return [one for one in known if one.event.hour < frame.window_start]


def width_s(events: Iterable[Event], rules: Rules, frame: Frame) -> tuple[int, float]:
    """n and Scott's width over sessions that closed in the window or are open at its end."""
    dwells = []
    past = [event for event in events if event.hour < frame.as_of]
    for _, trail in trails(past, rules):
        for chain in chains(trail, rules):
            for session in pieces(chain, rules):
                closed_in = (session[-1].time_us + rules.gap_s * US) // HOUR_US
                if closed_in >= frame.window_start:
                    for one, following in pairwise(session):
                        dwells.append((following.time_us - one.time_us) / US)
    n, _, m2, _, _ = moments(dwells)
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
