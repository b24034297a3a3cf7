"""Recent-POP: items by their frequency in the last hours (HRNN section 4.5's baseline)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from pipeline.array_types import Floats32
from pipeline.hours import US_PER_HOUR, Hour
from training.data.reader import DataSet, Histories, Popularity, Requests
from training.model_types import Report, Tensors
from training.models.parts.base import require_items, take_tensor
from training.models.parts.decayed_popularity import HourCounts
from training.models.parts.popularity_rules import PopularityRule, chosen_rule, tie_of
from training.parameters import require

_ONCE_H = 24  # of models of before that do not say


@dataclass(frozen=True)
class RecentPopParameters:
    """``k_h``: how many of the last known hours count; 0: what tells most of the latest events.

    ``half_life_h``: after so long an event counts half, of all known hours where ``k_h`` is 0; 0:
    all of the hours count alike.
    """

    k_h: int = 0
    half_life_h: float = 0.0

    def __post_init__(self) -> None:
        require(self.k_h >= 0, "k_h", self.k_h, "0 or more")
        require(self.half_life_h >= 0, "half_life_h", self.half_life_h, "0 or more")

    def require_popularity_window(self, hours: int) -> None:
        """Refuse to look further back than a data set knows hourly popularity.

        Raises:
            UsageError: ``hours`` are not enough.
        """
        limit = f"at most the data set's popularity window of {hours} h"
        require(self.k_h <= hours, "k_h", self.k_h, limit)


class RecentPop:
    """Counts the k hours before the request's hour, never an hour at or after as_of.

    A request later than as_of looks at the last k hours that are known, ``[as_of - k, as_of)``;
    `refresh` moves as_of forward.
    """

    name: ClassVar[str] = "recent_pop"

    def __init__(self, parameters: RecentPopParameters) -> None:
        self.parameters = parameters
        self._rule = PopularityRule(parameters.k_h or _ONCE_H, parameters.half_life_h)
        self._tie = np.empty(0, np.float32)
        self._as_of = 0
        self._counts = HourCounts.none()

    def fit(self, data: DataSet, seed: int, report: Report) -> dict[str, float]:  # noqa: ARG002
        """Keep the hourly counts of the data set."""
        require_items(self.name, data)
        self.parameters.require_popularity_window(data.manifest.popularity_window_h)
        self._tie = tie_of(data.item_events)
        if self.parameters.k_h == 0:
            half_life_h, known_h = self.parameters.half_life_h, data.manifest.popularity_window_h
            self._rule = (
                PopularityRule(known_h, half_life_h) if half_life_h > 0 else chosen_rule(data)
            )
        self.refresh(data.popularity, data.manifest.as_of)
        return {"window_h": float(self._rule.window_h), "half_life_h": self._rule.half_life_h}

    def refresh(self, popularity: Popularity, as_of: Hour) -> None:
        """Replace the hourly counts by those known at ``as_of``."""
        self._counts = HourCounts.of_popularity(popularity)
        self._as_of = as_of.index

    def score(self, histories: Histories, requests: Requests) -> Floats32:  # noqa: ARG002
        """Events of each item in the k hours, plus a tie-breaking half share of POP, (n, V)."""
        hours = np.minimum(requests.now_us // US_PER_HOUR, self._as_of)
        distinct, which = np.unique(hours, return_inverse=True)
        n_items = len(self._tie)
        counts = [self._rule.counts(self._counts, int(hour), n_items) for hour in distinct]
        table = np.stack(counts) if counts else np.empty((0, n_items), np.float32)
        scores: Floats32 = (table + self._tie)[which]
        return scores

    def tensors(self) -> Tensors:
        """Hourly counts, as_of, the tie breaker and the rule."""
        return {
            "tie": self._tie,
            "as_of": np.array([self._as_of]),
            "item": self._counts.item,
            "hour_index": self._counts.hour,
            "events": self._counts.events,
            "rule": np.array([self._rule.window_h, self._rule.half_life_h]),
        }

    def load(self, tensors: Mapping[str, NDArray[Any]]) -> None:
        """Take over what another instance kept."""
        self._tie = take_tensor(tensors, "tie")
        columns = (take_tensor(tensors, name) for name in ("item", "hour_index", "events"))
        if "rule" in tensors:  # models of before have none
            window_h, half_life_h = take_tensor(tensors, "rule").tolist()
            self._rule = PopularityRule(int(window_h), float(half_life_h))
        self.refresh(Popularity(*columns), Hour(int(take_tensor(tensors, "as_of")[0])))
