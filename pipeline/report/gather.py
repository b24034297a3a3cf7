"""Reads from the lake what the report says about data; only the columns and hours it needs."""

from __future__ import annotations

import os
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.hours import DAY_H, Hour, HourRange
from pipeline.lake.lake import Lake, State
from pipeline.lake.steps import SESSIONIZE
from pipeline.lake.tables import (
    DWELL_HOURS,
    EVENTS,
    FAILED_EXPECTATIONS,
    INCIDENTS,
    ITEM_HOURS,
    OPEN_SESSIONS,
    PROFILES,
    QUARANTINE,
    SESSIONS,
    SOURCE_FILES,
)
from pipeline.quality.drift import TRAILING_DAYS, compare
from pipeline.quality.duplicates import EqualRecords, duplicate_cause
from pipeline.quality.verdicts import STEPS, VERDICTS, Kind, verdicts_of
from pipeline.report import traffic_lights
from pipeline.report.failures import docs_page, failures, hours_of
from pipeline.report.incidents import incidents
from pipeline.report.intake import (
    hour_table,
    intake_rates,
    later_files,
    quarantine_reasons,
    since,
    volume,
)
from pipeline.report.page_data import ReportFacts
from pipeline.report.popularity import churn, popularity
from pipeline.report.robots import robots, without_robots
from pipeline.report.sessions import dwell_times, repeats, session_lengths, session_times

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
    "is_robot",
)
_MARKED = ("user_id", "event_time", "is_robot")
_COUNTS = ("records", "accepted", "duplicates", "quarantined", "ignored")
_END = Hour.parse("9999-01-01T00")


def data_facts(
    lake: Lake,
    title: str,
    hours: HourRange,
    at: datetime,
    docs: Path,
    page: Path,
    log_end: Hour | None = None,
    equal_records: EqualRecords = "duplicates",
) -> ReportFacts:
    """The part of the report that is about data.

    Args:
        lake: the tables.
        title: of the report.
        hours: what it is about.
        at: when it is made; how fresh the data are is seen from here.
        docs: folder of the Data Docs.
        page: where the report will lie; addresses are relative to it.
        log_end: hour after the last of the log, where sessions of it close in later hours of the
            report; default: the end of the hours.
        equal_records: what decides whether two equal records of a file are two events.
    """
    state = lake.state()
    log = HourRange(hours.first, hours.stop if log_end is None else log_end)
    events = lake.arrow(EVENTS, hours, state, _EVENTS)
    sessions = lake.arrow(SESSIONS, hours, state, _SESSIONS)
    columns = ("source_file", "arrival", "sha256", *_COUNTS, "removed")
    files = lake.arrow(SOURCE_FILES, None, state, columns)
    item_hours = lake.arrow(ITEM_HOURS, hours, state, ("hour", "item_id", "events"))
    # What a log loaded in one piece refused lies in the hour of loading, after the range.
    quarantine = lake.arrow(QUARANTINE, HourRange(hours.first, _END), state)
    profiled = HourRange(log.stop - DAY_H * (TRAILING_DAYS + 1), log.stop)
    drift = compare(lake.arrow(PROFILES, profiled, state))

    def address(suite: str, batch: str) -> str | None:
        batch_page = docs_page(docs, suite, batch)
        return None if batch_page is None else os.path.relpath(batch_page, page.parent)

    by_kind = {kind: verdicts_of(lake, kind, hours, state) for kind in STEPS}
    verdicts = _worst(by_kind)
    broken, unexplained = _broken(lake, hours, verdicts, state)
    failed = failures(broken, address)
    critical = {
        (kind, hour): verdict
        for kind, of_kind in by_kind.items()
        for hour, verdict in of_kind.items()
        if verdict in ("critical", "accepted")
    }
    history = incidents(lake.arrow(INCIDENTS, hours, state), critical, broken)
    table = hour_table(hours, events, sessions, files, quarantine, log.stop)
    # The hours in which the last sessions close have no events, and none is missed there.
    of_log = table.iloc[: len(log)]
    later = later_files(hours, files, quarantine)
    # The moments leave robots out as well; else one of them would be what is said of sessions.
    of_people = without_robots(sessions)
    dwell = dwell_times(lake.arrow(DWELL_HOURS, hours, state), of_people)
    last = HourRange(hours.stop - 1, hours.stop)
    opened = lake.arrow(OPEN_SESSIONS, last, state, ("session_id", *_MARKED))
    lengths = session_lengths(of_people)
    counts = {name: int(pc.sum(files[name]).as_py() or 0) for name in (*_COUNTS, "removed")}
    doubled = duplicate_cause(
        files.filter(since(files["arrival"], hours.first)), files, events, equal_records
    )
    return ReportFacts(
        title=title,
        generated_for=str(hours),
        lights=(
            traffic_lights.freshness_light(_newest(events), at, table),
            traffic_lights.intake_light(intake_rates(table), later, doubled),
            traffic_lights.expectations_light(log, verdicts, failed, history),
            traffic_lights.volume_light(volume(of_log)),
            traffic_lights.sessions_light(lengths, dwell),
            traffic_lights.drift_light(drift),
            traffic_lights.conservation_light(counts),
        ),
        failures=failed,
        validated=len(verdicts),
        to_validate=len({*log, *verdicts}),
        unexplained=unexplained,
        incidents=history,
        hours=table,
        later=later,
        still_open=_still_open(lake, last, state, opened),
        reasons=quarantine_reasons(quarantine),
        dwell=dwell,
        lengths=lengths,
        times=session_times(of_people),
        repeats=repeats(of_people),
        robots=robots(pa.concat_tables([sessions.select(_MARKED), opened.select(_MARKED)])),
        popularity=popularity(item_hours),
        churn=churn(item_hours),
        drift=drift,
    )


def _broken(
    lake: Lake, hours: HourRange, verdicts: Mapping[Hour, str], state: State
) -> tuple[pa.Table, list[Hour]]:
    """What was broken in the hours, and the hours of which that is not known.

    What a batch of many hours broke stands with its first hour, which may lie before these.
    """
    broken = lake.arrow(FAILED_EXPECTATIONS, hours, state)
    bad = {hour for hour, verdict in verdicts.items() if verdict != "ok"}
    left = bad.difference(*(hours_of(row) for row in broken.to_pylist()))
    if left:
        earlier = lake.arrow(FAILED_EXPECTATIONS, HourRange(Hour(0), hours.first), state)
        reaching = [not left.isdisjoint(hours_of(row)) for row in earlier.to_pylist()]
        earlier = earlier.filter(pa.array(reaching, pa.bool_()))
        broken = pa.concat_tables([earlier, broken])
        left = left.difference(*(hours_of(row) for row in earlier.to_pylist()))
    return broken, sorted(left)


def _still_open(lake: Lake, last: HourRange, state: State, opened: pa.Table) -> int | None:
    """Sessions that stood open at the end of the last hour; None where they are not computed."""
    if last.first not in lake.filled(SESSIONIZE, last, state):
        return None
    return int(pc.count_distinct(opened["session_id"]).as_py())


def _newest(events: pa.Table) -> datetime | None:
    newest: datetime | None = pc.max(events["event_time"]).as_py()
    return newest


def _worst(by_kind: Mapping[Kind, Mapping[Hour, str]]) -> dict[Hour, str]:
    """The worse of the verdicts on an hour's events and on its sessions."""
    worst: dict[Hour, str] = {}
    for verdicts in by_kind.values():
        for hour, verdict in verdicts.items():
            worst[hour] = max(worst.get(hour, VERDICTS[0]), verdict, key=VERDICTS.index)
    return worst
