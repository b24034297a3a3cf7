"""Stacked GRUs, with layer normalisation inside the recurrence (LSTR 3.2 to 3.4).

    [r; z] = sigmoid(ln_1(W_rz x_t) + ln_2(U_rz h_{t-1}))
    n      = tanh(ln_3(W_n x_t) + r * ln_4(U_n h_{t-1}))
    h_t    = (1 - z) * n + z * h_{t-1}           (ln of Ba et al. 2016, with gain and shift)

A layer above reads the states of the one below, and the top one scores.  The reset is applied after
the product, as in `training.nn.gru`: one layer without normalisation is that GRU.  LSTR's +RE is
``tied``.  B rows, T steps, N layers, D width, I inputs.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from training.models.parts.sequence import SequenceParameters
from training.nn.gru import GruCell
from training.nn.steps import Carried, Sizes, Steps
from training.parameters import require


@dataclass(frozen=True)
class GruLayersParameters(SequenceParameters):
    """``layers``: how many; ``layer_norm``: whether every product is normalised, step by step."""

    plan: str = "sessions"
    layers: int = 1
    layer_norm: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.layers >= 1, "layers", self.layers, "at least 1")


class GruLayers(nn.Module):
    """Each layer carries its own state."""

    def __init__(self, sizes: Sizes, parameters: GruLayersParameters) -> None:
        super().__init__()
        self.width = sizes.width
        cell = NormalisedGru if parameters.layer_norm else GruCell
        self.layers = nn.ModuleList(
            cell(sizes.width if level else sizes.inputs, sizes.width)
            for level in range(parameters.layers)
        )

    def begin(self, rows: int) -> Carried:
        """Zeros (rows, N, D)."""
        weight = next(self.parameters())
        return {"layers": weight.new_zeros(rows, len(self.layers), self.width)}

    def forward(self, steps: Steps, carried: Carried) -> tuple[Tensor, Carried]:
        """States of the top layer (B, T, D), and those of all layers (B, T, N, D)."""
        states, after = steps.inputs, []
        for level, layer in enumerate(self.layers):
            assert isinstance(layer, GruCell | NormalisedGru)  # noqa: S101 - one of the two it is
            states = layer.scan(states, carried["layers"][:, level], ~steps.begins)
            after.append(states)
        return states, {"layers": torch.stack(after, dim=2)}


class NormalisedGru(nn.Module):
    """One layer; what does not depend on the step before is normalised for all steps at once."""

    def __init__(self, inputs: int, width: int) -> None:
        super().__init__()
        self.read = nn.Linear(inputs, 3 * width, bias=False)  # r, z and n
        self.recall = nn.Linear(width, 3 * width, bias=False)
        self.norm_read_gates = nn.LayerNorm(2 * width)
        self.norm_recall_gates = nn.LayerNorm(2 * width)
        self.norm_read_fresh = nn.LayerNorm(width)
        self.norm_recall_fresh = nn.LayerNorm(width)

    def scan(self, inputs: Tensor, state: Tensor, keep: Tensor) -> Tensor:
        """States (B, T, D) of inputs (B, T, I); a state (B, D) is forgotten where not ``keep``."""
        wide = 2 * state.shape[1]
        read = self.read(inputs)
        gates_read = self.norm_read_gates(read[..., :wide])
        fresh_read = self.norm_read_fresh(read[..., wide:])
        after = []
        for step in range(inputs.shape[1]):
            state = state * keep[:, step, None]
            recalled = self.recall(state)
            gates = torch.sigmoid(gates_read[:, step] + self.norm_recall_gates(recalled[:, :wide]))
            reset, update = gates.chunk(2, dim=-1)
            fresh = torch.tanh(
                fresh_read[:, step] + reset * self.norm_recall_fresh(recalled[:, wide:])
            )
            state = fresh + update * (
                state - fresh
            )  # also where some of them are of half precision
            after.append(state)
        return torch.stack(after, dim=1)
