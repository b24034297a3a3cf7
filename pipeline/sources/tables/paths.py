"""Dotted paths into columns: structs, maps, lists of pairs, a list whose elements are records.

How a path is written, :mod:`pipeline.sources.paths` says.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.array_types import Ints
from pipeline.sources.paths import PAIR_KEY, PairKey, Part, parts_of
from pipeline.sources.tables.texts import is_list, text_column

Steps = tuple[str, ...]


def steps_of(path: str, schema: pa.Schema) -> Steps | None:
    """The steps on the way from a column to what a path leads to; None where it leads nowhere.

    A step is a name or a :class:`PairKey`.  A column whose own name has dots or brackets comes
    first.  Of a map, or a list of pairs, any key may be there.
    """
    if schema.names.count(path) == 1:
        return (path,)
    columns = pa.struct([field for field in schema if schema.names.count(field.name) == 1])
    kind: pa.DataType | None = columns
    steps: Steps = ()
    for path_part in parts_of(path):
        way = _steps_below(kind, path_part)
        if way is None:
            return None
        steps += way
        for step in way:
            kind = _type_below(kind, step)
    return steps


def _steps_below(kind: pa.DataType, path_part: Part) -> Steps | None:
    """The steps that a part of a path is, below values of a type."""
    ways: list[Steps] = [(path_part.text,)]
    if path_part.keys:
        by_key: Steps = (path_part.name, *map(PairKey, path_part.keys))
        # Any text may be a key of a map: there the brackets are taken at their word.
        ways.insert(0 if pa.types.is_map(kind) else 1, by_key)
    for way in ways:
        below: pa.DataType | None = kind
        for step in way:
            below = None if below is None else _type_below(below, step)
        if below is not None:
            return way
    return None


def type_at(steps: Steps, schema: pa.Schema) -> pa.DataType:
    """The type of what the steps lead to."""
    kind = schema.field(steps[0]).type
    for name in steps[1:]:
        kind = _type_below(kind, name)
    return kind


def values_at(steps: Steps, rows: pa.RecordBatch) -> pa.Array:
    """The values that the steps lead to; null where something on the way is, or is not there."""
    values = rows.column(steps[0])
    for name in steps[1:]:
        if isinstance(name, PairKey) and is_list(values.type):
            values = _with_key(values, name)
        elif pa.types.is_map(values.type):
            key = pa.scalar(str(name), values.type.key_type)
            values = pc.map_lookup(values, key, "last")
        else:
            values = pc.struct_field(values, [values.type.get_field_index(name)])
    return values


def _with_key(lists: pa.Array, key: str) -> pa.Array:
    """Of each list of pairs the last that has a key, else null: (n,).

    Of the lists [(a, 1), (b, 2)], null, [(b, 3)] the pairs with the key ``b`` are those of 2,
    null and 3.
    """
    pairs = pc.list_flatten(lists)
    keys = text_column(pc.struct_field(pairs, [pairs.type.get_field_index(PAIR_KEY)]))
    lengths = pc.fill_null(pc.list_value_length(lists), 0).to_numpy()
    pair = np.full(len(lists), -1)
    if keys is not None:
        row = np.repeat(np.arange(len(lists)), lengths)
        (at,) = np.nonzero(pc.equal(keys.texts, key).to_numpy(zero_copy_only=False))
        np.maximum.at(pair, row[at], at)
    return pairs.take(pa.array(pair, mask=pair < 0))


def _type_below(kind: pa.DataType, name: str) -> pa.DataType | None:
    if pa.types.is_struct(kind):
        at = kind.get_field_index(name)
        return kind.field(at).type if at >= 0 else None
    if pa.types.is_map(kind) and (
        pa.types.is_string(kind.key_type) or pa.types.is_large_string(kind.key_type)
    ):
        return kind.item_type
    if isinstance(name, PairKey) and is_list(kind) and pa.types.is_struct(kind.value_type):
        return kind.value_type if kind.value_type.get_field_index(PAIR_KEY) >= 0 else None
    return None


class Exploded(NamedTuple):
    """The elements of lists, in order; a list that is null or empty has one that is null.

    ``row`` is the list of each element, ``nth`` its number in the list, both from 0.
    """

    elements: pa.Array
    row: Ints
    nth: Ints


def explode(lists: pa.Array) -> Exploded:
    """Every element of every list.

    Of the lists [a, b], null, [], [c] the elements are a, b, null, null, c; their rows are 0, 0,
    1, 2, 3 and their numbers 0, 1, 0, 0, 0.
    """
    lengths = pc.fill_null(pc.list_value_length(lists), 0).to_numpy().astype(np.int64)
    counts = np.maximum(lengths, 1)
    row = np.repeat(np.arange(len(lists)), counts)
    nth = np.arange(len(row)) - np.repeat(np.cumsum(counts) - counts, counts)
    first = np.repeat(np.cumsum(lengths) - lengths, counts)
    places = pa.array(first + nth, pa.int64(), mask=np.repeat(lengths == 0, counts))
    return Exploded(pc.list_flatten(lists).take(places), row, nth)
