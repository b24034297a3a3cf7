"""CoEvent-MF: a factorised matrix of which item follows which (LSTR section 4.1).

    score_j = q'_j . q_last + bias_j

``tied: true`` is its +RE: one table for both, and then the scores are symmetric but for the biases,
so what comes before an item and what comes after it are no longer told apart.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn

from training.models.parts.sequence import SequenceParameters
from training.nn.steps import Sizes, Steps


@dataclass(frozen=True)
class CoeventMfParameters(SequenceParameters):
    """Two tables of items, as published."""

    tied: bool = False


class CoeventMf(nn.Module):
    """Nothing but the tables: the state is the vector of the last item."""

    def __init__(self, sizes: Sizes, parameters: CoeventMfParameters) -> None:  # noqa: ARG002
        super().__init__()

    def forward(self, steps: Steps) -> Tensor:
        """States (B, T, D)."""
        return steps.item
