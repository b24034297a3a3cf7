"""HSTU: attention by silu in place of softmax, with biases of recency and time (Zhai et al. 2024).

    x = W_in x_i,  then ``blocks`` times
    u, v, q, k = silu(W LN(x)), cut in four
    a_ij = silu(q_i . k_j + p_r + w_b) / n_i
    x = x + drop(W_o (LN(sum_{j<=i} a_ij v_j) * u_i))
    state = LN(x)

r = min(i - j, L - 1) is the recency, b the bin of |theta_i - t_j| in half octaves,
floor(2 log2(1 + seconds)), and n_i counts the steps that i sees.
B rows, T steps, H heads, I inputs, D width.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from training.models.parts.sequence import SequenceParameters
from training.nn.blocks.time_attention import by_head, intervals_s, recency
from training.nn.steps import Sizes, Steps
from training.parameters import require

_TIME_BINS = 64  # the last begins after 70 years


@dataclass(frozen=True)
class HstuParameters(SequenceParameters):
    """``blocks``: layers; ``heads``: of each; ``time_bias``: whether intervals count.

    ``dropout`` is applied inside each layer, too.
    """

    blocks: int = 2
    heads: int = 1
    time_bias: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.blocks >= 1, "blocks", self.blocks, "at least 1")
        divides = self.heads >= 1 and self.width % self.heads == 0
        require(divides, "heads", self.heads, f"a divisor of width = {self.width}")


class Hstu(nn.Module):
    """Blocks of pointwise attention."""

    def __init__(self, sizes: Sizes, parameters: HstuParameters) -> None:
        super().__init__()
        self.entry = nn.Linear(sizes.inputs, sizes.width, bias=False)
        self.blocks = nn.ModuleList(
            _Block(sizes.width, parameters) for _ in range(parameters.blocks)
        )
        self.out = nn.LayerNorm(sizes.width)

    def forward(self, steps: Steps) -> Tensor:
        """States (B, T, D)."""
        x = self.entry(steps.inputs)
        time_bin = (2 * torch.log2(1 + intervals_s(steps))).long().clamp(max=_TIME_BINS - 1)
        visible = steps.visible().to(x.dtype)
        shares = (visible / visible.sum(-1, keepdim=True))[:, None]  # (B, 1, T, T)
        for block in self.blocks:
            x = block(x, time_bin, shares)
        states: Tensor = self.out(x)
        return states


class _Block(nn.Module):
    def __init__(self, width: int, parameters: HstuParameters) -> None:
        super().__init__()
        heads = parameters.heads
        self.heads = heads
        self.norm = nn.LayerNorm(width)
        self.maps = nn.Linear(width, 4 * width)  # u, v, q, k
        self.recency_bias = nn.Parameter(torch.zeros(heads, parameters.max_len))  # p
        self.time_bias = (
            nn.Parameter(torch.zeros(heads, _TIME_BINS)) if parameters.time_bias else None
        )  # w
        self.read_norm = nn.LayerNorm(width)
        self.out = nn.Linear(width, width)
        self.dropout = nn.Dropout(parameters.dropout)

    def forward(self, x: Tensor, time_bin: Tensor, shares: Tensor) -> Tensor:
        gate, *mapped = functional.silu(self.maps(self.norm(x))).chunk(4, dim=-1)
        values, query, keys = (by_head(each, self.heads) for each in mapped)  # (B, H, T, d)
        age = recency(x.shape[1], self.recency_bias.shape[1], x.device)
        logits = query @ keys.transpose(-1, -2) + self.recency_bias[:, age]
        if self.time_bias is not None:
            logits = logits + self.time_bias[:, time_bin].transpose(0, 1)
        read = (functional.silu(logits) * shares) @ values
        read = self.read_norm(read.transpose(1, 2).flatten(2))
        after: Tensor = x + self.dropout(self.out(read * gate))
        return after
