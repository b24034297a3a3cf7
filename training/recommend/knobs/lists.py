"""Lists of users where a knob is on: candidates from the model, pools, drawn places, fill.

b users, K places, P places of a pool.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from pipeline.array_types import Floats32, Ints, Objects
from pipeline.hours import Hour
from pipeline.settings.learning import RecommendSettings
from training.data.reader import Histories, Requests
from training.models.parts.base import Model
from training.recommend.knobs.exploration import Draws, explored
from training.recommend.knobs.fill import PopularByCategory
from training.recommend.knobs.item_facts import ItemFacts
from training.recommend.knobs.pools import Pool, deeper, pool_of
from training.recommend.knobs.room import Room
from training.recommend.popularity import Popular
from training.recommend.rows import EXPLORATION, NOTHING, RankedItems
from training.recommend.top_k import Exclusions, best_items


@dataclass(frozen=True)
class Knobs:
    """What turns candidates into the lists of an hour."""

    rules: RecommendSettings
    facts: ItemFacts  # of the catalogue
    overall: Popular
    hour: Hour

    @cached_property
    def by_category(self) -> PopularByCategory | None:
        """What fills lists; None where no category is limited."""
        most = self.rules.max_per_category
        return None if most is None else PopularByCategory(self.overall.order, self.facts, most)

    def lists(self, pool: Pool, user_ids: Objects, source: int) -> RankedItems:
        """The lists of b users, before they are filled; ``source`` made the pool."""
        k = self.rules.k
        missing = ((0, 0), (0, max(0, k - pool.item.shape[1])))
        item = np.pad(pool.item, missing, constant_values=-1)
        score = np.pad(pool.score, missing, constant_values=-np.inf)
        sources = np.where(item[:, :k] >= 0, source, NOTHING).astype(np.int8)
        if not self.rules.exploration:
            return RankedItems(user_ids, item[:, :k], score[:, :k], sources)
        keys = [(str(self.hour), user) for user in user_ids]
        draws = Draws.of(self.rules.exploration_seed, keys, k, item.shape[1])
        chosen = explored(pool.length, k, self.rules.exploration, draws)
        position = np.maximum(chosen.position, 0)
        is_item = chosen.position >= 0
        return RankedItems(
            user_ids,
            np.where(is_item, np.take_along_axis(item, position, 1), -1),
            np.where(is_item, np.take_along_axis(score, position, 1), -np.inf).astype(np.float32),
            np.where(chosen.is_drawn, EXPLORATION, sources).astype(np.int8),
            chosen.propensity,
        )

    def popular_pools(self, item: Ints, count: Floats32) -> Pool:
        """Pools of new users: what is popular (b, N; -1 = empty), in its own order."""
        by_count_alone = self.rules.model_copy(update={"popularity": 0.0, "freshness": 0.0})
        score = np.where(item >= 0, count, -np.inf).astype(np.float32)
        nobody_us = np.zeros(len(item), np.int64)
        return pool_of(item, score, nobody_us, by_count_alone, self.facts, item.shape[1])

    def filled(self, block: RankedItems, short: Ints, excluded: Exclusions) -> RankedItems:
        """Give empty places of some rows to what is popular, within the limit of categories.

        ``excluded`` is of the rows ``short``, (r,).
        """
        if self.by_category is None:
            raise AssertionError("lists without a limit are filled by first_allowed")
        k = block.item.shape[1]
        item = np.full((len(short), k), -1, np.int64)
        events = np.zeros((len(short), k), np.int64)
        for row, user in enumerate(short.tolist()):
            listed = block.item[user][block.source[user] != NOTHING]
            barred = excluded.column[slice(*np.searchsorted(excluded.row, [row, row + 1]))]
            places = self.by_category.places(listed, barred, k - len(listed))
            item[row, : len(places)] = self.overall.order[places]
            events[row, : len(places)] = self.overall.count[places]
        return block.followed_by(short, item, events)


def model_pools(
    knobs: Knobs,
    model: Model,
    histories: Histories,
    requests: Requests,
    exclusions: Exclusions,
    n_items: int,
) -> Iterator[tuple[Ints, Pool]]:
    """Pools of blocks of requests, each request once: their rows (b,), and what they may get.

    Where the limit of a category leaves a list short, further items of the model are asked for
    until it is full, or cannot be, or the last to be looked at is reached (`pools.DEEPEST`).
    """
    rules, facts = knobs.rules, knobs.facts
    near = min(rules.n_candidates, n_items)
    offered = np.setdiff1d(np.arange(n_items), exclusions.columns)
    most = rules.max_per_category
    room = None if most is None else Room(facts, offered, most)
    rows, depth = np.arange(len(requests)), near
    while len(rows):
        further, short = deeper(depth, n_items), list[Ints]()
        theirs, barred = requests.take(rows), exclusions.of(rows)
        for block, item, score in best_items(model, histories, theirs, depth, barred, n_items):
            pool = pool_of(item, score, theirs.now_us[block], rules, facts, near)
            is_short = (pool.length < rules.k) & (room is not None and depth < further)
            if room is not None and is_short.any():
                own = barred.of(block)
                is_short &= room.is_left(pool.item, own.row, own.column)
            short.append(rows[block[is_short]])
            if not is_short.all():
                yield rows[block[~is_short]], pool.take(~is_short)
        rows = np.sort(np.concatenate(short))
        depth = further
