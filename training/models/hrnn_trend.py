"""HRNN with the item-trend decomposition, and other evidence: `training.models.parts.trend`."""

from __future__ import annotations

from dataclasses import dataclass

from training.models.parts.trend import TrendModel, TrendParameters


@dataclass(frozen=True)
class HrnnTrendParameters(TrendParameters):
    """The defaults of systems that follow trends."""


class HrnnTrend(TrendModel):
    """HRNN whose scores are taste and fashion, told apart.

    On wikipedia, continued every 12 hours, the network adds next to nothing to the mixture: 0 and
    .003 of Recall@20 in two stretches (`training/configs/hrnn_trend_wikipedia_hourly.yaml`).  A
    replay's arm with ``affinity`` false tells it for another log.
    """

    name: str = "hrnn_trend"
