"""From one state of the table ``people`` to the next: which events are another person's then.

Sessions of an hour follow from its events and from the sessions that stood open before it.  So the
hours with such events are marked, as any others whose input has changed, and sessionize goes on
from them as far as the sessions left open at an hour's end come out otherwise.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterator
from itertools import pairwise

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.array_types import Bools, Ints
from pipeline.hours import US_PER_HOUR, Hour, contiguous
from pipeline.lake.commits import STEP_PROPERTY
from pipeline.lake.lake import Lake
from pipeline.lake.parquet_files import HourFile, read_in_batches
from pipeline.lake.people import NO_END_US, NO_START_US, intervals_of, times_us
from pipeline.lake.stale_hours import PEOPLE_CHANGED
from pipeline.lake.steps import SESSIONIZE
from pipeline.lake.tables import EVENTS, FILLED_HOURS, TIMESTAMP
from pipeline.version import code_version

STEP = "people"
_EVENTS_AT_ONCE = 1 << 20
_RANGES = ("anonymous_id", "valid_from", "valid_to")

# From, to and person of an interval.
_Interval = tuple[int, int, str]


def changed_intervals(before: pa.Table, after: pa.Table) -> pa.Table:
    """The intervals in which an id is another person after than before, or is one on one side only.

    Args:
        before: rows of ``people``.
        after: the same, as they are to be.

    Returns:
        Columns anonymous_id, valid_from and valid_to; intervals of one id do not overlap.
    """
    rows = pa.concat_tables([before, after])
    is_after = np.arange(rows.num_rows) >= before.num_rows
    codes = [_codes(rows[name]) for name in ("anonymous_id", "person_id")]
    bounds = times_us(rows["valid_from"], NO_START_US), times_us(rows["valid_to"], NO_END_US)
    order = np.lexsort((is_after, *bounds, codes[1], codes[0]))
    alike = np.all([np.diff(column[order]) == 0 for column in (*codes, *bounds)], axis=0)
    # What is there on both sides has not changed, and nothing else lies in it on either.
    differs = np.ones(len(order), np.bool_)
    differs[:-1] &= ~alike
    differs[1:] &= ~alike
    changed = rows.take(pa.array(np.sort(order[differs])))
    of_after = is_after[np.sort(order[differs])]
    anonymous = _codes(changed["anonymous_id"])
    on_both = _on_both_sides(anonymous, of_after)
    ranges = changed.select(_RANGES).filter(pa.array(~on_both))
    if not on_both.any():
        return ranges
    moved = changed.filter(pa.array(on_both))
    return pa.concat_tables([ranges, _differences(moved, of_after[on_both])])


def _codes(texts: pa.ChunkedArray) -> Ints:
    """A number for each text (n,), the same for the same."""
    codes: Ints = texts.combine_chunks().dictionary_encode().indices.to_numpy().astype(np.int64)
    return codes


def _on_both_sides(anonymous: Ints, is_after: Bools) -> Bools:
    """Which rows are of an id that has rows on both sides."""
    ids = int(anonymous.max(initial=-1)) + 1
    after = np.bincount(anonymous, is_after, ids) > 0
    before = np.bincount(anonymous, ~is_after, ids) > 0
    both: Bools = (after & before)[anonymous]
    return both


def _differences(rows: pa.Table, is_after: Bools) -> pa.Table:
    """As :func:`changed_intervals`, of ids that have other intervals on either side."""
    by_id: dict[str, tuple[list[_Interval], list[_Interval]]] = defaultdict(lambda: ([], []))
    columns = (
        rows["anonymous_id"].to_pylist(),
        times_us(rows["valid_from"], NO_START_US).tolist(),
        times_us(rows["valid_to"], NO_END_US).tolist(),
        rows["person_id"].to_pylist(),
    )
    for side, anonymous_id, *interval in zip(is_after.tolist(), *columns, strict=True):
        by_id[anonymous_id][side].append((interval[0], interval[1], interval[2]))
    ranges = [
        (anonymous_id, from_us, to_us)
        for anonymous_id, sides in by_id.items()
        for from_us, to_us in _differing(*sides)
    ]
    ids, from_us, to_us = zip(*ranges, strict=True) if ranges else ((), (), ())
    begins, ends = np.array(from_us, np.int64), np.array(to_us, np.int64)
    return pa.table(
        {
            "anonymous_id": pa.array(ids, pa.string()),
            "valid_from": pa.array(begins, mask=begins == NO_START_US).cast(TIMESTAMP),
            "valid_to": pa.array(ends, mask=ends == NO_END_US).cast(TIMESTAMP),
        }
    )


def _differing(before: list[_Interval], after: list[_Interval]) -> Iterator[tuple[int, int]]:
    """The intervals in which an id is not the same on both sides."""
    bounds = sorted(
        {bound for from_us, to_us, _ in (*before, *after) for bound in (from_us, to_us)}
    )
    # Intervals of a side by their beginnings: each is the next one when its turn comes.
    sides = [iter(sorted(side)) for side in (before, after)]
    current = [next(side, None) for side in sides]
    for from_us, to_us in pairwise(bounds):
        persons: list[str | None] = []
        for number, side in enumerate(sides):
            interval = current[number]
            while interval is not None and interval[1] <= from_us:
                interval = current[number] = next(side, None)
            holds = interval is not None and interval[0] <= from_us
            persons.append(interval[2] if holds and interval is not None else None)
        if persons[0] != persons[1]:
            yield from_us, to_us


def touched_hours(lake: Lake, changed: pa.Table, hours: Collection[Hour]) -> list[Hour]:
    """Those of the hours with an event of an id within an interval of it, in order.

    Only ids and times are read, and of hours that no interval reaches not even these.
    """
    intervals = intervals_of(changed)
    bounds = (
        np.sort(times_us(changed["valid_from"], NO_START_US)),
        np.sort(times_us(changed["valid_to"], NO_END_US)),
    )
    files = [
        file
        for file in lake.files(EVENTS)
        if file.hour in hours and _is_reached(file.hour, *bounds)
    ]
    touched: set[Hour] = set()
    for ids, time_us in _events_of(files, touched):
        # Many small hours are looked up together, and a large one a bit at a time.
        events = np.flatnonzero(intervals.at(ids, time_us) >= 0)
        touched.update(map(Hour, np.unique(time_us[events] // US_PER_HOUR).tolist()))
    return sorted(touched)


def _is_reached(hour: Hour | None, from_us: Ints, to_us: Ints) -> bool:
    """Whether an interval and an hour overlap; the bounds of the intervals are in order each."""
    if hour is None:
        return False
    first_us, stop_us = hour.index * US_PER_HOUR, (hour.index + 1) * US_PER_HOUR
    begun = np.searchsorted(from_us, stop_us, "left")
    ended = np.searchsorted(to_us, first_us, "right")
    return bool(begun > ended)


def _events_of(
    files: list[HourFile], touched: Collection[Hour]
) -> Iterator[tuple[pa.ChunkedArray, Ints]]:
    """Ids and times of the files' events, some at once; hours that are touched by then are not."""
    waiting: list[pa.Table] = []
    waiting_rows = 0
    for file in files:
        if file.hour in touched:
            continue
        for rows in read_in_batches(file.path, ("user_id", "event_time"), _EVENTS_AT_ONCE):
            waiting.append(rows)
            waiting_rows += rows.num_rows
            if waiting_rows < _EVENTS_AT_ONCE:
                continue
            yield _ids_and_times(waiting)
            waiting, waiting_rows = [], 0
            if file.hour in touched:
                break
    if waiting:
        yield _ids_and_times(waiting)


def _ids_and_times(tables: list[pa.Table]) -> tuple[pa.ChunkedArray, Ints]:
    rows = pa.concat_tables(tables)
    return rows["user_id"], times_us(rows["event_time"], NO_START_US)


def mark_stale(lake: Lake, hours: Collection[Hour]) -> None:
    """Have the sessions of filled hours made anew, although their events are as they were.

    What each hour left open stays recorded: the hours after it were made from that.

    Raises:
        HourglassError: another program committed meanwhile.
    """
    ranges = contiguous(hours)
    if not ranges:
        return
    rows = lake.arrow(FILLED_HOURS, ranges)
    rows = rows.filter(pc.equal(rows["step"], SESSIONIZE))
    column = rows.schema.get_field_index("input_digest")
    digest = pa.array([PEOPLE_CHANGED] * rows.num_rows, pa.string())
    made_by = {STEP_PROPERTY: STEP, "hourglass.code": code_version()}
    lake.record_filled(SESSIONIZE, ranges, rows.set_column(column, "input_digest", digest), made_by)
