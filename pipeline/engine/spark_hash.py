"""Spark's ``XXHASH64`` over Arrow columns, bit for bit.

Spark hashes the values of a row one after the other with XXH64; the hash so far, 42 at first, is
the seed of the next value.  A null passes the seed on.  A list is its elements in their order, a
struct its fields.  The hash of a whole column is computed at once; ``n`` is the number of rows.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from pipeline.array_types import Ints

U64 = NDArray[np.uint64]

_SEED = 42
_P1 = np.uint64(0x9E3779B185EBCA87)
_P2 = np.uint64(0xC2B2AE3D27D4EB4F)
_P3 = np.uint64(0x165667B19E3779F9)
_P4 = np.uint64(0x85EBCA77C2B2AE63)
_P5 = np.uint64(0x27D4EB2F165667C5)
_STRIPE_BYTES = 32
_WORD_BYTES = 8
_HALF_BYTES = 4


def hash_rows(columns: Sequence[pa.Array | pa.ChunkedArray]) -> Ints:
    """The hash of each row, (n,), as Spark's ``XXHASH64(*columns)`` gives it.

    Raises:
        TypeError: a column is of a kind whose hash is not known.
    """
    hashes = np.full(len(columns[0]), _SEED, np.uint64)  # (n,)
    for column in columns:
        whole = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
        hashes = _chained(whole, hashes)
    return hashes.view(np.int64)


def _chained(values: pa.Array, seeds: U64) -> U64:
    """The hash of each value with its own seed, (n,)."""
    if pa.types.is_null(values.type):
        return seeds
    if pa.types.is_list(values.type):
        return _of_lists(values, seeds)
    if pa.types.is_struct(values.type):
        for index in range(values.type.num_fields):
            # Fields of a struct that is null are null themselves.
            seeds = _chained(pc.struct_field(values, index), seeds)
        return seeds
    hashes = _of_values(values, seeds)
    if values.null_count:
        hashes = np.where(pc.is_valid(values).to_numpy(zero_copy_only=False), hashes, seeds)
    return hashes


def _of_lists(lists: pa.ListArray, seeds: U64) -> U64:
    lengths = pc.list_value_length(lists).fill_null(0).to_numpy().astype(np.int64)  # (n,)
    elements = lists.flatten()
    first = np.cumsum(lengths) - lengths  # (n,)
    hashes = seeds.copy()
    for nth in range(lengths.max(initial=0)):
        (longer,) = np.nonzero(lengths > nth)
        hashes[longer] = _chained(elements.take(pa.array(first[longer] + nth)), hashes[longer])
    return hashes


def _of_values(values: pa.Array, seeds: U64) -> U64:
    kind = values.type
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        return _of_strings(values, seeds)
    if pa.types.is_boolean(kind) or pa.types.is_int32(kind):
        small = values.cast(pa.int32()).fill_null(0).to_numpy(zero_copy_only=False)
        return _of_halves(small.astype(np.uint32).astype(np.uint64), seeds)
    if pa.types.is_timestamp(kind) or pa.types.is_int64(kind):
        whole = values.cast(pa.int64()).fill_null(0).to_numpy(zero_copy_only=False)
        return _of_words(whole.view(np.uint64), seeds)
    if pa.types.is_float64(kind):
        numbers = values.fill_null(0.0).to_numpy(zero_copy_only=False)
        # To Spark 0.0 and -0.0 are one number, and so are all that are none.
        plain = np.where(np.isnan(numbers), np.nan, numbers + 0.0)
        return _of_words(plain.view(np.uint64), seeds)
    raise TypeError(f"no hash of {kind} is known")


def _of_halves(halves: U64, seeds: U64) -> U64:
    """The hash of values of 4 bytes."""
    return _mixed(_with_half(seeds + _P5 + np.uint64(_HALF_BYTES), halves))


def _of_words(words: U64, seeds: U64) -> U64:
    """The hash of values of 8 bytes."""
    return _mixed(_with_word(seeds + _P5 + np.uint64(_WORD_BYTES), words))


def _of_strings(strings: pa.Array, seeds: U64) -> U64:
    """The hash of texts by their UTF-8 bytes."""
    if not len(strings):
        return seeds
    filled = strings.cast(pa.large_string()).fill_null("")
    _, offset_buffer, byte_buffer = filled.buffers()
    bounds = np.frombuffer(offset_buffer, np.int64, len(filled) + 1, filled.offset * _WORD_BYTES)
    used = int(bounds[-1])
    padded = np.zeros(used + _WORD_BYTES, np.uint8)
    if used:
        padded[:used] = np.frombuffer(byte_buffer, np.uint8, used)
    # A word, or half of one, from each byte on.
    words: U64 = np.ndarray(used + 1, "<u8", padded, strides=(1,))
    halves: NDArray[np.uint32] = np.ndarray(used + 1, "<u4", padded, strides=(1,))

    lengths = np.diff(bounds)  # (n,)
    at = bounds[:-1].copy()  # (n,) where what is not hashed yet begins
    hashes = _of_stripes(words, at, lengths, seeds) + lengths.astype(np.uint64)
    rest = lengths % _STRIPE_BYTES
    at += lengths - rest
    for nth in range(1, _STRIPE_BYTES // _WORD_BYTES):
        (longer,) = np.nonzero(rest >= nth * _WORD_BYTES)
        hashes[longer] = _with_word(hashes[longer], words[at[longer]])
        at[longer] += _WORD_BYTES
    rest %= _WORD_BYTES
    (longer,) = np.nonzero(rest >= _HALF_BYTES)
    hashes[longer] = _with_half(hashes[longer], halves[at[longer]].astype(np.uint64))
    at[longer] += _HALF_BYTES
    rest %= _HALF_BYTES
    for nth in range(1, _HALF_BYTES):
        (longer,) = np.nonzero(rest >= nth)
        single = padded[at[longer]].astype(np.uint64)
        hashes[longer] = _rotated(hashes[longer] ^ (single * _P5), 11) * _P1
        at[longer] += 1
    return _mixed(hashes)


def _of_stripes(words: U64, starts: Ints, lengths: Ints, seeds: U64) -> U64:
    """What the whole stripes of 32 bytes make of the seeds, before the length is added, (n,)."""
    hashes = seeds + _P5
    (longer,) = np.nonzero(lengths >= _STRIPE_BYTES)
    if not len(longer):
        return hashes
    own = seeds[longer]
    lanes = [own + _P1 + _P2, own + _P2, own.copy(), own - _P1]
    stripes = lengths[longer] // _STRIPE_BYTES
    for stripe in range(int(stripes.max())):
        (active,) = np.nonzero(stripes > stripe)
        at = starts[longer[active]] + stripe * _STRIPE_BYTES
        for nth, lane in enumerate(lanes):
            lane[active] = _with_lane(lane[active], words[at + nth * _WORD_BYTES])
    first, second, third, fourth = lanes
    merged = _rotated(first, 1) + _rotated(second, 7) + _rotated(third, 12) + _rotated(fourth, 18)
    for lane in lanes:
        merged = (merged ^ _with_lane(np.zeros_like(lane), lane)) * _P1 + _P4
    hashes[longer] = merged
    return hashes


def _with_lane(lane: U64, words: U64) -> U64:
    return _rotated(lane + words * _P2, 31) * _P1


def _with_word(hashes: U64, words: U64) -> U64:
    return _rotated(hashes ^ _with_lane(np.zeros_like(words), words), 27) * _P1 + _P4


def _with_half(hashes: U64, halves: U64) -> U64:
    return _rotated(hashes ^ (halves * _P1), 23) * _P2 + _P3


def _mixed(hashes: U64) -> U64:
    hashes = (hashes ^ (hashes >> np.uint64(33))) * _P2
    hashes = (hashes ^ (hashes >> np.uint64(29))) * _P3
    return hashes ^ (hashes >> np.uint64(32))


def _rotated(words: U64, by: int) -> U64:
    return (words << np.uint64(by)) | (words >> np.uint64(64 - by))
