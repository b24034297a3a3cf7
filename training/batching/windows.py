"""Windows: separate stretches of histories, batched with others of similar length.  W windows."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from pipeline.array_types import Bools
from training.batching.segments import Segments
from training.data.arrays import length_groups, padded
from training.trainer.interface import Batch


@dataclass(frozen=True)
class WindowsPlan:
    """Every window is a row of one batch and begins with an empty state.

    Batches have about ``batch_events`` cells; which windows of equal length share one, and the
    order of the batches, are drawn anew for every epoch.
    """

    windows: Segments  # (W,)
    learned: Bools  # (all events,)
    batch_events: int
    seed: int
    n_targets: int

    @property
    def n_cells(self) -> int:
        """Steps of one epoch, padding included; equal in all epochs."""
        ascending = np.sort(self.windows.length)
        groups = length_groups(ascending, self.batch_events)
        return sum((stop - first) * int(ascending[stop - 1]) for first, stop in groups)

    @property
    def padding(self) -> float:
        """Share of cells that lie behind the end of a window; equal in all epochs."""
        cells = self.n_cells
        return 1 - int(self.windows.length.sum()) / cells if cells else 0.0

    def batches(self, epoch: int, rank: int = 0, world: int = 1) -> Iterator[Batch]:
        """All ranks' batches are equally many; every ``world``-th window of each is this rank's."""
        rng = np.random.default_rng([self.seed % 2**64, epoch])
        length = self.windows.length
        # Random order first, stable sort second: which equal lengths share a batch is random.
        shuffled = rng.permutation(len(length))
        order = shuffled[np.argsort(length[shuffled], kind="stable")]
        groups = list(length_groups(length[order], self.batch_events))
        mine = slice(rank, None, world)
        for group in rng.permutation(len(groups)):
            rows = order[slice(*groups[group])]
            cells, real = padded(self.windows.start[rows], length[rows])  # (B, T)
            step = np.arange(cells.shape[1])[None, :]
            target = real & (step >= self.windows.warm[rows][:, None]) & self.learned[cells]
            keep = np.broadcast_to(step > 0, cells.shape)
            yield Batch(
                cells=cells[mine],
                real=real[mine],
                target=target[mine],
                keep=keep[mine],
                carries=False,
                n_targets=int(np.count_nonzero(target)),
            )
