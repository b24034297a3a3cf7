"""What a model answers: ranks, hits within sets, chances, and which items its lists show.

Shapes: ``n`` requests, ``V`` items, ``m`` pairs of a request and an item that comes after it.  A
list of K shows the items that score above the (K + 1)-th best: ties are against the model, as in
`training.metrics.ranking.rank_of_target`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np

from pipeline.array_types import Bools, Floats, Floats32, Ints, Ints32
from training.data.reader import Histories, Requests
from training.metrics.ranking import (
    MAX_FLOATS,
    Scorer,
    blocks,
    check_scores,
    mask_last_item,
    rank_of_target,
)

# Rows are looked at in blocks where they have so many for each place of a list.
_BLOCK, _BLOCKS_A_PLACE = 64, 4


@dataclass(frozen=True)
class Questions:
    """Requests, and what comes after each."""

    requests: Requests  # (n,)
    item: Ints32  # (n,) 1-based: what comes next
    row: Ints  # (m,) the request of each pair, ascending
    later: Ints32  # (m,) 1-based; the items of a request are distinct
    masks_last: bool  # the item just met is no answer


@dataclass
class Answers:
    """What a model made of the questions."""

    rank: Ints32  # (n,) of what comes next, 1-based
    log_chance: Floats | None  # (n,) log of the chance of what comes next; None = not asked
    hits: dict[int, Bools]  # by K: whether the list shows the pair's item, (m,)
    shown: dict[int, Ints] = field(default_factory=dict)  # by K: lists that show each item, (V,)


def answers_of(
    model: Scorer,
    histories: Histories,
    questions: Questions,
    n_items: int,
    ks: Sequence[int],
    *,
    has_chances: bool,
    max_floats: int = MAX_FLOATS,
    progress: Callable[[int, int], None] | None = None,
) -> Answers:
    """Ask a model whose vocabulary is that of the histories.

    Args:
        model: a fitted system.
        histories: of those who ask.
        questions: what is asked.
        n_items: V.
        ks: lengths of the lists; none where no list is judged.
        has_chances: whether a softmax of the scores says how likely each item is.
        max_floats: bound on the scores in memory at a time.
        progress: called with (requests done, requests in all) after each block.

    Raises:
        HourglassError: a score is not finite.
    """
    n = len(questions.requests)
    answers = Answers(
        rank=np.empty(n, np.int32),
        log_chance=np.empty(n) if has_chances else None,
        hits={k: np.empty(len(questions.row), np.bool_) for k in ks},
        shown={k: np.zeros(n_items, np.int64) for k in ks},
    )
    for rows in blocks(questions.requests.user, max(1, max_floats // max(1, n_items))):
        requests = questions.requests.take(rows)
        scores = model.score(histories, requests)
        check_scores(scores, np.arange(rows.start, rows.stop), "the model")
        if questions.masks_last:
            mask_last_item(scores, histories, requests)
        item = questions.item[rows]
        answers.rank[rows] = rank_of_target(scores, item)
        if answers.log_chance is not None:
            answers.log_chance[rows] = log_chances(scores, item)
        first, stop = np.searchsorted(questions.row, [rows.start, rows.stop])
        row = questions.row[first:stop] - rows.start
        of_pair = scores[row, questions.later[first:stop] - 1]
        for k, least in thresholds(scores, ks).items():
            answers.hits[k][first:stop] = of_pair > least[row]
            answers.shown[k] += (scores > least[:, None]).sum(axis=0)
        if progress is not None:
            progress(rows.stop, n)
    return answers


def log_chances(scores: Floats32, item: Ints32) -> Floats:
    """Log of the softmax over all items at each row's item, (n,).

    Args:
        scores: (n, V) logits; minus infinity is no chance at all.
        item: (n,) 1-based.
    """
    wide = scores.astype(np.float64)
    most = wide.max(axis=1)
    total = np.log(np.exp(wide - most[:, None]).sum(axis=1)) + most
    chances: Floats = wide[np.arange(len(item)), item - 1] - total
    return chances


def thresholds(scores: Floats32, ks: Sequence[int]) -> dict[int, Floats32]:
    """By K: the (K + 1)-th best score of each row, (n,); below all where there are no more."""
    n_items = scores.shape[1]
    nothing = np.full(len(scores), -np.inf, np.float32)
    places = [k for k in ks if k < n_items]
    best = _best_scores(scores, places) if places else {}
    return {k: best.get(k, nothing) for k in ks}


def _best_scores(scores: Floats32, places: Sequence[int]) -> dict[int, Floats32]:
    """The score at each place of a row, 0 the best, (n,)."""
    n, n_items = scores.shape
    last = max(places)
    if n_items < _BLOCK * _BLOCKS_A_PLACE * (last + 1):
        ordered = np.partition(scores, sorted({n_items - 1 - k for k in places}), axis=1)
        return {k: ordered[:, n_items - 1 - k] for k in places}
    # As many blocks as there are places have a score as high as the lowest of their best ones: what
    # is lower has none of the places.  That leaves few, and only those are put in order.
    n_blocks = n_items // _BLOCK
    of_blocks = scores[:, : n_blocks * _BLOCK].reshape(n, n_blocks, _BLOCK).max(axis=2)
    least = np.partition(of_blocks, n_blocks - 1 - last, axis=1)[:, n_blocks - 1 - last]
    cell = np.flatnonzero(scores >= least[:, None])
    value = scores.reshape(-1)[cell]
    bounds = np.searchsorted(cell, np.arange(n + 1) * n_items).tolist()
    best = {k: np.empty(n, np.float32) for k in places}
    for row, (first, stop) in enumerate(pairwise(bounds)):
        at = [stop - first - 1 - k for k in places]
        ordered = np.partition(value[first:stop], sorted(set(at)))
        for k, column in zip(places, at, strict=True):
            best[k][row] = ordered[column]
    return best


# Means over the answers.


def set_recall(hits: Bools, row: Ints) -> float:
    """Mean over requests of the part of their later items that the list shows (LSTR eq. 8).

    Args:
        hits: (m,) whether the list shows a pair's item.
        row: (m,) the request of each pair, ascending.

    Returns:
        NaN where there is no pair.
    """
    shown, wanted = _counts(hits, row)
    return float((shown / wanted).mean()) if len(wanted) else float("nan")


def set_precision(hits: Bools, row: Ints, k: int) -> float:
    """Mean over requests of the part of a list of ``k`` that is among their later items.

    Returns:
        NaN where there is no pair.
    """
    shown, wanted = _counts(hits, row)
    return float((shown / k).mean()) if len(wanted) else float("nan")


def _counts(hits: Bools, row: Ints) -> tuple[Floats, Floats]:
    """Items of each request that have pairs: those that its list shows, and all."""
    _, request = np.unique(row, return_inverse=True)
    wanted = np.bincount(request).astype(np.float64)
    shown = np.bincount(request, weights=hits, minlength=len(wanted)).astype(np.float64)
    return shown, wanted


def perplexity(log_chance: Floats) -> float:
    """exp of the mean of -log chance, (n,); NaN where nothing was asked."""
    return float(np.exp(-log_chance.mean())) if len(log_chance) else float("nan")


def coverage(shown: Ints) -> float:
    """Share of the catalogue (V,) that appears in any list."""
    return float((shown > 0).mean()) if len(shown) else float("nan")


def gini(shown: Ints) -> float:
    """How unevenly lists show the items (V,): 0 all alike, towards 1 a few alone.

    Returns:
        NaN where nothing is shown.
    """
    total = int(shown.sum())
    if not total:
        return float("nan")
    order = np.arange(1, len(shown) + 1)
    weights = 2 * order - len(shown) - 1
    return float((weights * np.sort(shown)).sum() / (len(shown) * total))


def novelty(shown: Ints, item_events: Ints) -> float:
    """Mean over what lists show of -log2 of an item's share of all events, in bits.

    Each item counts one event more than it has: what has none would be infinitely novel.

    Args:
        shown: (V,) lists that show each item.
        item_events: (V,) its events before.

    Returns:
        NaN where nothing is shown.
    """
    total = int(shown.sum())
    if not total:
        return float("nan")
    bits = np.log2(item_events.sum() + len(item_events)) - np.log2(item_events + 1.0)
    return float((shown * bits).sum() / total)
