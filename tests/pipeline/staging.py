"""Lakes for tests: events put in as ingest leaves them, session tables read back as plain rows."""

from __future__ import annotations

import hashlib
import uuid
from collections import defaultdict
from collections.abc import Iterable
from datetime import datetime
from pathlib import Path
from typing import Any, NoReturn

import pyarrow as pa
import pyarrow.parquet as pq
from session_oracle import HOUR_US, Event, Rules, Tables, moments

from pipeline.hours import Hour, HourRange, contiguous
from pipeline.lake.commits import STEP_PROPERTY
from pipeline.lake.lake import Lake
from pipeline.lake.parquet_files import HourFile
from pipeline.lake.steps import INGEST
from pipeline.lake.tables import (
    DWELL_HOURS,
    EVENTS,
    FILLED_HOURS,
    ITEM_HOURS,
    OPEN_SESSIONS,
    SESSIONS,
    TableSpec,
)
from pipeline.settings.settings import Settings
from pipeline.settings.tables import DatasetSettings, SessionSettings
from pipeline.spark.compute import Compute

DAY = Hour.parse("2024-03-01T00")
DAY_US = DAY.index * HOUR_US


def no_spark() -> NoReturn:
    raise AssertionError("Spark was started, though nothing here needs it")


#: For what must be done without Spark.
NO_SPARK = Compute(no_spark, from_mib=64)


class Log:
    """A lake in a folder, and the events that have arrived in it so far."""

    def __init__(self, work: Path, rules: Rules | None = None, **dataset: object) -> None:
        self.rules = rules or Rules()
        self.settings = Settings(
            work=work,
            sessions=SessionSettings(**vars(self.rules)),
            dataset=DatasetSettings(**dataset),
        )
        self.lake = Lake(self.settings.resolved_catalog_uri, self.settings.resolved_warehouse)
        self.events: set[Event] = set()

    def arrive(self, events: Iterable[Event]) -> None:
        """Let events arrive: the hours they belong to are rewritten, as ingest does it."""
        fresh = set(events) - self.events
        self.events |= fresh
        changed = {event.hour for event in fresh}
        by_hour: dict[int, list[Event]] = defaultdict(list)
        for event in self.events:
            if event.hour in changed:
                by_hour[event.hour].append(event)
        files, filled = [], []
        for index, held in by_hour.items():
            path = (
                self.lake.warehouse.absolute()
                / EVENTS.name
                / "data"
                / f"{uuid.uuid4().hex}.parquet"
            )
            path.parent.mkdir(parents=True, exist_ok=True)
            # Sorted by a hash: no step may rely on the order of rows.
            rows = sorted(held, key=lambda event: hashlib.sha256(event.key.encode()).digest())
            pq.write_table(event_table(rows), path)
            files.append(HourFile(str(path), path.stat().st_size, len(rows), Hour(index)))
            filled.append(_filled(index, sorted(held)))
        hours = contiguous(Hour(index) for index in by_hour)
        self.lake.replace(EVENTS, hours, files, {})
        self.lake.record_filled(
            INGEST,
            hours,
            pa.Table.from_pylist(filled, FILLED_HOURS.schema),
            {STEP_PROPERTY: INGEST},
        )

    def tables(self, hours: HourRange) -> Tables:
        """The session tables of the hours; dwell_hours apart, see :meth:`dwell_hours`."""
        made = Tables()
        made.sessions = self._rows(SESSIONS, hours, "dwell_s")
        made.open_sessions = self._rows(OPEN_SESSIONS, hours, "chain_start")
        found = self.lake.arrow(ITEM_HOURS, hours).to_pylist()
        made.item_hours = {
            (_us(row["hour"]) // HOUR_US, row["item_id"], row["events"], row["users"])
            for row in found
        }
        assert len(made.item_hours) == len(found)
        return made

    def dwell_hours(self, hours: HourRange) -> dict[int, tuple[Any, ...]]:
        """n, mean, m2, min, max by hour."""
        return {
            _us(row["hour"]) // HOUR_US: tuple(
                row[name] for name in ("n", "mean_s", "m2_s2", "min_s", "max_s")
            )
            for row in self.lake.arrow(DWELL_HOURS, hours).to_pylist()
        }

    def _rows(self, spec: TableSpec, hours: HourRange, last: str) -> set[tuple[Any, ...]]:
        return session_rows(self.lake.arrow(spec, hours), last)


def session_rows(table: pa.Table, last: str) -> set[tuple[Any, ...]]:
    """Rows of ``sessions`` or ``open_sessions`` as the oracle gives them; no row twice."""
    columns = {
        name: (
            column.cast(pa.int64()).to_pylist()
            if pa.types.is_timestamp(column.type)
            else column.to_pylist()
        )
        for name, column in zip(table.column_names, table.columns, strict=True)
    }
    columns["hour"] = [us // HOUR_US for us in columns["hour"]]
    columns["context"] = [tuple(sorted(pairs)) for pairs in columns["context"]]
    names = (
        *("hour", "session_id", "session_start", "position", "event_time", "user_id"),
        *("item_id", "event_type", "value", "given_session", "context", "event_key", "tie_rank"),
        *("is_robot", *(["passive_until"] if last == "chain_start" else []), last),
    )
    rows = list(zip(*(columns[name] for name in names), strict=True))
    assert len(set(rows)) == len(rows), "a row twice"
    return set(rows)


def expected_dwell_hours(tables: Tables) -> dict[int, tuple[float, ...]]:
    return {hour: moments(values) for hour, values in tables.dwells.items()}


def _us(instant: datetime) -> int:
    return Hour.of(instant).index * HOUR_US


def event_table(events: list[Event]) -> pa.Table:
    """Events as rows of ``events``."""
    columns = {
        "hour": [event.hour * HOUR_US for event in events],
        "event_time": [event.time_us for event in events],
        "user_id": [event.user for event in events],
        "item_id": [event.item for event in events],
        "event_type": [event.event_type for event in events],
        "value": [event.value for event in events],
        "given_session": [event.given for event in events],
        "context": [list(event.context) for event in events],
        "event_key": [event.key for event in events],
        "source_file": [event.file for event in events],
        "line": [event.line for event in events],
    }
    arrays = [
        pa.array(columns[column.name], pa.int64()).cast(column.type)
        if pa.types.is_timestamp(column.type)
        else pa.array(columns[column.name], column.type)
        for column in EVENTS.schema
    ]
    return pa.Table.from_arrays(arrays, schema=EVENTS.schema)


def _filled(index: int, events: list[Event]) -> dict[str, Any]:
    digest = hashlib.sha256(repr(events).encode()).hexdigest()[:16]
    return {
        "hour": Hour(index).start,
        "step": INGEST,
        "input_digest": "",
        "output_digest": digest,
        "state_digest": "",
        "config_digest": "",
        "code_version": "",
        "rows": len(events),
    }
