"""How a fit is run: what the loop is told, and what derives from it alone."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass

import numpy as np
import torch

PRECISIONS = ("float32", "bfloat16")


@dataclass(frozen=True)
class Schedule:
    """How long and how fast to learn; the rate falls to ``final_rate`` over all epochs.

    It falls as the share that is left to the power of ``decay_power``: 1 is linear, .5 stays high
    for long (LSTR 4.1).  ``decay_epochs``: or over that many, so that a fit which is known to be
    best cut short has the rates that it had when this was found; 0: over all.
    ``optimiser``: adam or adagrad.  ``patience``: epochs to wait for a better validation loss
    before stopping; 0 runs all epochs.  ``warmup_events``: targets over which the rate rises
    linearly from 0.  ``precision``: of products; weights stay float32.  ``checkpoint_s``: seconds
    between checkpoints within an epoch.
    """

    epochs: int
    learning_rate: float
    optimiser: str = "adam"
    max_gradient_norm: float = 5.0
    patience: int = 0
    warmup_events: int = 0
    precision: str = "float32"
    checkpoint_s: float = 300.0
    decay_epochs: int = 0
    decay_power: float = 1.0
    final_rate: float = 0.0
    weight_decay: float = 0.0

    @property
    def name(self) -> str:
        """Text that differs wherever what is learned would."""
        return str(dataclasses.replace(self, checkpoint_s=0.0))

    @property
    def advice(self) -> str:
        """What to change where numbers grow out of bounds."""
        slower = f"lower learning_rate, now {self.learning_rate:g}"
        return slower if self.precision == "float32" else f"{slower}, or set precision to 'float32'"

    def rate(self, done: int, targets: int, total: int) -> float:
        """Learning rate of a batch of ``targets``, after ``done`` of ``total`` targets."""
        left = math.pow(max(0.0, 1 - done / total), self.decay_power)
        rate = self.final_rate + (self.learning_rate - self.final_rate) * left
        if self.warmup_events:
            rate *= min(1.0, (done + targets) / self.warmup_events)
        return rate


def seeded(
    seed: int, epoch: int, batch: int, device: torch.device, rank: int = 0
) -> np.random.Generator:
    """Seed PyTorch for a batch on a device, and give NumPy's generator of the same batch.

    NumPy's is the same on every rank: all are to draw the same negatives.  PyTorch's is not: what
    is dropped of a row is to have nothing to do with what is dropped of another rank's.
    """
    sequence = np.random.SeedSequence([seed % 2**64, epoch, batch])
    own = sequence if rank == 0 else np.random.SeedSequence([seed % 2**64, epoch, batch, rank])
    number = int(own.generate_state(1, np.uint64)[0]) >> 1
    # `torch.manual_seed` asks for every kind of device there may be, which takes milliseconds.
    torch.default_generator.manual_seed(number)
    if device.type == "cuda":
        with torch.cuda.device(device):
            torch.cuda.manual_seed(number)
    return np.random.default_rng(sequence)
