"""What is known of items and users, as features: tokens and standardised numbers.

The tables `items` and `users` say how things are described today; they carry no history, but for
when a thing became available.  What became available at or after T does not exist at T.  Shapes:
R rows (items of the vocabulary, or users of the shards), K tokens, F numbers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.array_types import Floats, Ints
from pipeline.hours import Hour
from pipeline.lake.fingerprint import content_digest
from pipeline.settings.tables import DatasetSettings

_MOST_NUMBERS = 64  # they are held densely
_CATEGORY, _WORD = "category:", "word:"
_NO_WORD = r"[^\p{L}\p{N}]+"


@dataclass(frozen=True)
class Metadata:
    """What was known at an instant of the items or users that existed then, a row each."""

    ids: pa.Array  # string
    categories: pa.Array  # list of strings
    numbers: pa.Array  # map of string to double
    text: pa.Array  # string
    gone: pa.Array  # bool: no longer available at that instant

    @property
    def digest(self) -> str | None:
        """Fingerprint of all of it; None where nothing is known."""
        if not len(self.ids):
            return None
        rows = {
            "id": self.ids,
            "numbers": self.numbers,
            "text": self.text,
            "gone": self.gone.cast(pa.int8()),
            "n_categories": pc.list_value_length(self.categories),
        }
        flat = {"category": pc.list_flatten(self.categories)}
        return " ".join(content_digest(pa.table(columns)) for columns in (rows, flat))

    @property
    def is_empty(self) -> bool:
        """Whether nothing is known of any row."""
        columns = (self.categories, self.numbers, self.text)
        return all(column.null_count == len(column) for column in columns)

    @property
    def available(self) -> list[str]:
        """Those that may be had at that instant."""
        available_ids: list[str] = self.ids.filter(pc.invert(self.gone)).to_pylist()
        return available_ids

    def of(self, ids: pa.Array) -> Metadata:
        """The rows of those ids, in their order; nothing is known of what is not there."""
        rows = pc.index_in(ids, value_set=self.ids)
        parts = (self.categories, self.numbers, self.text, self.gone)
        return Metadata(ids, *(column.take(rows) for column in parts))


@dataclass(frozen=True)
class Encoder:
    """How metadata becomes features: the names of the tokens, and the scales of the numbers."""

    tokens: Sequence[str]  # (K,)
    scales: Sequence[dict[str, Any]]  # (F,) name, n, mean, std


def metadata_at(table: pa.Table, instant: Hour) -> Metadata:
    """The rows of ``items`` or ``users`` that existed before an instant, in the order of ids."""
    table = table.filter(
        pc.fill_null(pc.less(table["available_from"], pa.scalar(instant.start)), True)
    )
    table = table.sort_by(table.column_names[0]).combine_chunks()
    gone = pc.fill_null(pc.less_equal(table["available_to"], pa.scalar(instant.start)), False)
    columns = (table[table.column_names[0]], *map(table.column, ("categories", "numbers", "text")))
    return Metadata(*map(_whole, (*columns, gone)))


def fit_encoder(metadata: Metadata, rules: DatasetSettings, base: Encoder | None) -> Encoder:
    """Learn which tokens and numbers there are, most frequent first, after those of ``base``.

    A token or number must be known of ``dataset.min_token_items`` rows; mean and standard
    deviation are of the rows of which the number is known.  What ``base`` knows stays as it is,
    so that a model that is continued meets what it has learned.
    """
    base = base or Encoder((), ())
    _, token, names = _tokens(metadata, rules.text_tokens)
    support = np.bincount(token, minlength=len(names))
    tokens = _most_frequent(names, support, base.tokens, rules.min_token_items, rules.max_tokens)
    _, key, value = _numbers(metadata)
    coded = key.dictionary_encode()
    code = coded.indices.to_numpy()
    number_names = _most_frequent(
        coded.dictionary.to_pylist(),
        np.bincount(code, minlength=len(coded.dictionary)),
        [scale["name"] for scale in base.scales],
        rules.min_token_items,
        _MOST_NUMBERS,
    )
    scales = list(base.scales)
    for name in number_names[len(scales) :]:
        numbers = value[code == coded.dictionary.index(name).as_py()]
        # A number that is the same everywhere tells nothing: it becomes 0.
        std = float(numbers.std()) or 1.0
        scales.append({"name": name, "n": len(numbers), "mean": float(numbers.mean()), "std": std})
    return Encoder(tokens, scales)


def fitted_encoder(
    metadata: Metadata, rules: DatasetSettings, former: Encoder | None
) -> Encoder | None:
    """The encoder of items or users; None where nothing is known of any, or was before."""
    if former is None and metadata.is_empty:
        return None
    return fit_encoder(metadata, rules, former)


def encode(metadata: Metadata, encoder: Encoder) -> pa.Table:
    """Features of R rows.

    Returns:
        id; tokens, an ascending list of 0-based places in the encoder's tokens; numbers, a list of
        F standardised numbers, null = unknown.
    """
    n_rows = len(metadata.ids)
    words = any(token.startswith(_WORD) for token in encoder.tokens)
    row, token_number, names = _tokens(metadata, words)
    number_of = _index_in(names, encoder.tokens)  # (distinct tokens,) -1 = not kept
    token = number_of[token_number]
    width = max(1, len(encoder.tokens))
    row, token = np.divmod(np.sort((row * width + token)[token >= 0]), width)
    ends = np.cumsum(np.bincount(row, minlength=n_rows))

    matrix = np.full((n_rows, len(encoder.scales)), np.nan)
    row, key, value = _numbers(metadata)
    for column, scale in enumerate(encoder.scales):
        same = pc.equal(key, scale["name"]).to_numpy(zero_copy_only=False)
        matrix[row[same], column] = (value[same] - scale["mean"]) / scale["std"]
    numbers = pa.array(matrix.ravel(), pa.float32(), from_pandas=True)
    width = len(encoder.scales)
    return pa.table(
        {
            "id": metadata.ids,
            "tokens": pa.ListArray.from_arrays(
                pa.array(np.concatenate([[0], ends]), pa.int32()),
                pa.array(token, pa.int32()),
            ),
            "numbers": pa.ListArray.from_arrays(
                pa.array(np.arange(n_rows + 1) * width, pa.int32()), numbers
            ),
        }
    )


def _tokens(metadata: Metadata, text_tokens: bool) -> tuple[Ints, Ints, list[str]]:
    """Row and token of each distinct pair, and the tokens' names."""
    rows, names = [_parents(metadata.categories)], [_named(_CATEGORY, metadata.categories)]
    if text_tokens:
        words = pc.split_pattern_regex(pc.utf8_lower(metadata.text), pattern=_NO_WORD)
        rows.append(_parents(words))
        names.append(_named(_WORD, words))
    coded = pa.concat_arrays(names).dictionary_encode()
    row = np.concatenate(rows)
    real = ~pc.is_in(coded.dictionary, value_set=pa.array([_CATEGORY, _WORD])).to_numpy(
        zero_copy_only=False
    )
    token = coded.indices.to_numpy().astype(np.int64)
    width = max(1, len(coded.dictionary))
    pairs = np.sort((row * width + token)[real[token]])
    row, token = np.divmod(pairs[np.diff(pairs, prepend=-1) > 0], width)
    return row, token, coded.dictionary.to_pylist()


def _numbers(metadata: Metadata) -> tuple[Ints, pa.Array, Floats]:
    """Row, name and value of each number that is known; NaN and infinity are not."""
    kind = metadata.numbers.type
    lists = metadata.numbers.cast(pa.list_(pa.struct([kind.key_field, kind.item_field])))
    pairs = pc.list_flatten(lists)
    keys, values = pc.struct_field(pairs, 0), pc.struct_field(pairs, 1)
    # One of them would make the mean of its column, and so all of it, no number.
    finite = pc.fill_null(pc.is_finite(values), False)
    row = _parents(lists)[finite.to_numpy(zero_copy_only=False)]
    return row, keys.filter(finite), values.filter(finite).to_numpy(zero_copy_only=False)


def _most_frequent(
    names: Sequence[str], support: Ints, base: Sequence[str], least: int, most: int
) -> list[str]:
    old = set(base)
    new = [(-int(n), name) for name, n in zip(names, support, strict=True) if n >= least]
    fresh = [name for _, name in sorted(new) if name not in old]
    return [*base, *fresh[: max(0, most - len(base))]]


def _index_in(names: Sequence[str], vocabulary: Sequence[str]) -> Ints:
    positions = pc.index_in(
        pa.array(names, pa.string()), value_set=pa.array(vocabulary, pa.string())
    )
    places: Ints = pc.fill_null(positions, -1).to_numpy().astype(np.int64)
    return places


def _parents(lists: pa.Array) -> Ints:
    parents: Ints = pc.list_parent_indices(lists).to_numpy().astype(np.int64)
    return parents


def _named(prefix: str, lists: pa.Array) -> pa.Array:
    return pc.binary_join_element_wise(
        pa.scalar(prefix), pc.fill_null(pc.list_flatten(lists), ""), pa.scalar("")
    )


def _whole(column: pa.ChunkedArray | pa.Array) -> pa.Array:
    if isinstance(column, pa.Array):
        return column
    return pa.concat_arrays(column.chunks) if column.num_chunks else pa.array([], column.type)
