"""A small lake with context, metadata, and sessions that stand open at every hour."""

from __future__ import annotations

import hashlib
import random
from pathlib import Path
from typing import Any

import pyarrow as pa
from session_oracle import HOUR_US, US, Event, Rules
from staging import DAY, DAY_US, Log

from pipeline.hours import HourRange
from pipeline.lake.tables import ITEMS, USERS, TableSpec
from pipeline.sessions.sessionize import sessionize
from pipeline.spark.compute import Compute

STOP = 40
RULES = Rules(max_session_hours=3)
DATASET: dict[str, Any] = {
    "window": "14h",
    "history": "11h",
    "popularity_window": "6h",
    "max_history_events": 4,
    "min_item_events": 3,
    "max_dwell_bins": 5,
    "context": ("device",),
    "max_context_values": 2,
}


def a_log() -> set[Event]:
    """Fifty users at all hours; some events fall on the same instant or on full hours."""
    rng = random.Random(5)
    events = set()
    for user in range(50):
        at_us = DAY_US + rng.randrange(30 * HOUR_US)
        for nth in range(rng.randrange(1, 40)):
            key = hashlib.sha256(f"{user} {nth}".encode()).hexdigest()[:12]
            item = f"item {min(int(rng.paretovariate(0.7)), 30)}"
            kind = rng.choices(["view", "buy", "like"], [6, 2, 1])[0]
            device = rng.choice(["phone", "desk", "tv", None])
            told = (("device", device),) if device else ()
            value = rng.choice([None, 1.5])
            name = f"user {user:02d}"
            events.add(Event(at_us, key, name, item, kind, value, None, told, line=99 - nth))
            at_us += rng.choice(
                [0, rng.randrange(60 * US), rng.randrange(3600 * US), rng.randrange(9 * HOUR_US)]
            )
            if rng.random() < 0.05:
                at_us = -(-at_us // HOUR_US) * HOUR_US
    return {event for event in events if event.time_us < DAY_US + STOP * HOUR_US}


def filled_lake(compute: Compute, work: Path) -> Log:
    """Events of 40 hours, of which all are sessionized."""
    made = Log(work, RULES, **DATASET)
    made.arrive(a_log())
    sessionize(compute, made.lake, made.settings, HourRange(DAY, DAY + STOP))
    with_metadata(
        made,
        ITEMS,
        {
            "item 1": {"categories": ["news"], "numbers": [("words", 100.0)]},
            "item 2": {"categories": ["news", "sport"], "numbers": [("words", 300.0)]},
            "never met": {"categories": ["sport"]},
            "not yet": {"categories": ["news"], "available_from": (DAY + 37).start},
        },
    )
    rows = {f"user {n:02d}": {"categories": [["de", "fi"][n % 2]]} for n in range(30)}
    with_metadata(made, USERS, rows)
    return made


def with_metadata(log: Log, spec: TableSpec, rows: dict[str, dict[str, Any]]) -> None:
    key = spec.schema.names[0]
    content = [{**dict.fromkeys(spec.schema.names), **row, key: name} for name, row in rows.items()]
    log.lake.overwrite(spec, "true", pa.Table.from_pylist(content, spec.schema), {})
