"""FM on values: a second-order factorisation machine, squared error (Rendle 2010; HRNN table 4).

    value_j = mean + deviation * (leaning . state + bias_j + strength * state . v_j)
    state   = p_user + v_last + C context

The linear weights of user, last item and circumstances are ``leaning``'s of their vectors.
"""

from __future__ import annotations

from dataclasses import dataclass

from training.models.parts.rating import RatingModel
from training.models.shallow.fm import Fm
from training.nn.parameters import RecurrentParameters
from training.parameters import require


@dataclass(frozen=True)
class FmRatingParameters(RecurrentParameters):
    """``user_width`` is ``width``, or 0 without users; an item has a vector for each role.

    ``feedback_input``: the value of the last event is active too.  ``loss``, ``negatives`` and what
    goes with them mean nothing here.
    """

    width: int = 32
    tied: bool = False
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
        rule = f"0 or width = {self.width}, since both are added"
        require(self.user_width in (0, self.width), "user_width", self.user_width, rule)


class FmRating(RatingModel):
    """The sum of the vectors of all that is known at the request."""

    def __init__(self, parameters: FmRatingParameters) -> None:
        super().__init__("fm_rating", parameters, Fm)
