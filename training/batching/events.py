"""Events one by one, for models that need no steps before them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from pipeline.array_types import Ints
from training.trainer.interface import Batch


@dataclass(frozen=True)
class EventsPlan:
    """Every event of ``events`` (n,) is a row of one step, in an order of its own each epoch."""

    events: Ints
    batch_events: int
    seed: int
    padding: float = 0.0

    @property
    def n_targets(self) -> int:
        """n."""
        return len(self.events)

    def batches(self, epoch: int, rank: int = 0, world: int = 1) -> Iterator[Batch]:
        """Every ``world``-th event of each batch is this rank's."""
        rng = np.random.default_rng([self.seed % 2**64, epoch])
        order = rng.permutation(self.events)
        for first in range(0, len(order), self.batch_events):
            batch = order[first : first + self.batch_events]
            cells = batch[rank::world, None]  # (B, 1)
            everywhere = np.ones(cells.shape, np.bool_)
            yield Batch(
                cells=cells,
                real=everywhere,
                target=everywhere,
                keep=~everywhere,
                carries=False,
                n_targets=len(batch),
            )
