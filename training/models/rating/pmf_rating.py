"""PMF: probabilistic matrix factorisation of values, with biases (Salakhutdinov and Mnih 2008).

    value_uj = mean + deviation * (leaning . p_u + bias_j + strength * p_u . q_j)

The Gaussian priors of p and q are their L2, ``weight_decay``.  For a user that training never saw
p_u is a multiple of the mean of the vectors of the items met so far, as in `bpr_mf`.
"""

from __future__ import annotations

from dataclasses import dataclass

from training.models.parts.rating import RatingModel
from training.models.shallow.bpr_mf import BprMf
from training.nn.parameters import RecurrentParameters
from training.parameters import require


@dataclass(frozen=True)
class PmfRatingParameters(RecurrentParameters):
    """``user_width`` is ``width``; ``weight_decay`` is the inverse variance of the priors.

    ``loss``, ``negatives`` and what goes with them mean nothing here.
    """

    width: int = 32
    user_width: int = 32
    plan: str = "windows"
    max_len: int = 50
    session_input: bool = False
    delta_input: bool = False
    dwell_input: bool = False
    input_dropout: float = 0.0
    dropout: float = 0.0
    weight_decay: float = 0.01
    repeats: bool = True
    negatives: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        rule = f"width = {self.width}, since both are multiplied"
        require(self.user_width == self.width, "user_width", self.user_width, rule)


class PmfRating(RatingModel):
    """The user, whatever came last."""

    def __init__(self, parameters: PmfRatingParameters) -> None:
        super().__init__("pmf_rating", parameters, BprMf)
