"""What is left of a log before it is split.  N events.

Each rule is a function of flat arrays, in which a user's events are side by side and in order; it
says which events stay.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from pipeline.array_types import Bools, Ints
from training.data.arrays import ranges
from training.protocols.events import Log, group_sizes, places_in, starts_of
from training.protocols.protocol import Preparation


def of_frequent(codes: Ints, least: int) -> Bools:
    """Events whose code occurs ``least`` times or more, (N,)."""
    if not len(codes):
        return np.zeros(0, np.bool_)
    frequent: Bools = np.bincount(codes)[codes] >= least
    return frequent


def of_users_with_sessions(user: Ints, session: Ints, least: int) -> Bools:
    """Events of users with ``least`` sessions or more, (N,)."""
    if not len(user):
        return np.zeros(0, np.bool_)
    n_sessions = np.bincount(user, weights=starts_of(session))
    enough: Bools = n_sessions[user] >= least
    return enough


def no_repeat(item: Ints, session: Ints) -> Bools:
    """Events on another item than the session's event before, (N,)."""
    return starts_of(item) | starts_of(session)


def of_latest_sessions(session: Ints, time_us: Ints, share: float) -> Bools:
    """Events of the latest ``share`` of the sessions, by their ends; ties are all in, (N,)."""
    first, lengths = group_sizes(session)
    ends = time_us[first + lengths - 1]
    begins = np.quantile(ends, 1 - share, method="higher") if len(ends) else 0
    latest: Bools = np.repeat(ends >= begins, lengths)
    return latest


def last_of_user(user: Ints, most: int) -> Bools:
    """The last ``most`` events of each user, (N,)."""
    index, length = places_in(user)
    latest: Bools = index >= length - most
    return latest


def prepared(log: Log, rules: Preparation) -> Log:
    """What the rules leave of a log, windows aside; it may be nothing."""
    if rules.latest_share is not None:
        log = log.take(of_latest_sessions(log.session, log.time_us, rules.latest_share))
    while True:
        n_before = len(log)
        if rules.drop_repeats:
            log = log.take(no_repeat(log.item, log.session))
        log = log.take(of_frequent(log.item, rules.min_item_events))
        log = log.take(of_frequent(log.session, rules.min_session_events))
        log = log.take(of_users_with_sessions(log.user, log.session, rules.min_user_sessions))
        log = log.take(of_frequent(log.user, rules.min_user_events))
        if rules.order == "once" or len(log) == n_before:
            break
    if rules.last_events is not None:
        log = log.take(last_of_user(log.user, rules.last_events))
    return log


def windows(log: Log, most: int, step: int) -> tuple[Log, Ints, Bools]:
    """Each history as windows of ``most`` events, ``step`` apart, up to its end.

    A window is a user and a session of its own; M events of all windows.

    Returns:
        The windows; the row in ``log`` of each of their events, (M,); and whether it is in no
        window before its own, (M,).
    """
    first, lengths = group_sizes(log.user)
    n_windows = 1 + -(-np.maximum(lengths - most, 0) // step)
    history, number = ranges(np.zeros(len(first), np.int64), n_windows)
    starts = number * step
    sizes = np.minimum(most, lengths[history] - starts)
    row, event = ranges(first[history] + starts, sizes)
    cut = log.take(event)
    index, _ = places_in(row)
    ids = log.user_ids[log.user[first]]
    names = [f"{ids[of]}/{at}" for of, at in zip(history, number, strict=True)]
    cut = replace(cut, user=row, session=row, user_ids=np.array(names, object))
    return cut, event, (number[row] == 0) | (index >= most - step)
