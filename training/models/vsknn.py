"""V-SkNN: the items of sessions that resemble the current one, recent sessions first.

    score(j) = idf(j) * held(j)

with what the nearest sessions hold by `training.models.parts.session_similarity`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from pipeline.array_types import Floats32
from pipeline.errors import HourglassError
from training.data.arrays import known_events
from training.data.reader import DataSet, Histories, Requests
from training.model_types import Report, Tensors
from training.models.parts.base import require_items, share, take_tensor
from training.models.parts.session_similarity import Sessions, SimilarityRule
from training.models.parts.sparse_rows import in_order
from training.parameters import require

_BACK_OFF = np.float32(1e-6)
_CHUNK = 256  # requests whose scores are worked on together; bounds memory, not results


@dataclass(frozen=True)
class VSknnParameters:
    """How sessions are compared.

    ``neighbours``: sessions whose items are scored.
    ``sessions_per_item``: only so many of an item's latest sessions are searched.
    ``half_life_h``: a session this much older counts half; 0 turns the decay off.
    ``idf``: weigh an item by log(sessions / sessions with it).
    ``last_events``: at most so many events of the current session are compared.
    ``repeats``: whether the item just seen may be recommended again.
    """

    neighbours: int = SimilarityRule.neighbours
    sessions_per_item: int = SimilarityRule.sessions_per_item
    half_life_h: float = SimilarityRule.half_life_h
    idf: bool = True
    last_events: int = SimilarityRule.last_events
    repeats: bool = False

    def __post_init__(self) -> None:
        for name in ("neighbours", "sessions_per_item", "last_events"):
            require(getattr(self, name) >= 1, name, getattr(self, name), "at least 1")
        require(self.half_life_h >= 0, "half_life_h", self.half_life_h, "0 or more")


class VSknn:
    """The current session is the one of the latest known event, also when a new one begins."""

    name: ClassVar[str] = "vsknn"

    def __init__(self, parameters: VSknnParameters) -> None:
        self.parameters = parameters
        self._sessions: Sessions | None = None
        self._idf = np.empty(0, np.float32)  # (V,)
        self._back_off = np.empty(0, np.float32)  # (V,)

    @property
    def _similarity_rule(self) -> SimilarityRule:
        p = self.parameters
        return SimilarityRule(p.neighbours, p.sessions_per_item, p.half_life_h, p.last_events)

    def fit(self, data: DataSet, seed: int, report: Report) -> dict[str, float]:  # noqa: ARG002
        """Keep every session of at least two different items, context included."""
        require_items(self.name, data)
        n_items = len(data.item_ids)
        self._sessions = sessions = Sessions.of(data.histories, n_items, self._similarity_rule)
        count = len(sessions.end_us)
        in_sessions = np.bincount(sessions.items.indices, minlength=n_items)
        rarity = np.log(max(1, count) / np.maximum(1, in_sessions)).astype(np.float32)
        self._idf = rarity if self.parameters.idf else np.ones(n_items, np.float32)
        self._back_off = _BACK_OFF * share(data.item_events)
        return {"sessions": float(count)}

    def score(self, histories: Histories, requests: Requests) -> Floats32:
        """Scores of the nearest sessions' items, plus a trace of POP, (n, V)."""
        if self._sessions is None:
            raise HourglassError(f"{self.name} has not been trained: fit or load it first")
        neighbour_items = self._sessions.similar_items(histories, requests)
        if not self.parameters.repeats:
            request, event = known_events(histories, requests, most=1)
            last = np.full(len(requests), -1)
            last[request] = histories.item[event] - 1
            neighbour_items.data[
                neighbour_items.indices == np.repeat(last, np.diff(neighbour_items.indptr))
            ] = 0
        scores = np.empty(neighbour_items.shape, np.float32)
        for first in range(0, len(requests), _CHUNK):
            rows = slice(first, first + _CHUNK)
            scores[rows] = self._ranked(neighbour_items[rows].toarray() * self._idf)
        return scores

    def _ranked(self, scores: Floats32) -> Floats32:
        # Decayed weights may be tiny: scaled, the best item has 1 and POP stays a trace.
        top = scores.max(axis=1, keepdims=True)
        row, column = np.nonzero(scores)
        exact = scores[row, column] / top[row, 0].astype(np.float64) + self._back_off[column]
        ranked = np.broadcast_to(self._back_off, scores.shape).copy()
        ranked[row, column] = in_order(row, exact)
        return ranked

    def tensors(self) -> Tensors:
        """The sessions in compressed rows, their ends, and the item weights."""
        sessions = {} if self._sessions is None else self._sessions.tensors()
        return {**sessions, "idf": self._idf, "back_off": self._back_off}

    def load(self, tensors: Mapping[str, NDArray[Any]]) -> None:
        """Take over the sessions."""
        self._idf = take_tensor(tensors, "idf")
        self._back_off = take_tensor(tensors, "back_off")
        self._sessions = Sessions.from_tensors(tensors, len(self._back_off), self._similarity_rule)
