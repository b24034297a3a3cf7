"""Turns flat histories into the index arrays that systems learn from and score with."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from training.reader import Histories, Requests

Ints = NDArray[np.int64]


def ranges(starts: Ints, lengths: Ints) -> tuple[Ints, Ints]:
    """Concatenate ``range(starts[i], starts[i] + lengths[i])`` over all i.

    Returns the row i of each entry and the entry, both (sum of lengths,).
    """
    row = np.repeat(np.arange(len(starts), dtype=np.int64), lengths)
    before = np.cumsum(lengths) - lengths
    within = np.arange(len(row), dtype=np.int64) - np.repeat(before, lengths)
    return row, np.repeat(starts, lengths) + within


def known_events(
    histories: Histories, requests: Requests, most: int | None = None
) -> tuple[Ints, Ints]:
    """The events each request may use, oldest first; at most the ``most`` latest of each.

    Returns the request row and the flat event position, both (number of pairs,).
    """
    lengths = requests.length if most is None else np.minimum(requests.length, most)
    stops = histories.offsets[requests.user] + requests.length
    return ranges(stops - lengths, lengths)


def session_of_event(histories: Histories) -> Ints:
    """Number of each event's session over all users, (N,); a first event always starts one."""
    starts = histories.session_start.copy()
    starts[histories.offsets[:-1][histories.lengths > 0]] = True
    return np.cumsum(starts, dtype=np.int64) - 1


@dataclass(frozen=True)
class Windows:
    """Stretches of histories to train on: W windows.

    Window w covers the flat events ``start`` to ``start + length``; those from ``first_target``
    on are its targets, the ones before only bring the state up to date.
    """

    start: Ints  # (W,)
    length: Ints  # (W,)
    first_target: Ints  # (W,)

    def __len__(self) -> int:
        return len(self.start)


def training_windows(histories: Histories, max_len: int) -> Windows:
    """Cut histories so that each target event is the target of exactly one window.

    A history of at most ``max_len`` events is one window; in longer ones a window's targets are
    preceded by at least ``max_len // 2`` events, or by all there are.
    """
    stride = max(1, max_len // 2)
    context, length = histories.n_context.astype(np.int64), histories.lengths
    first_block = np.maximum(stride, max_len - context)
    beyond = np.maximum(0, length - context - first_block)
    n_blocks = np.where(length > context, 1 + -(-beyond // stride), 0)
    user, block = ranges(np.zeros_like(n_blocks), n_blocks)
    first = context[user] + np.where(block > 0, first_block[user] + (block - 1) * stride, 0)
    stop = np.minimum(length[user], context[user] + first_block[user] + block * stride)
    start = np.maximum(0, stop - max_len)
    offset = histories.offsets[user]
    return Windows(start=offset + start, length=stop - start, first_target=offset + first)


def batches_of(lengths: Ints, batch_events: int, rng: np.random.Generator) -> Iterator[Ints]:
    """Group rows of similar length so that a padded batch holds about ``batch_events`` cells.

    Each row comes exactly once; grouping and order are drawn anew from ``rng``.
    """
    # Random order first, stable sort second: which equal lengths share a batch is random.
    shuffled = rng.permutation(len(lengths))
    order = shuffled[np.argsort(lengths[shuffled], kind="stable")]
    groups = list(_groups(lengths[order], batch_events))
    for group in rng.permutation(len(groups)):
        first, stop = groups[group]
        yield order[first:stop]


def scoring_batches(lengths: Ints, batch_events: int) -> Iterator[Ints]:
    """As `batches_of`, in a fixed order."""
    order = np.argsort(lengths, kind="stable")
    for first, stop in _groups(lengths[order], batch_events):
        yield order[first:stop]


def _groups(ascending: Ints, batch_events: int) -> Iterator[tuple[int, int]]:
    stop = len(ascending)
    while stop > 0:
        rows = max(1, batch_events // max(1, int(ascending[stop - 1])))
        first = max(0, stop - rows)
        yield first, stop
        stop = first


def padded(starts: Ints, lengths: Ints) -> tuple[Ints, NDArray[np.bool_]]:
    """Positions ``starts[i] + t`` as a rectangle (B, T), and which of its cells are real.

    Cells past a row's length repeat its last position, so that they can always be looked up.
    """
    longest = int(lengths.max()) if len(lengths) else 0
    step = np.arange(longest, dtype=np.int64)[None, :]  # (1, T)
    real = step < lengths[:, None]  # (B, T)
    cells: Ints = starts[:, None] + np.minimum(step, np.maximum(lengths[:, None] - 1, 0))
    return cells, real
