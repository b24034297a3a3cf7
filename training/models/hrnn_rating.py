"""HRNN with the rating head (HRNN tables 4 and 5).

With feedback the state is told the value of every event before, which is what beats an average of
the user and the item (HRNN 4.3).
"""

from __future__ import annotations

from dataclasses import dataclass

from training.models.parts.rating import RatingModel
from training.nn.gru import gru
from training.nn.parameters import RecurrentParameters


@dataclass(frozen=True)
class HrnnRatingParameters(RecurrentParameters):
    """``loss``, ``negatives`` and what goes with them mean nothing here."""

    feedback_input: bool = True
    repeats: bool = True
    negatives: int = 0


class HrnnRating(RatingModel):
    """Whole histories, with their values."""

    def __init__(self, parameters: HrnnRatingParameters) -> None:
        super().__init__("hrnn_rating", parameters, gru)
