"""Sessions that resemble the current one, recent sessions first, and what they hold.

Vector session nearest neighbours (Ludewig and Jannach) and STAN (Garg et al.).  With the current
session's items i at positions p(i) = 1 .. L, the latest position winning,

    w(i)          = p(i) / L, or exp((p(i) - L) / position_decay)
    similarity(s) = 2 ** (-age(s) / half_life) * sum over i in s of w(i) [/ sqrt(items of s)]
    held(j)       = sum over the nearest sessions s that contain j of similarity(s) * nearby(s, j)
    nearby(s, j)  = exp(-|p_s(j) - p_s(i*)| / place_decay) [* max(0, 1 - .1 * (L - p(i+)))]

where of the items that s shares with the current session i* is the latest in s, and i+ the latest
in the current session; what is not asked for is 1.  STAN also divides by the length of w, which is
the same for all sessions and so changes no order.

A session that goes on is known by its first part, and is then the nearest of all.  Of an item only
the latest sessions are searched, whatever is asked: requests are meant to be later than what was
learned from.

n requests, V items, S sessions.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from pipeline.array_types import Ints
from pipeline.hours import US_PER_HOUR
from training.data.arrays import distinct, known_events, latest_before, session_of_event
from training.data.reader import Histories, Requests
from training.model_types import Tensors
from training.models.parts.base import take_tensor
from training.models.parts.neighbours.sparse_rows import largest_of_each_row, most_of_each_row

_CHUNK = 256  # requests whose neighbours are searched together; bounds memory, not results

SESSION_TENSORS = ("item", "session_start", "end_us")
PLACES = "place"  # a further one, where the rule asks for places


@dataclass(frozen=True)
class SimilarityRule:
    """How sessions are compared.

    ``neighbours``: the nearest ones that count.
    ``sessions_per_item``: only so many of an item's latest sessions are searched.
    ``half_life_h``: a session this much older is half as similar; 0 turns the decay off.
    ``last_events``: at most so many events of the current session are compared.
    ``position_decay``: an item so many events before the last counts 1/e; 0: in proportion.
    ``normalised``: long sessions are less similar, by the square root of their items.
    ``place_decay``: what a session holds so many events from i* counts 1/e; 0: all alike.
    ``last_shared``: a session counts a tenth less for each event that i+ lies before the last.
    """

    neighbours: int = 100
    sessions_per_item: int = 500
    half_life_h: float = 48.0
    last_events: int = 20
    position_decay: float = 0.0
    normalised: bool = False
    place_decay: float = 0.0
    last_shared: bool = False

    @property
    def needs_places(self) -> bool:
        """Whether it matters where in a session an item stands."""
        return self.place_decay > 0


@dataclass(frozen=True)
class Sessions:
    """Sessions of at least two different items: one item alone has no next.

    ``items``: (S, V), 1 where a session holds an item.  ``end_us``: (S,) of its last event.
    ``places``: which event of its session each of them was at the latest, from 1 on, in the order
    of ``items``; empty where the rule asks for none.
    """

    items: sparse.csr_array
    end_us: Ints
    rule: SimilarityRule
    places: Ints = field(default_factory=lambda: np.empty(0, np.int64))

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
        length = np.diff(last, prepend=-1)
        number = np.repeat(np.arange(len(last)), length)
        session_items = number * n_items + item - 1
        places = np.empty(0, np.int64)
        if rule.needs_places:
            # Read backwards, the first of equal pairs is the latest.
            pairs, behind = np.unique(session_items[::-1], return_index=True)
            at = len(session_items) - 1 - behind
            places = at - np.repeat(last - length, length)[at]
        else:
            pairs = distinct(session_items)
        row, column = pairs // n_items, pairs % n_items
        long_enough = np.bincount(row, minlength=len(last)) >= 2  # noqa: PLR2004 - one item has no next
        chosen = long_enough[row]
        row, column = (np.cumsum(long_enough) - 1)[row[chosen]], column[chosen]
        cells = (np.ones(len(row), np.float32), (row, column))
        items = sparse.csr_array(cells, shape=(int(long_enough.sum()), n_items))
        places = places[chosen] if rule.needs_places else places
        return cls(items, time_us[last][long_enough], rule, places)

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
        reachable = distinct(self._latest.indices)
        items, places = self.items[reachable], self.places
        if self.rule.needs_places:
            of_all = (places, self.items.indices, self.items.indptr)
            places = sparse.csr_array(of_all, self.items.shape)[reachable].data
        return Sessions(items, self.end_us[reachable], self.rule, places)

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
        current, before_last = self._current(histories, requests)
        nearest = self._nearest(current, requests)
        if not self.rule.needs_places and not self.rule.last_shared:
            return nearest @ self.items
        return self._nearby_items(nearest, current, before_last)

    def _nearest(self, current: sparse.csr_array, requests: Requests) -> sparse.csr_array:
        """Similarities of the nearest sessions, (n, S)."""
        near = (current @ self._latest).tocsr()
        row = np.repeat(np.arange(len(requests)), np.diff(near.indptr))
        age_us = requests.now_us[row] - self.end_us[near.indices]
        weight = near.data
        if self.rule.half_life_h:
            age_h = age_us / US_PER_HOUR
            weight = weight * np.exp2(-age_h / self.rule.half_life_h).astype(np.float32)
        if self.rule.normalised:
            weight = weight / np.sqrt(self._lengths[near.indices], dtype=np.float32)
        past = np.flatnonzero(age_us > 0)
        latest_first = -self.end_us[near.indices[past]]
        most = self.rule.neighbours
        nearest_pairs = past[largest_of_each_row(row[past], weight[past], latest_first, most)]
        return sparse.csr_array(
            (weight[nearest_pairs], (row[nearest_pairs], near.indices[nearest_pairs])), near.shape
        )

    def _nearby_items(
        self, nearest: sparse.csr_array, current: sparse.csr_array, before_last: Ints
    ) -> sparse.csr_array:
        """What each of the nearest sessions holds, weighed by where it stands in it, (n, V)."""
        if not nearest.nnz:
            return nearest @ self.items
        lies_before_last = np.full(current.shape, -1, np.int32)
        of_current = np.repeat(np.arange(current.shape[0]), np.diff(current.indptr))
        lies_before_last[of_current, current.indices] = before_last
        # A cell for each item of each pair of a request and a session; no session is empty.
        sizes = self._lengths[nearest.indices]
        begins = np.cumsum(sizes) - sizes
        pair = np.repeat(np.arange(nearest.nnz), sizes)
        cell = np.arange(len(pair)) + (self.items.indptr[nearest.indices] - begins)[pair]
        item = self.items.indices[cell]
        row = np.repeat(np.arange(nearest.shape[0]), np.diff(nearest.indptr))[pair]
        before = lies_before_last[row, item]
        weight = nearest.data[pair].astype(np.float64)
        if self.rule.needs_places:
            cell_place = self.places[cell]
            anchor = np.maximum.reduceat(np.where(before >= 0, cell_place, 0), begins)
            weight *= np.exp(-np.abs(cell_place - anchor[pair]) / self.rule.place_decay)
        if self.rule.last_shared:
            most = np.iinfo(np.int32).max
            fewest = np.minimum.reduceat(np.where(before >= 0, before, most), begins)
            weight *= np.maximum(0, 1 - 0.1 * fewest[pair])
        cells = (weight.astype(np.float32), (row, item))
        nearby = sparse.csr_array(cells, current.shape)
        nearby.sum_duplicates()
        return nearby

    @cached_property
    def _lengths(self) -> Ints:
        """Items of each session, (S,)."""
        lengths: Ints = np.diff(self.items.indptr)
        return lengths

    def _current(self, histories: Histories, requests: Requests) -> tuple[sparse.csr_array, Ints]:
        """Current sessions, each item weighed by its latest position, (n, V).

        And of each of them how many events it lies before the last.
        """
        row, event = known_events(histories, requests, self.rule.last_events)
        # Of each row the events come in order, so the last that starts a session is kept.
        begins = np.full(len(requests), -1)
        starts = np.asarray(histories.session_start)[event]
        begins[row[starts]] = event[starts]
        now = event >= begins[row]
        row, event = row[now], event[now]
        length = np.bincount(row, minlength=len(requests))
        position = np.arange(len(row)) - (np.cumsum(length) - length)[row] + 1
        before_last = length[row] - position
        if self.rule.position_decay:
            weight = np.exp(-before_last / self.rule.position_decay).astype(np.float32)
        else:
            weight = (position / length[row]).astype(np.float32)
        item = np.asarray(histories.item)[event].astype(np.int64) - 1
        shape = (len(requests), self.items.shape[1])
        # Of an item its latest event counts.
        order = np.lexsort((before_last, item, row))
        pair = row[order] * shape[1] + item[order]
        first = order[np.diff(pair, prepend=-1) != 0]
        cells = sparse.csr_array((weight[first], (row[first], item[first])), shape)
        return cells, before_last[first]

    def tensors(self) -> Tensors:
        """The sessions in compressed rows, their ends, and places where the rule asks for them."""
        item, start = (each.astype(np.int64) for each in (self.items.indices, self.items.indptr))
        tensors = dict(zip(SESSION_TENSORS, (item, start, self.end_us), strict=True))
        return tensors | ({PLACES: self.places} if self.rule.needs_places else {})

    @classmethod
    def from_tensors(
        cls, tensors: Mapping[str, NDArray[Any]], n_items: int, rule: SimilarityRule
    ) -> Sessions:
        """What `tensors` gave."""
        item, start, end_us = (take_tensor(tensors, name) for name in SESSION_TENSORS)
        ones: NDArray[Any] = np.ones(len(item), np.float32)
        items = sparse.csr_array((ones, item, start), shape=(len(end_us), n_items))
        if rule.needs_places:
            return cls(items, end_us, rule, take_tensor(tensors, PLACES))
        return cls(items, end_us, rule)
