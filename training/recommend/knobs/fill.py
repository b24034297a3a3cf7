"""Fills lists that ended early with what is popular, while no category is there too often.

Items of one set of categories form a group.  Of a group only the most popular item that a user may
still have is looked at, and a group ends where one of its categories is full: so a list is filled,
or found to be impossible to fill, without a walk through the whole catalogue.
"""

from __future__ import annotations

from functools import cached_property

import numpy as np

from pipeline.array_types import Bools, Ints
from training.recommend.knobs.item_facts import ItemFacts

_OVER = np.iinfo(np.int64).max


class PopularByCategory:
    """Items that may be offered, by popularity.

    Args:
        order: (A,) numbers in the catalogue, most popular first.
        facts: of the catalogue.
        most: items of one category in a list.
    """

    def __init__(self, order: Ints, facts: ItemFacts, most: int) -> None:
        self._order, self._facts, self._most = order, facts, most

    @cached_property
    def _groups(self) -> tuple[Ints, list[Ints]]:
        """Categories of each group (S, G), -1 = none; its places in the order, ascending."""
        sets = np.sort(self._facts.categories[self._order], axis=1)
        categories, group = np.unique(sets, axis=0, return_inverse=True)
        group = group.reshape(-1)
        by_group = np.argsort(group, kind="stable")
        ends = np.cumsum(np.bincount(group, minlength=len(categories)))
        return categories, np.split(by_group, ends[:-1])

    def places(self, listed: Ints, barred: Ints, n: int) -> Ints:
        """Places in the order of up to ``n`` further items for a list.

        Args:
            listed: numbers of the items in it.
            barred: numbers of what it may not have.
            n: how many it lacks.
        """
        if not len(self._order):
            return np.empty(0, np.int64)
        categories, members = self._groups
        head = self._heads.copy()
        never = set(listed.tolist()) | set(barred.tolist())
        count = np.zeros(self._facts.n_categories + 1, np.int64)  # the last is of no category
        present = self._facts.categories[listed]
        np.add.at(count, present[present >= 0], 1)
        head[self._closed(categories, count >= self._most)] = _OVER
        following = np.zeros(len(members), np.int64)  # of each group, the member to come
        chosen: list[int] = []
        while len(chosen) < n:
            group = int(np.argmin(head))
            nearest = int(head[group])
            if nearest == _OVER:
                break  # no open group has a further item
            following[group] += 1
            is_over = following[group] == len(members[group])
            head[group] = _OVER if is_over else members[group][following[group]]
            if int(self._order[nearest]) in never:
                continue
            chosen.append(nearest)
            theirs = categories[group]
            theirs = theirs[theirs >= 0]
            count[theirs] += 1
            # What is full stays full, and most choices fill no category.
            for category in theirs[count[theirs] >= self._most].tolist():
                head[(categories == category).any(axis=1)] = _OVER
        return np.array(chosen, np.int64)

    @cached_property
    def _heads(self) -> Ints:
        """The most popular item of each group, (S,)."""
        return np.array([places[0] for places in self._groups[1]], np.int64)

    def _closed(self, categories: Ints, is_full: Bools) -> Bools:
        """Which groups may give no item, (S,)."""
        if not is_full.any():
            return np.zeros(len(categories), np.bool_)
        return np.asarray((is_full[categories] & (categories >= 0)).any(axis=1), np.bool_)
