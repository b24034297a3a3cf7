"""Which recent events count for popularity, and how much; chosen by what came next (HRNN 4.5).

A rule with a half-life h weighs an event that is a hours old by 2 ** (-a / h); without one all
events of its window weigh alike.  Which rule is right differs by log: of news the last two hours
tell more than a day does.  V items, H hours.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pipeline.array_types import Floats, Floats32, Ints
from pipeline.hours import US_PER_HOUR
from training.data.reader import DataSet
from training.models.parts.decayed_popularity import HourCounts

# Of which the best is chosen: a window of hours, and a half-life in hours, 0 = none.
WINDOWS_H = (1, 2, 3, 6, 12, 24, 48, 72, 168)
HALF_LIVES_H = (1.0, 2.0, 4.0, 8.0, 24.0)
_SHARE = 0.1  # of the events, the latest, by which rules are compared
_MOST_HOURS = 48


@dataclass(frozen=True)
class PopularityRule:
    """``window_h``: hours before a request that count; ``half_life_h``: 0 = all alike."""

    window_h: int
    half_life_h: float = 0.0

    def counts(self, counts: HourCounts, hour: int, n_items: int) -> Floats32:
        """Weighed events (V,) of the hours before ``hour``."""
        recent = counts.within(hour - self.window_h, hour)
        weight: Floats = recent.events.astype(np.float64)
        if self.half_life_h:
            weight = weight * np.exp2(-(hour - 1 - recent.hour) / self.half_life_h)
        weighed = np.bincount(recent.item - 1, weights=weight, minlength=n_items)
        return weighed.astype(np.float32)


def rules_within(known_h: int) -> list[PopularityRule]:
    """All rules that look at most ``known_h`` hours back."""
    even = [PopularityRule(window_h) for window_h in WINDOWS_H if window_h <= known_h]
    decayed = [PopularityRule(known_h, half_life_h) for half_life_h in HALF_LIVES_H]
    return even + (decayed if known_h > 1 else [])


def chosen_rule(data: DataSet, tie: Floats32) -> PopularityRule:
    """The rule after which the latest events of a data set stand highest (mean reciprocal rank).

    Each event is ranked by the hours before its own; equal scores rank against it.  Of rules that
    are equally good the first is chosen.  Without an event to compare by it is a day.

    Args:
        data: what models learn from, with its hourly popularity.
        tie: (V,) below 1, which orders items of equal counts.
    """
    known_h = data.manifest.popularity_window_h
    hours, items = _latest_events(data, max(1, known_h // 2))
    rules = rules_within(max(1, known_h // 2))
    if not len(hours):
        return PopularityRule(min(24, known_h))
    counts = HourCounts.of_popularity(data.popularity)
    means = [_mean_reciprocal_rank(counts, rule, hours, items, tie) for rule in rules]
    return rules[int(np.argmax(means))]


def _latest_events(data: DataSet, most_h: int) -> tuple[Sequence[int], list[Ints]]:
    """The hours of the latest events that are targets, and the items (n,) of each, 0-based."""
    histories = data.histories
    hour = np.asarray(histories.time_us) // US_PER_HOUR
    item = np.asarray(histories.item).astype(np.int64) - 1
    if not len(hour):
        return [], []
    first = max(int(np.quantile(hour, 1 - _SHARE)), data.manifest.as_of.index - most_h)
    late = hour >= first
    distinct = np.unique(hour[late])[-_MOST_HOURS:]
    return distinct.tolist(), [item[hour == each] for each in distinct]


def _mean_reciprocal_rank(
    counts: HourCounts,
    rule: PopularityRule,
    hours: Sequence[int],
    items: Sequence[Ints],
    tie: Floats32,
) -> float:
    reciprocal = []
    for hour, targets in zip(hours, items, strict=True):
        scores = rule.counts(counts, hour, len(tie)) + tie
        ascending = np.sort(scores)
        at_least = len(scores) - np.searchsorted(ascending, scores[targets], side="left")
        reciprocal.append(1.0 / at_least)
    return float(np.concatenate(reciprocal).mean())
