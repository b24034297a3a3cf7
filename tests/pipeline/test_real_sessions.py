"""Sessions of real logs equal the oracle's, row for row."""

from __future__ import annotations

import csv
import gzip
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
import pytest
from session_oracle import US, Event, Rules, session_tables
from staging import Log, expected_dwell_hours

from pipeline import ingest
from pipeline.hours import Hour, HourRange
from pipeline.schemas import EVENTS
from pipeline.sessionize import sessionize
from pipeline.settings import SourceSettings
from pipeline.staleness import stale_hours

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

pytestmark = [pytest.mark.real, pytest.mark.slow]


@dataclass(frozen=True)
class Raw:
    """A raw log of its own format, and what reading it by hand counts."""

    source: str
    folder: Path
    rules: Rules
    events: set[tuple[str, str, str, float]]


def deskdrop(datasets: Path, work: Path) -> Raw:
    """The first month, because Spark takes long for a year of small hours."""
    until_s = Hour.parse("2016-04-14T00").index * 3600
    folder = work / "raw"
    folder.mkdir()
    path = datasets / "deskdrop" / "users_interactions.csv.gz"
    with (
        gzip.open(path, "rt", encoding="utf-8", newline="") as whole,
        gzip.open(folder / path.name, "wt", encoding="utf-8", newline="") as cut,
    ):
        rows = csv.DictReader(whole)
        assert rows.fieldnames
        kept = csv.DictWriter(cut, rows.fieldnames)
        kept.writeheader()
        events = set()
        for row in rows:
            if int(row["timestamp"]) < until_s:
                kept.writerow(row)
                fields = (row["personId"], row["contentId"], row["eventType"])
                events.add((*fields, float(row["timestamp"])))
    return Raw("deskdrop", folder, Rules(), events)


def yoochoose(datasets: Path, work: Path) -> Raw:
    folder = datasets / "yoochoose"
    events = set()
    for path in folder.glob("*.txt"):
        with path.open(encoding="utf-8", newline="") as lines:
            for row in csv.DictReader(lines, delimiter="\t"):
                fields = (row["SessionId"], row["ItemId"], "click")
                events.add((*fields, float(row["Time"])))
    return Raw("yoochoose", folder, Rules(given=True), events)


@pytest.mark.parametrize(
    ("read", "n_events", "n_sessions"), [(deskdrop, 3_507, 1_792), (yoochoose, 83_845, 21_218)]
)
def test_sessions_of_a_real_log_equal_the_oracle(
    spark: SparkSession,
    datasets_dir: Path,
    tmp_path: Path,
    read: Callable[[Path, Path], Raw],
    n_events: int,
    n_sessions: int,
) -> None:
    raw = read(datasets_dir, tmp_path)
    log = Log(tmp_path / "work", raw.rules)
    settings = log.settings.model_copy(
        update={"source": SourceSettings(name=raw.source, path=raw.folder)}
    )
    taken = ingest.ingest(spark, log.lake, settings, datetime(2025, 1, 1, tzinfo=UTC))
    events = _events(log)
    assert {(e.user, e.item, e.event_type, e.time_us) for e in events} == {
        (user, item, kind, round(at_s * US)) for user, item, kind, at_s in raw.events
    }
    assert len(events) == taken.accepted == n_events

    # The last session closes within a gap of the last event.
    stop = max(event.hour for event in events) + 1 + raw.rules.gap_s // 3600
    first = min(event.hour for event in events)
    every = HourRange(Hour(first), Hour(stop))
    sessionize(spark, log.lake, settings, every)
    assert stale_hours(log.lake, settings, every.stop) == []

    expected = session_tables(events, raw.rules, first, stop)
    found = log.tables(every)
    assert len(found.sessions) == len(events)
    assert found.sessions == expected.sessions
    assert found.open_sessions == expected.open_sessions
    assert found.item_hours == expected.item_hours
    assert log.dwell_hours(every) == {
        hour: pytest.approx(row, rel=1e-9) for hour, row in expected_dwell_hours(expected).items()
    }
    assert len({row[1] for row in found.sessions}) == n_sessions


def _events(log: Log) -> list[Event]:
    columns = ("event_time", "event_key", "user_id", "item_id", "event_type", "value")
    table = log.lake.arrow(EVENTS)
    times = table.column("event_time").cast(pa.int64()).to_pylist()
    plain = zip(*(table.column(name).to_pylist() for name in columns[1:]), strict=True)
    given = table.column("given_session").to_pylist()
    contexts = (tuple(sorted(pairs)) for pairs in table.column("context").to_pylist())
    return [
        Event(at_us, *fields, session, context)
        for at_us, fields, session, context in zip(times, plain, given, contexts, strict=True)
    ]
