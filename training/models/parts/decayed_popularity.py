"""Item popularity that fades: the exposure rate q(item | t) of HRNN eq. 5.

    C_t(j)   = sum over hours t - window <= s < t of events(s, j) * 2 ** (-(t - 1 - s) / half_life)
    q(j | t) = (C_t(j) + smoothing) / (sum over items of C_t + smoothing * V)

The hour t itself never counts, so a target cannot see its own hour.  Nothing but hourly counts goes
in, and none that lies further back than the window: training and serving, an old model and a new
one, know the same q of an hour.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pipeline.array_types import Bools, Floats, Floats32, Ints, Ints32
from training.data.reader import Popularity

_MAX_CELLS = 64_000_000  # of one hour x item table: 256 MB


@dataclass(frozen=True)
class HourCounts:
    """Events by item and hour, sorted by hour; absent means none."""

    item: Ints  # (P,) 1-based
    hour: Ints  # (P,) Hour.index
    events: Ints  # (P,)

    @classmethod
    def none(cls) -> HourCounts:
        """No counts at all."""
        return cls(*(np.empty(0, np.int64) for _ in range(3)))

    @classmethod
    def of_popularity(cls, popularity: Popularity) -> HourCounts:
        """The same counts, sorted."""
        order = np.argsort(popularity.hour_index, kind="stable")
        return cls(
            popularity.item[order].astype(np.int64),
            popularity.hour_index[order].astype(np.int64),
            popularity.events[order].astype(np.int64),
        )

    def within(self, first: int, stop: int) -> HourCounts:
        """Only the hours [first, stop)."""
        window = slice(*np.searchsorted(self.hour, (first, stop)).tolist())
        return HourCounts(self.item[window], self.hour[window], self.events[window])

    def weighed(self, hour: int, window_h: int, half_life_h: float, n_items: int) -> Floats:
        """Events (V,) of the ``window_h`` hours before an hour, C_t; half-life 0: unweighed."""
        recent = self.within(hour - window_h, hour)
        weight: Floats = recent.events.astype(np.float64)
        if half_life_h:
            weight = weight * np.exp2(-(hour - 1 - recent.hour) / half_life_h)
        weighed = np.bincount(recent.item - 1, weights=weight, minlength=n_items)
        return weighed.astype(np.float64, copy=False)  # so it is; the stubs say integers


@dataclass(frozen=True)
class TrendRule:
    """How counts become q; ``window_h``: hours before t that count."""

    half_life_h: float
    smoothing: float
    window_h: int


def log_q_at(counts: HourCounts, hour: int, n_items: int, rule: TrendRule) -> Floats32:
    """log q of every item at an hour, (V,)."""
    smoothed = counts.weighed(hour, rule.window_h, rule.half_life_h, n_items) + rule.smoothing
    log_q: Floats32 = np.log(smoothed / smoothed.sum()).astype(np.float32)
    return log_q


def age_h_at(counts: HourCounts, hour: int, n_items: int, window_h: int) -> Floats32:
    """Hours since the first event of every item within the window before an hour, (V,).

    An item without one is as old as the window.
    """
    recent = counts.within(hour - window_h, hour)
    first = np.full(n_items, hour - window_h, np.int64)
    # Of several entries of an item the last one assigned stays, which is the earliest.
    first[recent.item[::-1] - 1] = recent.hour[::-1]
    return (hour - first).astype(np.float32)


@dataclass(frozen=True)
class TrendTable:
    """log q at the hours of many targets, looked up by row."""

    log_q: Floats32  # (H, V)
    row: Ints32  # (N,) the row of each given hour, -1 where none was wanted

    @classmethod
    def at(
        cls, counts: HourCounts, hours: Ints, wanted: Bools, n_items: int, rule: TrendRule
    ) -> TrendTable:
        """Tabulate the distinct ones of ``hours`` (N,) where they are ``wanted`` (N,).

        Where that many hours and items would not fit, neighbouring hours share the row of the
        earliest of them, which knows less but never more than it may.
        """
        step = 1
        distinct, row_of_hour = np.unique(hours[wanted], return_inverse=True)
        while len(distinct) * n_items > _MAX_CELLS and len(distinct) > 1:
            step *= 2
            distinct, row_of_hour = np.unique(hours[wanted] // step * step, return_inverse=True)
        row = np.full(len(hours), -1, np.int32)
        row[wanted] = row_of_hour
        table = np.empty((len(distinct), n_items), np.float32)
        for number, hour in enumerate(distinct.tolist()):
            table[number] = log_q_at(counts, hour, n_items, rule)
        return cls(table, row)

    def of(self, event: Ints, column: Ints | slice) -> Floats32:
        """log q at events' hours of the items column + 1; the two are broadcast together."""
        if isinstance(column, slice) or event.ndim == 1:
            return self.log_q[self.row[event], column]
        # A batch has few hours: its draws are looked up once for each of them.
        rows, of_event = np.unique(self.row[event[:, 0]], return_inverse=True)
        looked_up: Floats32 = self.log_q[rows[:, None], column][of_event]
        return looked_up
