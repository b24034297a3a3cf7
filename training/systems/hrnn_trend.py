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

from pipeline.hours import Hour
from training.reader import DataSet, Popularity, Requests
from training.systems.base import US_PER_HOUR, Tensors, require, take_tensor
from training.systems.hrnn import Hrnn, HrnnParameters
from training.systems.trend import HourCounts, TrendRule, TrendTable, log_q_at

Ints = NDArray[np.int64]


@dataclass(frozen=True)
class HrnnTrendParameters(HrnnParameters):
    """``half_life_h``: after so long an event counts half.

    ``smoothing``: events that every item is granted, so that none is impossible.
    """

    half_life_h: float = 12.0
    smoothing: float = 0.1

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("half_life_h", "smoothing"):
            require(getattr(self, name) > 0, name, getattr(self, name), "above 0")


class HrnnTrend(Hrnn):
    """Each training target sees q as of the start of its own hour."""

    name: ClassVar[str] = "hrnn_trend"
    _has_prior: ClassVar[bool] = True

    def __init__(self, parameters: HrnnTrendParameters) -> None:
        super().__init__(parameters)
        self._trend = TrendRule(parameters.half_life_h, parameters.smoothing)
        self._table: TrendTable | None = None
        self._counts = HourCounts(*(np.empty(0, np.int64) for _ in range(3)))
        self._as_of = 0

    def _prepare(self, data: DataSet) -> None:
        histories = data.histories
        own = HourCounts.of_events(histories)
        hours = histories.time_us // US_PER_HOUR
        self._table = TrendTable.at(own, hours, len(data.item_ids), self._trend)
        self._as_of = data.manifest.as_of.index
        self._counts = own.before(self._as_of)
        self.refresh(data.popularity, data.manifest.as_of)

    def refresh(self, popularity: Popularity, as_of: Hour) -> None:
        """Renew the popularity from its first hour on; older hours stay as they were."""
        self._counts = self._counts.renewed(HourCounts.of_popularity(popularity))
        self._as_of = as_of.index

    def _with_prior(self, scores: Tensor, event: Ints, column: Ints | slice) -> Tensor:
        assert self._table is not None  # noqa: S101 - `_prepare` ran before training
        return scores + self._tempered(self._table.log_q[self._table.row[event], column])

    def _with_request_prior(self, scores: Tensor, requests: Requests) -> Tensor:
        # Hours at or after as_of are unknown; counts only fade while a request waits for news.
        hours, row = np.unique(requests.now_us // US_PER_HOUR, return_inverse=True)
        known = self._counts.before(self._as_of)
        return scores + self._tempered(log_q_at(known, hours, scores.shape[1], self._trend)[row])

    def _tempered(self, log_q: NDArray[np.float32]) -> Tensor:
        temperature = self._fitted().temperature
        assert temperature is not None  # noqa: S101 - `_has_prior` built it
        return temperature * torch.from_numpy(log_q).to(temperature.device)

    def tensors(self) -> Tensors:
        """HRNN's tensors, the hourly counts and the hour they reach to."""
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
