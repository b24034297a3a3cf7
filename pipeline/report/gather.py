"""Reads from the lake what the report says about data; only the columns and hours it needs."""

from __future__ import annotations

import os
from datetime import datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.hours import DAY_H, Hour, HourRange
from pipeline.lake import Lake, State
from pipeline.quality.drift import TRAILING_DAYS, compare
from pipeline.report import lights
from pipeline.report.facts import ReportFacts
from pipeline.report.failures import docs_page, failures
from pipeline.report.intake import hour_table, intake_rates, quarantine_reasons, volume
from pipeline.report.popularity import churn, popularity
from pipeline.report.repeats import repeats
from pipeline.report.sessions import dwell_times, session_lengths, session_times
from pipeline.schemas import (
    DWELL_HOURS,
    EVENTS,
    FAILED_EXPECTATIONS,
    ITEM_HOURS,
    PROFILES,
    QUARANTINE,
    SESSIONS,
    SOURCE_FILES,
)
from pipeline.verdicts import STEPS, VERDICTS, verdicts_of

_EVENTS = ("hour", "event_time", "user_id", "item_id", "source_file")
_SESSIONS = (
    "hour",
    "session_id",
    "user_id",
    "item_id",
    "session_start",
    "event_time",
    "position",
    "dwell_s",
)
_COUNTS = ("records", "accepted", "duplicates", "quarantined")
_END = Hour.parse("9999-01-01T00")


def data_facts(
    lake: Lake, title: str, hours: HourRange, at: datetime, docs: Path, page: Path
) -> ReportFacts:
    """The part of the report that is about data.

    Args:
        lake: the tables.
        title: of the report.
        hours: what it is about.
        at: when it is made; how fresh the data are is seen from here.
        docs: folder of the Data Docs.
        page: where the report will lie; addresses are relative to it.
    """
    state = lake.state()
    events = lake.arrow(EVENTS, hours, state, _EVENTS)
    sessions = lake.arrow(SESSIONS, hours, state, _SESSIONS)
    files = lake.arrow(SOURCE_FILES, None, state, ("source_file", "arrival", *_COUNTS, "removed"))
    item_hours = lake.arrow(ITEM_HOURS, hours, state, ("hour", "item_id", "events"))
    # What a log loaded in one piece refused lies in the hour of loading, after the range.
    quarantine = lake.arrow(QUARANTINE, HourRange(hours.first, _END), state)
    profiled = HourRange(hours.stop - DAY_H * (TRAILING_DAYS + 1), hours.stop)
    drift = compare(lake.arrow(PROFILES, profiled, state))

    def address(suite: str, batch: str) -> str | None:
        found = docs_page(docs, suite, batch)
        return None if found is None else os.path.relpath(found, page.parent)

    failed = failures(lake.arrow(FAILED_EXPECTATIONS, hours, state), address)
    table = hour_table(hours, events, sessions, files, quarantine)
    dwell = dwell_times(lake.arrow(DWELL_HOURS, hours, state), sessions)
    lengths = session_lengths(sessions)
    counts = {name: int(pc.sum(files[name]).as_py() or 0) for name in (*_COUNTS, "removed")}
    return ReportFacts(
        title=title,
        generated_for=str(hours),
        lights=(
            lights.freshness_light(_newest(events), at, table),
            lights.intake_light(intake_rates(table), counts),
            lights.expectations_light(hours, _verdicts(lake, hours, state), failed),
            lights.volume_light(volume(table)),
            lights.sessions_light(lengths, dwell),
            lights.drift_light(drift),
            lights.conservation_light(counts),
        ),
        failures=failed,
        hours=table,
        reasons=quarantine_reasons(quarantine),
        dwell=dwell,
        lengths=lengths,
        times=session_times(sessions),
        repeats=repeats(sessions),
        popularity=popularity(item_hours),
        churn=churn(item_hours),
        drift=drift,
    )


def _newest(events: pa.Table) -> datetime | None:
    newest: datetime | None = pc.max(events["event_time"]).as_py()
    return newest


def _verdicts(lake: Lake, hours: HourRange, state: State) -> dict[Hour, str]:
    """The worse of the verdicts on an hour's events and on its sessions."""
    worst: dict[Hour, str] = {}
    for kind in STEPS:
        for hour, verdict in verdicts_of(lake, kind, hours, state).items():
            worst[hour] = max(worst.get(hour, VERDICTS[0]), verdict, key=VERDICTS.index)
    return worst
