"""Context-FMC: a Markov chain whose transitions depend on the context (M3 section 5.1).

    s_k = relu(F [e_k; c_k] + f),   score_j = s_k . q'_j + bias_j

c_k is whatever steps are told beside the item, the context of the coming request by default.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from training.models.parts.sequence import SequenceParameters
from training.nn.steps import Sizes, Steps


@dataclass(frozen=True)
class ContextFmcParameters(SequenceParameters):
    """Two tables of items, as published, and the context of requests where the log has any."""

    tied: bool = False
    context_input: bool = True


class ContextFmc(nn.Module):
    """The last item and the context, mixed by one layer."""

    def __init__(self, sizes: Sizes, parameters: ContextFmcParameters) -> None:  # noqa: ARG002
        super().__init__()
        self.mix = nn.Linear(sizes.inputs, sizes.width)

    def forward(self, steps: Steps) -> Tensor:
        """States (B, T, D)."""
        return torch.relu(self.mix(steps.inputs))
