"""GRU4Rec: a GRU over the items of one session, which knows nothing of those before.

Session-parallel mini-batches and the state reset where a session ends (ASARS 2.1, LSTR); steps are
told the last item and nothing else.
"""

from __future__ import annotations

from dataclasses import dataclass

from training.models.parts.recurrent import RecurrentModel
from training.nn.parameters import RecurrentParameters


@dataclass(frozen=True)
class Gru4RecParameters(RecurrentParameters):
    """Its own defaults: sessions on the lanes, no time."""

    plan: str = "sessions"
    session_input: bool = False
    delta_input: bool = False
    dwell_input: bool = False


class Gru4Rec(RecurrentModel):
    """Predicts the next item of a session from its items."""

    name: str = "gru4rec"
