"""STAMP: attention to item vectors, asked by the last and their mean (Liu et al. 2018; MTAM 6.2).

    m_t = mean(x_1 .. x_t)
    alpha_ti = w . sigmoid(W_1 x_i + W_2 x_t + W_3 m_t + b),  a_t = sum_{i<=t} alpha_ti x_i
    state = tanh(W_s a_t + b_s) * tanh(W_t x_t + b_t)

No recurrence, no places, no softmax.  B rows, T steps, D width.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from training.models.parts.sequence import SequenceParameters
from training.nn.blocks.past import mean_so_far
from training.nn.steps import Sizes, Steps


@dataclass(frozen=True)
class StampParameters(SequenceParameters):
    """Those of the engine."""


class Stamp(nn.Module):
    """Items of the past, weighed."""

    def __init__(self, sizes: Sizes, parameters: StampParameters) -> None:  # noqa: ARG002
        super().__init__()
        width = sizes.width
        self.of_each = nn.Linear(width, width)  # W_1 and b
        self.of_last = nn.Linear(width, width, bias=False)  # W_2
        self.of_mean = nn.Linear(width, width, bias=False)  # W_3
        self.weigh = nn.Linear(width, 1, bias=False)  # w
        self.out_read = nn.Linear(width, width)  # W_s and b_s
        self.out_last = nn.Linear(width, width)  # W_t and b_t

    def forward(self, steps: Steps) -> Tensor:
        """States (B, T, D)."""
        x = steps.item
        query = self.of_last(x) + self.of_mean(mean_so_far(x, steps))
        hidden = torch.sigmoid(self.of_each(x)[:, None] + query[:, :, None])  # (B, T, T, D)
        read = (self.weigh(hidden)[..., 0] * steps.visible()) @ x
        return torch.tanh(self.out_read(read)) * torch.tanh(self.out_last(x))
