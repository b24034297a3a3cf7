"""A small world for replays: users who walk round in circles of items, and settings to roll it."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from pipeline.dataset.rows.event_log import NEVER, flat_log
from pipeline.hours import US_PER_HOUR, Hour, HourRange, parse_duration_h
from pipeline.lake.tables import ITEM_HOURS, ITEMS, TIMESTAMP, USERS
from pipeline.sessions.dwell import moments_of_us
from pipeline.settings.learning import EvaluationSettings, ReplaySettings
from pipeline.settings.settings import Settings
from pipeline.settings.tables import DatasetSettings
from training.data.in_memory import ReplayLog
from training.replay.arms import Arm, arms_of
from training.replay.roll import Run

START = Hour.parse("2024-03-01T00")
GAP_US = 3600 * 1_000_000
DATASET = {"window": "8h", "history": "4h", "popularity_window": "6h", "min_item_events": 1}
SMALL = {
    "width": 6,
    "epochs": 2,
    "device": "cpu",
    "validation_share": 0.0,
    "batch_events": 64,
    "min_batches": 1,
}

Event = tuple[str, str, float]  # user, item, hours after START


def walks(hours: int, users: int = 12, seed: int = 3) -> list[Event]:
    """Each user takes a step every hour or so; every six hours a new item joins the circle."""
    rng = random.Random(seed)
    events = []
    for user in range(users):
        at = rng.randrange(8)
        hour = rng.random()
        while hour < hours:
            for _ in range(rng.randrange(1, 5)):
                at = (at + rng.choice((1, 1, 2))) % (8 + int(hour) // 6)
                events.append((f"u{user:02d}", f"i{at:02d}", hour))
                hour += rng.random() / 10
            hour += 1 + 2 * rng.random()
    return [event for event in events if event[2] < hours]


def log_of(events: Sequence[Event], settings: Settings, hours: int) -> ReplayLog:
    """The flat log that a lake with these events would give."""
    rows = sorted(
        (user, START.index * US_PER_HOUR + int(at * US_PER_HOUR), item) for user, item, at in events
    )
    stop = START + hours
    names: list[tuple[str, int]] = []  # session and position of each row
    for place, (user, at_us, _) in enumerate(rows):
        begins = not place or rows[place - 1][0] != user or at_us - rows[place - 1][1] >= GAP_US
        names.append((f"s{place}", 0) if begins else (names[-1][0], names[-1][1] + 1))
    last = {session: at_us for (session, _), (_, at_us, _) in zip(names, rows, strict=True)}
    closes = {session: (at_us + GAP_US) // US_PER_HOUR for session, at_us in last.items()}
    dwells: dict[int, list[int]] = {}
    for place, (session, position) in enumerate(names):
        if position:
            dwells.setdefault(closes[session], []).append(rows[place][1] - rows[place - 1][1])
    table = pa.table(
        {
            "closes": [c if (c := closes[s]) < stop.index else NEVER for s, _ in names],
            "event_us": [at_us for _, at_us, _ in rows],
            "session_id": [session for session, _ in names],
            "position": [position for _, position in names],
            "user_id": [user for user, _, _ in rows],
            "item_id": [item for _, _, item in rows],
            "event_type": ["view"] * len(rows),
            "value": pa.nulls(len(rows), pa.float64()),
            "tie_rank": pa.nulls(len(rows), pa.int32()),
            "is_robot": pa.nulls(len(rows), pa.bool_()),
            "dwell_s": pa.nulls(len(rows), pa.float64()),
            "passive_until": pa.nulls(len(rows), TIMESTAMP),
            "event_key": [f"{place:06d}" for place in range(len(rows))],
        }
    )
    dwell_hours = [
        {"hour": Hour(hour).start, **moments_of_us(np.array(found))}
        for hour, found in sorted(dwells.items())
    ]
    counts = Counter((at_us // US_PER_HOUR, item) for _, at_us, item in rows)
    item_hours = [
        {"hour": Hour(hour).start, "item_id": item, "events": n, "users": n}
        for (hour, item), n in counts.items()
    ]
    log = flat_log(
        table,
        settings.dataset.context,
        dwell_hours,
        pa.Table.from_pylist(item_hours, ITEM_HOURS.schema),
    )
    return ReplayLog(
        **vars(log), items=ITEMS.schema.empty_table(), users=USERS.schema.empty_table()
    )


def settings_of(work: Path, arms: Sequence[dict[str, Any]], **dataset: Any) -> Settings:
    return Settings(
        work=work,
        dataset=DatasetSettings(**{**DATASET, **dataset}),
        evaluation=EvaluationSettings(k=3, bootstrap_samples=100),
        replay=ReplaySettings(arms=tuple(arms)),  # type: ignore[arg-type]
    )


def run_of(settings: Settings, first: int, stop: int, folder: str = "run") -> tuple[Run, list[Arm]]:
    """A run of the hours ``[first, stop)`` after START, without a lake."""
    hours = HourRange(START + first, START + stop)
    step_h = parse_duration_h(settings.replay.step)
    run = Run(settings, hours, step_h, settings.path("replay") / folder, hours, {})
    return run, arms_of(settings, [])


def stepping(settings: Settings, step: str) -> Settings:
    return settings.model_copy(update={"replay": settings.replay.model_copy(update={"step": step})})
