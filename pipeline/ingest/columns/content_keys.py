"""Identities of records whose log gives them none, of many records at once."""

from __future__ import annotations

import hashlib

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.ingest.parse import KEY_BYTES, key_of
from pipeline.sources.columns.types import EventColumns

# What Python writes between quotes as it is.
_WRITTEN_PLAIN = r"^[ !#-&(-\[\]-~]*$"


def content_keys(events: EventColumns) -> pa.Array:
    """The key of each record, (n,).

    They are those of :func:`pipeline.ingest.parse.content_key`: digests of what Python writes for
    the tuple of a record's fields.
    """
    times = pa.array(events.event_time_us).cast(pa.string())
    n = len(times)
    is_plain = np.ones(n, bool)
    texts = []
    for column in (events.user_id, events.item_id, events.event_type, events.given_session):
        if column.null_count == n:
            texts.append(pa.scalar("None"))
            continue
        matches = pc.match_substring_regex(column, _WRITTEN_PLAIN).fill_null(True)
        is_plain &= matches.to_numpy(zero_copy_only=False)
        quoted = pc.binary_join_element_wise("'", column, "'", "")
        texts.append(quoted.fill_null("None"))
    user_id, item_id, event_type, given_session = texts
    contents = pc.binary_join_element_wise(
        pc.binary_join_element_wise("(", times, ""),
        user_id,
        item_id,
        event_type,
        _written_numbers(events.value),
        pc.binary_join_element_wise(given_session, ")", ""),
        ", ",
    )
    digest = hashlib.blake2b
    keys = [
        digest(content, digest_size=KEY_BYTES).hexdigest()
        for content in contents.cast(pa.binary()).to_pylist()
    ]
    rows = np.flatnonzero(~is_plain)
    columns = (
        events.user_id,
        events.item_id,
        events.event_type,
        events.value,
        events.given_session,
    )
    chosen = (column.take(pa.array(rows)).to_pylist() for column in columns)
    times_us = events.event_time_us[rows].tolist()
    for row, *content in zip(rows.tolist(), times_us, *chosen, strict=True):
        keys[row] = key_of(tuple(content))
    return pa.array(keys, pa.string())


def _written_numbers(values: pa.Array) -> pa.Array | pa.Scalar:
    """Numbers as Python writes them, each distinct one once."""
    if values.null_count == len(values):
        return pa.scalar("None")
    packed = values.dictionary_encode()
    written = pa.array([repr(number) for number in packed.dictionary.to_pylist()], pa.string())
    return written.take(packed.indices).fill_null("None")
