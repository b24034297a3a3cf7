"""The model whose scores are the items of the sessions most like the current one.

    score(j) = (1 + idf_weight * idf(j)) * held(j), or idf(j) * held(j) where idf is all that counts

with what the nearest sessions hold by `training.models.parts.neighbours.session_similarity`.  A
trace of POP orders the rest.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from pipeline.array_types import Floats32
from pipeline.errors import HourglassError
from training.data.arrays import known_events
from training.data.reader import DataSet, Histories, Requests
from training.model_types import Report, Tensors
from training.models.parts.base import require_items, share, take_tensor
from training.models.parts.neighbours.session_similarity import Sessions, SimilarityRule
from training.models.parts.neighbours.sparse_rows import in_order

_BACK_OFF = np.float32(1e-6)
_CHUNK = 256  # requests whose scores are worked on together; bounds memory, not results


class SessionNeighbours:
    """The current session is the one of the latest known event, also when a new one begins.

    ``idf_weight``: None where idf is the weight of an item, else what it adds to 1.
    ``repeats``: whether the item just seen may be recommended again.
    """

    name: ClassVar[str]

    def __init__(self, rule: SimilarityRule, idf_weight: float | None, repeats: bool) -> None:
        self._rule, self._idf_weight, self._repeats = rule, idf_weight, repeats
        self._sessions: Sessions | None = None
        self._item_weight = np.empty(0, np.float32)  # (V,)
        self._back_off = np.empty(0, np.float32)  # (V,)

    def fit(self, data: DataSet, seed: int, report: Report) -> dict[str, float]:  # noqa: ARG002
        """Keep every session of at least two different items, context included."""
        require_items(self.name, data)
        n_items = len(data.item_ids)
        self._sessions = sessions = Sessions.of(data.histories, n_items, self._rule)
        count = len(sessions.end_us)
        in_sessions = np.bincount(sessions.items.indices, minlength=n_items)
        rarity = np.log(max(1, count) / np.maximum(1, in_sessions)).astype(np.float32)
        self._item_weight = rarity if self._idf_weight is None else 1 + self._idf_weight * rarity
        self._back_off = _BACK_OFF * share(data.item_events)
        return {"sessions": float(count)}

    def score(self, histories: Histories, requests: Requests) -> Floats32:
        """Scores of the nearest sessions' items, plus a trace of POP, (n, V)."""
        if self._sessions is None:
            raise HourglassError(f"{self.name} has not been trained: fit or load it first")
        neighbour_items = self._sessions.similar_items(histories, requests)
        if not self._repeats:
            request, event = known_events(histories, requests, most=1)
            last = np.full(len(requests), -1)
            last[request] = histories.item[event] - 1
            neighbour_items.data[
                neighbour_items.indices == np.repeat(last, np.diff(neighbour_items.indptr))
            ] = 0
        scores = np.empty(neighbour_items.shape, np.float32)
        for first in range(0, len(requests), _CHUNK):
            rows = slice(first, first + _CHUNK)
            scores[rows] = self._ranked(neighbour_items[rows].toarray() * self._item_weight)
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
        """The sessions in compressed rows, their ends, the item weights, and places where asked."""
        sessions = {} if self._sessions is None else self._sessions.tensors()
        return {**sessions, "idf": self._item_weight, "back_off": self._back_off}

    def load(self, tensors: Mapping[str, NDArray[Any]]) -> None:
        """Take over the sessions."""
        self._item_weight = take_tensor(tensors, "idf")
        self._back_off = take_tensor(tensors, "back_off")
        self._sessions = Sessions.from_tensors(tensors, len(self._back_off), self._rule)
