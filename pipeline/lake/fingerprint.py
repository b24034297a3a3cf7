"""Fingerprints of rows: the same content in the same order gives the same text, however stored."""

from __future__ import annotations

import hashlib
from typing import Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.lake.tables import ADDED_LATER

_HEX_DIGITS = 16


class _Digest(Protocol):
    def update(self, data: bytes, /) -> None: ...


def content_digest(rows: pa.Table) -> str:
    """Number of rows, and 64 bits of a digest of all their values.

    A column that tables of earlier versions lack counts only where it holds something, so that
    rows which need it for nothing keep the digest that was recorded of them.
    """
    digest = hashlib.sha256()
    for name in rows.column_names:
        if name in ADDED_LATER and rows.column(name).null_count == rows.num_rows:
            continue
        digest.update(f"\n{name}:".encode())
        column = rows.column(name)
        _add(digest, column.combine_chunks() if column.num_chunks != 1 else column.chunk(0))
    return f"{rows.num_rows}-{digest.hexdigest()[:_HEX_DIGITS]}"


def _add(digest: _Digest, values: pa.Array) -> None:
    """Feed an array: which values there are, how long each is where they differ, and their bytes.

    Buffers as such will not do: what lies under a null, or around a slice, is anything.
    """
    kind = values.type
    digest.update(b"?" if values.null_count else b"=")
    if values.null_count:
        digest.update(np.packbits(pc.is_valid(values).to_numpy(zero_copy_only=False)).tobytes())
    if pa.types.is_map(kind):
        _add(digest, pc.list_value_length(values.cast(_as_list(kind))).fill_null(0))
        pairs = pc.list_flatten(values.cast(_as_list(kind)))
        for index in range(pairs.type.num_fields):
            _add(digest, pc.struct_field(pairs, index))
    elif pa.types.is_string(kind):
        _add(digest, pc.binary_length(values).fill_null(0))
        filled = values.fill_null("") if values.null_count else values
        offsets = np.frombuffer(filled.buffers()[1], np.int32)[filled.offset :]
        first, stop = (int(offsets[0]), int(offsets[len(filled)])) if len(filled) else (0, 0)
        data = filled.buffers()[2]
        if stop > first:
            digest.update(data[first:stop].to_pybytes())
    elif pa.types.is_timestamp(kind):
        _add(digest, values.cast(pa.int64()))
    else:
        nothing = pa.scalar(False if pa.types.is_boolean(kind) else 0, kind)
        digest.update(values.fill_null(nothing).to_numpy(zero_copy_only=False).tobytes())


def _as_list(kind: pa.MapType) -> pa.DataType:
    return pa.list_(pa.struct([kind.key_field, kind.item_field]))
