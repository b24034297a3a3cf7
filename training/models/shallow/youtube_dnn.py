"""YouTube-DNN: layers over the last item, the bag of all, the context and the age of the request.

v_k = [e_k; mean(e_1 .. e_k); c_k; log(1 + seconds since the last event)]
s_k = relu(W_n .. relu(W_1 v_k + b_1) .. + b_n)          (ASARS section 3.2, M3 section 5.1)
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
class YoutubeDnnParameters(SequenceParameters):
    """``layers``: how many, all with relu; ``hidden``: width of all but the last.

    Two tables of items, as published, and the context of requests where the log has any.
    """

    tied: bool = False
    context_input: bool = True
    layers: int = 3
    hidden: int = 128

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("layers", "hidden"):
            require(getattr(self, name) >= 1, name, getattr(self, name), "at least 1")


class YoutubeDnn(nn.Module):
    """A stack of relu layers; order counts for the last item alone."""

    def __init__(self, sizes: Sizes, parameters: YoutubeDnnParameters) -> None:
        super().__init__()
        widths = [sizes.inputs + sizes.width + 1, *[parameters.hidden] * (parameters.layers - 1)]
        self.layers = nn.ModuleList(
            nn.Linear(width, next_width)
            for width, next_width in zip(widths, [*widths[1:], sizes.width], strict=True)
        )

    def forward(self, steps: Steps) -> Tensor:
        """States (B, T, D)."""
        age = torch.log1p(steps.elapsed_s)[..., None]
        states = torch.cat([steps.inputs, mean_so_far(steps.item, steps), age], dim=-1)
        for layer in self.layers:
            states = torch.relu(layer(states))
        return states
