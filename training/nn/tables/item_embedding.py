"""Item tables: embeddings and biases, mixed with what metadata says (HRNN eq. 2).

    vector_j = (1 - mix_j) * embedding_j + mix_j * w(features_j)           (bias_j likewise)
    entry_j  = vector_j, or a vector of its own, + e(features_j): what steps are told (MTAM 5.1)

Either of w and e may be left out.
A batch looks rows up once and learns only those, so a step costs the same whatever the size of
the catalogue.  V items, numbered from 1; row 0 is the start token; D width, R rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from pipeline.array_types import Bools
from training.data.reader import Features

_EVERYTHING_ROWS = 1 << 18  # rows whose metadata are read together; bounds memory


@dataclass(frozen=True)
class FeatureShape:
    """Sizes of what metadata say: tokens and numbers that exist."""

    n_tokens: int
    n_numbers: int
    field_of_token: tuple[int, ...] = ()  # (K,) number of the field that it is a value of

    @classmethod
    def of(cls, tokens: Sequence[str], numbers: Sequence[str]) -> FeatureShape:
        """Sizes of a table of features, by the names of its tokens and numbers."""
        fields = [_field(token) for token in tokens]
        number = {name: at for at, name in enumerate(dict.fromkeys(fields))}
        return cls(len(tokens), len(numbers), tuple(number[name] for name in fields))


def _field(token: str) -> str:
    """``category:brand=acme`` is a value of ``category:brand``, ``word:red`` one of ``word``."""
    head, equals, _ = token.partition("=")
    if not equals:
        head, colon, _ = token.partition(":")
        head = head if colon else ""
    return head


class FeatureEncoder(nn.Module):
    """Learned vectors of rows of metadata, of as many fields as their tokens are values of.

        hidden = 0:  mean of all tokens' vectors + map of the numbers
        hidden > 0:  W relu(sum over fields of the mean of their tokens' vectors + map of the
                     numbers) + b

    The second is a perceptron over the fields side by side (HRNN 2.3): what its first layer makes
    of a field's mean is the mean of what it makes of each token, and that is what a token has here.
    Where tokens have weights of their own, sums weighted by these take the place of the means.
    """

    field: Tensor

    def __init__(self, shape: FeatureShape, width: int, hidden: int = 0) -> None:
        super().__init__()
        inner = hidden or width
        self.token = nn.Embedding(max(1, shape.n_tokens), inner)
        self.number = nn.Linear(max(1, shape.n_numbers), inner)
        self.out = nn.Linear(hidden, width) if hidden else None
        # By name from one data set to the next, like tokens themselves: no part of the weights.
        self.register_buffer("field", torch.tensor(shape.field_of_token or [0]), persistent=False)
        nn.init.normal_(self.token.weight, std=inner**-0.5)
        nn.init.zeros_(self.number.weight)
        nn.init.zeros_(self.number.bias)

    def forward(self, features: FeatureRows) -> Tensor:
        """Vectors (R, width) of R rows; a row without metadata gets what nothing known gives."""
        weights = features.weight
        if weights is None and self.out is not None:
            weights = self._shares(features)
        vectors = functional.embedding_bag(
            features.token,
            self.token.weight,
            features.offsets[:-1],
            mode="mean" if weights is None else "sum",
            per_sample_weights=weights,
        )
        numbers = (
            features.numbers
            if features.numbers.shape[1]
            else features.numbers.new_zeros(len(vectors), 1)
        )
        mapped: Tensor = vectors + self.number(numbers)
        if self.out is None:
            return mapped
        described: Tensor = self.out(functional.relu(mapped)).to(mapped.dtype)
        return described

    def _shares(self, features: FeatureRows) -> Tensor:
        """What each token (M,) counts for in the mean of its row and field."""
        row = torch.arange(len(features.offsets) - 1, device=features.offsets.device)
        row = torch.repeat_interleave(row, features.offsets.diff())  # (M,)
        cell = row * (self.field.max() + 1) + self.field[features.token]
        _, where, counts = torch.unique(cell, return_inverse=True, return_counts=True)
        shares: Tensor = 1 / counts[where]
        return shares


@dataclass(frozen=True)
class FeatureRows:
    """Metadata as tensors: row r has the tokens ``offsets[r]`` to ``offsets[r + 1]``."""

    offsets: Tensor  # (R + 1,)
    token: Tensor  # (M,)
    numbers: Tensor  # (R, F)
    weight: Tensor | None = None  # (M,) of tokens; None: a row's share 1 alike

    @classmethod
    def of(cls, features: Features, device: torch.device) -> FeatureRows:
        """The same on a device."""
        return cls(
            torch.from_numpy(np.array(features.offsets, np.int64)).to(device),
            torch.from_numpy(np.array(features.token, np.int64)).to(device),
            torch.from_numpy(np.array(features.numbers, np.float32)).to(device),
            None
            if features.weight is None
            else torch.from_numpy(np.array(features.weight, np.float32)).to(device),
        )

    def take(self, rows: Tensor) -> FeatureRows:
        """The rows (n,), in their order."""
        starts = self.offsets[rows]
        lengths = self.offsets[rows + 1] - starts  # (n,)
        offsets = functional.pad(lengths.cumsum(0), (1, 0))
        within = torch.arange(int(offsets[-1]), device=rows.device)
        cells = within + torch.repeat_interleave(starts - offsets[:-1], lengths)
        weight = None if self.weight is None else self.weight[cells]
        return FeatureRows(offsets, self.token[cells], self.numbers[rows], weight)


class ItemTable(nn.Module):
    """Vectors and biases of V items and the start token.

    Args:
        n_items: V.
        width: D.
        sparse: gradients hold only the rows that were looked up.
        tied: what a step is told of an item is the vector that scores it (LSTR's RE).
        features: sizes of the items' metadata, if items are scored by them.
        entry_features: the same sizes, if steps are told of them.
        feature_hidden: width of a hidden layer over them; 0 is none.
    """

    offsets: Tensor
    token: Tensor
    numbers: Tensor
    token_weight: Tensor | None
    cold: Tensor

    def __init__(
        self,
        n_items: int,
        width: int,
        sparse: bool,
        tied: bool,
        features: FeatureShape | None,
        entry_features: FeatureShape | None = None,
        feature_hidden: int = 0,
    ) -> None:
        super().__init__()
        self.vector = nn.Embedding(n_items + 1, width, sparse=sparse)
        self.bias = nn.Embedding(n_items + 1, 1, sparse=sparse)
        self.entry = None if tied else nn.Embedding(n_items + 1, width, sparse=sparse)
        self.encoder = self.entry_encoder = None
        if features is not None:
            self.encoder = FeatureEncoder(features, width + 1, feature_hidden)
        for table in (self.vector, self.entry):
            if table is not None:
                nn.init.normal_(table.weight, std=width**-0.5)
        nn.init.zeros_(self.bias.weight)
        if entry_features is not None:
            self.entry_encoder = FeatureEncoder(entry_features, width, feature_hidden)
        # Metadata travel with the weights: row j - 1 is item j, and which items are cold (V + 1,).
        metadata = features or entry_features
        if metadata is not None:
            self.register_buffer("offsets", torch.zeros(n_items + 1, dtype=torch.int64))
            self.register_buffer("token", torch.zeros(0, dtype=torch.int64))
            self.register_buffer("numbers", torch.zeros(n_items, metadata.n_numbers))
            self.register_buffer("token_weight", None)
            self.register_buffer("cold", torch.zeros(n_items + 1, dtype=torch.bool))

    def describe(self, features: Features, cold: Bools) -> None:
        """Take over the items' metadata, and which of them nothing will be learned about."""
        rows = FeatureRows.of(features, self.vector.weight.device)
        self.offsets, self.token, self.numbers = rows.offsets, rows.token, rows.numbers
        self.token_weight = rows.weight
        self.cold = torch.from_numpy(cold).to(self.vector.weight.device)

    @property
    def reads_metadata(self) -> bool:
        """Whether what is known of items counts for anything."""
        return self.encoder is not None or self.entry_encoder is not None

    @property
    def n_items(self) -> int:
        """V."""
        return self.vector.num_embeddings - 1

    def rows(self, items: Tensor, mix: float) -> tuple[Tensor, Tensor]:
        """Vectors (R, D) and biases (R,) of items (R,); ``mix`` of those that are not cold."""
        vectors, biases = self.vector(items), self.bias(items)[:, 0]
        if self.encoder is None:
            return vectors, biases
        return self._mixed(items, vectors, biases, mix)

    def entries(self, items: Tensor, vectors: Tensor) -> Tensor:
        """What steps are told of items, given their vectors."""
        entered: Tensor = vectors if self.entry is None else self.entry(items)
        if self.entry_encoder is None:
            return entered
        described = self.entry_encoder(self._metadata(items))  # (R, D)
        return entered + torch.where(items[:, None] > 0, described, 0.0)

    def everything(self, mix: float) -> tuple[Tensor, Tensor]:
        """Vectors (V, D) and biases (V,) of all items."""
        vectors, biases = self.vector.weight[1:], self.bias.weight[1:, 0]
        if self.encoder is None:
            return vectors, biases
        items = torch.arange(1, self.n_items + 1, device=vectors.device)
        pieces = [
            self._mixed(chunk, self.vector.weight[chunk], self.bias.weight[chunk, 0], mix)
            for chunk in torch.split(items, _EVERYTHING_ROWS)
        ]
        return torch.cat([chunk_vectors for chunk_vectors, _ in pieces]), torch.cat(
            [chunk_biases for _, chunk_biases in pieces]
        )

    def _mixed(
        self, items: Tensor, vectors: Tensor, biases: Tensor, mix: float
    ) -> tuple[Tensor, Tensor]:
        assert self.encoder is not None  # noqa: S101 - the callers looked
        described = self.encoder(self._metadata(items))  # (R, D + 1)
        share = torch.where(self.cold[items], 1.0, mix)  # (R,)
        share = torch.where(items == 0, 0.0, share)
        mixed = torch.lerp(vectors, described[:, :-1], share[:, None])
        return mixed, torch.lerp(biases, described[:, -1], share)

    def _metadata(self, items: Tensor) -> FeatureRows:
        """Of items (R,); the start token has those of the first, which count for nothing."""
        features = FeatureRows(self.offsets, self.token, self.numbers, self.token_weight)
        return features.take((items - 1).clamp_min(0))
