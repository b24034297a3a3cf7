"""How unlike one another the items of a list are.

Shapes: ``V`` items, ``U`` users, ``L`` lists.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from pipeline.array_types import Bools, Floats
from training.data.reader import Histories

if TYPE_CHECKING:
    from scipy.sparse import csr_array

_MOST_USERS = 20_000  # the product of lists and audiences would grow with the site


class Audiences:
    """Who was there on each item: users as unit vectors, of whom many are drawn evenly."""

    def __init__(self, histories: Histories, n_items: int) -> None:
        from scipy.sparse import csr_array

        every = max(1, -(-len(histories.user_ids) // _MOST_USERS))
        user, item = histories.user_of_event, np.asarray(histories.item, np.int64) - 1
        pairs = np.unique(np.column_stack([item, user])[user % every == 0], axis=0)
        n_users = np.bincount(pairs[:, 0], minlength=n_items)
        values = 1.0 / np.sqrt(n_users[pairs[:, 0]])
        shape = (n_items, len(histories.user_ids))
        self._unit: csr_array = csr_array((values, (pairs[:, 0], pairs[:, 1])), shape=shape)
        self._has_users: Bools = n_users > 0

    def diversity(self, shown: Bools) -> Floats:
        """Mean distance of two items of each list (L, V), (L,); NaN of lists with fewer than two.

        The distance is 1 - cosine of the items' users (intra-list diversity, Ziegler 2005): 0 where
        the same users were there on both, 1 where no user was.
        """
        from scipy.sparse import csr_array

        n = shown.sum(axis=1)
        sums = csr_array(shown.astype(np.float64)) @ self._unit  # (L, U)
        # |a + b + ...|^2 is the cosines of all pairs, those of an item with itself among them.
        cosines = np.asarray(sums.multiply(sums).sum(axis=1)).ravel()
        cosines -= (shown & self._has_users).sum(axis=1)
        pairs = np.where(n > 1, n * (n - 1), 1).astype(np.float64)
        return np.where(n > 1, 1.0 - cosines / pairs, np.nan)
