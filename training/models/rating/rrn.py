"""RRN: a state of the user and one of the item, each an LSTM over its ratings (Wu et al. 2017).

    value = (A h_u(t) + a) . (C h_i(t) + c)  +  u_u . m_i  +  b_u + b_i

h_u(t) reads the user's ratings before t: item, value and time since the one before; h_i(t) those
of the item in the training part: user, value and time.  They read the ratings among the user's
latest ``max_len`` events, and the item's latest ``max_len`` ratings.  The publication has no b,
which saves u and m from saying it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from pipeline.hours import US_PER_S
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

_US_PER_HOUR = 3600 * US_PER_S
_READ = 2  # numbers beside a vector: the value, and the time since the rating before


@dataclass(frozen=True)
class RrnParameters(ValueParameters):
    """``hidden`` width of both LSTMs; ``max_len``: how many events each of them reads;
    ``user_dropout``: chance that a user is unknown in training.
    """

    epochs: int = 10
    hidden: int = 32
    max_len: int = 20
    user_dropout: float = 0.1

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("hidden", "max_len"):
            require(getattr(self, name) >= 1, name, getattr(self, name), "at least 1")
        share = self.user_dropout
        require(0 <= share < 1, "user_dropout", share, "0 or more and below 1")


class Rrn(nn.Module):
    """V items, U users, D width, H hidden width, R ratings kept, n requests, L ratings read."""

    user: Tensor
    value: Tensor
    time_us: Tensor
    first: Tensor

    def __init__(self, sizes: RatingSizes, parameters: RrnParameters) -> None:
        super().__init__()
        width, hidden = parameters.width, parameters.hidden
        self.reach: int | None = parameters.max_len
        # Vectors that multiply, and a bias; vectors that the LSTM of the other side reads.
        self.users = UserTable(sizes.users, width + 1, parameters.user_dropout)
        self.items = nn.Embedding(sizes.items + 1, width + 1, sparse=True)
        self.read_users = UserTable(sizes.users, width, parameters.user_dropout)
        self.read_items = nn.Embedding(sizes.items + 1, width, sparse=True)
        for table in (self.users.vector, self.items, self.read_users.vector, self.read_items):
            nn.init.normal_(table.weight, std=0.1)
        self.user_lstm = nn.LSTM(width + _READ, hidden, batch_first=True)
        self.item_lstm = nn.LSTM(width + _READ, hidden, batch_first=True)
        self.user_map, self.item_map = nn.Linear(hidden, width), nn.Linear(hidden, width)
        # The ratings of the training part by item and time: those of item i are first[i] on.
        self.register_buffer("user", torch.zeros(sizes.ratings, dtype=torch.int64))
        self.register_buffer("value", torch.zeros(sizes.ratings))
        self.register_buffer("time_us", torch.zeros(sizes.ratings, dtype=torch.int64))
        self.register_buffer("first", torch.zeros(sizes.items + 2, dtype=torch.int64))

    def remember(self, ratings: Ratings) -> None:
        """All ratings, by item and time."""
        order = np.lexsort((ratings.time_us, ratings.item))
        self.user.copy_(torch.from_numpy(ratings.user[order]))
        self.value.copy_(torch.from_numpy(ratings.value[order]))
        self.time_us.copy_(torch.from_numpy(ratings.time_us[order]))
        counts = np.bincount(ratings.item, minlength=len(self.first) - 1)
        self.first[1:].copy_(torch.from_numpy(np.cumsum(counts)))

    def places_in(self, parent: RowsOfParent) -> Places:
        """Four tables; the ratings that are read are those of the new training part."""
        users = dict.fromkeys(("users.vector.weight", "read_users.vector.weight"), parent.users)
        items = dict.fromkeys(("items.weight", "read_items.weight"), parent.items)
        return Places(users | items, own=("user", "value", "time_us", "first"))

    def forward(self, requests: RatingRequests, item: Tensor) -> Tensor:
        """Values of an item (n,) each, (n,)."""
        own = self.users(requests.user)  # (n, D + 1)
        items, where = torch.unique(item, return_inverse=True)
        other = functional.embedding(where, self.items(items))  # (n, D + 1)
        moving = (self._user_states(requests) * self._item_states(item, requests.time_us)).sum(-1)
        still = (own[:, 1:] * other[:, 1:]).sum(-1) + own[:, 0] + other[:, 0]
        values: Tensor = moving + still
        return values

    def all_items(self, requests: RatingRequests) -> Tensor:
        """Values of all items, (n, V)."""
        own, every = self.users(requests.user), self.items.weight[1:]
        n_items = len(every)
        item = torch.arange(1, n_items + 1, device=every.device).repeat(len(requests))  # (n V,)
        moving = self._item_states(item, requests.time_us.repeat_interleave(n_items))
        moving = moving.view(len(requests), n_items, -1)  # (n, V, D)
        still = functional.linear(own[:, 1:], every[:, 1:]) + own[:, :1] + every[:, 0]
        values: Tensor = still + torch.einsum("nd,nvd->nv", self._user_states(requests), moving)
        return values

    def _user_states(self, requests: RatingRequests) -> Tensor:
        """A h_u + a, (n, D)."""
        cells, is_read = _latest(requests.first, requests.first + requests.length, self.reach)
        if not is_read.any():
            return self.user_map.bias.expand(len(requests), -1)
        items, where = torch.unique(requests.item[cells], return_inverse=True)
        vectors = functional.embedding(where, self.read_items(items))  # (n, L, D)
        inputs = _inputs(vectors, requests.value[cells], requests.rated_us[cells])
        mapped: Tensor = self.user_map(_last_state(self.user_lstm, inputs, is_read))
        return mapped

    def _item_states(self, item: Tensor, time_us: Tensor) -> Tensor:
        """C h_i + c of items (k,) at times (k,), (k, D)."""
        stop = self._first_at(item, time_us)
        # Many requests see an item after the same rating.
        pairs, where = torch.unique(torch.stack([item, stop]), dim=1, return_inverse=True)
        cells, is_read = _latest(self.first[pairs[0]], pairs[1], self.reach)
        if not is_read.any():
            return self.item_map.bias.expand(len(item), -1)
        vectors = self.read_users(self.user[cells])
        inputs = _inputs(vectors, self.value[cells], self.time_us[cells])
        states = self.item_map(_last_state(self.item_lstm, inputs, is_read))
        return functional.embedding(where, states)

    def _first_at(self, item: Tensor, time_us: Tensor) -> Tensor:
        """Where the first rating of an item at or after a time stands, or would, (k,)."""
        low, high = self.first[item], self.first[item + 1]
        # Bisection within each item's stretch: there is no common key that both fit into.
        for _ in range(len(self.time_us).bit_length()):
            middle = (low + high) // 2
            is_before = (low < high) & (
                self.time_us[middle.clamp_max(len(self.time_us) - 1)] < time_us
            )
            low, high = (
                torch.where(is_before, middle + 1, low),
                torch.where(is_before, high, middle),
            )
        return low


def _latest(first: Tensor, stop: Tensor, reach: int | None) -> tuple[Tensor, Tensor]:
    """Cells of the latest ``reach`` of ``first`` to ``stop`` (n,), and which there are, (n, L)."""
    length = (stop - first).clamp(0, reach)  # (n,)
    longest = max(1, int(length.max())) if len(length) else 1
    step = torch.arange(longest, device=first.device)
    cells = torch.minimum((stop - length)[:, None] + step, (stop - 1)[:, None]).clamp_min(0)
    return cells, step < length[:, None]


def _inputs(vectors: Tensor, value: Tensor, time_us: Tensor) -> Tensor:
    """What an LSTM reads, (n, L, D + 2): the time as log hours since the rating before."""
    hours = (time_us.diff(dim=1, prepend=time_us[:, :1]).float() / _US_PER_HOUR).clamp_min(0)
    return torch.cat([vectors, value[..., None], torch.log1p(hours)[..., None]], dim=-1)


def _last_state(lstm: nn.LSTM, inputs: Tensor, is_read: Tensor) -> Tensor:
    """States (n, H) after the last of the inputs (n, L, I) that there are; zeros without any."""
    states, _ = lstm(inputs)
    length = is_read.sum(1)
    row = torch.arange(len(length), device=length.device)
    last: Tensor = states[row, (length - 1).clamp_min(0)]
    return last * (length > 0)[:, None]
