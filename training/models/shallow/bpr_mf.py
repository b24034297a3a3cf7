"""BPR-MF: a vector for each user, learned to rank what the user met above what it did not.

    score_j = p_u . q_j + bias_j,   loss -log sigmoid(score_met - score_other)  (Rendle et al. 2009)

Other items are drawn among those that the user has not met before.  A user that training never saw
is folded in: p_u is a multiple of the mean of the vectors of the latest items met, without the
start token.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from training.models.parts.sequence import SequenceParameters
from training.nn.blocks.past import mean_so_far
from training.nn.parameters import RecurrentParameters
from training.nn.steps import Sizes, Steps
from training.parameters import require


@dataclass(frozen=True)
class BprMfParameters(SequenceParameters):
    """``user_width`` is ``width``; negatives are drawn uniformly, and stand for themselves."""

    user_width: int = 100
    loss: str = "bpr"
    sampler: str = "uniform"
    unseen_negatives: bool = True
    log_q_correction: bool = False
    input_dropout: float = 0.0
    dropout: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        rule = f"width = {self.width}, since both are multiplied"
        require(self.user_width == self.width, "user_width", self.user_width, rule)


class BprMf(nn.Module):
    """The user, whatever came last."""

    reads_users: ClassVar[bool] = True

    def __init__(self, sizes: Sizes, parameters: RecurrentParameters) -> None:  # noqa: ARG002
        super().__init__()
        # How far the mean of a new user's items goes; users of the table need no scale.
        self.scale = nn.Parameter(torch.ones(()))

    def forward(self, steps: Steps) -> Tensor:
        """States (B, T, D)."""
        is_new = (steps.user == 0).all(-1, keepdim=True)  # (B, T, 1)
        has_event = steps.has_event[..., None].to(steps.item.dtype)  # (B, T, 1)
        share = mean_so_far(has_event, steps).clamp_min(torch.finfo(has_event.dtype).eps)
        folded_in = mean_so_far(steps.item * has_event, steps) / share
        return torch.where(is_new, self.scale * folded_in, steps.user)
