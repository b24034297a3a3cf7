"""Scores as a matrix product: a few numbers a request, as many an item, and a few pairs besides.

    score_ij = left_i . right_j + sum of the pairs (i, j)

From these the best items are found without ever holding all scores: `training.recommend.top_k`.  Of
50 000 items that is as fast as scoring them all, of a million 1.7 (gru4rec) to 2 times (hrnn_trend)
as fast, at width 64.  n requests, V items, F factors, P pairs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from pipeline.array_types import Floats32, Ints
from training.data.reader import Histories, Requests
from training.models.parts.base import Model
from training.nn.step_inputs import begins_session

if TYPE_CHECKING:
    from torch import Tensor

    from training.models.parts.recurrent import RecurrentModel
    from training.models.parts.trend import TrendModel


class Pairs(NamedTuple):
    """Something about requests and items, in the order of the requests."""

    row: Ints  # (P,)
    column: Ints  # (P,) 0-based
    value: Floats32  # (P,)

    def within(self, first: int, stop: int) -> Pairs:
        """Of the requests ``first`` to ``stop``, counted from the first of them."""
        rows = slice(*np.searchsorted(self.row, [first, stop]).tolist())
        return Pairs(self.row[rows] - first, self.column[rows], self.value[rows])


class Factors(NamedTuple):
    """What the scores of n requests are the product of."""

    left: Tensor  # (n, F)
    right: tuple[Tensor, ...]  # side by side (V, F)
    pairs: tuple[Pairs, ...]


def factors_of(model: Model, histories: Histories, requests: Requests) -> Factors | None:
    """The factors of a system's scores; None where they are not known to be such a product."""
    from training.models.parts.recurrent import RecurrentModel
    from training.models.parts.trend import TrendModel

    if not isinstance(model, RecurrentModel):
        return None
    kind = type(model)
    # Whoever computes scores in a way of its own is asked for them.
    for name in ("score", "scored_blocks", "affinity_blocks"):
        if getattr(kind, name) is not getattr(RecurrentModel, name):
            return None
    if kind.with_score_features is RecurrentModel.with_score_features:
        return _of_taste(model, histories, requests)
    if isinstance(model, TrendModel) and kind.with_score_features is TrendModel.with_score_features:
        taste = _of_taste(model, histories, requests)
        return _with_score_features(model, taste, histories, requests)
    return None


def _of_taste(model: RecurrentModel, histories: Histories, requests: Requests) -> Factors:
    """State . vector + bias."""
    import torch

    vectors, biases = model.catalogue()
    states = torch.empty(len(requests), vectors.shape[1] + 1, device=vectors.device)
    states[:, -1] = 1.0
    for rows, reached in model.request_states(histories, requests):
        states[torch.from_numpy(rows).to(states.device), :-1] = reached
    return Factors(states, (vectors, biases[:, None]), ())


def _with_score_features(
    model: TrendModel, taste: Factors, histories: Histories, requests: Requests
) -> Factors:
    """Weighed, with what is known of each item at the hour, and of requests and items."""
    import torch

    from training.models.parts.mixture.score_features import ITEM_FEATURES

    if not model.follows_trend:
        return taste
    evidence = model.feature_store()
    starts = begins_session(histories, requests, model.input_encoding().rule.gap_s)
    weights = model.score_weights()[starts.astype(np.int64)]  # (n, K)
    stop = 1 + len(ITEM_FEATURES)
    # Rows of the scores that requests share: those of one hour, at the same place in a session.
    sets, of_request = np.unique(
        np.column_stack([evidence.hours(requests), weights]), axis=0, return_inverse=True
    )
    of_items = np.stack(
        [chosen[2 : 1 + stop] @ evidence.item_features(int(chosen[0])) for chosen in sets]
    )  # (S, V)
    device = taste.left.device
    chosen = torch.nn.functional.one_hot(torch.from_numpy(of_request.reshape(-1)), len(sets))
    affinity = torch.from_numpy(weights[:, :1].astype(np.float32)).to(device)
    features = torch.from_numpy(of_items.astype(np.float32)).to(device)
    pairs = tuple(
        Pairs(
            term.row,
            term.column.astype(np.int64),
            weights[term.row, k].astype(np.float32) * term.value,
        )
        for k, term in enumerate(evidence.pair_features(histories, requests), start=stop)
    )
    return Factors(
        torch.cat([taste.left * affinity, chosen.to(device, torch.float32)], 1),
        (*taste.right, features.T),
        pairs,
    )
