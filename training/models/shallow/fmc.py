"""FMC: a first-order Markov chain whose transition matrix is factorised (M3 section 5.1).

score_j = (W q_last) . q'_j + bias_j
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn

from training.models.parts.sequence import SequenceParameters
from training.nn.steps import Sizes, Steps


@dataclass(frozen=True)
class FmcParameters(SequenceParameters):
    """Two tables of items, as published: what comes next is not what came before."""

    tied: bool = False


class Fmc(nn.Module):
    """The last item alone."""

    def __init__(self, sizes: Sizes, parameters: FmcParameters) -> None:  # noqa: ARG002
        super().__init__()
        self.out = nn.Linear(sizes.width, sizes.width, bias=False)

    def forward(self, steps: Steps) -> Tensor:
        """States (B, T, D)."""
        states: Tensor = self.out(steps.item)
        return states
