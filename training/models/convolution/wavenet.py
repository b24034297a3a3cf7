"""WaveNet: causal convolutions that reach twice as far with every layer (ASARS section 3.2).

    x^0_k = W x_k (as it is, where only items are told)
    y_k   = sum over j < kernel of C^l_j x^{l-1}_{k - j 2^{l-1}} + b^l
    x^l_k = x^{l-1}_k + relu(y_k)                  unit: relu, as in Spotlight
                      + tanh(y_k) * sigmoid(y'_k)  unit: gated, as in van den Oord et al. 2016

Steps before the segment's first count as zeros; nothing is pooled.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from training.models.parts.sequence import SequenceParameters
from training.nn.blocks.past import steps_ago
from training.nn.steps import Sizes, Steps
from training.parameters import require, require_choice

_UNITS = ("relu", "gated")


@dataclass(frozen=True)
class WavenetParameters(SequenceParameters):
    """``kernel``: steps that a layer looks at, 1, 2, 4 ... apart; ``layers``: how many.

    ``unit``: what a layer adds, relu or gated.
    """

    kernel: int = 3
    layers: int = 4
    unit: str = "relu"

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("kernel", "layers"):
            require(getattr(self, name) >= 1, name, getattr(self, name), "at least 1")
        require_choice("unit", self.unit, _UNITS)


class Wavenet(nn.Module):
    """Residual layers of dilated convolutions."""

    def __init__(self, sizes: Sizes, parameters: WavenetParameters) -> None:
        super().__init__()
        self.kernel, self.gated = parameters.kernel, parameters.unit == "gated"
        width = sizes.width
        self.enter = nn.Identity() if sizes.inputs == width else nn.Linear(sizes.inputs, width)
        self.convolutions = nn.ModuleList(
            nn.Linear(self.kernel * width, width * (1 + self.gated))
            for _ in range(parameters.layers)
        )

    def forward(self, steps: Steps) -> Tensor:
        """States (B, T, D)."""
        states: Tensor = self.enter(steps.inputs)
        for level, convolution in enumerate(self.convolutions):
            ages = [tap * 2**level for tap in range(self.kernel)]
            convolved = convolution(steps_ago(states, steps, ages).flatten(2))
            if self.gated:
                content, gate = convolved.chunk(2, dim=-1)
                states = states + torch.tanh(content) * torch.sigmoid(gate)
            else:
                states = states + torch.relu(convolved)
        return states
