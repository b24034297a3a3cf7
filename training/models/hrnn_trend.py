"""HRNN with the item-trend decomposition, and other evidence: `training.models.parts.trend`."""

from __future__ import annotations

from dataclasses import dataclass

from training.models.parts.trend import TrendModel, TrendParameters


@dataclass(frozen=True)
class HrnnTrendParameters(TrendParameters):
    """What did best, or no worse, over all logs at hand (`benchmarks/README.md`, Replays).

    Sessions like the current one count, repeats are learned from though nobody asks for them, and a
    model that is continued is made anew once a day, with short steps between.
    """

    similar_sessions: int = 100
    learn_repeats: bool = True
    continue_h: int = 24
    continue_rate: float = 0.1
    continue_epochs: int = 1
    anew_h: int = 24
    new_items: str = "neighbours"


class HrnnTrend(TrendModel):
    """HRNN whose scores are taste and fashion, told apart.

    What the network adds to the mixture differs by log: a replay's arm with ``affinity`` false says
    how much.
    """

    name: str = "hrnn_trend"
