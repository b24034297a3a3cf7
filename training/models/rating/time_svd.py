"""TimeSVD++: factors, biases and what a user has rated, with drifts over time (Koren 2009).

    value = mu + b_i + b_{i,bin(t)} + b_u + a_u dev_u(t) + q_i . state
    state = p_u + a'_u dev_u(t) + |R_u|^-1/2 sum_{j in R_u} y_j
    dev_u(t) = sign(t - mean time of u) |days from it|^.4

R_u are the items that the user rated before the request, where the publication takes all of the
data, the items to predict among them.  Bins cut the time of the training part into equal pieces;
later requests are of the last.  Whoever training never saw has b, a, p and a' of 0.

A model that is continued cuts the time of its own training part, and each of its bins begins as
the parent's bin of that time.  The mean time of a user whom the parent knew stays: what a and a'
have learned is counted from there.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from pipeline.array_types import Ints
from pipeline.hours import US_PER_S
from training.models.parts.base import take_tensor
from training.models.parts.rating_requests import (
    RatingRequests,
    Ratings,
    RatingSizes,
    RowsOfParent,
)
from training.models.parts.values import ValueParameters
from training.nn.tables.user_table import UserTable
from training.nn.warm_start import Places
from training.parameters import require

_US_PER_DAY = 86_400 * US_PER_S
_POWER = 0.4
_START = 0.03  # deviation of all weights at the start: every term is a small correction


@dataclass(frozen=True)
class TimeSvdParameters(ValueParameters):
    """``bins`` of time for the biases of items; ``user_dropout``: chance that a user is unknown in
    training, so that what is said of new users means something.
    """

    bins: int = 30
    user_dropout: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.bins >= 1, "bins", self.bins, "at least 1")
        share = self.user_dropout
        require(0 <= share < 1, "user_dropout", share, "0 or more and below 1")


class TimeSvd(nn.Module):
    """V items, U users, D width, n requests, M ratings before them."""

    reach: int | None = None
    mean_time_us: Tensor
    time_range_us: Tensor

    def __init__(self, sizes: RatingSizes, parameters: TimeSvdParameters) -> None:
        super().__init__()
        width = parameters.width
        self.bins = parameters.bins
        self.mean = nn.Parameter(torch.zeros(()))
        # Of each user b, a, p and a'.
        self.users = UserTable(sizes.users, 2 + 2 * width, parameters.user_dropout)
        self.vector = nn.Embedding(sizes.items + 1, width, sparse=True)  # q
        self.rated = nn.Embedding(sizes.items + 1, width, sparse=True)  # y
        self.bias = nn.Embedding(sizes.items + 1, 1, sparse=True)
        self.bias_of_bin = nn.Embedding((sizes.items + 1) * self.bins, 1, sparse=True)
        for table in (self.users.vector, self.vector, self.rated, self.bias, self.bias_of_bin):
            nn.init.normal_(table.weight, std=_START)
        self.register_buffer("mean_time_us", torch.zeros(sizes.users + 1, dtype=torch.int64))
        self.register_buffer("time_range_us", torch.zeros(2, dtype=torch.int64))

    def remember(self, ratings: Ratings) -> None:
        """The mean time of each user, and the range of all times."""
        first_us = int(ratings.time_us.min())
        n_users = len(self.mean_time_us)
        # From the first time on: sums of microseconds since 1970 would not be exact.
        since_us = (ratings.time_us - first_us).astype(np.float64)
        total = np.bincount(ratings.user, since_us, n_users)
        count = np.maximum(np.bincount(ratings.user, minlength=n_users), 1)
        self.mean_time_us.copy_(torch.from_numpy(first_us + (total / count).astype(np.int64)))
        self.time_range_us.copy_(torch.tensor([first_us, int(ratings.time_us.max())]))

    def places_in(self, parent: RowsOfParent) -> Places:
        """Tables of users and items, and the biases of an item in the bins of the same times."""
        of_items = dict.fromkeys(("vector.weight", "rated.weight", "bias.weight"), parent.items)
        of_users = dict.fromkeys(("users.vector.weight", "mean_time_us"), parent.users)
        by_bin, by_item = (
            take_tensor(parent.tensors, name) for name in ("bias_of_bin.weight", "bias.weight")
        )
        n_bins = len(by_bin) // len(by_item)
        bins = self._bins_of_parent(take_tensor(parent.tensors, "time_range_us"), n_bins)
        first = parent.items[:, None] * n_bins
        in_bins = np.where(parent.items[:, None] >= 0, first + bins, -1).ravel()
        rows = {**of_items, **of_users, "bias_of_bin.weight": in_bins}
        return Places(rows, own=("time_range_us",))

    def _bins_of_parent(self, range_us: Ints, n_bins: int) -> Ints:
        """The parent's bin in the middle of each of ours, (bins,)."""
        first_us, last_us = self.time_range_us.tolist()
        middle = (np.arange(self.bins) + 0.5) / self.bins * (last_us - first_us + 1)
        since_us = middle + (first_us - int(range_us[0]))
        share = since_us / (int(range_us[1]) - int(range_us[0]) + 1)
        bins: Ints = np.clip(np.floor(share * n_bins), 0, n_bins - 1).astype(np.int64)
        return bins

    def forward(self, requests: RatingRequests, item: Tensor) -> Tensor:
        """Values of an item (n,) each, (n,)."""
        own, states = self._users(requests)
        at_time = self.bias_of_bin(item * self.bins + self._bin(requests))
        bias = (self.bias(item) + at_time)[:, 0]
        values: Tensor = self.mean + bias + own + (states * self.vector(item)).sum(-1)
        return values

    def all_items(self, requests: RatingRequests) -> Tensor:
        """Values of all items, (n, V)."""
        own, states = self._users(requests)
        by_bin = self.bias_of_bin.weight.view(-1, self.bins)[1:]  # (V, bins)
        bias = self.bias.weight[1:, 0] + by_bin[:, self._bin(requests)].t()
        return self.mean + bias + own[:, None] + functional.linear(states, self.vector.weight[1:])

    def _users(self, requests: RatingRequests) -> tuple[Tensor, Tensor]:
        """What users give to all items alike (n,), and states (n, D)."""
        days = (requests.time_us - self.mean_time_us[requests.user]).float() / _US_PER_DAY
        drift = days.sign() * days.abs() ** _POWER  # (n,)
        width = self.vector.embedding_dim
        bias, slope, factors, drifts = self.users(requests.user).split([1, 1, width, width], -1)
        states = factors + drift[:, None] * drifts + self._has_rated(requests)
        return (bias + drift[:, None] * slope)[:, 0], states

    def _has_rated(self, requests: RatingRequests) -> Tensor:
        """|R|^-1/2 times the sum of y over the items rated so far, (n, D)."""
        touched, where = torch.unique(requests.item, return_inverse=True)
        if not len(touched):
            return self.rated.weight.new_zeros(len(requests), self.rated.embedding_dim)
        vectors = self.rated(touched)
        total: Tensor = functional.embedding_bag(where, vectors, requests.first, mode="sum")
        return torch.mul(total, requests.length.clamp_min(1)[:, None].rsqrt())  # (n, D)

    def _bin(self, requests: RatingRequests) -> Tensor:
        first_us, last_us = self.time_range_us
        share = (requests.time_us - first_us).double() / (last_us - first_us + 1).double()
        number: Tensor = (share * self.bins).long()
        return number.clamp(0, self.bins - 1)
