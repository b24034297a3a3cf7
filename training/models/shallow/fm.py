"""FM: a second-order factorisation machine over the user, the last item and the circumstances.

    score_j = w_j + v_j . (p_user + v_last + C context)      (Rendle 2010, the terms that hold j)

Terms without the candidate j are the same for all items and rank none above another.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor, nn

from training.models.parts.sequence import SequenceParameters
from training.nn.parameters import RecurrentParameters
from training.nn.steps import Sizes, Steps
from training.parameters import require


@dataclass(frozen=True)
class FmParameters(SequenceParameters):
    """``user_width`` is ``width``, or 0 without users; an item has a vector for each role."""

    tied: bool = False
    user_width: int = 100

    def __post_init__(self) -> None:
        super().__post_init__()
        rule = f"0 or width = {self.width}, since both are added"
        require(self.user_width in (0, self.width), "user_width", self.user_width, rule)


class Fm(nn.Module):
    """The sum of the vectors of all that is known at the request."""

    reads_users: ClassVar[bool] = True

    def __init__(self, sizes: Sizes, parameters: RecurrentParameters) -> None:  # noqa: ARG002
        super().__init__()
        n_context = sizes.inputs - sizes.width
        self.context = nn.Linear(n_context, sizes.width, bias=False) if n_context else None

    def forward(self, steps: Steps) -> Tensor:
        """States (B, T, D)."""
        states = steps.item
        if steps.user.shape[-1]:
            states = states + steps.user
        if self.context is not None:
            states = states + self.context(steps.context)
        return states
