"""I-AutoRec: an autoencoder of each item's ratings by all users (Sedhain et al. 2015).

    value_ui = (W sigmoid(V r_i + mu) + b)_u,   r_i (U,) the item's ratings, 0 where there is none

The loss counts ratings that there are, the L2 of W and V is ``weight_decay``.  What is read of an
item are its ratings in the training part, whenever they were given; a user that training never saw
is the mean of those it saw.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from training.models.parts.rating_requests import (
    RatingRequests,
    Ratings,
    RatingSizes,
    RowsOfParent,
)
from training.models.parts.values import ValueParameters
from training.nn.tables.user_table import NO_USER
from training.nn.warm_start import Places


@dataclass(frozen=True)
class IAutorecParameters(ValueParameters):
    """``width`` of the hidden layer; the matrix of items and users is dense, for small logs."""

    width: int = 500
    epochs: int = 30
    batch_events: int = 1024
    learning_rate: float = 0.001
    weight_decay: float = 0.0001


class IAutorec(nn.Module):
    """V items, U users, D width, n requests."""

    reach: int | None = 0
    ratings: Tensor

    def __init__(self, sizes: RatingSizes, parameters: IAutorecParameters) -> None:
        super().__init__()
        self.encode = nn.Linear(sizes.users, parameters.width)
        self.decode = nn.Linear(parameters.width, sizes.users)
        self.register_buffer("ratings", torch.zeros(sizes.items, sizes.users))

    def remember(self, ratings: Ratings) -> None:
        """All ratings by users with a row; of several of one item by one user the latest."""
        matrix = np.zeros(tuple(self.ratings.shape), np.float32)
        has_row = ratings.user > NO_USER
        matrix[ratings.item[has_row] - 1, ratings.user[has_row] - 1] = ratings.value[has_row]
        self.ratings.copy_(torch.from_numpy(matrix))

    def places_in(self, parent: RowsOfParent) -> Places:
        """Users are rows of W and b and columns of V; all that says of an item are its ratings."""
        users = np.where(parent.users > NO_USER, parent.users - 1, -1)[1:]
        rows = dict.fromkeys(("decode.weight", "decode.bias"), users)
        return Places(rows, {"encode.weight": users}, own=("ratings",))

    def forward(self, requests: RatingRequests, item: Tensor) -> Tensor:
        """Values of an item (n,) each, (n,)."""
        weight, bias = self._decoders(requests.user)
        items, where = torch.unique(item, return_inverse=True)
        hidden = torch.sigmoid(self.encode(self.ratings[items - 1]))  # (items, D)
        return (weight * functional.embedding(where, hidden)).sum(-1) + bias

    def all_items(self, requests: RatingRequests) -> Tensor:
        """Values of all items, (n, V)."""
        weight, bias = self._decoders(requests.user)
        hidden = torch.sigmoid(self.encode(self.ratings))  # (V, D)
        return functional.linear(weight, hidden) + bias[:, None]

    def _decoders(self, user: Tensor) -> tuple[Tensor, Tensor]:
        """The rows of W (n, D) and b (n,) of users, the means for those that are unknown."""
        row, is_new = (user - 1).clamp_min(0), user == 0
        weight = torch.where(is_new[:, None], self.decode.weight.mean(0), self.decode.weight[row])
        return weight, torch.where(is_new, self.decode.bias.mean(), self.decode.bias[row])
