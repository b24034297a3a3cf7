"""What a knob costs: the same targets answered by the same model, under several settings.

The model is asked once for each target, as in `evaluate`.  Of its scores each variant of the knobs
makes the list that would be served for that request: with the popularity of the hours before it,
and the ages at its time.  What lists are then is measured as for the leaderboard.  Where places are
drawn, accuracy is that of the mean over all draws, which the propensities tell: luck has no part in
it.  What lists show is of the draws that would be served.

Equal scores stand in the order in which they are served, by the item's place in the vocabulary:
`evaluate` puts the target behind all others of its score.

n targets, V items, K places, b targets of a block.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa

from pipeline.array_types import Bools, Floats, Floats32, Ints, Ints32, Objects
from pipeline.hours import US_PER_HOUR, Hour, parse_duration_h
from pipeline.settings.learning import EvaluationSettings, RecommendSettings
from training.data.reader import DataSet, Popularity
from training.evaluation.lists import ListFigures, ShownLists
from training.evaluation.slices import FirstSeen
from training.metrics.bootstrap import Interval, intervals
from training.metrics.diversity import Audiences
from training.metrics.metrics import METRICS, Metric, target_values
from training.metrics.ranking import Scorer, find_targets, rank_targets
from training.recommend.knobs.exploration import Draws, chances_of, explored
from training.recommend.knobs.item_facts import ItemFacts, item_facts
from training.recommend.knobs.pools import Pool, deeper, pool_of
from training.recommend.knobs.room import Room
from training.recommend.top_k import top_k


@dataclass(frozen=True)
class Variant:
    """The knobs, and what tables call them."""

    name: str
    rules: RecommendSettings


@dataclass(frozen=True)
class Cost:
    """What came of one variant."""

    name: str
    figures: dict[Metric, Interval]  # by metric, at K
    difference: dict[Metric, Interval]  # paired: this variant minus the first one
    lists: ListFigures
    short_lists: float  # share of lists with fewer than K items


def costs(
    model: Scorer,
    item_ids: Objects,
    learned: DataSet,
    test_set: DataSet,
    metadata: pa.Table,
    rule: EvaluationSettings,
    variants: Sequence[Variant],
    report: Callable[[int, int], None],
) -> list[Cost]:
    """Rank the targets of a test set under each variant, the first of which the others face.

    Args:
        model: a fitted system.
        item_ids: (W,) its vocabulary.
        learned: the data set it learned from.
        test_set: what follows; its popularity reaches back as far as `dataset.popularity_window`.
        metadata: `training.recommend.knobs.item_facts.FACT_COLUMNS` of the table `items`.
        rule: targets, K, and intervals.
        variants: lists have the K of ``rule``.
        report: called with (targets done, targets in all) after each block.

    Raises:
        UsageError: a variant asks for categories that no item has.
        HourglassError: a score is not finite.
    """
    audiences = Audiences(learned.histories, learned.item_ids.size)
    watched = [
        _Watched(variant, learned, test_set, metadata, rule, audiences) for variant in variants
    ]

    def look(rows: slice, scores: Floats32) -> None:
        for each in watched:
            each.look(rows, scores)

    ranks = rank_targets(
        model, test_set, rule, model_id="the model", item_ids=item_ids, progress=report, look=look
    )
    first = watched[0].values
    columns = np.concatenate(
        [*(each.values for each in watched), *(each.values - first for each in watched)], axis=1
    )  # (n, 2 x variants x metrics)
    estimates = intervals(
        columns,
        ranks.user,
        samples=rule.bootstrap_samples,
        confidence=rule.confidence,
        seed=0,
    )
    named = [
        dict(zip(METRICS, estimates[at : at + len(METRICS)], strict=True))
        for at in range(0, len(estimates), len(METRICS))
    ]
    n = len(watched)
    return [
        Cost(each.name, figures, difference, each.shown.figures(), float(each.is_short.mean()))
        for each, figures, difference in zip(watched, named[:n], named[n:], strict=True)
    ]


class _Watched:
    """The lists of one variant."""

    def __init__(
        self,
        variant: Variant,
        learned: DataSet,
        test_set: DataSet,
        metadata: pa.Table,
        rule: EvaluationSettings,
        audiences: Audiences,
    ) -> None:
        self.name, self._rules = variant.name, variant.rules.model_copy(update={"k": rule.k})
        targets = find_targets(test_set.histories, rule)
        self._item, self._now_us = targets.item, targets.requests.now_us
        self._users = test_set.histories.user_ids[targets.requests.user]
        first_seen = FirstSeen.of(learned)
        self.shown = ShownLists(
            test_set,
            rule,
            first_seen.new_items(test_set),
            audiences,
        )
        self.values = np.zeros((len(self._item), len(METRICS)))
        self.is_short = np.zeros(len(self._item), np.bool_)
        n_items = len(test_set.item_ids)
        # With their events: to a request that comes no later than its first, an item has no age.
        first_us = first_seen.with_events_of(test_set).astype(np.float64)
        first_us[first_us >= np.iinfo(np.int64).max] = np.nan
        none = np.zeros(n_items, np.int64)
        self._facts = item_facts(self._rules, metadata, test_set.item_ids, none, first_us)
        # Of all blocks and hours; what a large catalogue has of it takes a second to gather.
        most = self._rules.max_per_category
        self._room = None if most is None else Room(self._facts, np.arange(n_items), most)
        self._popularity, self._by_hour = test_set.popularity, dict[int, Floats]()

    def look(self, rows: slice, scores: Floats32) -> None:
        """Make the lists of some targets; their scores are (b, V)."""
        hour = self._now_us[rows] // US_PER_HOUR
        item = np.full((len(scores), self._rules.k), -1, np.int64)
        for index in np.unique(hour).tolist():
            (of_hour,) = np.nonzero(hour == index)
            row = rows.start + of_hour
            item[of_hour], self.values[row] = self._answers(index, row, scores[of_hour])
        self.is_short[rows] = (item < 0).any(axis=1)
        self.shown.look(rows, as_scores(item, scores.shape[1]))

    def _answers(self, hour: int, row: Ints, scores: Floats32) -> tuple[Ints, Floats]:
        """Of some targets of one hour the lists (b, K), -1 = no item, and the metrics' values."""
        rules = self._rules
        facts = replace(self._facts, log_events=self._log_events(hour))
        pool = pool_of_scores(scores, self._now_us[row], rules, facts, self._room)
        missing = max(0, rules.k - pool.item.shape[1])
        item = np.pad(pool.item, ((0, 0), (0, missing)), constant_values=-1)
        values = expected_values(
            position_of(item, self._item[row]), pool.length, rules.k, rules.exploration
        )
        if not rules.exploration:
            return item[:, : rules.k], values
        keys = [(str(Hour(hour)), user) for user in self._users[row]]
        draws = Draws.of(rules.exploration_seed, keys, rules.k, item.shape[1])
        position = explored(pool.length, rules.k, rules.exploration, draws).position
        drawn = np.take_along_axis(item, np.maximum(position, 0), 1)
        return np.where(position >= 0, drawn, -1), values

    def _log_events(self, hour: int) -> Floats:
        if not self._rules.popularity:
            return self._facts.log_events
        if hour not in self._by_hour:
            window_h = parse_duration_h(self._rules.popular_hours)
            n_items = len(self._facts.log_events)
            events = recent_events(self._popularity, hour - window_h, hour, n_items)
            self._by_hour[hour] = np.log1p(events)
        return self._by_hour[hour]


def recent_events(popularity: Popularity, first: int, stop: int, n_items: int) -> Ints:
    """Events of each item in the hours ``first`` to before ``stop``, (V,)."""
    within = (popularity.hour_index >= first) & (popularity.hour_index < stop)
    sums = np.bincount(
        popularity.item[within] - 1, weights=popularity.events[within], minlength=n_items
    )
    return sums.astype(np.int64)


def pool_of_scores(
    scores: Floats32, now_us: Ints, rules: RecommendSettings, facts: ItemFacts, room: Room | None
) -> Pool:
    """The pools of requests whose scores of all items are there, (b, V).

    ``room`` is of all items, under the limit of ``rules``; None: they have no limit.
    """
    import torch

    n_items = scores.shape[1]
    near = min(rules.n_candidates, n_items)
    widest = min(n_items, near + rules.k)  # `pool_of` cuts what follows a full list
    item = np.full((len(scores), widest), -1, np.int64)
    score = np.full((len(scores), widest), -np.inf, np.float32)
    rows, depth, width = np.arange(len(scores)), near, 0
    while len(rows):
        further = deeper(depth, n_items)
        best, best_scores = top_k(torch.from_numpy(scores[rows]), depth)
        pool = pool_of(best.numpy(), best_scores.numpy(), now_us[rows], rules, facts, near)
        width = max(width, pool.item.shape[1])
        item[rows, : pool.item.shape[1]] = pool.item
        score[rows, : pool.item.shape[1]] = pool.score
        is_short: Bools = (pool.length < rules.k) & (room is not None and depth < further)
        if room is not None and is_short.any():
            row, column = np.nonzero(~np.isfinite(scores[rows[is_short]]))
            is_short[is_short] = room.is_left(pool.item[is_short], row, column)
        rows, depth = rows[is_short], further
    return Pool(item[:, :width], score[:, :width])


def position_of(item: Ints, target: Ints32) -> Ints:
    """Where each target (b,), 1-based, stands in its pool (b, P) of 0-based items; -1 = not."""
    is_target = item == target[:, None].astype(np.int64) - 1
    return np.where(is_target.any(axis=1), is_target.argmax(axis=1), -1)


def expected_values(position: Ints, length: Ints, k: int, share: float) -> Floats:
    """What each target adds to each metric, (b, metrics), in the mean over all draws.

    Args:
        position: (b,) of the target in its pool; -1 = not there.
        length: (b,) of the pool.
        k: places of the list.
        share: of places that are drawn; 0: the list is the first ``k`` of the pool.
    """
    ranks = np.arange(1, k + 1, dtype=np.int32)
    gains = np.stack([target_values(metric, ranks, k) for metric in METRICS], axis=1)
    values = np.zeros((len(position), len(METRICS)))
    for n in np.unique(length[length > 0]).tolist():
        n_places = min(n, k)
        chances = chances_of(share, n_places, n)
        in_all = gains[:n_places].sum(axis=0)
        (listed,) = np.nonzero((length == n) & (position >= 0) & (position < n_places))
        own = gains[position[listed]]
        values[listed] = chances.own * own + chances.moved * (in_all - own)
        values[(length == n) & (position >= n_places)] = chances.below * in_all
    return values


def as_scores(item: Ints, n_items: int) -> Floats32:
    """Scores (b, V) that show exactly the items of lists (b, K), in their order."""
    scores = np.full((len(item), n_items), -np.inf, np.float32)
    row, column = np.nonzero(item >= 0)
    scores[row, item[row, column]] = item.shape[1] - column
    return scores
