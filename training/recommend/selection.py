"""The K best of scores, and of one list what is allowed: exact, with ties in a fixed order.

A long row is cut into blocks.  Its K best items lie in the K blocks whose best items are best, so
all but those blocks are looked at once, for their maxima alone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from torch import Tensor

Ints = NDArray[np.int64]
_SORTED_WHOLE = 1024  # rows of fewer scores than this are not cut into blocks


def first_allowed(
    best: Ints, row: Ints, column: Ints, n_rows: int, k: int, n_items: int
) -> tuple[Ints, Ints]:
    """Of one list of items the first k that are allowed to each row.

    Args:
        best: (c,) items, best first.
        row: (P,) rows to which ``column`` is barred.
        column: (P,) barred items, of ``n_items``.
        n_rows: how many rows.
        k: places.
        n_items: one more than any item.

    Returns:
        Items (n_rows, k) and their places in ``best``, -1 (with item 0) where nothing is left.
    """
    place = np.full(n_items, -1, np.int64)
    place[best] = np.arange(len(best))
    allowed = np.ones((n_rows, len(best)), np.bool_)
    hit = place[column] >= 0
    allowed[row[hit], place[column[hit]]] = False
    rank = np.cumsum(allowed, axis=1)  # (n, c) 1 is the first place
    taken = np.full((n_rows, k), -1, np.int64)
    at, which = np.nonzero(allowed & (rank <= k))
    taken[at, rank[at, which] - 1] = which
    items = np.where(taken >= 0, best[taken], 0) if len(best) else np.zeros((n_rows, k), np.int64)
    return items, taken


def top_k(scores: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Columns and scores (n, k) of the best items of each row (n, V), equal ones by column."""
    import torch

    n_items = scores.shape[1]
    k = min(k, n_items)
    width = n_items // _SORTED_WHOLE
    if width <= 1 or 2 * k * width > n_items:
        return _by_sorting(scores, k)
    whole = n_items // width * width
    parted = torch.unflatten(scores[:, :whole], 1, (-1, width))
    maxima = parted.amax(2)  # (n, V / width)
    if whole < n_items:
        maxima = torch.cat([maxima, scores[:, whole:].amax(1, keepdim=True)], 1)
    blocks, _ = _by_sorting(maxima, k)
    # In their order, so that among equal scores the first column still comes first.
    begin = blocks.sort(1).values * width  # (n, k)
    columns = (begin[:, :, None] + torch.arange(width, device=scores.device)).flatten(1)
    beyond = columns >= n_items  # of the last block, which may be shorter
    chosen = scores.gather(1, columns.clamp_max(n_items - 1)).masked_fill_(beyond, -torch.inf)
    within, found = top_k(chosen, k)  # (n, k)
    return columns.gather(1, within).clamp_max(n_items - 1), found


def _by_sorting(scores: Tensor, k: int) -> tuple[Tensor, Tensor]:
    import torch

    n_items = scores.shape[1]
    found, columns = scores.topk(min(k + 1, n_items), 1)
    if n_items > k:
        # Which of several equal items is the k-th is `topk`'s secret: there sort in full.
        (tied,) = torch.nonzero(found[:, k - 1] == found[:, k], as_tuple=True)
        if len(tied):
            ordered = scores[tied].sort(dim=1, descending=True, stable=True)
            columns[tied, :k] = ordered.indices[:, :k]
        columns = columns[:, :k]
    columns = columns.sort(1).values
    found, order = scores.gather(1, columns).sort(dim=1, descending=True, stable=True)
    return columns.gather(1, order), found
