"""Sessions of real logs equal the oracle's, row for row."""

from __future__ import annotations

import csv
import gzip
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from session_oracle import US, Event, Rules, session_tables
from staging import Log, expected_dwell_hours

from pipeline.hours import Hour, HourRange
from pipeline.ingest import ingest
from pipeline.lake.stale_hours import stale_hours
from pipeline.lake.tables import EVENTS
from pipeline.sessions.sessionize import sessionize
from pipeline.settings.source import ColumnSettings, SourceSettings
from pipeline.spark.compute import Compute

pytestmark = [pytest.mark.real, pytest.mark.slow]


@dataclass(frozen=True)
class Raw:
    """A raw log, how to read it, its rules, and what reading it by hand gives."""

    source: SourceSettings
    rules: Rules
    events: Counter[tuple[str, str, str, float]]


def union(files: Iterable[Iterable[tuple[str, str, str, float]]]) -> Counter[Any]:
    """Each event as often as in the file that has it most often."""
    most: Counter[Any] = Counter()
    for rows in files:
        most |= Counter(rows)
    return most


def rows_of(path: Path, delimiter: str = ",", **options: Any) -> Iterator[dict[str, str]]:
    opened = gzip.open if path.suffix == ".gz" else open
    with opened(path, "rt", encoding="utf-8", newline="") as lines:
        yield from csv.DictReader(lines, delimiter=delimiter, **options)


def deskdrop(datasets: Path) -> Raw:
    folder = datasets / "deskdrop"
    events = Counter(
        (row["personId"], row["contentId"], row["eventType"], float(row["timestamp"]))
        for row in rows_of(folder / "users_interactions.csv.gz")
    )
    return Raw(SourceSettings(name="deskdrop", path=folder), Rules(), events)


def yoochoose(datasets: Path) -> Raw:
    folder = datasets / "yoochoose"
    events = union(
        (
            (row["SessionId"], row["ItemId"], "click", float(row["Time"]))
            for row in rows_of(path, "\t")
        )
        for path in folder.glob("*.txt")
    )
    return Raw(SourceSettings(name="yoochoose", path=folder), Rules(given=True), events)


def wikipedia(datasets: Path) -> Raw:
    folder = datasets / "wikipedia"
    epoch_s = Hour.parse("2018-04-01T00").index * 3600
    events = Counter(
        (row["u"], row["i"], "edit", epoch_s + float(row["ts"]))
        for row in rows_of(folder / "wikipedia.csv")
    )
    return Raw(SourceSettings(name="wikipedia", path=folder), Rules(), events)


def taobao(datasets: Path) -> Raw:
    folder = datasets / "taobao"
    (path,) = folder.glob("*.csv")
    names = ("user", "item", "category", "behaviour", "time")
    events = Counter(
        (row["user"], row["item"], row["behaviour"], float(row["time"]))
        for row in rows_of(path, fieldnames=names)
    )
    return Raw(SourceSettings(name="taobao", path=folder), Rules(), events)


def nasa(datasets: Path) -> Raw:
    """A web server's log as a table; robots and proxies are among its users."""
    folder = datasets / "nasa-http"
    events = union(
        (
            (row["host"], row["url"], row["method"], float(row["time"]))
            for row in rows_of(path, "\t", quoting=csv.QUOTE_NONE)
        )
        for path in folder.glob("*.tsv")
    )
    columns = ColumnSettings(event_time="time", user_id="host", item_id="url", event_type="method")
    source = SourceSettings(
        name="delimited", path=folder, pattern="*.tsv", delimiter="\t", quote=None, columns=columns
    )
    return Raw(source, Rules(), events)


@pytest.mark.parametrize(
    ("where", "read", "n_events", "n_sessions", "n_hours"),
    [
        pytest.param("compute", deskdrop, 72_312, 36_684, 5_039, marks=pytest.mark.nightly),
        pytest.param("compute", wikipedia, 157_474, 44_675, 744, marks=pytest.mark.nightly),
        pytest.param("compute", taobao, 10_000, 1_522, 210, marks=pytest.mark.nightly),
        pytest.param("compute", yoochoose, 83_846, 21_218, 168, marks=pytest.mark.nightly),
        ("compute", nasa, 19_998, 1_869, 12),
        pytest.param("on_spark", nasa, 19_998, 1_869, 12, marks=pytest.mark.nightly),
    ],
)
def test_sessions_of_a_real_log_equal_the_oracle(
    request: pytest.FixtureRequest,
    datasets_dir: Path,
    tmp_path: Path,
    where: str,
    read: Callable[[Path], Raw],
    n_events: int,
    n_sessions: int,
    n_hours: int,
) -> None:
    raw = read(datasets_dir)
    compute: Compute = request.getfixturevalue(where)
    if where == "on_spark":
        request.getfixturevalue("as_commands_compute")
    log = Log(tmp_path / "work", raw.rules)
    settings = log.settings.model_copy(update={"source": raw.source})
    taken = ingest.ingest(compute, log.lake, settings, datetime(2025, 1, 1, tzinfo=UTC))
    events = _events(log)
    times = Counter((e.user, e.item, e.event_type, e.time_us) for e in events)
    assert times == {
        (user, item, kind, round(at_s * US)): n
        for (user, item, kind, at_s), n in raw.events.items()
    }
    assert len(events) == taken.accepted

    # The last session closes within a gap of the last event.
    stop = max(event.hour for event in events) + 1 + raw.rules.gap_s // 3600
    first = min(event.hour for event in events)
    every = HourRange(Hour(first), Hour(stop))
    # In two ranges, so that sessions are carried from one to the other.
    middle = Hour(first + (stop - first) // 2)
    for part in (HourRange(every.first, middle), HourRange(middle, every.stop)):
        sessionize(compute, log.lake, settings, part)
    assert stale_hours(log.lake, settings, every.stop) == []

    expected = session_tables(events, raw.rules, first, stop)
    found = log.tables(every)
    assert found.sessions == expected.sessions
    assert found.open_sessions == expected.open_sessions
    assert found.item_hours == expected.item_hours
    assert log.dwell_hours(every) == {
        hour: pytest.approx(row, rel=1e-9) for hour, row in expected_dwell_hours(expected).items()
    }
    sessions = {row[1] for row in found.sessions}
    hours = {event.hour for event in events}
    assert (len(events), len(sessions), len(hours)) == (n_events, n_sessions, n_hours)


def _events(log: Log) -> list[Event]:
    columns = ("event_time", "event_key", "user_id", "item_id", "event_type", "value")
    table = log.lake.arrow(EVENTS)
    times = table.column("event_time").cast(pa.int64()).to_pylist()
    plain = zip(*(table.column(name).to_pylist() for name in columns[1:]), strict=True)
    given = table.column("given_session").to_pylist()
    contexts = (tuple(sorted(pairs)) for pairs in table.column("context").to_pylist())
    lines = (table.column(name).to_pylist() for name in ("source_file", "line"))
    rows = zip(times, plain, given, contexts, *lines, strict=True)
    return [
        Event(at_us, *fields, session, context, file, line)
        for at_us, fields, session, context, file, line in rows
    ]
