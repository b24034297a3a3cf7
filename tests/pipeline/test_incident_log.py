"""Hours that were critical leave a trace: when, why, how it was settled and by whom."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from pipeline.hours import Hour, HourRange
from pipeline.lake.lake import Lake
from pipeline.lake.tables import FAILED_EXPECTATIONS, FILLED_HOURS, INCIDENTS
from pipeline.process.actor import actor
from pipeline.quality.checks.results import ExpectationResult, Severity, ValidationResult
from pipeline.quality.incident_log import NOBODY, Act
from pipeline.quality.verdict_log import HourVerdict, record
from pipeline.quality.verdicts import STEPS, Kind, verdicts_of
from pipeline.report.incidents import Incident, incidents

HOUR = Hour.parse("2016-03-14T13")
HOURS = HourRange(HOUR, HOUR + 2)
T0 = datetime(2016, 3, 14, 15, 1, tzinfo=UTC)
BOTH: tuple[Kind, ...] = ("events", "sessions")


def outcome(
    success: bool, name: str = "rate", limit: str = "at most 5 %", severity: Severity = "critical"
) -> ValidationResult:
    said = f"{name} is " + ("fine" if success else "broken")
    result = ExpectationResult(name, None, severity, success, "", limit, said)
    return ValidationResult("hours", str(HOUR), (result,), Path("page.html"))


class Hours:
    """A lake of two hours that are judged by hand."""

    def __init__(self, folder: Path) -> None:
        self.lake = Lake(f"sqlite:///{folder / 'catalog.db'}", folder / "lake")
        self.at = T0
        self.rules = "rules"
        for hour in HOURS:
            self.deliver(hour, "as it came")

    def deliver(self, hour: Hour, content: str) -> None:
        row = dict.fromkeys(FILLED_HOURS.schema.names, "")
        row |= {"hour": hour.start, "step": "ingest", "output_digest": content, "rows": 1}
        table = pa.Table.from_pylist([row], FILLED_HOURS.schema)
        self.lake.record_filled("ingest", HourRange(hour, hour + 1), table, {})

    def judge(
        self,
        *outcomes: ValidationResult,
        accepted: str | None = None,
        by: str = "ann",
        hours: HourRange = HOURS,
        act: Act | None = None,
    ) -> None:
        self.at += timedelta(minutes=10)
        bad = any(one.verdict == "critical" for one in outcomes)
        verdict = ("accepted" if accepted else "critical") if bad else outcomes[0].verdict
        judged = [
            HourVerdict("events", hour, verdict, outcomes, accepted, of_batch=outcomes)
            for hour in hours
        ]
        record(self.lake, judged, [], self.rules, act or Act(self.at, by))

    def rows(self) -> list[dict[str, Any]]:
        rows = self.lake.arrow(INCIDENTS).to_pylist()
        return sorted(rows, key=lambda row: (row["hour"], row["number"]))

    def shown(self) -> tuple[Incident, ...]:
        standing = {
            (kind, hour): verdict
            for kind in BOTH
            for hour, verdict in verdicts_of(self.lake, kind, HOURS).items()
            if verdict in ("critical", "accepted")
        }
        failed = self.lake.arrow(FAILED_EXPECTATIONS)
        return incidents(self.lake.arrow(INCIDENTS), standing, failed)


@pytest.fixture
def hours(tmp_path: Path) -> Hours:
    return Hours(tmp_path)


def test_hours_that_were_never_critical_leave_nothing(hours: Hours) -> None:
    hours.judge(outcome(success=True))
    hours.judge(outcome(success=False, severity="warning"))
    assert hours.rows() == []
    assert hours.shown() == ()


def test_a_new_delivery_mends_hours_and_the_trace_stays(hours: Hours) -> None:
    hours.judge(outcome(success=False))
    (open_,) = hours.shown()
    assert (open_.state, open_.hours, open_.until) == ("open", 2, None)
    for hour in HOURS:
        hours.deliver(hour, "whole")
    hours.judge(outcome(success=True), by="bob")
    (one,) = hours.shown()
    assert (one.first, one.last, one.hours) == (str(HOUR), str(HOUR + 1), 2)
    assert (one.state, one.sentence) == ("mended", "rate is broken")
    assert (one.since, one.until) == ("2016-03-14 15:11", "2016-03-14 15:21")
    (settled,) = one.settled
    assert settled == (
        "2016-03-14 15:21: validated again after its data had changed: it passes by bob"
    )


def test_validating_again_without_a_change_adds_nothing(hours: Hours) -> None:
    for _ in range(3):
        hours.judge(outcome(success=False))
    assert len(hours.rows()) == len(HOURS)
    for _ in range(3):
        hours.judge(outcome(success=False), accepted="known outage")
    assert len(hours.rows()) == 2 * len(HOURS)
    before = hours.lake.snapshot(INCIDENTS)
    hours.judge(outcome(success=False), accepted="known outage")
    assert hours.lake.snapshot(INCIDENTS) == before


def test_who_accepted_and_why_is_kept_after_the_hour_passes(hours: Hours) -> None:
    hours.judge(outcome(success=False))
    hours.judge(outcome(success=False), accepted="known outage", by="bob")
    (accepted,) = hours.shown()
    assert accepted.state == "accepted"
    assert accepted.settled == ('2016-03-14 15:21: accepted, because "known outage" by bob',)
    hours.deliver(HOUR, "whole")
    hours.deliver(HOUR + 1, "whole")
    hours.judge(outcome(success=True))
    (mended,) = hours.shown()
    assert mended.state == "mended"
    assert mended.settled[0] == accepted.settled[0]


@pytest.mark.parametrize(
    ("again", "rules", "cause"),
    [
        (outcome(success=True, limit="at most 50 %"), "rules", "expectation_changed"),
        (outcome(success=True, name="another"), "rules", "expectation_changed"),
        (outcome(success=False, severity="warning"), "rules", "expectation_changed"),
        (outcome(success=True), "other rules", "settings_changed"),
        (outcome(success=True), "rules", "compared_anew"),
    ],
    ids=["limit", "removed", "only warns", "settings", "hours before"],
)
def test_how_it_was_settled_without_new_data(
    hours: Hours, again: ValidationResult, rules: str, cause: str
) -> None:
    hours.judge(outcome(success=False))
    hours.rules = rules
    hours.judge(again)
    assert [row["cause"] for row in hours.rows()] == ["", cause] * len(HOURS)


def test_an_hour_may_be_critical_twice(hours: Hours) -> None:
    for content in ("broken", "whole", "broken again", "whole again"):
        hours.deliver(HOUR, content)
        hours.judge(outcome(success="whole" in content), hours=HourRange(HOUR, HOUR + 1))
    assert [one.state for one in hours.shown()] == ["mended", "mended"]


def test_a_lake_from_before_the_log_tells_what_it_knows(hours: Hours) -> None:
    row = dict.fromkeys(FILLED_HOURS.schema.names, "")
    row |= {"hour": HOUR.start, "step": STEPS["events"], "input_digest": "as it came", "rows": 0}
    row |= {"output_digest": "accepted", "config_digest": "rules"}
    failed = {
        "hour": HOUR.start, "batch": str(HOUR), "suite": "hours", "expectation": "rate",
        "severity": "critical", "sentence": "rate is broken", "limit": "at most 5 %",
        "accepted": "known outage",
    }  # fmt: skip
    only = HourRange(HOUR, HOUR + 1)
    hours.lake.append(
        FAILED_EXPECTATIONS, pa.Table.from_pylist([failed], FAILED_EXPECTATIONS.schema), {}
    )
    table = pa.Table.from_pylist([row], FILLED_HOURS.schema)
    hours.lake.record_filled(STEPS["events"], only, table, {}, invalidates=False)
    (one,) = hours.shown()
    assert (one.state, one.since) == ("accepted", "a time that was not recorded")
    assert one.settled == ('accepted, because "known outage"',)

    hours.judge(outcome(success=False), accepted="known outage", hours=only)
    assert hours.shown() == (one,)
    assert [row["at"] for row in hours.rows()] == [None]
    hours.deliver(HOUR, "whole")
    hours.judge(outcome(success=True), hours=only)
    (mended,) = hours.shown()
    assert (mended.state, mended.since) == ("mended", one.since)
    assert mended.settled[0] == one.settled[0]


def test_what_a_killed_validation_wrote_is_taken_back_and_done_again(
    hours: Hours, monkeypatch: pytest.MonkeyPatch
) -> None:
    hours.judge(outcome(success=True))
    with monkeypatch.context() as patch:

        def killed(*_: object, **__: object) -> None:
            raise KeyboardInterrupt

        patch.setattr(Lake, "record_filled", killed)
        with pytest.raises(KeyboardInterrupt):
            hours.judge(outcome(success=False))
    assert "incidents" in hours.lake.undo_unfinished()
    assert hours.lake.arrow(INCIDENTS, state=hours.lake.state()).num_rows == 0
    hours.judge(outcome(success=False))
    assert [row["number"] for row in hours.rows()] == [1, 1]


def test_without_a_clock_the_time_is_not_known(hours: Hours) -> None:
    hours.judge(outcome(success=False), act=NOBODY)
    assert {(row["at"], row["by"]) for row in hours.rows()} == {(None, None)}


def test_a_task_of_airflow_signs_with_its_run() -> None:
    environ = {"AIRFLOW_CTX_DAG_ID": "sessions_hourly", "AIRFLOW_CTX_DAG_RUN_ID": "run 7"}
    assert actor(environ) == "Airflow (sessions_hourly, run run 7)"
    assert actor({})
