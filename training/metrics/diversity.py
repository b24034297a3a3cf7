"""How unlike one another the items of a list are.

Shapes: ``V`` items, ``U`` users, ``L`` lists.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from pipeline.array_types import Bools, Floats
from training.data.arrays import distinct
from training.data.reader import Histories

if TYPE_CHECKING:
    from scipy.sparse import csr_array

_MOST_USERS = 20_000  # the product of lists and audiences would grow with the site
_LISTS_AT_ONCE = 64  # of popular items, each of which nearly every user may have met


class Audiences:
    """Who was there on each item: users as unit vectors, of whom many are drawn evenly."""

    def __init__(self, histories: Histories, n_items: int) -> None:
        from scipy.sparse import csr_array

        shape = (n_items, len(histories.user_ids))
        every = max(1, -(-shape[1] // _MOST_USERS))
        user = histories.user_of_event
        (drawn,) = np.nonzero(user % every == 0)
        key = (histories.item[drawn].astype(np.int64) - 1) * shape[1] + user[drawn]
        item, user = np.divmod(distinct(key), shape[1])  # each pair of them once
        n_users = np.bincount(item, minlength=n_items)
        values = 1.0 / np.sqrt(n_users[item])
        self._unit: csr_array = csr_array((values, (item, user)), shape=shape)
        self._has_users: Bools = n_users > 0

    def diversity(self, shown: Bools) -> Floats:
        """Mean distance of two items of each list (L, V), (L,); NaN of lists with fewer than two.

        The distance is 1 - cosine of the items' users (intra-list diversity, Ziegler 2005): 0 where
        the same users were there on both, 1 where no user was.
        """
        n = shown.sum(axis=1)
        cosines = np.empty(len(shown))
        for first in range(0, len(shown), _LISTS_AT_ONCE):
            block = slice(first, first + _LISTS_AT_ONCE)
            cosines[block] = self._lengths(shown[block])
        # |a + b + ...|^2 is the cosines of all pairs, those of an item with itself among them.
        cosines -= (shown & self._has_users).sum(axis=1)
        pairs = np.where(n > 1, n * (n - 1), 1).astype(np.float64)
        return np.where(n > 1, 1.0 - cosines / pairs, np.nan)

    def _lengths(self, shown: Bools) -> Floats:
        """Squared length of the sum of each list's vectors, (L,)."""
        from scipy.sparse import csr_array

        sums = csr_array(shown.astype(np.float64)) @ self._unit  # (L, U)
        return np.asarray(sums.multiply(sums).sum(axis=1), np.float64).ravel()
