"""Evidence beside taste: what a request's score is a weighted sum of (HRNN eq. 5, extended).

    score_j = w_affinity * affinity_j + sum over the other terms of w * term_j

Terms of an item at an hour t: log q_j by four half-lives, so that together they tell what rises and
what falls, and log2 of its age in hours.  Terms of a request and an item, 0 for most pairs, with L
the user's last item and k steps since it was met:

    just_seen       1 where j is L
    met             1 where the user has met j
    times_met       log of how often
    met_lately      1 / k of the latest time
    followed        log(1 + c(L, j) / q_j), c(i, j) = how often j came right after i
    preceded        log(1 + c(j, L) / q_j)
    near            log(1 + n_j / q_j), n_j = sum over the last items, fading, of how often j came
                    within a few steps before or after them
    similar         log(1 + h_j / q_j), h_j = what sessions that resemble the current one hold,
                    `parts.neighbours.session_similarity`; only where sessions are kept

log(c / q + 1) is log(c + q) - log q: added to log q, a count that is smoothed towards q.  Weights
are one set for requests within a session and one for those that begin one.

n requests, V items, K terms, E pairs of request and item.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from pipeline.array_types import Bools, Floats, Floats32, Ints
from pipeline.hours import US_PER_HOUR
from training.data.arrays import known_events, latest_before
from training.data.reader import Histories, Requests
from training.model_types import Tensors
from training.models.parts.decayed_popularity import HourCounts, TrendRule, age_h_at, log_q_at
from training.models.parts.neighbours.session_similarity import Sessions

AFFINITY, LOG_Q, SIMILAR = "affinity", "log_q", "similar"
# Models from before these were there go on without them.
LATER_FEATURES = ("log_q_long", "log_q_last")
LOG_Q_FEATURES = (LOG_Q, "log_q_short", *LATER_FEATURES)
ITEM_FEATURES = (*LOG_Q_FEATURES, "age")
PAIR_FEATURES = (
    "just_seen",
    "met",
    "times_met",
    "met_lately",
    "followed",
    "preceded",
    "near",
    SIMILAR,
)
SCORE_FEATURES = (AFFINITY, *ITEM_FEATURES, *PAIR_FEATURES)
#: About what parts of four logs agreed on: the best guess where little is known.
DEFAULT_WEIGHTS = {
    AFFINITY: 0.4,
    LOG_Q: 0.4,
    "log_q_short": 0.2,
    "log_q_long": 0.1,
    "met": 1.0,
    "times_met": 0.6,
    "met_lately": 0.4,
    "followed": 0.08,
    "preceded": 0.07,
    "near": 0.12,
    SIMILAR: 0.2,
}
# Of models from before `LATER_FEATURES` were there, whose weights were never fitted.
FORMER_DEFAULT_WEIGHTS = {
    AFFINITY: 0.5,
    LOG_Q: 0.5,
    "log_q_short": 0.1,
    "met": 0.5,
    "times_met": 0.4,
    "met_lately": 0.3,
    "followed": 0.14,
    "preceded": 0.1,
    "near": 0.2,
}
# In half-lives: of log_q, log_q_short, log_q_long and log_q_last.
_HALF_LIVES = (1.0, 1 / 6, 10.0, 1 / 40)
_MET_EVENTS = 100  # of a history that are looked at
_REACH = 10  # steps within which items are near
_LAST_ITEMS, _FADE = 5, 0.7
MOST_EVENTS = 2_000_000  # the latest ones: neighbours are counted in seconds
_CACHED_CELLS = 32_000_000


@dataclass(frozen=True)
class Neighbours:
    """How often items came after one another in the histories, counted before some time."""

    followed: sparse.csr_array  # (V, V) row i: what came right after i
    near: sparse.csr_array  # (V, V) row i: what came up to `_REACH` steps after i
    preceded: sparse.csr_array = field(init=False)  # (V, V)
    around: sparse.csr_array = field(init=False)  # (V, V)

    def __post_init__(self) -> None:
        object.__setattr__(self, "preceded", self.followed.T.tocsr())
        object.__setattr__(self, "around", (self.near + self.near.T).tocsr())

    @classmethod
    def none(cls, n_items: int) -> Neighbours:
        """No item came after another."""
        nothing = sparse.csr_array((n_items, n_items), dtype=np.float32)
        return cls(nothing, nothing)

    @classmethod
    def of(cls, histories: Histories, n_items: int, before_us: int | None = None) -> Neighbours:
        """Count steps between different items, among events before ``before_us`` only."""
        events = latest_before(np.asarray(histories.time_us), before_us, MOST_EVENTS)
        user = histories.user_of_event[events]
        item = np.asarray(histories.item)[events].astype(np.int64) - 1
        near = sparse.csr_array((n_items, n_items), dtype=np.float32)
        followed = near
        for apart in range(1, _REACH + 1):
            pair = (user[apart:] == user[:-apart]) & (item[apart:] != item[:-apart])
            cells = (item[:-apart][pair], item[apart:][pair])
            ones = np.ones(len(cells[0]), np.float32)
            near = near + sparse.coo_array((ones, cells), shape=near.shape).tocsr()
            followed = near if apart == 1 else followed
        return cls(followed, near)

    def tensors(self) -> Tensors:
        """Both matrices in compressed rows."""
        tensors: Tensors = {}
        for name, counts in (("followed", self.followed), ("near", self.near)):
            tensors[f"{name}.count"] = counts.data
            tensors[f"{name}.column"] = counts.indices.astype(np.int64)
            tensors[f"{name}.row_start"] = counts.indptr.astype(np.int64)
        return tensors

    @classmethod
    def from_tensors(cls, tensors: Tensors) -> Neighbours:
        """What `tensors` gave."""
        matrices = []
        for name in ("followed", "near"):
            start = tensors[f"{name}.row_start"]
            rows = (tensors[f"{name}.count"], tensors[f"{name}.column"], start)
            matrices.append(sparse.csr_array(rows, shape=(len(start) - 1, len(start) - 1)))
        return cls(*matrices)


@dataclass(frozen=True)
class PairFeature:
    """Values of one term where it is not 0, request by request; a pair comes once.

    Request r has those from ``row_start[r]`` up to ``row_start[r + 1]``.
    """

    name: str
    row_start: NDArray[np.integer]  # (n + 1,)
    column: NDArray[np.integer]  # (E,) item, 0-based
    value: Floats32  # (E,)

    @property
    def row(self) -> Ints:
        """The request of each value, (E,)."""
        return np.repeat(np.arange(len(self.row_start) - 1), np.diff(self.row_start))


@dataclass(frozen=True)
class FeatureStore:
    """All that the terms are computed from, apart from the network.

    ``as_of``: the hour from which on nothing is known; later requests see what was known then.
    """

    counts: HourCounts
    as_of: int
    rule: TrendRule
    n_items: int
    neighbours: Neighbours
    sessions: Sessions | None = None
    _of_hour: dict[int, Floats32] = field(default_factory=dict, repr=False, compare=False)

    def hours(self, requests: Requests) -> Ints:
        """The hour whose popularity a request is answered with, (n,)."""
        hours: Ints = np.minimum(requests.now_us // US_PER_HOUR, self.as_of)
        return hours

    def by_hour(self, requests: Requests) -> Iterator[tuple[int, Ints]]:
        """Each such hour with the rows of its requests: whoever goes by it needs one at a time."""
        hours = self.hours(requests)
        for hour in np.unique(hours).tolist():
            yield hour, np.flatnonzero(hours == hour)

    def item_features(self, hour: int) -> Floats32:
        """`ITEM_FEATURES` of all items at an hour, (len(ITEM_TERMS), V)."""
        if hour not in self._of_hour:
            if (len(self._of_hour) + 1) * len(ITEM_FEATURES) * self.n_items > _CACHED_CELLS:
                self._of_hour.clear()
            rule, n_items = self.rule, self.n_items
            rules = [replace(rule, half_life_h=times * rule.half_life_h) for times in _HALF_LIVES]
            rows = [log_q_at(self.counts, hour, n_items, each_rule) for each_rule in rules]
            age_h = age_h_at(self.counts, hour, n_items, rule.window_h)
            self._of_hour[hour] = np.stack([*rows, np.log2(age_h)])
        return self._of_hour[hour]

    def pair_features(self, histories: Histories, requests: Requests) -> list[PairFeature]:
        """`PAIR_FEATURES` of requests, without the last where no sessions are kept.

        Each request uses only its own first events.
        """
        return [*self._met(histories, requests), *self._neighbouring(histories, requests)]

    def features_of(
        self, histories: Histories, requests: Requests, target: Ints, columns: Ints
    ) -> Floats32:
        """`SCORE_FEATURES` of each request's target (n,) and of shared columns (S,), (n, 1 + S, K).

        The affinity is left at 0: it is the network's to say.
        """
        terms = np.zeros((len(requests), 1 + len(columns), len(SCORE_FEATURES)), np.float32)
        items = slice(1, 1 + len(ITEM_FEATURES))
        column_of_item = np.full(self.n_items, -1)
        column_of_item[columns] = np.arange(1, 1 + len(columns))
        for hour, rows in self.by_hour(requests):
            of_items = self.item_features(hour).T  # (V, len(ITEM_TERMS))
            terms[rows, 0, items] = of_items[target[rows]]
            terms[rows, 1:, items] = of_items[columns]
            of_pairs = self.pair_features(histories, requests.take(rows))
            for k, term in enumerate(of_pairs, start=items.stop):
                row = rows[term.row]
                shared = column_of_item[term.column] >= 0
                terms[row[shared], column_of_item[term.column[shared]], k] = term.value[shared]
                own = term.column == target[row]
                terms[row[own], 0, k] = term.value[own]
        return terms

    def _met(self, histories: Histories, requests: Requests) -> list[PairFeature]:
        request, event = known_events(histories, requests, _MET_EVENTS)
        item = histories.item[event].astype(np.int64) - 1
        stop = histories.offsets[requests.user] + requests.length  # (n,)
        pair = request * self.n_items + item
        # The latest time of each pair, in the order of the pairs.
        distinct, back, times = np.unique(pair[::-1], return_index=True, return_counts=True)
        latest = event[len(event) - 1 - back]
        row, column = distinct // self.n_items, distinct % self.n_items
        since = stop[row] - latest
        ones = np.ones(len(row), np.float32)

        def term(name: str, value: NDArray[np.floating], mask: Bools) -> PairFeature:
            row_start = np.searchsorted(row[mask], np.arange(len(requests) + 1))
            return PairFeature(name, row_start, column[mask], value[mask].astype(np.float32))

        return [
            term("just_seen", ones, since == 1),
            term("met", ones, since >= 1),
            term("times_met", np.log(times), times > 1),
            term("met_lately", 1 / since, since >= 1),
        ]

    def plain_pair_features(
        self, histories: Histories, requests: Requests
    ) -> Iterator[tuple[PairFeature, bool]]:
        """`pair_features`, counts not measured by popularity yet, and whether they are counts."""
        for term in self._met(histories, requests):
            yield term, False
        for term in self._counts(histories, requests):
            yield term, True

    def _counts(self, histories: Histories, requests: Requests) -> list[PairFeature]:
        neighbours = self.neighbours
        recent = self._last_items(histories, requests, _LAST_ITEMS)
        terms = [
            _beside_last("followed", neighbours.followed, histories, requests),
            _beside_last("preceded", neighbours.preceded, histories, requests),
        ]
        products = {"near": recent @ neighbours.around}
        if self.sessions is not None:
            products[SIMILAR] = self.sessions.similar_items(histories, requests)
        for name, counts in products.items():
            value = counts.data.astype(np.float32, copy=False)
            terms.append(PairFeature(name, counts.indptr, counts.indices, value))
        return terms

    def _neighbouring(self, histories: Histories, requests: Requests) -> list[PairFeature]:
        hours, terms = self.hours(requests), self._counts(histories, requests)
        # Only the cells that are needed: hours x items would not fit for a large catalogue.
        distinct = np.unique(hours).tolist()
        single_hour = len(distinct) == 1
        for hour in distinct:
            rarity = np.exp(-self.item_features(hour)[0])
            for term in terms:
                of_hour = slice(None) if single_hour else np.flatnonzero(hours[term.row] == hour)
                value = term.value[of_hour] * rarity[term.column[of_hour]]
                term.value[of_hour] = np.log1p(value, out=value)
        return terms

    def _last_items(self, histories: Histories, requests: Requests, most: int) -> sparse.csr_array:
        request, event = known_events(histories, requests, most)
        back = histories.offsets[requests.user[request]] + requests.length[request] - 1 - event
        weight = np.float32(_FADE) ** back.astype(np.float32)
        cells = (request, histories.item[event].astype(np.int64) - 1)
        return sparse.csr_array((weight, cells), shape=(len(requests), self.n_items))


def _beside_last(
    name: str, counts: sparse.csr_array, histories: Histories, requests: Requests
) -> PairFeature:
    """The row of ``counts`` (V, V) of each request's last event; nothing where there is none."""
    with_events = np.flatnonzero(requests.length > 0)
    stop = histories.offsets[requests.user] + requests.length
    last = np.asarray(histories.item)[stop[with_events] - 1].astype(np.int64) - 1
    rows = counts[last]
    row_start = np.zeros(len(requests) + 1, np.int64)
    row_start[with_events + 1] = np.diff(rows.indptr)
    value = rows.data.astype(np.float32, copy=False)
    return PairFeature(name, np.cumsum(row_start), rows.indices, value)


def add_score_features(
    scores: Floats32,
    features: FeatureStore,
    histories: Histories,
    requests: Requests,
    weights: Floats,
) -> None:
    """Add all terms but the affinity to scores (n, V), in place.

    Args:
        scores: (n, V).
        features: what the terms are computed from.
        histories: of the users.
        requests: (n,).
        weights: (n, K) of each request, in the order of `SCORE_FEATURES`.
    """
    stop = 1 + len(ITEM_FEATURES)
    for hour, rows in features.by_hour(requests):
        of_items = features.item_features(hour)
        sets, of_row = np.unique(weights[rows, 1:stop], axis=0, return_inverse=True)
        added = sets.astype(np.float32) @ of_items  # (sets, V)
        # Row by row: a selection of rows would copy them.
        for row, which in zip(rows.tolist(), of_row.reshape(-1).tolist(), strict=True):
            scores[row] += added[which]
        if not weights[rows, stop:].any():
            continue
        of_pairs = features.pair_features(histories, requests.take(rows))
        for k, term in enumerate(of_pairs, start=stop):
            _add_term(scores, term, rows, weights[rows, k].astype(np.float32))


def _add_term(scores: Floats32, term: PairFeature, rows: Ints, weight: Floats32) -> None:
    """Row by row, since a popular item is a neighbour of nearly all: rows stay in the cache.

    Args:
        scores: (N, V), changed in place.
        term: of n requests.
        rows: (n,) where their scores are.
        weight: (n,) of the term for each.
    """
    bounds = term.row_start.tolist()
    for row, own, first, stop in zip(rows.tolist(), weight, bounds[:-1], bounds[1:], strict=True):
        if first < stop:
            scores[row][term.column[first:stop]] += own * term.value[first:stop]
