"""Sessions that resemble the current one, recent sessions first, and what they hold.

Vector session nearest neighbours (Ludewig and Jannach) with STAN's decay by session age.  With the
current session's items i at positions p(i) = 1 .. L, the latest position winning,

    similarity(s) = 2 ** (-age(s) / half_life) * sum over i in s of p(i) / L
    held(j)       = sum over the nearest sessions s that contain j of similarity(s)

A session that goes on is known by its first part, and is then the nearest of all.  Of an item only
the latest sessions are searched, whatever is asked: requests are meant to be later than what was
learned from.

n requests, V items, S sessions.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from pipeline.array_types import Ints
from pipeline.hours import US_PER_HOUR
from training.data.arrays import known_events, latest_before, session_of_event
from training.data.reader import Histories, Requests
from training.model_types import Tensors
from training.models.parts.base import take_tensor
from training.models.parts.sparse_rows import largest_of_each_row, most_of_each_row

_CHUNK = 256  # requests whose neighbours are searched together; bounds memory, not results

SESSION_TENSORS = ("item", "session_start", "end_us")


@dataclass(frozen=True)
class SimilarityRule:
    """How sessions are compared.

    ``neighbours``: the nearest ones that count.
    ``sessions_per_item``: only so many of an item's latest sessions are searched.
    ``half_life_h``: a session this much older is half as similar; 0 turns the decay off.
    ``last_events``: at most so many events of the current session are compared.
    """

    neighbours: int = 100
    sessions_per_item: int = 500
    half_life_h: float = 48.0
    last_events: int = 20


@dataclass(frozen=True)
class Sessions:
    """Sessions of at least two different items: one item alone has no next.

    ``items``: (S, V), 1 where a session holds an item.  ``end_us``: (S,) of its last event.
    """

    items: sparse.csr_array
    end_us: Ints
    rule: SimilarityRule

    @classmethod
    def of(
        cls,
        histories: Histories,
        n_items: int,
        rule: SimilarityRule,
        before_us: int | None = None,
        most_events: int | None = None,
    ) -> Sessions:
        """Those of all histories, of events before ``before_us`` only, the latest where told."""
        session = session_of_event(histories)
        time_us, item = np.asarray(histories.time_us), np.asarray(histories.item)
        if before_us is not None or most_events is not None:
            events = latest_before(time_us, before_us, most_events or len(time_us))
            session, time_us, item = session[events], time_us[events], item[events]
        last = np.flatnonzero(np.diff(session, append=-1))
        number = np.repeat(np.arange(len(last)), np.diff(last, prepend=-1))
        pairs = np.unique(number * n_items + item - 1)
        row, column = pairs // n_items, pairs % n_items
        long_enough = np.bincount(row, minlength=len(last)) >= 2  # noqa: PLR2004 - one item has no next
        row, column = (np.cumsum(long_enough) - 1)[row[long_enough[row]]], column[long_enough[row]]
        cells = (np.ones(len(row), np.float32), (row, column))
        items = sparse.csr_array(cells, shape=(int(long_enough.sum()), n_items))
        return cls(items, time_us[last][long_enough], rule)

    @cached_property
    def _latest(self) -> sparse.csr_array:
        """The latest sessions of each item, (V, S)."""
        pairs = self.items.tocoo()
        recency = np.argsort(np.argsort(self.end_us, kind="stable"), kind="stable")
        latest = most_of_each_row(pairs.col, recency[pairs.row], self.rule.sessions_per_item)
        return sparse.csr_array(
            (pairs.data[latest], (pairs.col[latest], pairs.row[latest])),
            shape=self.items.shape[::-1],
        )

    def within_reach(self) -> Sessions:
        """Those that may be near another: the latest of some item."""
        reachable = np.unique(self._latest.indices)
        return Sessions(self.items[reachable], self.end_us[reachable], self.rule)

    def similar_items(self, histories: Histories, requests: Requests) -> sparse.csr_array:
        """What the nearest sessions hold, (n, V).

        The current session is that of the latest known event, also where a new one begins; one
        that ends at the request or later is not known yet.
        """
        parts = [
            self._similar_items(histories, requests.take(slice(first, first + _CHUNK)))
            for first in range(0, len(requests), _CHUNK)
        ]
        if not parts:
            return sparse.csr_array((0, self.items.shape[1]), dtype=np.float32)
        return sparse.csr_array(sparse.vstack(parts, format="csr"))

    def _similar_items(self, histories: Histories, requests: Requests) -> sparse.csr_array:
        near = (self._current(histories, requests) @ self._latest).tocsr()  # (n, S)
        row = np.repeat(np.arange(len(requests)), np.diff(near.indptr))
        age_us = requests.now_us[row] - self.end_us[near.indices]
        weight = near.data
        if self.rule.half_life_h:
            age_h = age_us / US_PER_HOUR
            weight = weight * np.exp2(-age_h / self.rule.half_life_h).astype(np.float32)
        past = np.flatnonzero(age_us > 0)
        latest_first = -self.end_us[near.indices[past]]
        most = self.rule.neighbours
        nearest_pairs = past[largest_of_each_row(row[past], weight[past], latest_first, most)]
        nearest = sparse.csr_array(
            (weight[nearest_pairs], (row[nearest_pairs], near.indices[nearest_pairs])), near.shape
        )
        return nearest @ self.items

    def _current(self, histories: Histories, requests: Requests) -> sparse.csr_array:
        """Current sessions, each item weighed by its latest position, (n, V)."""
        row, event = known_events(histories, requests, self.rule.last_events)
        # Of each row the events come in order, so the last that starts a session is kept.
        begins = np.full(len(requests), -1)
        starts = np.asarray(histories.session_start)[event]
        begins[row[starts]] = event[starts]
        now = event >= begins[row]
        row, event = row[now], event[now]
        length = np.bincount(row, minlength=len(requests))
        position = np.arange(len(row)) - (np.cumsum(length) - length)[row] + 1
        weight = (position / length[row]).astype(np.float32)
        item = np.asarray(histories.item)[event].astype(np.int64) - 1
        shape = (len(requests), self.items.shape[1])
        # Later positions weigh more, so the best of an item is its latest.
        order = np.lexsort((-weight, item, row))
        pair = row[order] * shape[1] + item[order]
        first = order[np.diff(pair, prepend=-1) != 0]
        return sparse.csr_array((weight[first], (row[first], item[first])), shape)

    def tensors(self) -> Tensors:
        """The sessions in compressed rows, and their ends."""
        item, start = (each.astype(np.int64) for each in (self.items.indices, self.items.indptr))
        return dict(zip(SESSION_TENSORS, (item, start, self.end_us), strict=True))

    @classmethod
    def from_tensors(
        cls, tensors: Mapping[str, NDArray[Any]], n_items: int, rule: SimilarityRule
    ) -> Sessions:
        """What `tensors` gave."""
        item, start, end_us = (take_tensor(tensors, name) for name in SESSION_TENSORS)
        ones: NDArray[Any] = np.ones(len(item), np.float32)
        items = sparse.csr_array((ones, item, start), shape=(len(end_us), n_items))
        return cls(items, end_us, rule)
