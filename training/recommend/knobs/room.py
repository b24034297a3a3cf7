"""Whether the limit of categories leaves room for one more item in a list.

Without this, whoever cannot fill a list would go through the whole catalogue to find out.  Items of
one set of categories form a group, and a group has room while none of its categories is full and
one of its items is neither listed nor barred.

b lists, P places, M items, S groups, G categories of an item.
"""

from __future__ import annotations

import numpy as np

from pipeline.array_types import Bools, Ints
from training.data.arrays import distinct
from training.recommend.knobs.item_facts import ItemFacts

_CELLS_AT_ONCE = 1 << 24


class Room:
    """Of lists of a catalogue.

    Args:
        facts: of the catalogue.
        items: numbers of what may be offered at all.
        most: items of one category in a list.
    """

    def __init__(self, facts: ItemFacts, items: Ints, most: int) -> None:
        self._facts, self._most = facts, most
        sets = np.sort(facts.categories[items], axis=1)
        self._sets, group = np.unique(sets, axis=0, return_inverse=True)  # (S, G)
        self._size = np.bincount(group.reshape(-1), minlength=len(self._sets))
        self._group = np.full(len(facts.categories), -1, np.int64)  # (M,) -1 = not offered
        self._group[items] = group.reshape(-1)

    def is_left(self, item: Ints, row: Ints, column: Ints) -> Bools:
        """Whether each list can have a further item, (b,).

        Args:
            item: (b, P) what is listed; -1 = empty.
            row: (p,) ascending: lists that may not have ``column``, which none of them has.
            column: (p,) items; whoever met an item twice may have it here twice.
        """
        left = np.zeros(len(item), np.bool_)
        cells = max(1, self._sets.size, self._facts.n_categories + 1)
        size = max(1, _CELLS_AT_ONCE // cells)
        for first in range(0, len(item), size):
            stop = min(first + size, len(item))
            pairs = slice(*np.searchsorted(row, [first, stop]).tolist())
            left[first:stop] = self._of_block(item[first:stop], row[pairs] - first, column[pairs])
        return left

    def _of_block(self, item: Ints, row: Ints, column: Ints) -> Bools:
        n_groups = len(self._sets)
        if not n_groups:
            return np.zeros(len(item), np.bool_)
        user, at = np.nonzero(item >= 0)
        listed = item[user, at]
        theirs = self._facts.categories[listed]  # (n, G)
        count = np.zeros((len(item), self._facts.n_categories + 1), np.int64)
        which, nth = np.nonzero(theirs >= 0)
        np.add.at(count, (user[which], theirs[which, nth]), 1)
        # A set is filled up by -1, which is the last column here: it is never full.
        is_full = (count >= self._most)[:, self._sets].any(axis=2)  # (b, S)
        row, column = self._each_once(row, column)
        group = self._group[np.concatenate([listed, column])]
        used_by = np.concatenate([user, row])[group >= 0]
        used = np.zeros((len(item), n_groups), np.int64)
        np.add.at(used, (used_by, group[group >= 0]), 1)
        return np.asarray((~is_full & (used < self._size)).any(axis=1), np.bool_)

    def _each_once(self, row: Ints, column: Ints) -> tuple[Ints, Ints]:
        """Pairs without repeats: an item that was met often takes the room of one item."""
        return np.divmod(distinct(row * len(self._group) + column), len(self._group))
