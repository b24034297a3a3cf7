"""DeepBoW: the items so far as a bag, without their order (M3 section 5.1).

s_k = W_2 relu(W_1 mean(e_1 .. e_k) + b)
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from training.models.parts.sequence import SequenceParameters
from training.nn.blocks.past import mean_so_far
from training.nn.steps import Sizes, Steps
from training.parameters import require


@dataclass(frozen=True)
class DeepBowParameters(SequenceParameters):
    """``hidden``: width of the layer in between."""

    tied: bool = False
    hidden: int = 32

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.hidden >= 1, "hidden", self.hidden, "at least 1")


class DeepBow(nn.Module):
    """One hidden layer over the mean of the item vectors."""

    def __init__(self, sizes: Sizes, parameters: DeepBowParameters) -> None:
        super().__init__()
        self.mix = nn.Linear(sizes.width, parameters.hidden)
        self.out = nn.Linear(parameters.hidden, sizes.width, bias=False)

    def forward(self, steps: Steps) -> Tensor:
        """States (B, T, D)."""
        states: Tensor = self.out(torch.relu(self.mix(mean_so_far(steps.item, steps))))
        return states
