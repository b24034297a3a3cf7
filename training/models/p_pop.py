"""P-POP: the user's own most frequent items."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from pipeline.array_types import Floats32
from training.data.arrays import known_events
from training.data.reader import DataSet, Histories, Requests
from training.model_types import Report, Tensors
from training.models.parts.base import require_items, share, take_tensor

# Below one event, so that POP only orders items that the user's own counts leave equal.
_TIE_WEIGHT = np.float32(0.5)


@dataclass(frozen=True)
class PPopParameters:
    """There is nothing to choose."""


class PPop:
    """Counts the user's known events, context included; POP breaks ties."""

    name: ClassVar[str] = "p_pop"

    def __init__(self, parameters: PPopParameters) -> None:
        self.parameters = parameters
        self._tie = np.empty(0, np.float32)

    def fit(self, data: DataSet, seed: int, report: Report) -> dict[str, float]:  # noqa: ARG002
        """Keep the tie breaker; the counts come with each request."""
        require_items(self.name, data)
        self._tie = _TIE_WEIGHT * share(data.item_events)
        return {}

    def score(self, histories: Histories, requests: Requests) -> Floats32:
        """The user's events on each item, plus a tie-breaking half share of POP, (n, V)."""
        n_items = len(self._tie)
        request, event = known_events(histories, requests)
        cell = request * n_items + histories.item[event] - 1
        counts = np.bincount(cell, minlength=len(requests) * n_items)
        return counts.reshape(len(requests), n_items).astype(np.float32) + self._tie

    def tensors(self) -> Tensors:
        """The tie breaker."""
        return {"tie": self._tie}

    def load(self, tensors: Mapping[str, NDArray[Any]]) -> None:
        """Take over the tie breaker."""
        self._tie = take_tensor(tensors, "tie")
