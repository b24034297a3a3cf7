"""What the report says of robots by behaviour."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow as pa
from session_oracle import HOUR_US, US, Event, Rules
from staging import DAY, DAY_US, NO_SPARK, Log

from pipeline.hours import HourRange
from pipeline.lake.tables import TIMESTAMP
from pipeline.report.gather import data_facts
from pipeline.report.page_data import ReportFacts
from pipeline.report.render import report_html
from pipeline.report.robots import Robot, robots
from pipeline.sessions.sessionize import sessionize

AT = datetime(2024, 3, 1, 10, tzinfo=UTC)


def events(rows: list[tuple[str, int, bool | None]]) -> pa.Table:
    """Of user, minute and mark."""
    return pa.table(
        {
            "user_id": [user for user, _, _ in rows],
            "event_time": pa.array([AT + timedelta(minutes=m) for _, m, _ in rows], TIMESTAMP),
            "is_robot": pa.array([mark for _, _, mark in rows], pa.bool_()),
        }
    )


def test_marked_events_are_summed_up_by_user() -> None:
    rows = [("a", 3, None), ("b", 1, True), ("c", 5, True), ("c", 2, True), ("c", 9, None)]
    facts = robots(events([*rows, ("d", 4, True)]), most_named=2)
    assert facts is not None
    assert (facts.events, facts.of_events, facts.users) == (4, 6, 3)
    assert facts.share == 4 / 6
    assert facts.busiest == (
        Robot("c", 2, AT + timedelta(minutes=2), AT + timedelta(minutes=5)),
        Robot("b", 1, AT + timedelta(minutes=1), AT + timedelta(minutes=1)),
    )


def test_without_marks_there_is_nothing_to_say() -> None:
    assert robots(events([("a", 1, None)])) is None
    assert robots(events([])) is None
    assert 'id="robots"' not in report_html(ReportFacts("Shop", "an hour"))


def test_the_report_names_them_and_their_dwell_times_do_not_count(tmp_path: Path) -> None:
    log = Log(tmp_path, Rules(robot_events_per_hour=5))
    scraper = {Event(DAY_US + n * 10 * US, f"s{n}", "<scraper>", f"i{n}") for n in range(6)}
    person = {Event(DAY_US + n * 60 * US, f"p{n}", "person", "i1") for n in range(3)}
    late = {Event(DAY_US + 4 * HOUR_US + n * US, f"l{n}", "late", "i1") for n in range(6)}
    log.arrive(scraper | person | late)
    hours = HourRange(DAY, DAY + 5)
    sessionize(NO_SPARK, log.lake, log.settings, hours)
    facts = data_facts(log.lake, "Shop", hours, AT, tmp_path / "docs", tmp_path / "report.html")
    assert facts.robots is not None
    # One of them has closed its session; the other's stands open at the end.
    assert [(each.user_id, each.events) for each in facts.robots.busiest] == [
        ("<scraper>", 6),
        ("late", 6),
    ]
    assert facts.robots.of_events == 15
    assert facts.lengths is not None
    assert facts.times is not None
    assert facts.repeats is not None
    assert (facts.lengths.sessions, facts.lengths.mean) == (1, 3)
    assert (facts.times.users, facts.repeats.events) == (1, 3)
    page = report_html(facts)
    assert "12 events (80 %) of 2 users are" in page
    assert "&lt;scraper&gt;" in page
