"""Which hour a run works on, for every way to start one: docs/hourly-loop.md has the table."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from airflow_process import Airflow

HOUR = timedelta(hours=1)
# Each way with a date that names an hour of the past; Airflow's own interval is often another.  No
# two runs of a DAG have the same date.
DATED = [
    ("form", "2016-03-14T13:00:00+00:00", "2016-03-14T13"),
    ("form", "2016-03-15T13:20:00+00:00", "2016-03-15T13"),
    ("form", "2016-03-16T13:20:00+05:30", "2016-03-16T07"),
    ("trigger", "2016-03-17T13:00:00+00:00", "2016-03-17T13"),
    ("dags-test", "2016-03-18T13", "2016-03-18T13"),
    ("dag.test", "2016-03-19T13:00:00+00:00", "2016-03-19T13"),
    ("conf", "2016-03-20T13", "2016-03-20T13"),
]
# And those that have no date, or a date that only says when the run was started.
UNDATED = ["form", "trigger", "dags-test", "dag.test", "dag.test-now", "schedule"]
STARTS = [(way, date) for way, date, _ in DATED]

pytestmark = pytest.mark.slow


def hours(commands: list[str]) -> set[tuple[str, str]]:
    """What commands were told of hours: the first, if any, and the end."""
    told = set()
    for command in commands:
        words = command[1:-1].split("][")
        if "--to" in words:
            first = words[words.index("--from") + 1] if "--from" in words else ""
            told.add((first, words[words.index("--to") + 1]))
    return told


def of_hour(first: datetime) -> set[tuple[str, str]]:
    """`ingest` takes what has arrived by the end of the hour; the others take the hour."""
    start, end = f"{first:%Y-%m-%dT%H}", f"{first + HOUR:%Y-%m-%dT%H}"
    return {("", end), (start, end)}


@pytest.mark.parametrize(("way", "date", "hour"), DATED)
def test_a_date_names_the_hour_in_which_it_lies(
    airflow: Airflow, way: str, date: str, hour: str
) -> None:
    _, commands = airflow.start(way, "sessions_hourly", date)
    assert hours(commands) == of_hour(datetime.fromisoformat(f"{hour}:00+00:00"))


@pytest.mark.parametrize("way", UNDATED)
def test_without_a_date_it_is_the_last_hour_that_was_over(airflow: Airflow, way: str) -> None:
    due, commands = airflow.start(way, "sessions_hourly")
    now = due.replace(minute=0, second=0, microsecond=0)
    assert hours(commands) == of_hour(now - HOUR)


def test_the_form_s_own_date_which_is_now_is_none(airflow: Airflow) -> None:
    due, commands = airflow.start("form", "sessions_hourly", datetime.now(UTC).isoformat())
    now = due.replace(minute=0, second=0, microsecond=0)
    assert hours(commands) == of_hour(now - HOUR)


def test_an_interval_that_a_person_chose_goes_before_the_date(airflow: Airflow) -> None:
    _, commands = airflow.start(
        "form", "sessions_hourly", "2016-03-21T05:00:00Z/2016-03-21T13:00:00Z"
    )
    assert hours(commands) == {("", "2016-03-21T13"), ("2016-03-21T05", "2016-03-21T13")}


def test_a_backfill_takes_the_hours_of_its_dates(airflow: Airflow) -> None:
    _, commands = airflow.start("backfill", "sessions_hourly", "2016-03-22T07")
    assert hours(commands) == of_hour(datetime(2016, 3, 22, 7, tzinfo=UTC))


def test_an_hour_to_come_is_refused_before_any_command(airflow: Airflow) -> None:
    ahead = (datetime.now(UTC) + 5 * HOUR).isoformat()
    assert hours(airflow.refused("form", "sessions_hourly", ahead)) == set()


@pytest.mark.parametrize("hour", ["2016-02-30T13", "2999-01-01T00"])
def test_an_hour_that_is_none_or_to_come_is_refused(airflow: Airflow, hour: str) -> None:
    """What is not even written like an hour the DAG's form refuses: `test_dag_files`."""
    assert hours(airflow.refused("conf", "sessions_hourly", hour)) == set()


@pytest.mark.parametrize(
    ("way", "date"), [*STARTS, *((way, "") for way in UNDATED if way != "schedule"), ("asset", "")]
)
def test_retraining_takes_the_newest_filled_hour_whatever_the_date(
    airflow: Airflow, way: str, date: str
) -> None:
    _, commands = airflow.start(way, "retrain", date)
    assert "[dataset][--judged-until][last][--json]" in commands
    assert "[recommend][--as-of][last]" in commands
    assert hours(commands) == set()
    assert "2016" not in "".join(commands)


@pytest.mark.parametrize(("way", "date"), [*STARTS, *((way, "") for way in UNDATED)])
def test_upkeep_is_about_no_hour(airflow: Airflow, way: str, date: str) -> None:
    _, commands = airflow.start(way, "upkeep", date)
    assert commands == ["[maintain]"]
