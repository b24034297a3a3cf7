"""HRNN: one GRU that is told about sessions and time at its input (HRNN sections 2.1-2.2).

state_k = GRU(state_{k-1}, [item_{k-1}; delta_k; session_start_k; dwell_{k-1}])
score_j = state_k . item_j + bias_j                                        (HRNN 2.3)
"""

from __future__ import annotations

from dataclasses import dataclass

from training.models.parts.recurrent import RecurrentModel
from training.nn.parameters import RecurrentParameters


@dataclass(frozen=True)
class HrnnParameters(RecurrentParameters):
    """The defaults of recurrent systems."""


class Hrnn(RecurrentModel):
    """Whole histories, with the times between their events."""

    name: str = "hrnn"
