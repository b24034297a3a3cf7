"""A learned vector for each user, where a model tells users apart (ASARS section 2.3, BPR-MF).

A model remembers users by 64-bit hashes of their ids, not by the ids.  U users that were learned
from, B rows, T steps, W width of a user's vector, N events.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from pipeline.array_types import Bools, Ints, Objects
from training.data.arrays import distinct
from training.data.reader import Histories

NO_USER = 0  # the row of users that nothing was learned about: a vector of zeros


def user_hashes(user_ids: Objects) -> Ints:
    """A number for each id (n,), the same on every machine."""
    import pandas as pd

    hashes = pd.util.hash_array(np.asarray(user_ids, np.object_), categorize=False)
    return np.asarray(hashes).astype(np.uint64).view(np.int64)


def table_rows(hashes: Ints, learned: Ints) -> Ints:
    """Rows in the table of the users ``learned`` (U,), ascending; `NO_USER` for others, (n,)."""
    if not len(learned):
        return np.full(len(hashes), NO_USER, np.int64)
    at = np.minimum(np.searchsorted(learned, hashes), len(learned) - 1)
    return np.where(learned[at] == hashes, at + 1, NO_USER)


def learned_users(histories: Histories, learned: Bools, before: Ints | None = None) -> Ints:
    """Hashes of the users (U,) whose vectors are learned, or were ``before``, ascending.

    Args:
        histories: whoever is not among their users is nobody to the new model.
        learned: (N,) events that are learned from.
        before: hashes of users that the model to go on from knows.
    """
    hashes = user_hashes(histories.user_ids)
    learns = np.zeros(len(hashes), np.bool_)
    learns[histories.user_of_event[learned]] = True
    if before is not None:
        learns |= np.isin(hashes, before)
    return distinct(hashes[learns])


class UserTable(nn.Module):
    """Vectors of users.

    Args:
        n_users: U.
        width: W.
        dropout: in training a user is unknown with this chance, so that zeros mean something.
    """

    def __init__(self, n_users: int, width: int, dropout: float) -> None:
        super().__init__()
        # A batch knows few of the users, so its step must not cost what all of them would.
        self.vector = nn.Embedding(n_users + 1, width, sparse=True)
        self.dropout = dropout
        nn.init.normal_(self.vector.weight, std=width**-0.5)

    def forward(self, rows: Tensor) -> Tensor:
        """Vectors (B, T, W) of users (B, T)."""
        users, where = torch.unique(rows, return_inverse=True)
        counts = users != NO_USER
        if self.training and self.dropout > 0:
            counts = counts & (torch.rand(users.shape, device=users.device) >= self.dropout)
        vectors = self.vector(users) * counts[:, None]
        return functional.embedding(where, vectors)
