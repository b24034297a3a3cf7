"""Rows of the tables that expectations are tried on: good by default, bad where a test says so."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import pyarrow as pa

from pipeline.hours import Hour, HourRange
from pipeline.lake.tables import EVENTS, PROFILES, SESSIONS, SOURCE_FILES
from pipeline.quality.baseline import Baseline, event_comparison
from pipeline.quality.checks.suite import suite_values
from pipeline.quality.hour_metrics import MIN_EVENTS, hour_facts
from pipeline.settings.settings import Settings

if TYPE_CHECKING:
    import pandas as pd

HOUR = Hour.parse("2016-03-14T13")
SETTINGS = Settings.model_validate({"source": {"event_types": ["view", "like"]}})
VALUES = suite_values(HOUR, SETTINGS)


def event(key: str, **changes: object) -> dict[str, object]:
    row = {
        "hour": HOUR.start,
        "event_time": HOUR.start + timedelta(minutes=5),
        "user_id": "ann",
        "item_id": "tea",
        "event_type": "view",
        "value": 1.0,
        "context": [("page", "home")],
        "event_key": key,
        "source_file": "a.csv",
        "line": 1,
    }
    return row | changes


def events(*rows: dict[str, object]) -> pa.Table:
    return pa.Table.from_pylist(list(rows), schema=EVENTS.schema)


def session_event(position: int, **changes: object) -> dict[str, object]:
    row = {
        "hour": HOUR.start,
        "session_id": "s",
        "session_start": HOUR.start - timedelta(hours=2),
        "position": position,
        "event_time": HOUR.start - timedelta(hours=2) + timedelta(minutes=position),
        "user_id": "ann",
        "item_id": "tea",
        "event_type": "view",
        "context": [],
        "event_key": str(position),
        "dwell_s": 60.0,
    }
    return row | changes


def sessions(*rows: dict[str, object]) -> pa.Table:
    return pa.Table.from_pylist(list(rows), schema=SESSIONS.schema)


def hours_frame(
    hours: Hour | HourRange, table: pa.Table, source_files: pa.Table, min_events: int = MIN_EVENTS
) -> pd.DataFrame:
    """The facts of an hour before which nothing is known."""
    nothing = Baseline({}, PROFILES.schema.empty_table())
    facts = hour_facts(hours, table, source_files, min_events)
    return facts.assign(**event_comparison(None, nothing))


def files(records: int, accepted: int, duplicates: int, quarantined: int) -> pa.Table:
    row = {
        "source_file": "a.csv",
        "arrival": HOUR.start,
        "bytes": 1,
        "sha256": "x",
        "records": records,
        "accepted": accepted,
        "duplicates": duplicates,
        "quarantined": quarantined,
    }
    other_hour = row | {"arrival": HOUR.end, "quarantined": 10_000}
    return pa.Table.from_pylist([row, other_hour], schema=SOURCE_FILES.schema)


GOOD_EVENTS = (event("k0"), event("k1", event_type="like", value=None))
