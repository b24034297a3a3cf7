"""Item-KNN: what else occurs near the items just seen (LSTR section 4.1)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from pipeline.array_types import Floats32
from training.data.arrays import known_events, session_of_event
from training.data.reader import DataSet, Histories, Requests
from training.model_types import Report, Tensors
from training.models.parts.base import require_items, share, take_tensor
from training.models.parts.neighbours.sparse_rows import in_order, most_of_each_row
from training.parameters import require, require_choice

_BACK_OFF = np.float32(1e-6)


@dataclass(frozen=True)
class ItemKnnParameters:
    """How similarity is counted and used.

    ``within``: events co-occur within a user's history, or within a session (as published).
    ``reach``: two events co-occur when at most so many steps apart.
    ``exponent``: power of the product of frequencies that divides (1 as published).
    ``shrinkage``: added to the divisor, against similarities built on a handful of events.
    ``directed``: count only what came later.
    ``neighbours``: most similar items kept for each item.
    ``repeats``: whether an item resembles itself, so that it may be recommended again at once.
    ``last_items``, ``fade``: the m-th latest item counts ``fade ** m``, m = 0 .. last_items - 1.
    """

    within: str = "history"
    reach: int = 5
    exponent: float = 0.5
    shrinkage: float = 10.0
    directed: bool = False
    neighbours: int = 300
    repeats: bool = False
    last_items: int = 3
    fade: float = 0.5

    def __post_init__(self) -> None:
        require_choice("within", self.within, ("history", "session"))
        require(self.reach >= 1, "reach", self.reach, "at least 1")
        require(0 <= self.exponent <= 1, "exponent", self.exponent, "between 0 and 1")
        require(self.shrinkage >= 0, "shrinkage", self.shrinkage, "0 or more")
        require(self.neighbours >= 1, "neighbours", self.neighbours, "at least 1")
        require(self.last_items >= 1, "last_items", self.last_items, "at least 1")
        require(0 < self.fade <= 1, "fade", self.fade, "above 0, at most 1")


class ItemKnn:
    """sim(i, j) = co-occurrences / ((events_i * events_j) ** exponent + shrinkage)."""

    name: ClassVar[str] = "item_knn"

    def __init__(self, parameters: ItemKnnParameters) -> None:
        self.parameters = parameters
        self._similar = sparse.csr_array((0, 0), dtype=np.float32)  # (V, V)
        self._back_off = np.empty(0, np.float32)

    def fit(self, data: DataSet, seed: int, report: Report) -> dict[str, float]:  # noqa: ARG002
        """Count co-occurrences over all histories, context included."""
        require_items(self.name, data)
        chosen, n_items = self.parameters, len(data.item_ids)
        histories = data.histories
        item = histories.item.astype(np.int64) - 1
        in_sessions = chosen.within == "session"
        sequence = session_of_event(histories) if in_sessions else histories.user_of_event
        counts = sparse.csr_array((n_items, n_items), dtype=np.float32)
        for apart in range(1, chosen.reach + 1):
            near = sequence[apart:] == sequence[:-apart]
            if not near.any():  # nor are any further apart
                break
            if not chosen.repeats:
                near &= item[apart:] != item[:-apart]
            pair = (item[:-apart][near], item[apart:][near])
            ones = np.ones(len(pair[0]), np.float32)
            counts = counts + sparse.coo_array((ones, pair), shape=counts.shape).tocsr()
        if not chosen.directed:
            counts = (counts + counts.T).tocsr()
        pairs = counts.tocoo()
        events = np.bincount(item, minlength=n_items).astype(np.float64)
        divisor = (events[pairs.row] * events[pairs.col]) ** chosen.exponent + chosen.shrinkage
        value = (pairs.data / divisor).astype(np.float32)
        nearest = most_of_each_row(pairs.row, value, chosen.neighbours)
        self._similar = sparse.csr_array(
            (value[nearest], (pairs.row[nearest], pairs.col[nearest])), shape=counts.shape
        )
        self._back_off = _BACK_OFF * share(data.item_events)
        return {"pairs": float(self._similar.nnz)}

    def score(self, histories: Histories, requests: Requests) -> Floats32:
        """Faded similarities to the last items, plus a trace of POP, (n, V)."""
        chosen = self.parameters
        request, event = known_events(histories, requests, chosen.last_items)
        age = histories.offsets[requests.user[request]] + requests.length[request] - 1 - event
        weight = np.float32(chosen.fade) ** age.astype(np.float32)
        shape = (len(requests), len(self._back_off))
        last = sparse.csr_array((weight, (request, histories.item[event] - 1)), shape=shape)
        similarity = (last @ self._similar).tocoo()
        exact = similarity.data.astype(np.float64) + self._back_off[similarity.col]
        scores = np.broadcast_to(self._back_off, shape).copy()
        scores[similarity.row, similarity.col] = in_order(similarity.row, exact)
        return scores

    def tensors(self) -> Tensors:
        """The similarities in compressed rows, and the back-off."""
        return {
            "similarity": self._similar.data,
            "column": self._similar.indices.astype(np.int64),
            "row_start": self._similar.indptr.astype(np.int64),
            "back_off": self._back_off,
        }

    def load(self, tensors: Mapping[str, NDArray[Any]]) -> None:
        """Take over the similarities."""
        self._back_off = take_tensor(tensors, "back_off")
        rows = [take_tensor(tensors, name) for name in ("similarity", "column", "row_start")]
        size = len(self._back_off)
        self._similar = sparse.csr_array(tuple(rows), shape=(size, size))
