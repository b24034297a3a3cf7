"""What the parts of the training engine say to one another.

A plan cuts histories into batches, a learner turns a batch into a loss, the loop does the rest.
B rows, T steps, N events of all histories.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from torch import Tensor, nn

from pipeline.array_types import Bools, Ints, Objects
from training.model_types import Tensors


@dataclass(frozen=True)
class Batch:
    """Steps that are computed together; step (b, t) predicts the event ``cells[b, t]``.

    Rows of one rank only, where several processes share the work; B may then be 0.
    """

    cells: Ints  # (B, T) flat event positions; padding repeats a position that may be looked up
    real: Bools  # (B, T) False is padding
    target: Bools  # (B, T) the step's event is learned from
    keep: Bools  # (B, T) the state flows in from the step before; False begins a segment
    carries: bool  # step 0 continues the last step of the same row of the batch before
    n_targets: int  # of all ranks together: what the summed loss is divided by


class Plan(Protocol):
    """The batches of every epoch, a pure function of the seed and the epoch's number."""

    @property
    def n_targets(self) -> int:
        """Targets of one epoch, over all ranks."""
        ...

    @property
    def padding(self) -> float:
        """Share of an epoch's cells that are padding, 0 to 1."""
        ...

    def batches(self, epoch: int, rank: int = 0, world: int = 1) -> Iterator[Batch]:
        """This rank's part of each batch; each target of the plan comes exactly once an epoch."""
        ...


class Learner(Protocol):
    """What the loop trains."""

    @property
    def net(self) -> nn.Module:
        """What learns."""
        ...

    def loss(self, batch: Batch, rng: np.random.Generator) -> Tensor:
        """Sum of the losses of the batch's targets.

        ``rng`` depends on seed, epoch and batch only, and is the same on every rank; PyTorch's
        generator was seeded alike before the call.  A state that is carried stays in the learner.
        """
        ...

    def carried_state(self) -> dict[str, Tensor]:
        """What the next batch takes over from the last one; empty where nothing is carried."""
        ...

    def resume(self, carried: Mapping[str, Tensor]) -> None:
        """Take over what another instance carried; an empty mapping forgets."""
        ...

    def validation_loss(self) -> float | None:
        """Mean loss on targets that are never learned from; None where there are none."""
        ...


@dataclass(frozen=True)
class ParentWeights:
    """A model to continue from."""

    model_id: str
    tensors: Tensors
    item_ids: Objects  # (W,) its vocabulary
    optimiser: Tensors | None = None  # what `GradientTrained.optimiser_tensors` gave, if kept
    as_of_us: int | None = None  # it has learned from what happened before


@dataclass(frozen=True)
class FitOptions:
    """How a fit is run, apart from what comes out of it."""

    device: str | None = None  # overrides the parameter: cpu, cuda, auto
    checkpoints: Path | None = None  # folder; what lies there of the same fit is resumed
    parent: ParentWeights | None = None
    # Whether what has a parent is made anew all the same; None: where its parameters say so.
    made_anew: bool | None = None
