"""What draws count for: how many items each stands for, and which count for nothing.

n targets, S draws, V items.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

Pairs = tuple[Tensor, Tensor]
"""Rows (h,) and columns (h,) of the True cells of a mask that is nearly all False."""

Excluded = Tensor | Pairs
"""Which of n x S draws count for nothing: a mask (n, S), or its True cells."""


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
