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
        never = set(listed.tolist()) | set(barred.tolist())
        count = np.zeros(self._facts.n_categories + 1, np.int64)  # the last is of no category
        present = self._facts.categories[listed]
        np.add.at(count, present[present >= 0], 1)
        is_open = self._open(categories, count)
        following = np.zeros(len(members), np.int64)  # of each group, the member to come
        head = np.array([places[0] for places in members], np.int64)
        chosen: list[int] = []
        while len(chosen) < n and is_open.any():
            open_head = np.where(is_open, head, _OVER)
            group = int(np.argmin(open_head))
            nearest = int(open_head[group])
            if nearest == _OVER:
                break  # no open group has a further item
            following[group] += 1
            is_over = following[group] == len(members[group])
            head[group] = _OVER if is_over else members[group][following[group]]
            if int(self._order[nearest]) in never:
                continue
            chosen.append(nearest)
            theirs = categories[group]
            count[theirs[theirs >= 0]] += 1
            is_open = self._open(categories, count)
        return np.array(chosen, np.int64)

    def _open(self, categories: Ints, count: Ints) -> Bools:
        """Which groups may give an item, (S,)."""
        full = (count[categories] >= self._most) & (categories >= 0)
        return np.asarray(~full.any(axis=1), np.bool_)
