"""What draws count for: how many items each stands for, and which count for nothing.

n targets, S draws, V items.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pipeline.array_types import Bools, Ints, Ints32
from training.data.arrays import ranges

Pairs = tuple[Tensor, Tensor]
"""Rows (h,) and columns (h,) of the True cells of a mask that is nearly all False."""

Excluded = Tensor | Pairs
"""Which of n x S draws count for nothing: a mask (n, S), or its True cells."""
_NOT_MET = np.iinfo(np.int32).max


def importance_log_weight(log_q: Tensor) -> Tensor:
    """Log of how many items each of S draws stands for, ``-log(S q_j)`` (HRNN eq. 4).

    Draws are made with repetition and shared by all targets.  Item j comes S q_j times on average,
    each time with weight 1 / (S q_j), so a weighted sum over draws has the sum over all items as
    its expectation, and leaving out the draws that hit a target takes just that item out of the
    sum.  S stays the number of all draws, whatever is left out.

    ``log_q`` (S,): log-probabilities of the items drawn.
    """
    return -(log_q + math.log(len(log_q)))


def accidental_hits(target: Tensor, drawn: Tensor) -> Pairs:
    """Where a draw is the target itself, each once; targets (n,) and draws (S,) of the same kind.

    The draws are sorted and each target looked up, so no n x S cells are compared.
    """
    ordered, column = drawn.sort()
    first = torch.searchsorted(ordered, target)
    count = torch.searchsorted(ordered, target, right=True) - first  # (n,)
    row = torch.repeat_interleave(count)  # (h,)
    within = torch.arange(len(row), device=row.device) - (count.cumsum(0) - count)[row]
    return row, column[first[row] + within]


def union(mask: Tensor, pairs: Pairs) -> Tensor:
    """A mask (n, S) with more cells set, in a tensor of its own."""
    return mask.index_put(pairs, mask.new_ones(()))


# Which items each user has met, so that they are no negatives (ASARS 2.4).
#
# U users, V items numbered 0 .. V - 1, n targets, S draws.


@dataclass(frozen=True)
class SeenItems:
    """The distinct items of each user and where each came first; as large as the events at most.

    Pairs ``starts[u]`` to ``starts[u + 1]`` are user u's, in the order of the items.
    """

    n_items: int
    offsets: Ints  # (U + 1,) the events of the users
    starts: Ints  # (U + 1,)
    item: Ints32  # (P,) 0-based
    first: Ints32  # (P,) place among the user's events, from 0

    @classmethod
    def of(cls, offsets: Ints, item: NDArray[np.integer], n_items: int) -> SeenItems:
        """From histories: user u's events are ``offsets[u]`` to ``offsets[u + 1]``.

        ``item`` (N,): 0-based items of the events, each user's in time order.
        """
        lengths = np.diff(offsets)
        user = np.repeat(np.arange(len(lengths), dtype=np.int64), lengths)  # (N,)
        key, event = np.unique(user * n_items + item, return_index=True)  # (P,)
        starts = np.searchsorted(key, np.arange(len(offsets), dtype=np.int64) * n_items)
        first = event - offsets[:-1][user[event]]
        return cls(
            n_items, offsets, starts, (key % n_items).astype(np.int32), first.astype(np.int32)
        )

    def mask(self, user: Ints, items: Ints, before: Ints | None = None) -> Bools:
        """Whether users (n,) have met items (S,), a mask (n, S).

        ``before`` (n,): only what they met before these events (places among all events, each the
        user's own); without it, all they ever met, the target and later events included.
        """
        mine, row = np.unique(user, return_inverse=True)  # (m,)
        met, column, first = self._met(mine, items)
        if before is None:
            ever = np.zeros((len(mine), len(items)), np.bool_)
            ever[met, column] = True
            return ever[row]
        since = np.full((len(mine), len(items)), _NOT_MET, np.int32)
        since[met, column] = first
        limit = (before - self.offsets[user]).astype(np.int32)  # (n,)
        earlier: Bools = since[row] < limit[:, None]
        return earlier

    def _met(self, users: Ints, items: Ints) -> tuple[Ints, Ints, Ints32]:
        """Rows, columns and first places of the items (S,) that distinct users (m,) have met."""
        lengths = self.starts[users + 1] - self.starts[users]
        _, pair = ranges(self.starts[users], lengths)
        row = np.repeat(np.arange(len(users)), lengths)
        drawn, times = np.unique(items, return_counts=True)  # (d,)
        # One look-up per pair; only the pages that are touched cost anything.
        column_of_item = np.zeros(self.n_items, np.int32)
        column_of_item[drawn] = np.arange(1, len(drawn) + 1)
        slot = column_of_item[self.item[pair]]
        hit = np.flatnonzero(slot)
        slot = slot[hit] - 1
        # An item that was drawn several times has several columns.
        order, begin = np.argsort(items, kind="stable"), np.cumsum(times) - times
        times = times[slot]
        _, drawn_at = ranges(begin[slot], times)
        column = order[drawn_at]
        return np.repeat(row[hit], times), column, np.repeat(self.first[pair[hit]], times)
