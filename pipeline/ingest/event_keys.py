"""Keys that a log gives its events: told of in several hours, an event is kept in the first.

An hour tells of a key if any record of it happened then.  The key's event stays in an hour unless
another hour that lies before it, no further than ``ingest.key_window``, tells of the key too:
whether or not that one keeps it.  So a window of 2h leaves of the hours 1, 2, 4 and 9 the first and
the last.  What an hour tells of and does not keep is remembered in ``repeated_keys``; that is why
arrival in any order ends the same, though only the hours within the window are looked at.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Collection, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

import pyarrow as pa

from pipeline.engine.engine import Engine, Frame
from pipeline.hours import US_PER_HOUR, Hour, HourRange, contiguous, parse_duration_h
from pipeline.ingest.read_raw import ParsedBatch
from pipeline.lake.lake import Lake
from pipeline.lake.parquet_files import HourFile
from pipeline.lake.tables import EVENTS, REPEATED_KEYS
from pipeline.settings.field_types import ALL_HOURS

_ENDLESS_US = 1 << 62
_KEY_COLUMNS = ("hour", "event_key")
_KEYS = pa.schema([EVENTS.schema.field(name) for name in _KEY_COLUMNS])


@dataclass(frozen=True)
class EarlierKeys:
    """What the lake knows of arriving keys besides the events of the arriving hours.

    ``hours`` are those whose events are to be written anew: the arriving ones, and others of which
    an event may no longer be its own.  ``repeated`` are their rows of ``repeated_keys``;
    ``elsewhere`` (hour, event_key) are the arriving keys that other hours tell of.
    """

    hours: list[HourRange]
    repeated: Frame
    elsewhere: Frame
    window_us: int


@contextmanager
def find_earlier_keys(
    engine: Engine,
    lake: Lake,
    batch: ParsedBatch,
    hours: Collection[Hour],
    changed: Sequence[str],
    key_window: str | None,
) -> Iterator[EarlierKeys]:
    """Look arriving keys up among the events of the hours around them.

    Args:
        engine: reads and compares.
        lake: where to look.
        batch: what arrives.
        hours: whose events are written anew in any case.
        changed: files of it that were known with another content.
        key_window: of ``ingest.key_window``; None looks nothing up, for a log that gives no keys.
    """
    nothing = engine.read_files(REPEATED_KEYS.schema, ()).none()
    elsewhere = nothing.select(*_KEY_COLUMNS)
    if key_window is None or not hours:
        yield EarlierKeys(contiguous(hours), nothing, elsewhere, 0)
        return
    window_h = None if key_window == ALL_HOURS else parse_duration_h(key_window)
    window_us = _ENDLESS_US if window_h is None else window_h * US_PER_HOUR
    reach = None if window_h is None else _reach(hours, window_h)
    in_order = sorted(hours)
    near = [
        file
        for file in lake.files(EVENTS, reach)
        if file.hour not in hours and _is_near(file, in_order, window_h)
    ]
    files = lake.files(REPEATED_KEYS, reach)
    rewritten = set(hours)
    with ExitStack() as stack:
        if near:
            arrived = batch.events.select("hour", "event_key", "source_file")
            views = {
                "known_keys": engine.read_files(_KEYS, near),
                "arrived": arrived,
                "changed": engine.texts("source_file", changed),
            }
            nearby = engine.query("keys_nearby", views, window_us=window_us)
            nearby = stack.enter_context(nearby.computed_once())
            hours_nearby = engine.query("displaced_hours", {"keys_nearby": nearby}).collect()
            rewritten |= {Hour(row.hour_index) for row in hours_nearby}
            elsewhere = nearby.where_not("is_displaced").select(*_KEY_COLUMNS)
        outside = [file for file in files if file.hour not in rewritten]
        if outside:
            elsewhere = elsewhere.union(engine.read_files(_KEYS, outside))
        inside = [file for file in files if file.hour in rewritten]
        repeated = engine.read_files(REPEATED_KEYS.schema, inside)
        yield EarlierKeys(contiguous(rewritten), repeated, elsewhere, window_us)


def hours_without_key(engine: Engine, lake: Lake, batch: ParsedBatch, renewed: Frame) -> set[Hour]:
    """The hours in which files that have grown repeated a key and now do so no longer."""
    if not lake.files(REPEATED_KEYS):
        return set()
    recorded = engine.read(lake, REPEATED_KEYS)
    views = {"known": recorded, "grown": renewed, "arrived": batch.events}
    rows = engine.query("events_of_grown", views).collect()
    return {Hour(row.hour_index) for row in rows if row.withdrawn}


def stage_repeated(engine: Engine, lake: Lake, repeated: Frame) -> list[HourFile]:
    """Files of rows of ``repeated_keys``, uncommitted; most hours have none."""
    return [] if repeated.is_empty() else engine.stage(lake, repeated, REPEATED_KEYS)


def _reach(hours: Collection[Hour], window_h: int) -> HourRange:
    return HourRange(min(hours) - window_h, max(hours) + window_h + 1)


def _is_near(file: HourFile, hours: Sequence[Hour], window_h: int | None) -> bool:
    """Whether a file's hour is within the window of one of the hours, which are in order."""
    if window_h is None or file.hour is None:
        return True
    after = bisect_left(hours, file.hour)
    return any(
        abs(hours[nth].index - file.hour.index) <= window_h
        for nth in (after - 1, after)
        if 0 <= nth < len(hours)
    )
