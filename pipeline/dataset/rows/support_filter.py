"""The support filter: rare items, short sessions and passing users are left out (ASARS 3.1)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pipeline.array_types import Ints
from pipeline.dataset.inputs import Frame
from pipeline.dataset.manifest import StepCounts
from pipeline.dataset.rows.event_log import FlatLog
from pipeline.errors import HourglassError
from pipeline.settings.tables import DatasetSettings
from pipeline.text.wording import counted


def filter_support(
    log: FlatLog, event: Ints, rules: DatasetSettings
) -> tuple[Ints, tuple[StepCounts, ...]]:
    """Apply items, sessions, users in that order, once as published or until nothing changes.

    Returns the events (n,) that stay of ``event``, and after each step how many events, items,
    users and sessions were left; the first row counts what came in.
    """
    steps = (
        (f"items >= {rules.min_item_events}", _of_items, rules.min_item_events),
        (f"sessions >= {rules.min_session_events}", _of_sessions, rules.min_session_events),
        (f"users >= {rules.min_user_sessions}", _of_users, rules.min_user_sessions),
    )
    counts = [_counted(log, "window", event)]
    while True:
        before = len(event)
        for name, supported, least in steps:
            event = event[supported(log, event) >= least]
            counts.append(_counted(log, name, event))
        if rules.support_passes == "single" or len(event) == before:
            return event, tuple(counts)


def refuse_nothing(steps: Sequence[StepCounts], frame: Frame) -> None:
    """Let a filter pass that left something.

    Raises:
        HourglassError: it left no event; where they went is said.
    """
    if steps[-1].events:
        return
    attrition = ", ".join(f"{step.step}: {counted(step.events, 'event')}" for step in steps)
    raise HourglassError(
        f"no event of {frame.window_start} to {frame.as_of} is left by the support filter "
        f"({attrition}): widen dataset.window or lower dataset.min_*"
    )


def _of_items(log: FlatLog, event: Ints) -> Ints:
    """Events on the item of each event."""
    item = log.item[event]
    return np.bincount(item, minlength=1)[item]


def _of_sessions(log: FlatLog, event: Ints) -> Ints:
    """Events in the session of each event."""
    session = log.session[event]
    return np.bincount(session, minlength=1)[session]


def _of_users(log: FlatLog, event: Ints) -> Ints:
    """Sessions of the user of each event."""
    alive = np.flatnonzero(np.bincount(log.session[event], minlength=1))
    if not len(event):
        return alive[:0]
    sessions = np.bincount(log.session_user[alive], minlength=len(log.user_ids))
    return sessions[log.user[event]]


def _counted(log: FlatLog, step: str, event: Ints) -> StepCounts:
    def distinct(codes: Ints) -> int:
        return int(np.count_nonzero(np.bincount(codes[event], minlength=1)))

    return StepCounts(
        step=step,
        events=len(event),
        items=distinct(log.item),
        users=distinct(log.user),
        sessions=distinct(log.session),
    )
