"""T-GRU: a GRU whose memory a temporal gate weighs (MTAM 4.2, eqs. 6-13).

    z = sigmoid([x; h] W_z + b_z),  r = sigmoid([x; h] W_r + b_r),  n = tanh([x; h * r] W_n + b_n)
    delta = tanh(log(1 + interval) w + b)             of the interval, (D,)
    rho   = tanh([x; h] W_rho + b_rho)                of the content, (D,)
    g     = sigmoid(delta * u + rho * v + a)
    h'    = z * g * h + (1 - z) * n

The paper's interval lies between the event that is read and the one before it (``read``); between
the last event and the request (``request``) is what other time inputs of a step tell.  The reset
comes before the product, as printed, so steps run one after the other under autograd.
B rows, T steps, I inputs, D width.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from training.models.parts.sequence import SequenceParameters
from training.nn.steps import Carried, Sizes, Steps
from training.parameters import require_choice

INTERVALS = ("read", "request")
_LONGEST_LOG_S = 12.0  # two days


@dataclass(frozen=True)
class TGruParameters(SequenceParameters):
    """``interval``: before the event that is read, or before the request."""

    interval: str = "request"

    def __post_init__(self) -> None:
        super().__post_init__()
        require_choice("interval", self.interval, INTERVALS)


class TGru(nn.Module):
    """A GRU that forgets by the clock."""

    def __init__(self, sizes: Sizes, parameters: TGruParameters) -> None:
        super().__init__()
        width = sizes.width
        self.reads = parameters.interval == "read"
        self.entry = nn.Linear(sizes.inputs, 4 * width)  # of z, r, rho, n
        self.back = nn.Linear(width, 3 * width, bias=False)  # of z, r, rho
        self.back_new = nn.Linear(width, width, bias=False)
        self.interval_scale = nn.Parameter(torch.ones(width))  # w
        # Units begin with cut-offs from a second to days: the paper does not say how.
        self.interval_shift = nn.Parameter(-torch.linspace(0.0, _LONGEST_LOG_S, width))  # b
        self.interval_pull = nn.Parameter(torch.randn(width) * width**-0.5)  # u
        self.content_pull = nn.Parameter(torch.randn(width) * width**-0.5)  # v
        self.gate_shift = nn.Parameter(torch.ones(width))  # a, which begins as good as a GRU

    def begin(self, rows: int) -> Carried:
        """A state of zeros, and no interval."""
        zeros = self.back_new.weight.new_zeros(rows, self.back_new.in_features)
        return {"state": zeros, "elapsed_s": zeros[:, 0]}

    def forward(self, steps: Steps, carried: Carried) -> tuple[Tensor, Carried]:
        """States (B, T, D), and what the next step goes on from."""
        interval_s = steps.elapsed_s
        if self.reads:
            interval_s = torch.cat([carried["elapsed_s"][:, None], interval_s[:, :-1]], dim=1)
        delta = torch.tanh(
            torch.log1p(interval_s.clamp(min=0))[..., None] * self.interval_scale
            + self.interval_shift
        )
        leaning = delta * self.interval_pull + self.gate_shift  # (B, T, D)
        entering = self.entry(steps.inputs).unflatten(-1, (4, -1))  # (B, T, 4, D)
        keep = (~steps.begins)[..., None].to(delta.dtype)
        state, after = carried["state"], []
        for k in range(delta.shape[1]):
            state = state * keep[:, k]
            into = entering[:, k, :3] + self.back(state).unflatten(-1, (3, -1))
            update, reset = torch.sigmoid(into[:, 0]), torch.sigmoid(into[:, 1])
            rho = torch.tanh(into[:, 2])
            gate = torch.sigmoid(leaning[:, k] + rho * self.content_pull)
            fresh = torch.tanh(entering[:, k, 3] + self.back_new(state * reset))
            state = update * gate * state + (1 - update) * fresh
            after.append(state)
        states = torch.stack(after, dim=1)
        return states, {"state": states, "elapsed_s": steps.elapsed_s}
