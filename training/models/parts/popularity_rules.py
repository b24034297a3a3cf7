"""Which recent events count for popularity, and how much; chosen by what came next (HRNN 4.5).

A rule with a half-life h weighs an event that is a hours old by 2 ** (-a / h), so that in the end
it weighs less than a tie; without one all events of its window weigh alike.  Which rule is right
differs by log: of news the last two hours tell more than a day does.  V items, H hours.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pipeline.array_types import Floats32, Ints
from pipeline.hours import US_PER_HOUR
from training.data.reader import DataSet
from training.models.parts.base import share
from training.models.parts.decayed_popularity import HourCounts

# Of which the best is chosen: a window of hours, and a half-life in hours, 0 = none.
WINDOWS_H = (1, 2, 3, 6, 12, 24, 48, 72, 168)
HALF_LIVES_H = (1.0, 2.0, 4.0, 8.0, 24.0)
_SHARE = 0.1  # of the events, the latest, by which rules are compared
_MOST_HOURS = 48
# Below one event, so that window popularity only orders items that recent counts leave equal.
_TIE_WEIGHT = np.float32(0.5)


@dataclass(frozen=True)
class PopularityRule:
    """``window_h``: hours before a request that count; ``half_life_h``: 0 = all alike."""

    window_h: int
    half_life_h: float = 0.0

    def counts(self, counts: HourCounts, hour: int, n_items: int) -> Floats32:
        """Weighed events (V,) of the hours before ``hour``."""
        return counts.weighed(hour, self.window_h, self.half_life_h, n_items).astype(np.float32)


def rules_within(known_h: int) -> list[PopularityRule]:
    """All rules that look at most ``known_h`` hours back."""
    even = [PopularityRule(window_h) for window_h in WINDOWS_H if window_h <= known_h]
    decayed = [PopularityRule(known_h, half_life_h) for half_life_h in HALF_LIVES_H]
    return even + (decayed if known_h > 1 else [])


def chosen_rule(data: DataSet) -> PopularityRule:
    """The rule after which the latest events of a data set stand highest (mean reciprocal rank).

    Each event is ranked by the hours before its own; of items with equal counts those count for
    more that had more events before the first of these hours, and equal scores rank against it.
    Of rules that are equally good the first is chosen.  Without an event to compare by it is a day.
    """
    known_h = data.manifest.popularity_window_h
    rules = rules_within(max(1, known_h // 2))
    histories, n_items = data.histories, len(data.item_ids)
    hour = np.asarray(histories.time_us) // US_PER_HOUR
    item = np.asarray(histories.item).astype(np.int64) - 1
    if not len(hour):
        return PopularityRule(min(24, known_h))
    first = max(int(np.quantile(hour, 1 - _SHARE)), data.manifest.as_of.index - known_h // 2)
    hours = np.unique(hour[hour >= first])[-_MOST_HOURS:].tolist()
    if not hours:
        return PopularityRule(min(24, known_h))
    tie = tie_of(np.bincount(item[hour < hours[0]], minlength=n_items))
    items = [item[hour == each] for each in hours]
    counts = HourCounts.of_popularity(data.popularity)
    means = [_mean_reciprocal_rank(counts, rule, hours, items, tie) for rule in rules]
    return rules[int(np.argmax(means))]


def tie_of(events: Ints) -> Floats32:
    """Half of each item's share of all events, (V,): less than an event, so it only breaks ties."""
    return _TIE_WEIGHT * share(events)


def _mean_reciprocal_rank(
    counts: HourCounts,
    rule: PopularityRule,
    hours: Sequence[int],
    items: Sequence[Ints],
    tie: Floats32,
) -> float:
    """Only the items with events are sorted anew at each hour; the others stand by their tie."""
    by_tie = np.sort(tie)
    reciprocal = []
    for hour, targets in zip(hours, items, strict=True):
        weighed = rule.counts(counts, hour, len(tie))
        recent = np.flatnonzero(weighed)
        scores = weighed + tie
        of_targets = scores[targets]
        at_least = _at_least(by_tie, of_targets) - _at_least(np.sort(tie[recent]), of_targets)
        at_least += _at_least(np.sort(scores[recent]), of_targets)
        reciprocal.append(1.0 / at_least)
    return float(np.concatenate(reciprocal).mean())


def _at_least(ascending: Floats32, of_targets: Floats32) -> Ints:
    """How many of some scores are as high as each target's, (n,)."""
    return len(ascending) - np.searchsorted(ascending, of_targets, side="left")
