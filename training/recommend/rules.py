"""What may not be offered: to nobody, and to one user."""

from __future__ import annotations

from datetime import datetime, timedelta

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.array_types import Bools, Ints, Objects
from pipeline.hours import US_PER_S, Hour, HourRange, parse_duration_h
from pipeline.lake.lake import Lake, State
from pipeline.lake.tables import ITEM_HOURS, ITEMS, TIMESTAMP
from pipeline.settings.learning import RecommendSettings
from training.data.arrays import ranges
from training.data.reader import Histories, Requests


def excluded_items(
    lake: Lake, state: State, rules: RecommendSettings, item_ids: Objects, at: datetime
) -> Ints:
    """Places in ``item_ids`` of what nobody is offered at a time, ascending.

    An item cannot be had before ``available_from``, nor from ``available_to`` on; one of which the
    items table says nothing can.
    """
    ids = pa.array(item_ids, pa.string())
    barred = np.zeros(len(ids), np.bool_)
    if rules.exclude_unavailable or rules.max_item_age:
        metadata = lake.arrow(ITEMS, columns=("item_id", "available_from", "available_to"))
        now = pa.scalar(at, TIMESTAMP)
        gone = pc.scalar(False)
        if rules.exclude_unavailable:
            to_come = pc.greater_equal(metadata["available_from"], now)
            over = pc.less_equal(metadata["available_to"], now)
            gone = pc.or_(pc.fill_null(to_come, False), pc.fill_null(over, False))
        if rules.max_item_age:
            since = at - timedelta(hours=parse_duration_h(rules.max_item_age))
            old = pc.less(metadata["available_from"], pa.scalar(since, TIMESTAMP))
            gone = pc.or_(gone, pc.fill_null(old, False))
        barred |= _is_in(ids, metadata["item_id"].filter(gone))
    if rules.max_item_silence:
        hour = Hour.of(at)
        hours = HourRange(hour - parse_duration_h(rules.max_item_silence), hour)
        recent = lake.arrow(ITEM_HOURS, hours, state, ("item_id",))["item_id"]
        barred |= ~_is_in(ids, pc.unique(recent))
    return np.flatnonzero(barred)


def seen_pairs(
    histories: Histories, requests: Requests, rules: RecommendSettings, repeats: bool, gap_s: int
) -> tuple[Ints, Ints]:
    """Rows of requests (ascending) and items' columns that are not offered to them, (P,) both.

    ``repeats``: whether the item just seen may be offered, as models are judged.  A session goes on
    while the silence is shorter than ``gap_s``.
    """
    offsets, length = histories.offsets[requests.user], requests.length
    if rules.exclude_seen == "history":
        first = np.zeros_like(length)
    else:
        first = length if repeats else np.maximum(length - 1, 0)
        if rules.exclude_seen == "session":
            first = np.minimum(first, _session_start(histories, requests, gap_s))
    row, event = ranges(offsets + first, length - first)
    return row, np.asarray(histories.item[event], np.int64) - 1


def _session_start(histories: Histories, requests: Requests, gap_s: int) -> Ints:
    """Where in each user's history the session that still goes on began; its end if none does."""
    start = np.flatnonzero(histories.session_start)
    begin, length = histories.offsets[requests.user], requests.length
    last = begin + length - 1
    latest = np.searchsorted(start, last, side="right") - 1
    began = np.where(latest >= 0, start[latest] if len(start) else 0, 0)
    # A history whose beginning was cut off starts within a session.
    within = np.maximum(began - begin, 0)
    going_on = np.zeros(len(requests), np.bool_)
    (with_history,) = np.nonzero(length > 0)
    silence_us = requests.now_us[with_history] - histories.time_us[last[with_history]]
    going_on[with_history] = silence_us < gap_s * US_PER_S
    return np.where(going_on, within, length)


def _is_in(ids: pa.Array, those: pa.Array | pa.ChunkedArray) -> Bools:
    mask: Bools = pc.is_in(ids, value_set=those.cast(pa.string())).to_numpy(zero_copy_only=False)
    return mask
