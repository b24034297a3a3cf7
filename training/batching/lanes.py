"""Lanes: segments laid end to end, side by side, whose states flow from batch to batch.

S segments, L lanes, N events in the segments.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from pipeline.array_types import Bools, Ints, Ints32
from training.batching.segments import Segments, cut_segments
from training.data.arrays import ranges
from training.trainer.interface import Batch

_SHORTEST_WARM_UP = 4  # a warm-up takes at most one in so many steps of a lane


@dataclass(frozen=True)
class LanesPlan:
    """User-parallel or session-parallel mini-batches (ASARS 2.1, 2.2), back-propagation cut off.

    A batch is the next ``steps`` steps of every lane.  Lanes keep their segments, and so their
    lengths; in which order each goes through its own is drawn anew for every epoch.
    """

    segments: Segments
    lane: Ints32  # (S,) 0 to L - 1
    learned: Bools  # (all events,)
    steps: int
    seed: int
    n_targets: int

    @property
    def _lengths(self) -> Ints:
        """Steps of each lane, (L,)."""
        return np.bincount(self.lane, weights=self.segments.length).astype(np.int64)

    @property
    def n_cells(self) -> int:
        """Steps of one epoch, padding included."""
        lengths = self._lengths
        return len(lengths) * int(lengths.max(initial=0))

    @property
    def padding(self) -> float:
        """Share of cells that lie behind the end of a lane; equal in all epochs."""
        cells = self.n_cells
        return 1 - int(self.segments.length.sum()) / cells if cells else 0.0

    def batches(self, epoch: int, rank: int = 0, world: int = 1) -> Iterator[Batch]:
        """All ranks' batches are equally many; every ``world``-th lane is this rank's."""
        if not len(self.segments):
            return
        cells, begins, target = self._laid_out(epoch)
        lengths = self._lengths
        before = np.cumsum(lengths) - lengths  # (L,)
        mine = slice(rank, None, world)
        for done in range(0, int(lengths.max()), self.steps):
            step = np.arange(done, min(done + self.steps, int(lengths.max())))[None, :]
            real = step < lengths[:, None]  # (L, T)
            position = before[:, None] + np.minimum(step, lengths[:, None] - 1)
            is_target = target[position] & real
            yield Batch(
                cells=cells[position[mine]],
                real=real[mine],
                target=is_target[mine],
                keep=~begins[position[mine]] | ~real[mine],
                carries=done > 0,
                n_targets=int(np.count_nonzero(is_target)),
            )

    def _laid_out(self, epoch: int) -> tuple[Ints, Bools, Bools]:
        """Lane after lane (N,): event positions, where segments begin, what is a target."""
        rng = np.random.default_rng([self.seed % 2**64, epoch])
        shuffled = rng.permutation(len(self.lane))
        order = shuffled[np.argsort(self.lane[shuffled], kind="stable")]
        length, warm = self.segments.length[order], self.segments.warm[order]
        _, cells = ranges(self.segments.start[order], length)  # (N,)
        at = np.cumsum(length) - length
        begins = np.zeros(len(cells), np.bool_)
        begins[at] = True
        target = self.learned[cells]
        # What is learned in the piece before is not learned again where it warms up the next one.
        target[ranges(at, warm)[1]] = False
        return cells, begins, target


def fill_lanes(
    segments: Segments,
    targets: Ints,
    learned: Bools,
    *,
    batch_events: int,
    steps: int,
    warm_up: int,
    seed: int,
) -> LanesPlan:
    """Share segments out among ``batch_events // steps`` lanes, fewer where there are fewer.

    One that is longer than a fair lane and a warm-up is cut, see `cut_segments`.
    """
    n_lanes = max(1, batch_events // steps)
    fair = max(1, -(-int(segments.length.sum()) // n_lanes))
    warm_up = min(warm_up, fair // _SHORTEST_WARM_UP)
    pieces = cut_segments(segments, fair + warm_up, fair, warm_up, targets)
    lane = _shared_out(pieces.length, min(n_lanes, len(pieces)), seed)
    return LanesPlan(pieces, lane, learned, steps, seed, len(targets))


def _shared_out(lengths: Ints, n_lanes: int, seed: int) -> Ints32:
    """Lanes of about equal load, (S,): long segments first, then those half as long, and so on.

    What the longer ones left uneven, the shorter ones make even.
    """
    lane = np.zeros(len(lengths), np.int32)
    load = np.zeros(n_lanes, np.int64)
    fair = -(-int(lengths.sum()) // max(1, n_lanes))
    size = np.frexp(lengths)[1]  # the power of two above
    shuffled = np.random.default_rng([seed % 2**64]).permutation(len(lengths))
    by_size = shuffled[np.argsort(-size[shuffled], kind="stable")]
    bounds = np.flatnonzero(np.diff(size[by_size])) + 1
    for members in np.split(by_size, bounds):
        level = members
        if len(level) <= n_lanes:
            level = level[np.argsort(-lengths[level], kind="stable")]
            chosen = np.argsort(load, kind="stable")[: len(level)]  # the longest to the emptiest
        else:
            room = np.cumsum(np.maximum(fair - load, 0))
            # Each takes a part of what room there is, and the lane where its middle lies.
            middle = np.cumsum(lengths[level]) - lengths[level] / 2
            share = middle * (room[-1] / lengths[level].sum())
            chosen = np.minimum(np.searchsorted(room, share, side="right"), n_lanes - 1)
        lane[level] = chosen
        load += np.bincount(chosen, weights=lengths[level], minlength=n_lanes).astype(np.int64)
    return lane
