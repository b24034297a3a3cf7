"""How hours are distributed: counts by bin, small enough to keep for every hour.

Shapes: ``N`` rows, ``H`` hours, ``B`` bins.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.array_types import Floats, Ints
from pipeline.hours import US_PER_HOUR, US_PER_S, HourRange
from pipeline.lake.tables import PROFILES, TIMESTAMP

# What of the two kinds of rows there is, so that the profile of one leaves the other's alone.
EVENT_DISTRIBUTIONS = (
    "count",
    "fact",
    "event_type",
    "context",
    "value",
    "user_events",
    "item_events",
)
SESSION_DISTRIBUTIONS = (
    "session_count",
    "session_fact",
    "dwell_s",
    "session_events",
    "session_duration_s",
)
# A log may hold any number of event types; the rarer ones share a bin.
MAX_NAMES = 50
OTHERS = "(others)"
_SMALL_COUNTS = 2


def event_profile(hours: HourRange, events: pa.Table) -> pa.Table:
    """Profile the events of hours; an hour without events has its counts, which are zero.

    Args:
        hours: the hours.
        events: their rows of ``events`` with hour, user_id, item_id, event_type, value, context.

    Returns:
        Rows of ``profiles``: ``count`` (events, users, items), ``fact`` (events_per_user,
        value_median, value_share (of the events), share_of_top_user, share_of_top_item),
        ``event_type`` (events), ``context`` (events that carry the key), ``value`` (events, by half
        octaves), ``user_events`` (users, by the number of their events), ``item_events`` (events,
        by the number of events of their item).
    """
    hour = _hour_codes(hours, events)  # (N,)
    users, of_users = _pairs(hour, events["user_id"])
    items, of_items = _pairs(hour, events["item_id"])
    rows = _Rows(hours)
    counts = {"events": hour, "users": users, "items": items}
    for name, codes in counts.items():
        rows.add("count", name, np.bincount(codes, minlength=len(hours)), keep_zeros=True)
    n = np.bincount(hour, minlength=len(hours))
    n_users = np.bincount(users, minlength=len(hours))
    with np.errstate(invalid="ignore", divide="ignore"):
        rows.add("fact", "events_per_user", n / n_users)
        rows.add("fact", "share_of_top_user", _largest(hours, users, of_users) / n)
        rows.add("fact", "share_of_top_item", _largest(hours, items, of_items) / n)
    value = _floats(events["value"])
    finite = np.isfinite(value)
    rows.add("fact", "value_median", _medians(hours, hour, value), keep_zeros=True)
    with np.errstate(invalid="ignore"):
        share = np.bincount(hour[finite], minlength=len(hours)) / n
    rows.add("fact", "value_share", share, keep_zeros=True)
    rows.add_binned("event_type", hour, *_names(events["event_type"]))
    for key, carrying in _carried_keys(hour, events["context"]):
        rows.add("context", key, np.bincount(carrying, minlength=len(hours)))
    rows.add_binned("value", hour[finite], *_texts(half_octaves(value[finite]), half_octave_text))
    rows.add_binned("user_events", users, *_texts(_octaves(of_users), octave_text))
    rows.add_binned("item_events", items, *_texts(_octaves(of_items), octave_text), of_items)
    return rows.table()


def session_profile(hours: HourRange, sessions: pa.Table) -> pa.Table:
    """Profile the sessions that closed in hours.

    Args:
        hours: the hours.
        sessions: their rows of ``sessions`` with hour, session_id, session_start, event_time and
            dwell_s.

    Returns:
        Rows of ``profiles``: ``session_count`` (sessions, events), ``session_fact``
        (events_per_session, dwell_median_s, single_share), ``dwell_s`` (events, by half octaves),
        ``session_events`` (sessions, by length), ``session_duration_s`` (sessions, by half
        octaves; one event lasts 0 s).
    """
    hour = _hour_codes(hours, sessions)  # (N,)
    of_hour, length, duration_us = _sessions(hour, sessions)  # (S,) each
    rows = _Rows(hours)
    n_sessions = np.bincount(of_hour, minlength=len(hours))
    n = np.bincount(hour, minlength=len(hours))
    rows.add("session_count", "sessions", n_sessions, keep_zeros=True)
    rows.add("session_count", "events", n, keep_zeros=True)
    singles = np.bincount(of_hour[length == 1], minlength=len(hours))
    with np.errstate(invalid="ignore", divide="ignore"):
        rows.add("session_fact", "events_per_session", n / n_sessions)
        rows.add("session_fact", "single_share", singles / n_sessions)
    dwell = _floats(sessions["dwell_s"])
    rows.add("session_fact", "dwell_median_s", _medians(hours, hour, dwell), keep_zeros=True)
    finite = np.isfinite(dwell)
    rows.add_binned("dwell_s", hour[finite], *_texts(half_octaves(dwell[finite]), half_octave_text))
    rows.add_binned("session_events", of_hour, *_texts(_octaves(length), octave_text))
    bins = half_octaves(duration_us / US_PER_S)
    rows.add_binned("session_duration_s", of_hour, *_texts(bins, half_octave_text))
    return rows.table()


_ZERO, _BELOW = -(2**20), -(2**20) - 1
_WHOLE_FROM = 100


def half_octaves(values: Floats) -> Ints:
    """Bin b holds [2^(b/2), 2^((b+1)/2)); zero and what is below have bins of their own. (N,)"""
    bins = np.full(len(values), _ZERO, dtype=np.int64)
    bins[values < 0] = _BELOW
    positive = values > 0
    # The logarithm of a power of two may come out a hair too low.
    bins[positive] = np.floor(2 * np.log2(values[positive]) + 1e-9).astype(np.int64)
    return bins


def half_octave_text(bin_: int) -> str:
    """Where a bin begins, to three digits or to the unit."""
    if bin_ in (_ZERO, _BELOW):
        return "0" if bin_ == _ZERO else "below 0"
    begins: float = 2 ** (bin_ / 2)
    return f"{begins:.0f}" if begins >= _WHOLE_FROM else f"{begins:.3g}"


def octave_text(bin_: int) -> str:
    """Bin b of a count holds 2^(b-1) + 1 to 2^b: 1, 2, 3-4, 5-8 and so on."""
    return str(2**bin_) if bin_ < _SMALL_COUNTS else f"{2 ** (bin_ - 1) + 1}-{2**bin_}"


def _octaves(counts: Ints) -> Ints:
    return np.asarray(np.ceil(np.log2(np.maximum(counts, 1))), dtype=np.int64)


class _Rows:
    """Collects (hour, distribution, bin, weight)."""

    def __init__(self, hours: HourRange) -> None:
        self._hours = hours
        self._parts: list[pa.Table] = []

    def add(
        self, distribution: str, bin_: str, weights: Floats | Ints, keep_zeros: bool = False
    ) -> None:
        """A weight for each hour (H,); those that are not known are left out."""
        is_stored = np.isfinite(weights) if keep_zeros else np.isfinite(weights) & (weights != 0)
        at = np.flatnonzero(is_stored)
        self._append(distribution, at, [bin_] * len(at), np.asarray(weights, dtype=float)[at])

    def add_binned(
        self,
        distribution: str,
        hour: Ints,
        codes: Ints,
        names: Sequence[str],
        weights: Ints | None = None,
    ) -> None:
        """Count rows by hour and bin; ``codes`` are places in ``names``."""
        wide = max(len(names), 1)
        cells = np.bincount(hour * wide + codes, weights, minlength=len(self._hours) * wide)
        at = np.flatnonzero(cells)
        self._append(distribution, at // wide, [names[int(code)] for code in at % wide], cells[at])

    def _append(
        self, distribution: str, hour: Ints, bins: list[str], weights: Floats | Ints
    ) -> None:
        starts = (self._hours.first.index + hour) * US_PER_HOUR
        self._parts.append(
            pa.table(
                {
                    "hour": pa.array(starts, pa.int64()).cast(TIMESTAMP),
                    "distribution": pa.array([distribution] * len(bins), pa.string()),
                    "bin": pa.array(bins, pa.string()),
                    "weight": pa.array(weights, pa.float64()),
                }
            )
        )

    def table(self) -> pa.Table:
        whole = pa.concat_tables(self._parts).cast(PROFILES.schema)
        order = [("hour", "ascending"), ("distribution", "ascending"), ("bin", "ascending")]
        return whole.sort_by(order)


def _hour_codes(hours: HourRange, rows: pa.Table) -> Ints:
    """Which of the hours each row is of. (N,)"""
    at_us = rows["hour"].cast(pa.int64()).to_numpy()
    return np.asarray(at_us // US_PER_HOUR - hours.first.index, dtype=np.int64)


def _codes(column: pa.ChunkedArray) -> tuple[Ints, pa.Array]:
    """A column as places in its distinct values; nothing counts as a value."""
    encoded = column.combine_chunks().dictionary_encode(null_encoding="encode")
    if isinstance(encoded, pa.ChunkedArray):
        encoded = encoded.combine_chunks()
    return np.asarray(encoded.indices.to_numpy(), dtype=np.int64), encoded.dictionary


def _pairs(hour: Ints, column: pa.ChunkedArray) -> tuple[Ints, Ints]:
    """For each pair of an hour and a value: the hour, and how many rows have both. (P,), (P,)"""
    codes, values = _codes(column)
    wide = max(len(values), 1)
    pairs, rows = np.unique(hour * wide + codes, return_counts=True)
    return pairs // wide, rows


def _largest(hours: HourRange, hour: Ints, counts: Ints) -> Floats:
    """Largest count of each hour. (H,)"""
    largest = np.zeros(len(hours))
    np.maximum.at(largest, hour, counts)
    return largest


def _names(column: pa.ChunkedArray) -> tuple[Ints, list[str]]:
    """A column of names as codes; only the most frequent have a name of their own."""
    codes, values = _codes(column)
    counts = np.bincount(codes, minlength=len(values))
    texts = ["" if value is None else value for value in values.to_pylist()]
    if len(texts) <= MAX_NAMES:
        return codes, texts
    frequent = np.argsort(-counts, kind="stable")[:MAX_NAMES]
    code_of = np.full(len(texts), MAX_NAMES, dtype=np.int64)
    code_of[frequent] = np.arange(MAX_NAMES)
    return code_of[codes], [*(texts[code] for code in frequent), OTHERS]


def _carried_keys(hour: Ints, context: pa.ChunkedArray) -> Iterator[tuple[str, Ints]]:
    """Each key, and the hour of every event that has a value for it."""
    whole = context.combine_chunks()
    chunks = whole.chunks if isinstance(whole, pa.ChunkedArray) else [whole]
    at = 0
    keys: list[pa.Array] = []
    hours: list[Ints] = []
    for chunk in chunks:
        lengths = np.asarray(chunk.cast(_AS_LIST).value_lengths().fill_null(0).to_numpy())
        flat = chunk.cast(_AS_LIST).flatten()
        present = pc.is_valid(flat.field("value"))
        keys.append(flat.field("key").filter(present))
        rows = np.repeat(hour[at : at + len(chunk)], lengths)
        hours.append(rows[np.asarray(present.to_numpy(zero_copy_only=False))])
        at += len(chunk)
    codes, names = _names(pa.chunked_array(keys, pa.string()))
    of_hour = np.concatenate(hours) if hours else np.zeros(0, dtype=np.int64)
    for code, name in enumerate(names):
        yield name, of_hour[codes == code]


_AS_LIST = pa.list_(pa.struct([("key", pa.string()), ("value", pa.string())]))


def _floats(column: pa.ChunkedArray) -> Floats:
    return np.asarray(column.cast(pa.float64()).to_numpy(zero_copy_only=False), dtype=np.float64)


def _medians(hours: HourRange, hour: Ints, values: Floats) -> Floats:
    """Median of the known values of each hour; NaN where there is none. (H,)"""
    finite = np.isfinite(values)
    order = np.argsort(hour[finite], kind="stable")
    sorted_values, sorted_hours = values[finite][order], hour[finite][order]
    bounds = np.searchsorted(sorted_hours, np.arange(len(hours) + 1))
    return np.array(
        [
            float(np.median(sorted_values[low:high])) if high > low else np.nan
            for low, high in pairwise(bounds.tolist())
        ]
    )


def _sessions(hour: Ints, sessions: pa.Table) -> tuple[Ints, Ints, Ints]:
    """For each session its hour, its number of events and its duration in microseconds. (S,)"""
    codes, ids = _codes(sessions["session_id"])
    since = pc.subtract(
        sessions["event_time"].cast(pa.int64()), sessions["session_start"].cast(pa.int64())
    )
    duration = np.zeros(len(ids), dtype=np.int64)
    np.maximum.at(duration, codes, np.asarray(since.to_numpy(), dtype=np.int64))
    of_hour = np.zeros(len(ids), dtype=np.int64)
    of_hour[codes] = hour
    return of_hour, np.bincount(codes, minlength=len(ids)), duration


def _texts(bins: Ints, text: Callable[[int], str]) -> tuple[Ints, list[str]]:
    """Bins as places among those that occur, and their texts."""
    distinct, codes = np.unique(bins, return_inverse=True)
    return np.asarray(codes, dtype=np.int64), [text(int(bin_)) for bin_ in distinct]
