"""Item popularity that fades: the exposure rate q(item | t) of HRNN eq. 5.

    C_t(j)   = sum over hours s < t of events(s, j) * 2 ** (-(t - 1 - s) / half_life)
    q(j | t) = (C_t(j) + smoothing) / (sum over items of C_t + smoothing * V)

The hour t itself never counts, so a target cannot see its own hour.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from training.reader import Histories, Popularity
from training.systems.base import US_PER_HOUR

_MAX_CELLS = 64_000_000  # of one hour x item table: 256 MB

Ints = NDArray[np.int64]


@dataclass(frozen=True)
class HourCounts:
    """Events by item and hour, sorted by hour; absent means none."""

    item: Ints  # (P,) 1-based
    hour: Ints  # (P,) Hour.index
    events: Ints  # (P,)

    @classmethod
    def of_popularity(cls, popularity: Popularity) -> HourCounts:
        """The same counts, sorted."""
        return cls._sorted(popularity.item, popularity.hour_index, popularity.events)

    @classmethod
    def of_events(cls, histories: Histories) -> HourCounts:
        """Count the events of all users, context included."""
        hour = histories.time_us // US_PER_HOUR
        beyond = int(np.max(histories.item, initial=0)) + 1
        # One number a pair sorts ten times as fast as two.
        distinct, events = np.unique(hour * beyond + histories.item, return_counts=True)
        return cls._sorted(distinct % beyond, distinct // beyond, events)

    @classmethod
    def _sorted(cls, item: NDArray[np.integer], hour: Ints, events: Ints) -> HourCounts:
        order = np.argsort(hour, kind="stable")
        return cls(item[order].astype(np.int64), hour[order], events[order].astype(np.int64))

    def renewed(self, newer: HourCounts) -> HourCounts:
        """The newer counts, and these of the hours before the first of them."""
        if not len(newer.hour):
            return self
        old = slice(0, int(np.searchsorted(self.hour, newer.hour[0])))
        return HourCounts(
            np.concatenate([self.item[old], newer.item]),
            np.concatenate([self.hour[old], newer.hour]),
            np.concatenate([self.events[old], newer.events]),
        )

    def before(self, hour: int) -> HourCounts:
        """Only the hours before that one."""
        kept = slice(0, int(np.searchsorted(self.hour, hour)))
        return HourCounts(self.item[kept], self.hour[kept], self.events[kept])


@dataclass(frozen=True)
class TrendRule:
    """How counts become q."""

    half_life_h: float
    smoothing: float


def log_q_at(counts: HourCounts, hours: Ints, n_items: int, rule: TrendRule) -> NDArray[np.float32]:
    """log q of every item at each of the hours, which must ascend: (H, V)."""
    table = np.empty((len(hours), n_items), np.float32)
    faded = np.zeros(n_items)
    before = int(hours[0]) if len(hours) else 0
    used = 0
    for row, hour in enumerate(hours.tolist()):
        faded *= 2.0 ** (-(hour - before) / rule.half_life_h)
        before = hour
        stop = int(np.searchsorted(counts.hour, hour))
        new = slice(used, stop)
        weight = counts.events[new] * np.exp2(-(hour - 1 - counts.hour[new]) / rule.half_life_h)
        faded += np.bincount(counts.item[new] - 1, weights=weight, minlength=n_items)
        used = stop
        smoothed = faded + rule.smoothing
        table[row] = np.log(smoothed / smoothed.sum())
    return table


@dataclass(frozen=True)
class TrendTable:
    """log q at the hours of many targets, looked up by row."""

    log_q: NDArray[np.float32]  # (H, V)
    row: NDArray[np.int32]  # (N,) the row of each given hour, -1 where none was wanted

    @classmethod
    def at(
        cls,
        counts: HourCounts,
        hours: Ints,
        wanted: NDArray[np.bool_],
        n_items: int,
        rule: TrendRule,
    ) -> TrendTable:
        """Tabulate the distinct ones of ``hours`` (N,) where they are ``wanted`` (N,).

        Where that many hours and items would not fit, neighbouring hours share the row of the
        earliest of them, which knows less but never more than it may.
        """
        step = 1
        distinct, found = np.unique(hours[wanted], return_inverse=True)
        while len(distinct) * n_items > _MAX_CELLS and len(distinct) > 1:
            step *= 2
            distinct, found = np.unique(hours[wanted] // step * step, return_inverse=True)
        row = np.full(len(hours), -1, np.int32)
        row[wanted] = found
        return cls(log_q_at(counts, distinct, n_items, rule), row)

    def of(self, event: Ints, column: Ints | slice) -> NDArray[np.float32]:
        """log q at events' hours of the items column + 1; the two are broadcast together."""
        if isinstance(column, slice) or event.ndim == 1:
            return self.log_q[self.row[event], column]
        # A batch has few hours: its draws are looked up once for each of them.
        rows, of_event = np.unique(self.row[event[:, 0]], return_inverse=True)
        looked_up: NDArray[np.float32] = self.log_q[rows[:, None], column][of_event]
        return looked_up
