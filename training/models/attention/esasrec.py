"""eSASRec: SASRec with the gated residuals of LiGR and SwiGLU layers (2025).

    x = W_in x_i + P_place,  then ``blocks`` times
    y = x + sigmoid(G_1 x) * drop(attention(q, k, v)),   q, k, v = maps of LN(x)
    x = y + sigmoid(G_2 y) * drop(W_3 (silu(W_1 LN(y)) * W_2 LN(y)))
    state = LN(x)

A place counts steps since the segment's begin.  B rows, T steps, I inputs, D width.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from training.models.parts.sequence import SequenceParameters
from training.nn.blocks.past import steps_since_begin
from training.nn.blocks.time_attention import TimeAttention
from training.nn.steps import Sizes, Steps
from training.parameters import require


@dataclass(frozen=True)
class EsasrecParameters(SequenceParameters):
    """``blocks``: layers of attention; ``heads``: of each.

    ``inner``: how many times wider than D the inside of SwiGLU is.  ``dropout`` is applied to what
    each layer adds, too.
    """

    blocks: int = 2
    heads: int = 1
    inner: int = 4

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.blocks >= 1, "blocks", self.blocks, "at least 1")
        require(self.inner >= 1, "inner", self.inner, "at least 1")
        divides = self.heads >= 1 and self.width % self.heads == 0
        require(divides, "heads", self.heads, f"a divisor of width = {self.width}")


class Esasrec(nn.Module):
    """Blocks whose residuals are gated, above places."""

    def __init__(self, sizes: Sizes, parameters: EsasrecParameters) -> None:
        super().__init__()
        self.entry = nn.Linear(sizes.inputs, sizes.width, bias=False)
        self.places = nn.Embedding(parameters.max_len, sizes.width)
        nn.init.normal_(self.places.weight, std=sizes.width**-0.5)
        self.blocks = nn.ModuleList(
            _Block(sizes.width, parameters) for _ in range(parameters.blocks)
        )
        self.out = nn.LayerNorm(sizes.width)

    def forward(self, steps: Steps) -> Tensor:
        """States (B, T, D)."""
        places = steps_since_begin(steps.begins).clamp(max=self.places.num_embeddings - 1)
        x = self.entry(steps.inputs) + self.places(places)
        visible = steps.visible()
        for block in self.blocks:
            x = block(x, visible)
        states: Tensor = self.out(x)
        return states


class _Block(nn.Module):
    def __init__(self, width: int, parameters: EsasrecParameters) -> None:
        super().__init__()
        self.attention_norm = nn.LayerNorm(width)
        self.maps = nn.Linear(width, 3 * width, bias=False)  # q, k, v
        self.attention = TimeAttention(width, parameters.max_len, "none", parameters.heads)
        self.attention_gate = nn.Linear(width, width)  # G_1
        self.inner_norm = nn.LayerNorm(width)
        self.inner = nn.Linear(width, 2 * parameters.inner * width, bias=False)  # W_1, W_2
        self.inner_out = nn.Linear(parameters.inner * width, width, bias=False)  # W_3
        self.inner_gate = nn.Linear(width, width)  # G_2
        self.dropout = nn.Dropout(parameters.dropout)

    def forward(self, x: Tensor, visible: Tensor) -> Tensor:
        query, keys, values = self.maps(self.attention_norm(x)).chunk(3, dim=-1)
        read = self.attention(query, keys, values, None, visible)
        x = x + torch.sigmoid(self.attention_gate(x)) * self.dropout(read)
        opening, passing = self.inner(self.inner_norm(x)).chunk(2, dim=-1)
        fed = self.inner_out(functional.silu(opening) * passing)
        after: Tensor = x + torch.sigmoid(self.inner_gate(x)) * self.dropout(fed)
        return after
