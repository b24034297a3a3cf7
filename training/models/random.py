"""Random: every item's score is noise; the baseline under all baselines."""

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

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)


@dataclass(frozen=True)
class RandomParameters:
    """There is nothing to choose."""


class Random:
    """Scores are a hash of seed, request and item, so a request's scores never change."""

    name: ClassVar[str] = "random"

    def __init__(self, parameters: RandomParameters) -> None:
        self.parameters = parameters
        self._seed = 0
        self._n_items = 0

    def fit(self, data: DataSet, seed: int, report: Report) -> dict[str, float]:  # noqa: ARG002
        """Remember the seed and how many items there are."""
        require_items(self.name, data)
        self._seed, self._n_items = seed, len(data.item_ids)
        return {}

    def score(self, histories: Histories, requests: Requests) -> Floats32:  # noqa: ARG002
        """Uniform numbers in [0, 1), (n, V)."""
        request = _mix(np.full(len(requests), self._seed, np.uint64))
        for field in (requests.user, requests.length, requests.now_us):
            request = _mix(request ^ field.astype(np.uint64))
        items = _mix(np.arange(1, self._n_items + 1, dtype=np.uint64))
        noise = _mix(request[:, None] ^ items[None, :])
        # 24 bits are what a float32 below 1 can hold exactly.
        return (noise >> np.uint64(40)).astype(np.float32) / np.float32(1 << 24)

    def tensors(self) -> Tensors:
        """Seed and vocabulary size."""
        return {"seed": np.array([self._seed]), "n_items": np.array([self._n_items])}

    def load(self, tensors: Mapping[str, NDArray[Any]]) -> None:
        """Take over seed and vocabulary size."""
        self._seed = int(take_tensor(tensors, "seed")[0])
        self._n_items = int(take_tensor(tensors, "n_items")[0])


def _mix(state: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """One round of SplitMix64: a bijection of 64-bit words that scatters neighbours."""
    state = state + _GOLDEN
    state = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    state = (state ^ (state >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return state ^ (state >> np.uint64(31))
