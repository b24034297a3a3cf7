"""What networks that predict values are asked, and what they may keep of the training part.

n requests, M events that the requests know together, R ratings of the training part, U users.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pipeline.array_types import Bools, Floats32, Ints
from training.data.arrays import known_events
from training.data.reader import Histories, Requests
from training.nn.step_inputs import ValueScale
from training.nn.tables.user_table import table_rows, user_hashes
from training.nn.warm_start import Places


@dataclass(frozen=True)
class Ratings:
    """Events with values that are learned from, by user and time; values are standardised."""

    user: Ints  # (R,) row of the table of users, 1 to U; 0 = without a vector
    item: Ints  # (R,) 1-based
    time_us: Ints  # (R,)
    value: Floats32  # (R,)

    @classmethod
    def of(
        cls, histories: Histories, learned: Bools, scale: ValueScale, known_users: Ints
    ) -> Ratings:
        """The events ``learned`` (N,) of histories."""
        rows = table_rows(user_hashes(histories.user_ids), known_users)
        return cls(
            rows[histories.user_of_event[learned]],
            np.asarray(histories.item)[learned].astype(np.int64),
            np.asarray(histories.time_us)[learned],
            scale.apply(np.asarray(histories.value)[learned]),
        )


@dataclass(frozen=True)
class RatingRequests:
    """Requests on a device, with the ratings that their users have given before, oldest first.

    Those of request r are ``first[r]`` to ``first[r] + length[r] - 1``.
    """

    user: Tensor  # (n,) row of the table of users; 0 = unknown
    time_us: Tensor  # (n,)
    first: Tensor  # (n,)
    length: Tensor  # (n,)
    item: Tensor  # (M,) 1-based
    value: Tensor  # (M,) standardised
    rated_us: Tensor  # (M,)

    def __len__(self) -> int:
        return len(self.user)

    @classmethod
    def of(
        cls,
        histories: Histories,
        requests: Requests,
        scale: ValueScale,
        known_users: Ints,
        reach: int | None,
        device: torch.device,
    ) -> RatingRequests:
        """Of histories; ``reach``: only the so many latest events of each."""
        request, event = known_events(histories, requests, reach)
        value = np.asarray(histories.value)[event]
        is_rated = np.isfinite(value)
        length = np.bincount(request[is_rated], minlength=len(requests))
        users, where = np.unique(requests.user, return_inverse=True)
        rows = table_rows(user_hashes(histories.user_ids[users]), known_users)[where]
        event = event[is_rated]
        columns = (
            rows,
            requests.now_us,
            np.cumsum(length) - length,
            length,
            np.asarray(histories.item)[event].astype(np.int64),
            scale.apply(value[is_rated]),
            np.asarray(histories.time_us)[event],
        )
        return cls(*(torch.from_numpy(np.ascontiguousarray(each)).to(device) for each in columns))


@dataclass(frozen=True)
class RatingSizes:
    """What the shapes of a network follow from."""

    items: int
    users: int
    ratings: int


@dataclass(frozen=True)
class RowsOfParent:
    """Where users and items stand in the tables of the model that is continued; -1 = new."""

    users: Ints  # (U + 1,), the first for users that are unknown
    items: Ints  # (V + 1,), the first for no item
    tensors: Mapping[str, NDArray[Any]]  # of the parent


class RatingNetwork(Protocol):
    """A module that says standardised values; what it remembers are buffers."""

    reach: int | None  # of the events before a request that it reads; None = all

    def remember(self, ratings: Ratings) -> None:
        """Keep what is needed of the training part."""
        ...

    def places_in(self, parent: RowsOfParent) -> Places:
        """Where its rows stand in the tensors of a parent; called once it remembers."""
        ...

    def __call__(self, requests: RatingRequests, item: Tensor) -> Tensor:
        """Values of an item (n,) each, (n,)."""
        ...

    def all_items(self, requests: RatingRequests) -> Tensor:
        """Values of all items, (n, V)."""
        ...
