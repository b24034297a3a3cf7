"""Stretches of events that a state runs through, found around the events to learn from.

S segments, N events, n targets.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pipeline.array_types import Bools, Ints
from training.data.arrays import ranges
from training.data.reader import Histories


@dataclass(frozen=True)
class Segments:
    """Each begins with an empty state; segment s covers ``start`` to ``start + length``.

    Its first ``warm`` steps only bring the state up to date; after them every event to learn from
    is a target of this segment.
    """

    start: Ints  # (S,) flat event positions
    length: Ints  # (S,)
    warm: Ints  # (S,)

    def __len__(self) -> int:
        return len(self.start)


def histories_around(histories: Histories, targets: Ints) -> Segments:
    """One segment a history, context and all, up to its last target; those without are left out.

    ``targets`` (n,) are event positions, ascending.
    """
    return _around(histories.offsets[:-1], histories.offsets[:-1], histories.offsets[1:], targets)


def sessions_around(histories: Histories, targets: Ints) -> Segments:
    """As `histories_around`, one segment a session; a first event always starts one."""
    starts: Bools = np.array(histories.session_start)
    starts[histories.offsets[:-1][histories.lengths > 0]] = True
    start = np.flatnonzero(starts)
    return _around(start, start, np.append(start[1:], len(starts)), targets)


def cut_segments(
    segments: Segments, longest: int, stride: int, warm_up: int, targets: Ints
) -> Segments:
    """Cut those of more than ``longest`` steps into pieces, each target in exactly one of them.

    A piece has at most ``longest`` steps and, after the first, ``stride`` events that are its own;
    at least the ``longest - stride`` events before these, or all there are, warm its state up:
    more, up to ``warm_up``, where there is room.  What happened earlier is lost to it.
    """
    if not (segments.length > longest).any():
        return segments
    context, length = segments.warm, segments.length
    first_block = np.maximum(stride, longest - context)
    beyond = np.maximum(0, length - context - first_block)
    row, block = ranges(np.zeros_like(length), 1 + -(-beyond // stride))
    own = np.where(block > 0, first_block[row] + (block - 1) * stride, 0)
    first = context[row] + own
    stop = np.minimum(length[row], context[row] + first_block[row] + block * stride)
    start = np.maximum(0, stop - longest)
    start = np.where(block > 0, np.maximum(start, first - max(warm_up, longest - stride)), start)
    offset = segments.start[row]
    return _around(offset + start, offset + first, offset + stop, targets)


def _around(start: Ints, first: Ints, stop: Ints, targets: Ints) -> Segments:
    """Segments with a target between ``first`` and ``stop``, up to the last one."""
    start_target, end = np.searchsorted(targets, first), np.searchsorted(targets, stop)
    has = end > start_target
    begin = start[has]
    return Segments(
        start=begin,
        length=targets[end[has] - 1] + 1 - begin,
        warm=targets[start_target[has]] - begin,
    )
