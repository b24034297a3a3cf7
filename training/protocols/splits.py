"""What is learned from, and what is asked.  N events, U users, S sessions.

Nothing that a tested user did after a target is ever told: a request knows the user's events before
it, and the learned part holds no event that is a target.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pipeline.array_types import Bools, Ints
from pipeline.hours import DAY_H, US_PER_HOUR
from training.protocols.events import Log, group_sizes, places_in, starts_of
from training.protocols.split_rules import (
    ColdItems,
    FlaggedQueries,
    HalfGiven,
    LastDays,
    LastSessions,
    LeaveLastOut,
    RandomUsers,
    Split,
    TimeShare,
)

_US_PER_DAY = DAY_H * US_PER_HOUR


@dataclass(frozen=True)
class Halves:
    """What is learned from, and histories whose last events are targets."""

    learned: Log
    tested: Log  # whole histories
    is_target: Bools  # (events of tested,)


def split_log(log: Log, split: Split) -> Halves:
    """Split a log that is not empty; either half may be."""
    match split:
        case LastDays():
            begins_us = int(log.time_us.max()) - split.days * _US_PER_DAY
            stops_us = begins_us - split.validation_days * _US_PER_DAY
            return _by_ends(log, session_ends(log) < stops_us, session_ends(log) >= begins_us)
        case TimeShare():
            begins_us = int(np.quantile(log.time_us, split.share, method="lower"))
            late = session_ends(log) > begins_us
            halves = _by_ends(log, ~late, late)
            return halves if split.new_users else _of_learned_users(halves)
        case RandomUsers():
            return _random_users(log, split)
        case LastSessions():
            index, count = session_places(log)
            late = index >= count - np.maximum(1, np.rint(count * split.share))
            # A user with one session has nothing to learn from, and is not asked.
            return _by_ends(log, ~late, late & (count > 1))
        case LeaveLastOut():
            index, length = places_in(log.user)
            last = index == length - 1
            return _by_ends(log, ~last, last & (length > 1))
        case HalfGiven():
            return _half_given(log, split)
        case ColdItems():
            raise ValueError("items are held out by training.protocols.cold")
        case FlaggedQueries():
            raise ValueError("queries are parted by training.protocols.search")


def session_ends(log: Log) -> Ints:
    """When the session of each event ends, (N,)."""
    first, lengths = group_sizes(log.session)
    return np.repeat(log.time_us[first + lengths - 1], lengths)


def session_places(log: Log) -> tuple[Ints, Ints]:
    """Place of each event's session among its user's, 0 first, and their number, both (N,)."""
    number = np.cumsum(starts_of(log.session)) - 1
    first, lengths = group_sizes(log.user)
    index = number - np.repeat(number[first], lengths)
    counts = number[first + lengths - 1] - number[first] + 1
    return index, np.repeat(counts, lengths)


def _by_ends(log: Log, is_learned: Bools, is_target: Bools) -> Halves:
    """Learn from some events, and ask others: the last of the users who have any."""
    has_target = np.zeros(len(log.user_ids), np.bool_)
    has_target[log.user[is_target]] = True
    rows = has_target[log.user]
    return Halves(log.take(is_learned), log.take(rows), is_target[rows])


def _of_learned_users(halves: Halves) -> Halves:
    tested = halves.tested
    is_learned = np.zeros(len(tested.user_ids), np.bool_)
    is_learned[halves.learned.user] = True
    rows = is_learned[tested.user]
    return Halves(halves.learned, tested.take(rows), halves.is_target[rows])


def _random_users(log: Log, split: RandomUsers) -> Halves:
    drawn = _drawn_users(log, split.seed)
    n_learned = round(split.learned * len(drawn))
    # The rest is rounded together, so that no user is lost where all are used.
    n_others = round((1 - split.learned - split.tested) * len(drawn))
    learned = np.isin(log.user, drawn[:n_learned])
    tested = log.take(np.isin(log.user, drawn[n_learned + n_others :]))
    return Halves(log.take(learned), tested, np.ones(len(tested), np.bool_))


def _half_given(log: Log, split: HalfGiven) -> Halves:
    drawn = _drawn_users(log, split.seed)
    is_tested = np.isin(log.user, drawn[: min(split.users, len(drawn) // 2)])
    tested = log.take(is_tested)
    index, length = places_in(tested.user)
    return Halves(log.take(~is_tested), tested, index >= (length + 1) // 2)


def _drawn_users(log: Log, seed: int) -> Ints:
    """Rows of the users with events, in an order that depends on the seed and their ids alone."""
    users = np.unique(log.user)
    users = users[np.argsort(log.user_ids[users].astype(str), kind="stable")]
    return np.random.default_rng(seed).permutation(users)
