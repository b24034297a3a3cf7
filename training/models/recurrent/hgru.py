"""HGRU: a GRU of sessions above a GRU of events (HRNN section 2.2, after Quadrana et al. 2017).

    within a session:        lower_k = GRU(x_k, lower_{k-1})
    where a session begins:  upper_m = GRU'(lower_k, upper_{m-1}),   opened = tanh(W upper_m + b)
                             lower_k = GRU(x_k, opened) if rerun, else opened

HRNN's change is the rerun: the step that was due is computed once more from the new state.  Users
reach the ends of their sessions at different steps, so steps are computed one after the other: the
cost that HRNN does away with (`python -m benchmarks.train`).  B rows, T steps, D width.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from training.models.parts.sequence import SequenceParameters
from training.nn.steps import Carried, Sizes, Steps


@dataclass(frozen=True)
class HgruParameters(SequenceParameters):
    """``rerun``: whether the first step of a session is computed again after the upper level."""

    plan: str = "users"
    rerun: bool = True


class Hgru(nn.Module):
    """Two levels of states; items are scored with the lower one."""

    def __init__(self, sizes: Sizes, parameters: HgruParameters) -> None:
        super().__init__()
        self.rerun = parameters.rerun
        self.events = nn.GRUCell(sizes.inputs, sizes.width)
        self.sessions = nn.GRUCell(sizes.width, sizes.width)
        self.opening = nn.Linear(sizes.width, sizes.width)
        # What opens a session went through three maps: PyTorch's small start would all but lose it.
        for cell in (self.events, self.sessions):
            for gate in cell.weight_ih.chunk(3):
                nn.init.xavier_uniform_(gate)
            for gate in cell.weight_hh.chunk(3):
                nn.init.orthogonal_(gate)
        nn.init.orthogonal_(self.opening.weight)

    def begin(self, rows: int) -> Carried:
        """Zeros at both levels."""
        zeros = self.opening.weight.new_zeros(rows, self.opening.in_features)
        return {"lower": zeros, "upper": zeros}

    def forward(self, steps: Steps, carried: Carried) -> tuple[Tensor, Carried]:
        """States (B, T, D), and both levels after each step."""
        lower, upper = carried["lower"], carried["upper"]
        ends = steps.session_start & ~steps.begins  # of a session that is remembered
        keep = (~steps.begins)[..., None].to(lower.dtype)
        after = []
        for k in range(steps.inputs.shape[1]):
            x = steps.inputs[:, k]
            upper = upper * keep[:, k]
            lower = self.events(x, lower * keep[:, k])
            rows = ends[:, k].nonzero()[:, 0]
            if len(rows):
                risen = self.sessions(lower[rows], upper[rows])
                upper = upper.index_copy(0, rows, risen.to(upper.dtype))
                opened = torch.tanh(self.opening(risen))
                if self.rerun:
                    opened = self.events(x[rows], opened)
                lower = lower.index_copy(0, rows, opened.to(lower.dtype))
            after.append((lower, upper))
        states = torch.stack([level for level, _ in after], dim=1)
        return states, {"lower": states, "upper": torch.stack([level for _, level in after], dim=1)}
