"""POP: items by their frequency in the training window."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from pipeline.array_types import Floats32
from training.data.reader import DataSet, Histories, Requests
from training.model_types import Report, Tensors
from training.models.parts.base import require_items, take_tensor


@dataclass(frozen=True)
class PopParameters:
    """There is nothing to choose."""


class Pop:
    """The same list for everyone."""

    name: ClassVar[str] = "pop"

    def __init__(self, parameters: PopParameters) -> None:
        self.parameters = parameters
        self._events = np.empty(0, np.int64)

    def fit(self, data: DataSet, seed: int, report: Report) -> dict[str, float]:  # noqa: ARG002
        """Keep the support that the data set counted."""
        require_items(self.name, data)
        self._events = data.item_events
        return {}

    def score(self, histories: Histories, requests: Requests) -> Floats32:  # noqa: ARG002
        """Events of each item in the window, (n, V)."""
        return np.tile(self._events.astype(np.float32), (len(requests), 1))

    def tensors(self) -> Tensors:
        """Events of each item."""
        return {"events": self._events}

    def load(self, tensors: Mapping[str, NDArray[Any]]) -> None:
        """Take over the counts."""
        self._events = take_tensor(tensors, "events")
