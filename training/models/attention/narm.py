"""NARM: the latest state of a GRU beside what it attends to of earlier ones (Li et al. 2017).

    h_1 .. h_t = GRU(x),   global = h_t,   local = sum_{i<=t} alpha_ti h_i
    additive:  alpha_ti = v . sigmoid(A_1 h_t + A_2 h_i), without a softmax
    dot:       alpha_t = softmax_i(h_t . h_i / sqrt(D)), and the two are normalised together
    time:      T-Attention of (h_t, time of the request) to (h_i, time of event i)
    state = B [global; local]

``dot`` is of the code that MTAM's authors released.  NARM+ is ``attention: time``, NARM++ also
``unit: t_gru`` (MTAM 6.2).  B rows, T steps, D width.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from training.models.parts.sequence import SequenceParameters
from training.models.recurrent.t_gru import INTERVALS, TGru, TGruParameters
from training.nn.blocks.time_attention import TimeAttention, intervals_s
from training.nn.gru import Gru
from training.nn.steps import Sizes, Steps
from training.parameters import require_choice


@dataclass(frozen=True)
class NarmParameters(SequenceParameters):
    """``attention``: additive, dot or time; ``unit``: gru or t_gru.

    ``interval``: of t_gru, before the event that is read or before the request.  ``dropout`` comes
    before B, too.
    """

    input_dropout: float = 0.25
    attention: str = "additive"
    unit: str = "gru"
    interval: str = "request"

    def __post_init__(self) -> None:
        super().__post_init__()
        require_choice("attention", self.attention, ("additive", "dot", "time"))
        require_choice("unit", self.unit, ("gru", "t_gru"))
        require_choice("interval", self.interval, INTERVALS)


class Narm(nn.Module):
    """States of a unit, and one reading of them."""

    def __init__(self, sizes: Sizes, parameters: NarmParameters) -> None:
        super().__init__()
        width, self.is_timed = sizes.width, parameters.attention == "time"
        self.unit: Gru | TGru = (
            Gru(sizes.inputs, width)
            if parameters.unit == "gru"
            else TGru(sizes, TGruParameters(interval=parameters.interval))
        )
        self.attention: _Additive | TimeAttention = (
            _Additive(width)
            if parameters.attention == "additive"
            else TimeAttention(
                width, parameters.max_len, "learned" if parameters.attention == "time" else "none"
            )
        )
        self.norm = nn.LayerNorm(2 * width) if parameters.attention == "dot" else nn.Identity()
        self.dropout = nn.Dropout(parameters.dropout)
        self.out = nn.Linear(2 * width, width, bias=False)  # B

    def forward(self, steps: Steps) -> Tensor:
        """States (B, T, D)."""
        h, _ = self.unit(steps, self.unit.begin(len(steps.begins)))
        interval_s = intervals_s(steps) if self.is_timed else None
        local = self.attention(h, h, h, interval_s, steps.visible())
        states: Tensor = self.out(self.dropout(self.norm(torch.cat([h, local], dim=-1))))
        return states


class _Additive(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.of_query = nn.Linear(width, width, bias=False)  # A_1
        self.of_key = nn.Linear(width, width, bias=False)  # A_2
        self.weigh = nn.Linear(width, 1, bias=False)  # v

    def forward(
        self,
        query: Tensor,
        keys: Tensor,
        values: Tensor,
        interval_s: Tensor | None,  # noqa: ARG002 - called as `TimeAttention` is
        visible: Tensor,
    ) -> Tensor:
        hidden = torch.sigmoid(
            self.of_query(query)[:, :, None] + self.of_key(keys)[:, None]
        )  # (B, T, T, D)
        read: Tensor = (self.weigh(hidden)[..., 0] * visible) @ values
        return read
