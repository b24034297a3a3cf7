"""The support filter on codes, as `pipeline.dataset.support_filter` has it (ASARS 3.1)."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from pipeline.dataset.manifest import StepCounts
from pipeline.settings.settings import DatasetSettings
from training.data.event_log import FlatLog, Ints


def filter_support(
    log: FlatLog, event: Ints, rules: DatasetSettings
) -> tuple[Ints, tuple[StepCounts, ...]]:
    """Events (n,) that the filter leaves of ``event``, and what was left after each step."""
    steps = (
        (f"items >= {rules.min_item_events}", _of_items(log, rules.min_item_events)),
        (f"sessions >= {rules.min_session_events}", _of_sessions(log, rules.min_session_events)),
        (f"users >= {rules.min_user_sessions}", _of_users(log, rules.min_user_sessions)),
    )
    counts = [_counted(log, "window", event)]
    while True:
        before = len(event)
        for name, kept_by in steps:
            event = kept_by(event)
            counts.append(_counted(log, name, event))
        if rules.support_passes == "single" or len(event) == before:
            return event, tuple(counts)


def _of_items(log: FlatLog, least: int) -> Callable[[Ints], Ints]:
    def kept(event: Ints) -> Ints:
        item = log.item[event]
        return event[np.bincount(item, minlength=1)[item] >= least]

    return kept


def _of_sessions(log: FlatLog, least: int) -> Callable[[Ints], Ints]:
    def kept(event: Ints) -> Ints:
        session = log.session[event]
        return event[np.bincount(session, minlength=1)[session] >= least]

    return kept


def _of_users(log: FlatLog, least: int) -> Callable[[Ints], Ints]:
    def kept(event: Ints) -> Ints:
        alive = np.flatnonzero(np.bincount(log.session[event], minlength=1))
        sessions = np.bincount(log.session_user[alive], minlength=len(log.user_ids))
        return event[sessions[log.user[event]] >= least]

    return kept


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
