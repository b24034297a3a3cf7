"""SASRec: self-attention over what came before, with places (Kang and McAuley 2018; MTAM 6.2).

    x = W_in x_i + P_place,  then ``blocks`` times
    y = x + drop(attention(q, k, v)),  q, k, v = maps of LN(x)
    x = y + drop(W_2 relu(W_1 LN(y)))
    state = LN(x)

A place counts steps since the segment's begin.  With ``time: gate`` the gate of T-Attention weighs
each logit: time-aware SASRec (MTAM 6.5).  B rows, T steps, I inputs, D width.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn

from training.models.parts.sequence import SequenceParameters
from training.nn.blocks.past import steps_since_begin
from training.nn.blocks.time_attention import TimeAttention, intervals_s
from training.nn.steps import Sizes, Steps
from training.parameters import require, require_choice


@dataclass(frozen=True)
class SasrecParameters(SequenceParameters):
    """``blocks``: layers of attention; ``heads``: of each; ``time``: none, or gate.

    ``dropout`` is applied to what each layer adds, too.
    """

    blocks: int = 2
    heads: int = 1
    time: str = "none"

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.blocks >= 1, "blocks", self.blocks, "at least 1")
        divides = self.heads >= 1 and self.width % self.heads == 0
        require(divides, "heads", self.heads, f"a divisor of width = {self.width}")
        require_choice("time", self.time, ("none", "gate"))


class Sasrec(nn.Module):
    """Blocks of attention above places."""

    def __init__(self, sizes: Sizes, parameters: SasrecParameters) -> None:
        super().__init__()
        self.is_gated = parameters.time == "gate"
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
        interval_s, visible = intervals_s(steps) if self.is_gated else None, steps.visible()
        for block in self.blocks:
            x = block(x, interval_s, visible)
        states: Tensor = self.out(x)
        return states


class _Block(nn.Module):
    def __init__(self, width: int, parameters: SasrecParameters) -> None:
        super().__init__()
        gate = "learned" if parameters.time == "gate" else "none"
        self.attention_norm = nn.LayerNorm(width)
        self.maps = nn.Linear(width, 3 * width, bias=False)  # q, k, v
        self.attention = TimeAttention(width, parameters.max_len, gate, parameters.heads)
        self.inner_norm = nn.LayerNorm(width)
        self.inner = nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, width))
        self.dropout = nn.Dropout(parameters.dropout)

    def forward(self, x: Tensor, interval_s: Tensor | None, visible: Tensor) -> Tensor:
        query, keys, values = self.maps(self.attention_norm(x)).chunk(3, dim=-1)
        x = x + self.dropout(self.attention(query, keys, values, interval_s, visible))
        after: Tensor = x + self.dropout(self.inner(self.inner_norm(x)))
        return after
