"""V-SkNN: the items of sessions that resemble the current one, recent sessions first.

Vector session nearest neighbours (Ludewig and Jannach) with STAN's decay by session age.  With the
current session's items i at positions p(i) = 1 .. L, the latest position winning,

    similarity(s) = 2 ** (-age(s) / half_life) * sum over i in s of p(i) / L
    score(j)      = idf(j) * sum over the nearest sessions s that contain j of similarity(s)
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from training.batches import known_events, ranges, session_of_event
from training.reader import DataSet, Histories, Requests
from training.systems.base import (
    US_PER_HOUR,
    Report,
    Tensors,
    require,
    require_items,
    share,
    take_tensor,
)
from training.systems.item_knn import most_of_each_row

_BACK_OFF = np.float32(1e-6)
_CHUNK = 256  # requests whose neighbours are searched together; bounds memory, not results


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

    neighbours: int = 100
    sessions_per_item: int = 500
    half_life_h: float = 48.0
    idf: bool = True
    last_events: int = 20
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
        self._session_items = sparse.csr_array((0, 0), dtype=np.float32)  # (S, V)
        self._item_sessions = sparse.csr_array((0, 0), dtype=np.float32)  # (V, S)
        self._end_us = np.empty(0, np.int64)  # (S,)
        self._idf = np.empty(0, np.float32)  # (V,)
        self._back_off = np.empty(0, np.float32)  # (V,)

    def fit(self, data: DataSet, seed: int, report: Report) -> dict[str, float]:  # noqa: ARG002
        """Keep every session of at least two different items, context included."""
        require_items(self.name, data)
        histories, n_items = data.histories, len(data.item_ids)
        session = session_of_event(histories)
        end_us = histories.time_us[np.flatnonzero(np.diff(session, append=session[-1] + 1))]
        pairs = np.unique(session * n_items + histories.item - 1)
        row, column = pairs // n_items, pairs % n_items
        kept = np.bincount(row, minlength=len(end_us)) >= 2  # noqa: PLR2004 - one item has no next
        row, column = (np.cumsum(kept) - 1)[row[kept[row]]], column[kept[row]]
        self._end_us = end_us[kept]
        shape = (len(self._end_us), n_items)
        ones = np.ones(len(row), np.float32)
        self._session_items = sparse.csr_array((ones, (row, column)), shape=shape)
        in_sessions = np.bincount(column, minlength=n_items)
        rarity = np.log(max(1, shape[0]) / np.maximum(1, in_sessions)).astype(np.float32)
        self._idf = rarity if self.parameters.idf else np.ones(n_items, np.float32)
        self._back_off = _BACK_OFF * share(data.item_events)
        self._index()
        return {"sessions": float(shape[0])}

    def _index(self) -> None:
        pairs = self._session_items.tocoo()
        recency = np.argsort(np.argsort(self._end_us, kind="stable"), kind="stable")
        latest = most_of_each_row(pairs.col, recency[pairs.row], self.parameters.sessions_per_item)
        self._item_sessions = sparse.csr_array(
            (pairs.data[latest], (pairs.col[latest], pairs.row[latest])),
            shape=self._session_items.shape[::-1],
        )

    def score(self, histories: Histories, requests: Requests) -> NDArray[np.float32]:
        """Scores of the nearest sessions' items, plus a trace of POP, (n, V)."""
        scores = np.empty((len(requests), len(self._back_off)), np.float32)
        session = session_of_event(histories)
        for first in range(0, len(requests), _CHUNK):
            rows = slice(first, first + _CHUNK)
            scores[rows] = self._score_chunk(histories, session, requests.take(rows))
        return scores

    def _score_chunk(
        self, histories: Histories, session: NDArray[np.int64], requests: Requests
    ) -> NDArray[np.float32]:
        now = self._current_sessions(histories, session, requests)  # (n, V)
        near = (now @ self._item_sessions).tocsr()  # (n, S)
        row = np.repeat(np.arange(len(requests)), np.diff(near.indptr))
        age_us = requests.now_us[row] - self._end_us[near.indices]
        weight = near.data
        if self.parameters.half_life_h:
            age_h = age_us / US_PER_HOUR
            weight = weight * np.exp2(-age_h / self.parameters.half_life_h).astype(np.float32)
        # A session that ends at the request or later is not known yet.
        past = np.flatnonzero(age_us > 0)
        kept = past[most_of_each_row(row[past], weight[past], self.parameters.neighbours)]
        nearest = sparse.csr_array((weight[kept], (row[kept], near.indices[kept])), near.shape)
        scores = (nearest @ self._session_items).toarray() * self._idf
        if not self.parameters.repeats:
            asked, event = known_events(histories, requests, most=1)
            scores[asked, histories.item[event] - 1] = 0
        # Decayed weights may be tiny: scaled, the best item has 1 and POP stays a trace.
        top = scores.max(axis=1, keepdims=True)
        ranked: NDArray[np.float32] = scores / np.where(top > 0, top, np.float32(1))
        return ranked + self._back_off

    def _current_sessions(
        self, histories: Histories, session: NDArray[np.int64], requests: Requests
    ) -> sparse.csr_array:
        stop = histories.offsets[requests.user] + requests.length
        known = requests.length > 0
        last = np.zeros(len(requests), np.int64)
        last[known] = session[stop[known] - 1]
        length = np.where(known, stop - np.searchsorted(session, last, side="left"), 0)
        length = np.minimum(length, self.parameters.last_events)
        row, event = ranges(stop - length, length)
        weight = ((event - (stop - length)[row] + 1) / length[row]).astype(np.float32)
        # Later positions weigh more, so the best of an item is its latest.
        item = histories.item[event] - 1
        order = np.lexsort((-weight, item, row))
        pair = row[order] * len(self._back_off) + item[order]
        first = order[np.diff(pair, prepend=-1) != 0]
        return sparse.csr_array(
            (weight[first], (row[first], item[first])), (len(requests), len(self._back_off))
        )

    def tensors(self) -> Tensors:
        """The sessions in compressed rows, their ends, and the item weights."""
        return {
            "item": self._session_items.indices.astype(np.int64),
            "session_start": self._session_items.indptr.astype(np.int64),
            "end_us": self._end_us,
            "idf": self._idf,
            "back_off": self._back_off,
        }

    def load(self, tensors: Mapping[str, NDArray[Any]]) -> None:
        """Take over the sessions."""
        self._end_us = take_tensor(tensors, "end_us")
        self._idf = take_tensor(tensors, "idf")
        self._back_off = take_tensor(tensors, "back_off")
        item, start = (take_tensor(tensors, name) for name in ("item", "session_start"))
        shape = (len(self._end_us), len(self._back_off))
        ones = np.ones(len(item), np.float32)
        self._session_items = sparse.csr_array((ones, item, start), shape=shape)
        self._index()
