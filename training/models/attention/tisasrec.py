"""TiSASRec: self-attention that knows how long ago, in the user's own unit (Li et al. 2020).

    r_ij     = min(R, floor(|theta_i - t_j| / unit_i))
    logit_ij = q_i . (k_j + K_r + PK_j) / sqrt(D)
    out_i    = sum_j softmax_j(logit_ij) (v_j + V_r + PV_j)

The rest is SASRec's; K, V by interval and PK, PV by place serve all blocks.  Published, unit is the
user's shortest interval, later ones included; here it is the shortest that step i knows, so that
no state sees the future.  Vectors of pairs (B, T, T, D) are never built: queries meet the R + 1
entries of a table, and pairs look the products up.

With ``relation: bias`` no interval has a vector, and log(1 + |theta_i - t_j|) is added before the
division (the code that MTAM's authors released).  B rows, T steps, D width.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from training.models.parts.sequence import SequenceParameters
from training.nn.blocks.past import steps_since_begin
from training.nn.blocks.time_attention import intervals_s, looked_up, summed_by
from training.nn.steps import Sizes, Steps
from training.parameters import require, require_choice


@dataclass(frozen=True)
class TisasrecParameters(SequenceParameters):
    """``blocks``: layers; ``relation``: of intervals to logits, table or bias.

    ``intervals``: R, the most units that are told apart; published 256 to 2048.  ``dropout`` is
    applied to what each layer adds, too.
    """

    blocks: int = 2
    relation: str = "table"
    intervals: int = 256

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.blocks >= 1, "blocks", self.blocks, "at least 1")
        require(self.intervals >= 1, "intervals", self.intervals, "at least 1")
        require_choice("relation", self.relation, ("table", "bias"))


def shortest_s(steps: Steps) -> Tensor:
    """The shortest interval above 0 that each step knows of, (B, T); infinite without one."""
    elapsed_s = torch.where(steps.elapsed_s > 0, steps.elapsed_s, torch.inf)
    return torch.where(steps.visible(), elapsed_s[:, None, :], torch.inf).amin(-1)


class Tisasrec(nn.Module):
    """Blocks of attention that share what intervals and places mean."""

    def __init__(self, sizes: Sizes, parameters: TisasrecParameters) -> None:
        super().__init__()
        width = sizes.width
        self.intervals = parameters.intervals
        self.entry = nn.Linear(sizes.inputs, width, bias=False)
        self.places = _Tables(parameters.max_len, width)
        self.relation = (
            _Tables(parameters.intervals + 1, width) if parameters.relation == "table" else None
        )
        self.blocks = nn.ModuleList(
            _Block(width, parameters.dropout) for _ in range(parameters.blocks)
        )
        self.out = nn.LayerNorm(width)

    def forward(self, steps: Steps) -> Tensor:
        """States (B, T, D)."""
        x = self.entry(steps.inputs)
        age_s, visible = intervals_s(steps), steps.visible()
        index = steps_since_begin(steps.begins).clamp(max=self.places.size - 1)
        places = self.places.key(index), self.places.value(index)
        units = (age_s / shortest_s(steps)[:, :, None]).clamp(max=self.intervals).long()
        for block in self.blocks:
            x = block(x, places, visible, self.relation, units, age_s)
        states: Tensor = self.out(x)
        return states


class _Tables(nn.Module):
    """What something adds to keys and to values."""

    def __init__(self, size: int, width: int) -> None:
        super().__init__()
        self.size = size
        self.key, self.value = nn.Embedding(size, width), nn.Embedding(size, width)
        for table in (self.key, self.value):
            nn.init.normal_(table.weight, std=width**-0.5)


class _Block(nn.Module):
    def __init__(self, width: int, dropout: float) -> None:
        super().__init__()
        self.attention_norm = nn.LayerNorm(width)
        self.maps = nn.Linear(width, 3 * width, bias=False)  # q, k, v
        self.inner_norm = nn.LayerNorm(width)
        self.inner = nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, width))
        self.dropout = nn.Dropout(dropout)

    def forward(
        self,
        x: Tensor,
        places: tuple[Tensor, Tensor],
        visible: Tensor,
        relation: _Tables | None,
        units: Tensor,
        age_s: Tensor,
    ) -> Tensor:
        query, keys, values = self.maps(self.attention_norm(x)).chunk(3, dim=-1)
        logits = query @ (keys + places[0]).transpose(1, 2)  # (B, T, T)
        if relation is None:
            logits = logits + torch.log1p(age_s)
        else:
            logits = logits + looked_up(query @ relation.key.weight.t(), units)
        logits = (logits / query.shape[-1] ** 0.5).masked_fill(~visible, -torch.inf)
        weights = torch.softmax(logits, dim=-1)
        read = weights @ (values + places[1])
        if relation is not None:
            by_units = summed_by(weights, units, relation.size)  # (B, T, R + 1)
            read = read + by_units @ relation.value.weight
        x = x + self.dropout(read)
        after: Tensor = x + self.dropout(self.inner(self.inner_norm(x)))
        return after
