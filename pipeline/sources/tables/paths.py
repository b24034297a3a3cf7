"""Dotted paths into columns: structs, maps, and one list whose elements are records."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.array_types import Ints


def steps_of(path: str, schema: pa.Schema) -> tuple[str, ...] | None:
    """The names on the way from a column to what a path leads to; None where it leads nowhere.

    A column whose own name has dots comes first.  Of a map any key may be there.
    """
    if schema.names.count(path) == 1:
        return (path,)
    first, *below = path.split(".")
    if schema.names.count(first) != 1:
        return None
    kind = schema.field(first).type
    for name in below:
        below_kind = _type_below(kind, name)
        if below_kind is None:
            return None
        kind = below_kind
    return (first, *below)


def type_at(steps: tuple[str, ...], schema: pa.Schema) -> pa.DataType:
    """The type of what the steps lead to."""
    kind = schema.field(steps[0]).type
    for name in steps[1:]:
        kind = _type_below(kind, name)
    return kind


def values_at(steps: tuple[str, ...], rows: pa.RecordBatch) -> pa.Array:
    """The values that the steps lead to; null where something on the way is, or is not there."""
    values = rows.column(steps[0])
    for name in steps[1:]:
        if pa.types.is_map(values.type):
            values = pc.map_lookup(values, pa.scalar(name, values.type.key_type), "last")
        else:
            values = pc.struct_field(values, [values.type.get_field_index(name)])
    return values


def _type_below(kind: pa.DataType, name: str) -> pa.DataType | None:
    if pa.types.is_struct(kind):
        at = kind.get_field_index(name)
        return kind.field(at).type if at >= 0 else None
    if pa.types.is_map(kind) and (
        pa.types.is_string(kind.key_type) or pa.types.is_large_string(kind.key_type)
    ):
        return kind.item_type
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
