"""T-SeqRec: an LSTM with a gate for the interval and a gate for the span (MTAM 6.2; SLi-Rec 2019).

    d_k  = tanh(log(1 + interval_k) w_d + b_d)      p_k  = tanh(log(1 + span_k) w_p + b_p)
    T_d  = sigmoid(x_k W_xd + d_k W_dd + c_d)       T_p  = sigmoid(x_k W_xp + p_k W_pp + c_p)
    [i; f; o; j] = [x_k; h_{k-1}] W + b
    c_k  = sigmoid(f + 1) * T_d * c_{k-1} + sigmoid(i) * T_p * tanh(j)
    h_k  = sigmoid(o + d_k W_do + p_k W_po) * tanh(c_k)

interval_k lies between the event that is read and the one before it, span_k between that event and
the request that the prefix ends with.  So every prefix has spans, and a pass, of its own: all
prefixes that still go on are stepped at once, which costs T / 2 times a single pass.  B rows, T
steps, P prefixes, H width.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from training.models.parts.sequence import SequenceParameters
from training.nn.steps import Sizes, Steps
from training.parameters import require_choice

_GATES = ("both", "interval", "none")


@dataclass(frozen=True)
class TSeqrecParameters(SequenceParameters):
    """``gates``: both; the interval's alone, which needs a single pass; none, a plain LSTM."""

    max_len: int = 20
    gates: str = "both"

    def __post_init__(self) -> None:
        super().__post_init__()
        require_choice("gates", self.gates, _GATES)


class TSeqrec(nn.Module):
    """Each prefix is read as if its request were the only one."""

    def __init__(self, sizes: Sizes, parameters: TSeqrecParameters) -> None:
        super().__init__()
        self.width = sizes.width
        self.read = nn.Linear(sizes.inputs, 4 * sizes.width)
        self.recall = nn.Linear(sizes.width, 4 * sizes.width, bias=False)
        self.interval = None if parameters.gates == "none" else TimeGate(sizes)
        self.span = TimeGate(sizes) if parameters.gates == "both" else None

    def forward(self, steps: Steps) -> Tensor:
        """States (B, T, H)."""
        inputs, time_s = steps.inputs, steps.event_time_s
        n_rows, n_steps, _ = inputs.shape
        read = self.read(inputs)  # (B, T, 4H)
        from_interval = None
        if self.interval is not None:
            before_s = functional.pad(steps.elapsed_s[:, :-1], (1, 0))
            from_interval = self.interval(inputs, before_s.masked_fill(steps.begins, 0.0))
        keep = (~steps.begins).to(read.dtype)
        hidden = cell = read.new_zeros(n_rows, 1, self.width)  # (B, P, H)
        if self.span is not None:
            hidden = cell = hidden.expand(-1, n_steps, -1)
        states = []
        for step in range(n_steps):
            hidden = hidden * keep[:, step, None, None]
            sums = read[:, step, None] + self.recall(hidden)
            enters, stays, leaves, fresh = sums.chunk(4, dim=-1)
            cell = cell * keep[:, step, None, None] * torch.sigmoid(stays + 1)
            fresh = torch.sigmoid(enters) * torch.tanh(fresh)
            if from_interval is not None:
                gate, to_output = from_interval
                cell, leaves = cell * gate[:, step, None], leaves + to_output[:, step, None]
            if self.span is not None:
                spans_s = (steps.time_s[:, step:] - time_s[:, step, None]).float()  # (B, P)
                gate, to_output = self.span(inputs[:, step, None], spans_s)
                fresh, leaves = fresh * gate, leaves + to_output
            cell = cell + fresh
            hidden = torch.sigmoid(leaves) * torch.tanh(cell)
            states.append(hidden[:, 0])
            if self.span is not None:
                hidden, cell = hidden[:, 1:], cell[:, 1:]  # this step's own prefix ends here
        return torch.stack(states, dim=1)


class TimeGate(nn.Module):
    """What a time does to a cell: a gate, and a term of the output gate."""

    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        self.feature = nn.Linear(1, sizes.width)
        self.from_inputs = nn.Linear(sizes.inputs, sizes.width)
        self.from_feature = nn.Linear(sizes.width, sizes.width, bias=False)
        self.to_output = nn.Linear(sizes.width, sizes.width, bias=False)

    def forward(self, inputs: Tensor, seconds: Tensor) -> tuple[Tensor, Tensor]:
        """Of inputs (..., I) and seconds (...): the gate and the term, both (..., H)."""
        feature = torch.tanh(self.feature(torch.log1p(seconds.clamp_min(0))[..., None]))
        gate = torch.sigmoid(self.from_inputs(inputs) + self.from_feature(feature))
        return gate, self.to_output(feature)
