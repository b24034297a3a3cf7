"""The best items of many requests: exact, with ties in a fixed order, over any vocabulary.

A row of scores is cut into blocks.  The K best items lie in the K blocks whose best items are
best, so all but those blocks are looked at once, for their maxima alone.  n requests, V items, K
places.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from pipeline.array_types import Floats32, Ints
from pipeline.errors import HourglassError
from training.data.arrays import ranges, select_users
from training.data.reader import Histories, Requests
from training.models.parts.base import Model
from training.recommend.factors import Factors, Pairs, factors_of

if TYPE_CHECKING:
    import torch
    from torch import Tensor


_FLOATS_AT_ONCE = 1 << 24  # scores in memory together
_USERS_AT_ONCE = 8192  # histories that a system is handed together, where their pairs are few
_USERS_AT_FIRST = 1024  # while it is not known how many they are
_PAIRS_AT_ONCE = 1 << 25  # of 20 bytes, some of them twice
_ROWS, _COLUMNS = 256, 4096  # of a part of a product
_ROWS_AGAIN = 32  # whose best blocks are looked at together
_BLOCK = 64  # items of which only the best is remembered at first
_NEVER = -1e30  # a score that is none: infinity times zero would be no number
# Systems whose scores depend on nothing but the time: one row answers everyone.
_SAME_FOR_ALL = ("pop", "recent_pop")
_SORTED_WHOLE = 1024  # rows of fewer scores than this are not cut into blocks


class Exclusions(NamedTuple):
    """What must not be offered: ``columns`` to nobody, item ``column[p]`` not to request row[p]."""

    columns: Ints  # (b,) 0-based, ascending
    row: Ints  # (P,) ascending
    column: Ints  # (P,)

    def within(self, first: int, stop: int) -> Exclusions:
        """Of the requests ``first`` to ``stop``, counted from the first of them."""
        rows = slice(*np.searchsorted(self.row, [first, stop]).tolist())
        return Exclusions(self.columns, self.row[rows] - first, self.column[rows])

    def of(self, rows: Ints) -> Exclusions:
        """Of some requests, in their order."""
        begin = np.searchsorted(self.row, rows)
        row, pair = ranges(begin, np.searchsorted(self.row, rows, side="right") - begin)
        return Exclusions(self.columns, row, self.column[pair])


def best_items(
    model: Model,
    histories: Histories,
    requests: Requests,
    k: int,
    exclusions: Exclusions,
    n_items: int,
) -> Iterator[tuple[Ints, Ints, Floats32]]:
    """The K best items that are not barred, for blocks of requests, each request once.

    Yields:
        Rows of requests (b,); their items' columns (b, K), best first, equal ones by column; their
        scores (b, K), minus infinity where there is no further item.

    Raises:
        HourglassError: a score is not a number.
    """
    k = min(k, n_items)
    if model.name in _SAME_FOR_ALL:
        yield from _same_for_all(model, histories, requests, k, exclusions, n_items)
        return
    first, size = 0, min(_USERS_AT_FIRST, _USERS_AT_ONCE)
    while first < len(requests):
        stop = min(first + size, len(requests))
        own_histories, own_requests = select_users(histories, requests.take(slice(first, stop)))
        factors = _factors(model, own_histories, own_requests)
        pairs = sum(len(term.row) for term in factors.pairs) if factors is not None else 0
        for rows, columns, scores in _of_block(
            model, factors, own_histories, own_requests, k, exclusions.within(first, stop), n_items
        ):
            yield first + rows, columns, scores
        # Next to popular items is nearly everything: thousands of pairs a user.
        size = _PAIRS_AT_ONCE * (stop - first) // max(1, pairs)
        size = max(1, min(size, _USERS_AT_ONCE))
        first = stop


def _of_block(
    model: Model,
    factors: Factors | None,
    histories: Histories,
    requests: Requests,
    k: int,
    exclusions: Exclusions,
    n_items: int,
) -> Iterator[tuple[Ints, Ints, Floats32]]:
    import torch

    with torch.inference_mode():
        if factors is not None:
            yield from _of_factors(model.name, factors, k, exclusions)
            return
        columns = torch.from_numpy(exclusions.columns)
        for rows, scores in _scored(model, histories, requests, n_items):
            theirs = exclusions.of(rows)
            if len(columns):
                scores.index_fill_(1, columns.to(scores.device), -torch.inf)
            if len(theirs.row):
                pairs = (torch.from_numpy(each).to(scores.device) for each in theirs[1:])
                scores[tuple(pairs)] = -torch.inf
            best, best_scores = (each.cpu().numpy() for each in top_k(scores, k))
            _refuse_nan(model.name, best_scores)
            yield rows, best, best_scores


def _factors(model: Model, histories: Histories, requests: Requests) -> Factors | None:
    import torch

    from training.models.parts.recurrent import RecurrentModel

    if not isinstance(model, RecurrentModel):
        return None
    with torch.inference_mode(), model.inference():
        return factors_of(model, histories, requests)


def _of_factors(
    name: str, factors: Factors, k: int, exclusions: Exclusions
) -> Iterator[tuple[Ints, Ints, Floats32]]:
    """The scores of a part of the items at a time, which then lie in the processor's cache."""
    import torch

    left, parts, pairs = factors
    n_items, device = len(parts[0]), left.device
    # V up to whole blocks, and a factor that closes what nobody is offered.
    right = torch.zeros(-(-n_items // _BLOCK) * _BLOCK, left.shape[1] + 1, device=device)
    torch.cat(parts, 1, out=right[:n_items, :-1])
    right[torch.from_numpy(exclusions.columns).to(device), -1] = _NEVER
    right[n_items:, -1] = _NEVER
    left = torch.cat([left, torch.ones_like(left[:, :1])], 1)
    for first in range(0, len(left), _ROWS):
        stop = min(first + _ROWS, len(left))
        excluded = exclusions.within(first, stop)
        never = Pairs(
            excluded.row, excluded.column, np.full(len(excluded.row), -np.inf, np.float32)
        )
        added = (*(each.within(first, stop) for each in pairs), never)
        best, best_scores = _best_of_product(left[first:stop], right, added, k)
        scores = best_scores.cpu().numpy()
        _refuse_nan(name, scores)
        scores[scores < _NEVER / 2] = -np.inf
        rows = np.arange(first, stop, dtype=np.int64)
        yield rows, best.clamp_max(n_items - 1).cpu().numpy(), scores


def _best_of_product(
    left: Tensor, right: Tensor, added: Sequence[Pairs], k: int
) -> tuple[Tensor, Tensor]:
    """Columns and scores (u, k) of left @ right.T and what is added to pairs of rows and columns.

    ``left`` is (u, F), ``right`` (W, F) with W whole blocks; items of equal score by column.
    """
    import torch

    n_users, n_columns = len(left), len(right)
    if n_users * n_columns <= _FLOATS_AT_ONCE:
        scores = torch.mm(left, right.T)
        for pairs in added:
            at = tuple(torch.from_numpy(each).to(left.device) for each in pairs[:2])
            scores.index_put_(at, torch.from_numpy(pairs.value).to(left.device), accumulate=True)
        return top_k(scores, k)
    parts = [_by_column(pairs, left.device) for pairs in added if len(pairs.row)]
    maxima = torch.empty(n_users, n_columns // _BLOCK, device=left.device)
    for first in range(0, n_columns, _COLUMNS):
        stop = min(first + _COLUMNS, n_columns)
        scores = torch.mm(left, right[first:stop].T)  # (u, c)
        for row, column, value in parts:
            span = slice(*np.searchsorted(column, [first, stop]).tolist())
            at = (row[span], torch.from_numpy(column[span] - first).to(left.device))
            scores.index_put_(at, value[span], accumulate=True)
        blocks = torch.unflatten(scores, 1, (-1, _BLOCK))
        maxima[:, first // _BLOCK : stop // _BLOCK] = blocks.amax(2)
    return _best_of_blocks(left, right, added, top_k(maxima, k)[0].sort(1).values, k)


def _best_of_blocks(
    left: Tensor, right: Tensor, added: Sequence[Pairs], blocks: Tensor, k: int
) -> tuple[Tensor, Tensor]:
    """As `_best_of_product`, among the columns of each row's blocks (u, b), ascending."""
    import torch

    by_block = torch.unflatten(right, 0, (-1, _BLOCK))  # (W / _BLOCK, _BLOCK, F)
    within = torch.arange(_BLOCK, device=left.device)
    columns = (blocks[:, :, None] * _BLOCK + within).flatten(1)  # (u, b * _BLOCK)
    scores = torch.empty(columns.shape, device=left.device)
    for first in range(0, len(left), _ROWS_AGAIN):
        span = slice(first, first + _ROWS_AGAIN)
        vectors = by_block[blocks[span]].flatten(1, 2)  # (r, b * _BLOCK, F)
        scores[span] = torch.bmm(vectors, left[span, :, None])[:, :, 0]
    chosen = blocks.cpu().numpy()
    for pairs in added:
        pair, block = np.nonzero(chosen[pairs.row] == (pairs.column // _BLOCK)[:, None])
        at = (pairs.row[pair], block * _BLOCK + pairs.column[pair] % _BLOCK)
        rows, places = (torch.from_numpy(each).to(left.device) for each in at)
        value = torch.from_numpy(pairs.value[pair]).to(left.device)
        scores.index_put_((rows, places), value, accumulate=True)
    best, best_scores = top_k(scores, k)
    return columns.gather(1, best), best_scores


def _by_column(pairs: Pairs, device: torch.device) -> tuple[Tensor, Ints, Tensor]:
    import torch

    order = np.argsort(pairs.column, kind="stable")
    row = torch.from_numpy(pairs.row[order]).to(device)
    return row, pairs.column[order], torch.from_numpy(pairs.value[order]).to(device)


def _scored(
    model: Model, histories: Histories, requests: Requests, n_items: int
) -> Iterator[tuple[Ints, Tensor]]:
    """Rows of requests and the scores of all items, (b, V)."""
    import torch

    from training.models.parts.recurrent import RecurrentModel

    if isinstance(model, RecurrentModel):
        # As `score`, but each history is read once and no score is copied.
        with model.inference():
            yield from model.scored_blocks(histories, requests)
        return
    size = max(1, _FLOATS_AT_ONCE // max(1, n_items))
    for first in range(0, len(requests), size):
        rows = np.arange(first, min(first + size, len(requests)), dtype=np.int64)
        yield rows, torch.from_numpy(model.score(histories, requests.take(rows)))


def _same_for_all(
    model: Model,
    histories: Histories,
    requests: Requests,
    k: int,
    exclusions: Exclusions,
    n_items: int,
) -> Iterator[tuple[Ints, Ints, Floats32]]:
    """One row of scores for each time that is asked for, and a longer list of its best items."""
    import torch

    most = int(np.bincount(exclusions.row).max(initial=0))
    # So many that whoever has most items barred still finds k.
    reach = min(n_items, k + most)
    size = max(1, min(_USERS_AT_ONCE, _FLOATS_AT_ONCE // max(1, reach)))
    for now_us in np.unique(requests.now_us):
        rows = np.flatnonzero(requests.now_us == now_us)
        scores = model.score(histories, requests.take(rows[:1]))  # (1, V)
        scores[:, exclusions.columns] = -np.inf
        best, best_scores = (each[0].numpy() for each in top_k(torch.from_numpy(scores), reach))
        _refuse_nan(model.name, best_scores)
        for first in range(0, len(rows), size):
            mine = rows[first : first + size]
            _, row, column = exclusions.of(mine)
            columns, position = first_allowed(best, row, column, len(mine), k, n_items)
            yield (
                mine,
                columns,
                np.where(position >= 0, best_scores[position], -np.inf).astype(np.float32),
            )


def _refuse_nan(name: str, scores: Floats32) -> None:
    if np.isnan(scores).any():
        raise HourglassError(f"{name}: a score is not a number: train the model again")


# The K best of scores, and of one list what is allowed: exact, with ties in a fixed order.
#
# A long row is cut into blocks.  Its K best items lie in the K blocks whose best items are best, so
# all but those blocks are looked at once, for their maxima alone.


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
    position = np.full(n_items, -1, np.int64)
    position[best] = np.arange(len(best))
    allowed = np.ones((n_rows, len(best)), np.bool_)
    hit = position[column] >= 0
    allowed[row[hit], position[column[hit]]] = False
    rank = np.cumsum(allowed, axis=1)  # (n, c) 1 is the first place
    chosen = np.full((n_rows, k), -1, np.int64)
    at, which = np.nonzero(allowed & (rank <= k))
    chosen[at, rank[at, which] - 1] = which
    items = np.where(chosen >= 0, best[chosen], 0) if len(best) else np.zeros((n_rows, k), np.int64)
    return items, chosen


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
    within, best_scores = top_k(chosen, k)  # (n, k)
    return columns.gather(1, within).clamp_max(n_items - 1), best_scores


def _by_sorting(scores: Tensor, k: int) -> tuple[Tensor, Tensor]:
    import torch

    n_items = scores.shape[1]
    best_scores, columns = scores.topk(min(k + 1, n_items), 1)
    if n_items > k:
        # Which of several equal items is the k-th is `topk`'s secret: there sort in full.
        (tied,) = torch.nonzero(best_scores[:, k - 1] == best_scores[:, k], as_tuple=True)
        if len(tied):
            ordered = scores[tied].sort(dim=1, descending=True, stable=True)
            columns[tied, :k] = ordered.indices[:, :k]
        columns = columns[:, :k]
    columns = columns.sort(1).values
    best_scores, order = scores.gather(1, columns).sort(dim=1, descending=True, stable=True)
    return columns.gather(1, order), best_scores
