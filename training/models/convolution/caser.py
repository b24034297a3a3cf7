"""Caser: convolutions over the last items as if they were a picture (Tang and Wang 2018, M3 5.1).

    E_k    = the latest L inputs, oldest first, zeros before the segment's first       (L, I)
    o      = max over i of relu(F_h . E_k[i .. i + h - 1] + f_h)    horizontal, of each height h
    o~     = V E_k                                                  vertical, (n, I)
    s_k    = W' relu(W [o; o~] + b)

The user's vector is left out, as in M3.  The dropout between the two is Caser's own.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from training.models.parts.sequence import SequenceParameters
from training.nn.blocks.past import steps_ago
from training.nn.steps import Sizes, Steps
from training.parameters import require

_HEIGHTS = (3, 5, 7)


@dataclass(frozen=True)
class CaserParameters(SequenceParameters):
    """``window``: L, how many of the latest steps are looked at; heights above it become it.

    ``horizontal``: filters of each of the heights 3, 5 and 7; ``vertical``: those over time alone.
    """

    tied: bool = False
    window: int = 5
    horizontal: int = 16
    vertical: int = 4

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("window", "horizontal", "vertical"):
            require(getattr(self, name) >= 1, name, getattr(self, name), "at least 1")


class Caser(nn.Module):
    """All prefixes at once: each step has its own window."""

    def __init__(self, sizes: Sizes, parameters: CaserParameters) -> None:
        super().__init__()
        self.window = parameters.window
        self.heights = sorted({min(height, self.window) for height in _HEIGHTS})
        self.horizontal = nn.ModuleList(
            nn.Linear(height * sizes.inputs, parameters.horizontal) for height in self.heights
        )
        self.vertical = nn.Linear(self.window, parameters.vertical, bias=False)
        extracted = len(self.heights) * parameters.horizontal + parameters.vertical * sizes.inputs
        self.dropout = nn.Dropout(parameters.dropout)
        self.mix = nn.Linear(extracted, sizes.width)
        self.out = nn.Linear(sizes.width, sizes.width, bias=False)

    def forward(self, steps: Steps) -> Tensor:
        """States (B, T, D)."""
        windows = steps_ago(steps.inputs, steps, range(self.window - 1, -1, -1))  # (B, T, L, I)
        pieces = [self.vertical(windows.transpose(2, 3)).transpose(2, 3).flatten(2)]
        for height, filters in zip(self.heights, self.horizontal, strict=True):
            patches = windows.unfold(2, height, 1).transpose(3, 4).flatten(3)  # (B, T, L-h+1, h I)
            pieces.append(torch.relu(filters(patches)).amax(dim=2))
        hidden = torch.relu(self.mix(self.dropout(torch.cat(pieces, dim=-1))))
        states: Tensor = self.out(hidden)
        return states
