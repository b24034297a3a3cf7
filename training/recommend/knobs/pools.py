"""Knobs between a model's scores and the lists that are served; each is off by default.

Of each user the N best items of the model are *candidates*, in the model's order.  Then:

1. ``popularity`` and ``freshness`` order the candidates anew, best first, by

       score / sd + popularity * ln(1 + recent events) + freshness * 2^(-age / half-life)

   where sd is the standard deviation of the user's own candidates' scores (1 where they are all
   alike), so that a weight means the same for every model.  Equal ones stay in the model's order.
2. ``max_per_category`` goes through them and drops an item where one of its categories stands
   there n times already.  Where fewer than K are left, the model's further items follow in its
   order, until K are there, down to its 3,200th: lists that are short then end short here.
3. What is left is the *pool*; the list is its first K.  ``exploration`` draws from the pool
   (`training.recommend.knobs.exploration`): any K items of a pool hold the limit.

Example, n = 1, K = 2: candidates a (news) b (news) c (sport) d (no category): the pool is a c d,
the list a c.

b users, L candidates, P places of a pool, M items, C categories.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pipeline.array_types import Bools, Floats32, Ints
from pipeline.hours import parse_duration_h
from pipeline.settings.learning import RecommendSettings
from training.recommend.knobs.item_facts import ItemFacts, freshness

#: Items of the model that are looked at for a list that the limit leaves short.  Each costs a step,
#: of which a large catalogue has too many for a list that may never be full.
DEEPEST = 3_200
_DEEPER = 4  # times as many items, where a list is short
_CELLS_AT_ONCE = 1 << 24  # counts of users' categories in memory together


@dataclass(frozen=True)
class Pool:
    """What b users may be shown, best first; rows end in empty places."""

    item: Ints  # (b, P) numbers in the catalogue; -1 = empty
    score: Floats32  # (b, P) the model's own

    @property
    def length(self) -> Ints:
        """Items of each row, (b,)."""
        return np.asarray((self.item >= 0).sum(axis=1), np.int64)

    def take(self, rows: Ints | Bools) -> Pool:
        """Of some users."""
        return Pool(self.item[rows], self.score[rows])


def deeper(depth: int, n_items: int) -> int:
    """How many of a model's items to look at where ``depth`` left a list short, or ``depth`` again.

    It depends on these numbers alone, so an hour that is made again has the same lists.
    """
    return max(depth, min(depth * _DEEPER, DEEPEST, n_items))


def pool_of(
    item: Ints,
    score: Floats32,
    now_us: Ints,
    rules: RecommendSettings,
    facts: ItemFacts,
    n_candidates: int,
) -> Pool:
    """The pools of some users.

    Args:
        item: (b, L) the model's items, best first.
        score: (b, L) minus infinity = there is no item.
        now_us: (b,) of the requests.
        rules: the knobs, and K.
        facts: of the catalogue.
        n_candidates: N; what lies behind them only fills lists that would be short.
    """
    item = np.where(np.isfinite(score), item, -1)
    if rules.popularity or rules.freshness:
        near = slice(0, n_candidates)
        order = new_order(item[:, near], score[:, near], now_us, rules, facts)
        item, score = item.copy(), score.copy()
        item[:, near] = np.take_along_axis(item[:, near], order, 1)
        score[:, near] = np.take_along_axis(score[:, near], order, 1)
    stays = item >= 0
    if rules.max_per_category is not None:
        stays = within_limit(item, facts, rules.max_per_category)
    # Of what lies further down as much as completes the list.
    stays[:, n_candidates:] &= np.cumsum(stays, axis=1)[:, n_candidates:] <= rules.k
    return _closed_up(item, score, stays)


def new_order(
    item: Ints, score: Floats32, now_us: Ints, rules: RecommendSettings, facts: ItemFacts
) -> Ints:
    """Places of the candidates (b, N) in the order of step 1; empty ones (item -1) come last."""
    exists = item >= 0
    wide = np.where(exists, score, 0.0).astype(np.float64)
    n = np.maximum(exists.sum(axis=1), 1)[:, None]
    mean = wide.sum(axis=1, keepdims=True) / n
    spread = np.sqrt((np.where(exists, wide - mean, 0.0) ** 2).sum(axis=1, keepdims=True) / n)
    value = wide / np.where(spread > 0, spread, 1.0)
    value += rules.popularity * facts.log_events[item]
    if rules.freshness:
        half_life_h = parse_duration_h(rules.freshness_half_life)
        fresh = freshness(facts.born_us[item], now_us[:, None], half_life_h)
        value += rules.freshness * fresh
    return np.argsort(np.where(exists, -value, np.inf), axis=1, kind="stable")


def within_limit(item: Ints, facts: ItemFacts, most: int) -> Bools:
    """Which items (b, L; -1 = empty) stay where each category may stand ``most`` times, in order.

    An item counts in each of its categories; one without any always stays.
    """
    stays = np.zeros(item.shape, np.bool_)
    size = max(1, _CELLS_AT_ONCE // (facts.n_categories + 1))
    for first in range(0, len(item), size):
        rows = slice(first, first + size)
        block = item[rows]
        # A last column for "no category", which is never full.
        count = np.zeros((len(block), facts.n_categories + 1), np.int32)
        user = np.arange(len(block))[:, None]
        for column in range(block.shape[1]):
            theirs = facts.categories[block[:, column]]  # (b, G)
            is_full = (count[user, theirs] >= most) & (theirs >= 0)
            is_in = (block[:, column] >= 0) & ~is_full.any(axis=1)
            count[user[is_in], theirs[is_in]] += 1
            stays[rows][:, column] = is_in
    return stays


def _closed_up(item: Ints, score: Floats32, stays: Bools) -> Pool:
    """Rows without their gaps; (b, L) in, as wide as the longest row out."""
    width = int(stays.sum(axis=1).max(initial=0))
    order = np.argsort(~stays, axis=1, kind="stable")[:, :width]
    is_item = np.take_along_axis(stays, order, 1)
    items = np.where(is_item, np.take_along_axis(item, order, 1), -1)
    scores = np.where(is_item, np.take_along_axis(score, order, 1), -np.inf)
    return Pool(items, scores.astype(np.float32))
