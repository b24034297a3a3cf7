"""HRNN with the item-trend decomposition (HRNN sections 3.2 and 4.5, eq. 5).

    p(j | history, t)  is proportional to  exp(state . item_j + bias_j) * q(j | t) ** temperature

The network learns taste while q follows fashion: at scoring q comes from the latest known hours,
and `refresh` renews it without training.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pipeline.errors import UsageError
from pipeline.hours import Hour
from training.engine.learner import Prior
from training.engine.targets import TargetSplit
from training.reader import DataSet, Popularity, Requests
from training.systems.base import US_PER_HOUR, Tensors, require, take_tensor
from training.systems.neural import NeuralSystem
from training.systems.neural_parameters import RecurrentParameters
from training.systems.trend import HourCounts, TrendRule, TrendTable, log_q_at


@dataclass(frozen=True)
class TrendParameters(RecurrentParameters):
    """``trend``: whether q is told apart at all.

    ``half_life_h``: after so long an event counts half.
    ``smoothing``: events that every item is granted, so that none is impossible.
    """

    trend: bool = True
    half_life_h: float = 12.0
    smoothing: float = 0.1

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("half_life_h", "smoothing"):
            require(getattr(self, name) > 0, name, getattr(self, name), "above 0")
        if self.trend and self.ips_temperature > 0:
            raise UsageError(
                "trend and ips_temperature both take popularity out of what is learned: set trend "
                "to false, or ips_temperature to 0"
            )


class TrendSystem(NeuralSystem):
    """Each training target sees q as of the start of its own hour."""

    def __init__(self, parameters: TrendParameters) -> None:
        super().__init__(parameters)
        self._trends = parameters.trend
        self._rule = TrendRule(parameters.half_life_h, parameters.smoothing)
        self._counts = HourCounts(*(np.empty(0, np.int64) for _ in range(3)))
        self._as_of = 0

    @property
    def _follows_trend(self) -> bool:
        return self._trends

    def _prepare(self, data: DataSet) -> None:
        self._as_of = data.manifest.as_of.index
        self._counts = HourCounts.of_events(data.histories).before(self._as_of)
        self.refresh(data.popularity, data.manifest.as_of)

    def _prior(self, data: DataSet, split: TargetSplit) -> Prior | None:
        if not self._trends:
            return super()._prior(data, split)
        hours = np.asarray(data.histories.time_us) // US_PER_HOUR
        # The counts that serving begins with, so that taste is learned beside the q it will meet.
        return TrendTable.at(self._counts, hours, split.learned, len(data.item_ids), self._rule)

    def refresh(self, popularity: Popularity, as_of: Hour) -> None:
        """Renew the popularity from its first hour on; older hours stay as they were."""
        self._counts = self._counts.renewed(HourCounts.of_popularity(popularity))
        self._as_of = as_of.index

    def _with_request_prior(self, scores: Tensor, requests: Requests) -> Tensor:
        temperature = self._fitted().temperature
        if temperature is None:
            return scores
        # Hours at or after as_of are unknown; counts only fade while a request waits for news.
        hours, row = np.unique(requests.now_us // US_PER_HOUR, return_inverse=True)
        known = self._counts.before(self._as_of)
        log_q = log_q_at(known, hours, scores.shape[1], self._rule)[row]
        return scores + temperature * torch.from_numpy(log_q).to(temperature.device)

    def tensors(self) -> Tensors:
        """The network's tensors, the hourly counts and the hour they reach to."""
        return {
            **super().tensors(),
            "trend.item": self._counts.item,
            "trend.hour": self._counts.hour,
            "trend.events": self._counts.events,
            "trend.as_of": np.array([self._as_of]),
        }

    def load(self, tensors: Mapping[str, NDArray[Any]]) -> None:
        """Take over weights and counts."""
        super().load(tensors)
        columns = (take_tensor(tensors, f"trend.{name}") for name in ("item", "hour", "events"))
        self._counts = HourCounts(*columns)
        self._as_of = int(take_tensor(tensors, "trend.as_of")[0])


@dataclass(frozen=True)
class HrnnTrendParameters(TrendParameters):
    """The defaults of systems that follow trends."""


class HrnnTrend(TrendSystem):
    """HRNN whose scores are taste and fashion, told apart."""

    name: ClassVar[str] = "hrnn_trend"
