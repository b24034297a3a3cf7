"""Lakes in which events arrive late, and lakes that hold only what had arrived by an hour."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pyarrow as pa
from session_oracle import HOUR_US, Event, Row, Rules, session_tables
from staging import DAY, NO_SPARK, Log, session_rows

from pipeline.dataset.as_known.known_sessions import known_sessions
from pipeline.dataset.as_known.late_events import LateEvents
from pipeline.hours import Hour, HourRange
from pipeline.ingest.file_audit import FileAudit, audit_rows
from pipeline.lake.tables import PEOPLE, SOURCE_FILES
from pipeline.sessions.sessionize import sessionize

#: How many hours after its own an event arrives.
Delay = Callable[[Event], int]


def late_events(events: Iterable[Event], delay: Delay) -> set[Event]:
    """The events, each in the file of the hour in which it arrives."""
    return {replace(event, file=f"{Hour(event.hour + delay(event))}/log.csv") for event in events}


def some_late(rate: float, most_h: int, salt: str = "") -> Delay:
    """Some events come up to so many hours late; which ones, their keys decide."""

    def delay(event: Event) -> int:
        number = int.from_bytes(hashlib.sha256(f"{salt}{event.key}".encode()).digest()[:8], "big")
        share = number / 2**64
        return 0 if share >= rate else 1 + int(share / rate * most_h) % most_h

    return delay


def arrival_of(event: Event) -> Hour:
    return Hour.parse(event.file.split("/")[0])


def arrived_before(events: Iterable[Event], hour: Hour) -> set[Event]:
    """By definition: what lay in the landing zone when the hour began."""
    return {
        event
        for event in events
        if arrival_of(event) < hour and event.time_us < hour.index * HOUR_US
    }


def lake_of(
    work: Path,
    events: set[Event],
    rules: Rules,
    stop: int,
    people: dict[str, str] | None = None,
    **dataset: object,
) -> Log:
    """All of the events, as ingest and sessionize leave them after so many hours."""
    filled = Log(work, rules, **dataset)
    account(filled, events)
    filled.arrive(events)
    filled.lake.overwrite(PEOPLE, "true", people_table(people or {}), {})
    sessionize(NO_SPARK, filled.lake, filled.settings, HourRange(DAY, DAY + stop))
    return filled


def people_table(people: dict[str, str]) -> pa.Table:
    """Ids that are persons at all times."""
    rows = [
        {"anonymous_id": name, "person_id": person, "valid_from": None, "valid_to": None}
        for name, person in people.items()
    ]
    return pa.Table.from_pylist(rows, schema=PEOPLE.schema)


def account(log: Log, events: Iterable[Event]) -> None:
    """The accounts of the files of events."""
    counts: dict[str, int] = {}
    for event in events:
        counts[event.file] = counts.get(event.file, 0) + 1
    audits = [audit_of(name, n) for name, n in sorted(counts.items())]
    log.lake.append(SOURCE_FILES, audit_rows(audits), {})


def audit_of(name: str, n: int, arrival: Hour | None = None, sha256: str = "") -> FileAudit:
    at = (arrival or Hour.parse(name.split("/", maxsplit=1)[0])).start
    return FileAudit(name, at, at + timedelta(minutes=5), 1, sha256, n, n, 0, 0)


def known_tables(late: LateEvents, hour: Hour) -> tuple[set[Row], set[Row], set[Row]]:
    """What stands at an hour for users of whom something was not known: closed, open, counts."""
    sessions = known_sessions(late, hour)
    if sessions is None:
        return set(), set(), set()
    counts = {
        (Hour.of(row["hour"]).index, row["item_id"], row["events"], row["users"])
        for row in sessions.rows.item_hours.to_pylist()
    }
    return (
        session_rows(sessions.rows.closed, "dwell_s"),
        session_rows(sessions.rows.opened, "chain_start"),
        counts,
    )


def tables_of(
    events: set[Event], there: set[Event], rules: Rules, hour: Hour
) -> tuple[set[Row], set[Row], set[Row]]:
    """The same by definition, of what was there."""
    users = {e.user for e in events if e.time_us < hour.index * HOUR_US and e not in there}
    tables = session_tables([e for e in there if e.user in users], rules, DAY.index, hour.index)
    last = {row for row in tables.open_sessions if row[0] == hour.index - 1}
    return tables.sessions, last, tables.item_hours
