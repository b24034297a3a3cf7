"""What counts and neighbours say of training targets, so that a network learns only the rest.

    p(j | history, t)  is proportional to  exp(state . item_j + bias_j + temperature * prior_j)

with prior_j the weighed sum of `parts.mixture.score_features` without similar sessions, its log q
by one half-life with the weights of all.  A target must not see itself in the counts of what
follows what: the time of the targets is cut into slices of as many targets each, and each slice
knows the neighbours that were counted before it began.

N events, n targets of a batch, S columns, V items, K terms, E pairs of target and item.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
from scipy import sparse

from pipeline.array_types import Bools, Floats, Floats32, Ints
from training.data.reader import Histories, Requests
from training.models.parts.decayed_popularity import TrendTable
from training.models.parts.mixture.score_features import (
    AFFINITY,
    LOG_Q_FEATURES,
    SCORE_FEATURES,
    FeatureStore,
    Neighbours,
)

_N_SLICES = 8


@dataclass
class ResidualPrior:
    """`training.nn.learner.Prior` of all terms but the network's own.

    ``weights``: (2, K) within a session, and at its beginning; the affinity's means nothing.
    """

    table: TrendTable
    stores: tuple[FeatureStore, ...]  # of the slices
    slice_of: Ints  # (N,)
    begins: Bools  # (N,) whether an event begins a session
    histories: Histories
    weights: Floats
    _latest: tuple[Ints, sparse.csr_array] | None = field(default=None, init=False, repr=False)

    @classmethod
    def of_slices(
        cls,
        table: TrendTable,
        store: FeatureStore,
        learned: Bools,
        histories: Histories,
        weights: Floats,
    ) -> ResidualPrior:
        """Of the targets ``learned`` (N,), with neighbours counted anew before each slice."""
        time_us = np.asarray(histories.time_us)
        shares = np.arange(1, _N_SLICES) / _N_SLICES
        edges_us = np.unique(np.quantile(time_us[learned], shares, method="higher"))
        first = replace(store, neighbours=Neighbours.none(store.n_items), sessions=None)
        later = [
            replace(first, neighbours=Neighbours.of(histories, store.n_items, edge_us))
            for edge_us in edges_us.tolist()
        ]
        begins = np.array(histories.session_start, np.bool_)
        begins[histories.offsets[:-1][histories.lengths > 0]] = True
        slice_of = np.searchsorted(edges_us, time_us, side="right")
        return cls(table, (first, *later), slice_of, begins, histories, weights)

    def of(self, event: Ints, column: Ints | slice) -> Floats32:
        """The prior at events of the items column + 1; the two are broadcast together."""
        of_event = np.ravel(event)
        pairs = self._pairs(of_event)
        if isinstance(column, slice):
            of_pairs = pairs.toarray()[:, column]
        elif event.ndim == 1:
            of_pairs = np.asarray(pairs[np.arange(len(event)), column]).reshape(-1)
        else:
            of_pairs = pairs[:, np.ravel(column)].toarray()
        chosen = [SCORE_FEATURES.index(name) for name in LOG_Q_FEATURES]
        by_kind = self.weights[:, chosen].sum(axis=1).astype(np.float32)  # (2,)
        weight = by_kind[self.begins[of_event].astype(np.int64)]
        if of_pairs.ndim > 1:
            weight = weight[:, None]
        prior: Floats32 = of_pairs + weight * self.table.of(event, column)
        return prior

    def _pairs(self, event: Ints) -> sparse.csr_array:
        """The weighed sum of the terms of pairs, (n, V)."""
        # A batch asks for its targets, and then for its draws.
        if self._latest is not None and np.array_equal(self._latest[0], event):
            return self._latest[1]
        rows, columns, values = [], [], []
        for number in np.unique(self.slice_of[event]).tolist():
            of_slice = np.flatnonzero(self.slice_of[event] == number)
            requests = Requests.before(self.histories, event[of_slice])
            kind = self.begins[event[of_slice]].astype(np.int64)
            for term, is_count in self.stores[number].plain_pair_features(self.histories, requests):
                value = term.value
                if is_count:
                    hour = self.table.row[event[of_slice][term.row]]
                    value = np.log1p(value * np.exp(-self.table.log_q[hour, term.column]))
                weight = self.weights[kind, SCORE_FEATURES.index(term.name)].astype(np.float32)
                rows.append(of_slice[term.row])
                columns.append(term.column)
                values.append(value * weight[term.row])
        cells = (np.concatenate(rows), np.concatenate(columns))
        shape = (len(event), self.stores[0].n_items)
        pairs = sparse.coo_array((np.concatenate(values), cells), shape=shape).tocsr()
        self._latest = (event, pairs)
        return pairs


def residual_weights(weights: Floats, temperature: float) -> Floats:
    """Weights (2, K) that a network which learned the residual is asked with: its own is 1."""
    scaled = weights * temperature
    scaled[:, SCORE_FEATURES.index(AFFINITY)] = 1.0
    return scaled
