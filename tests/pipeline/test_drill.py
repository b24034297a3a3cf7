"""The drill: what counts as caught and as a false alarm, and a small one from end to end."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from pathlib import Path
from typing import Literal

import pytest
import yaml

from pipeline.errors import UsageError
from pipeline.hours import Hour, HourRange
from pipeline.lake.lake import Lake
from pipeline.lake.tables import SESSIONS, SOURCE_FILES
from pipeline.quality.checks.results import ExpectationResult, ValidationResult
from pipeline.quality.verdicts import Kind
from pipeline.settings.settings import QualitySettings, Settings
from pipeline.settings.simulator import SimulatorSettings
from pipeline.simulator import SCENARIOS
from pipeline.simulator.drill import Drill
from pipeline.simulator.drill_report import Failure, FalseAlarms, failures_of, judge
from pipeline.simulator.drill_tables import complaint, drill_facts, drill_sentence
from pipeline.simulator.scenarios import Scenario
from pipeline.spark.compute import Compute

BEGIN = Hour.parse("2026-01-20T12")
QUIET = FalseAlarms(720, ())


def failed(
    hours_after: int, expectation: str, severity: Literal["warning", "critical"] = "critical"
) -> Failure:
    hour = BEGIN + hours_after
    return Failure(hour, hour, expectation, severity, "2", "at most 1", "too many")


def quiet(*failures: Failure, hours: int = 720) -> FalseAlarms:
    return FalseAlarms(hours, failures)


def kind(catch: Literal["quiet", "warning", "critical"]) -> Scenario:
    return Scenario("real_night", "nothing", catch, catch, "so that it can be judged")


class TestJudge:
    def test_the_first_failure_that_is_grave_enough_counts(self) -> None:
        failures = [failed(0, "a", "warning"), failed(1, "b"), failed(2, "c")]
        judged = judge(kind("critical"), failures, BEGIN, QUIET)
        assert judged.caught == failures[1]
        # The hour that begins one hour after the fault is validated when it ends.
        assert judged.hours_later == 2
        assert judged.others == ("a", "c")
        assert judged.good

    def test_within_an_hour_the_gravest_counts(self) -> None:
        failures = [failed(0, "a", "warning"), failed(0, "b")]
        judged = judge(kind("critical"), failures, BEGIN, QUIET)
        assert judged.caught == failures[1]
        assert judged.hours_later == 1

    def test_nothing_raised_is_not_caught(self) -> None:
        judged = judge(kind("warning"), [], BEGIN, QUIET)
        assert (judged.caught, judged.hours_later) == (None, None)
        assert judged.reason == "not caught"
        assert not judged.good

    def test_a_warning_is_too_little_where_the_loop_must_stop(self) -> None:
        judged = judge(kind("critical"), [failed(0, "a", "warning")], BEGIN, QUIET)
        assert judged.caught == failed(0, "a", "warning")
        assert judged.reason == "only warning"

    def test_a_critical_is_too_much_where_a_warning_is_right(self) -> None:
        failures = [failed(0, "a", "warning"), failed(3, "b")]
        judged = judge(kind("warning"), failures, BEGIN, QUIET)
        assert judged.caught == failures[1]
        assert judged.reason == "critical, where at most warning is right"

    def test_what_failed_in_quiet_hours_excuses_nothing_else(self) -> None:
        noisy = quiet(failed(-9, "a", "warning"), failed(-5, "a"))
        assert not judge(kind("quiet"), [failed(0, "b", "warning")], BEGIN, noisy).good
        assert not judge(kind("quiet"), [failed(0, "b", "warning")], BEGIN, QUIET).good
        assert not judge(kind("quiet"), [failed(0, "a")], BEGIN, noisy).good
        assert judge(kind("quiet"), [], BEGIN, QUIET).good

    def test_an_hour_judged_again_counts_from_when_it_was(self) -> None:
        late = replace(failed(-2, "a"), seen=BEGIN + 3)
        assert judge(kind("critical"), [late], BEGIN, QUIET).hours_later == 4

    def test_what_often_fails_for_nothing_catches_nothing(self) -> None:
        """2 % of 100 hours may be chance; 3 % are a habit."""
        seldom, often = (
            quiet(*(failed(-n, "a", "warning") for n in range(1, 1 + times)), hours=100)
            for times in (2, 3)
        )
        failures = [failed(0, "a", "warning")]
        assert judge(kind("warning"), failures, BEGIN, seldom).good
        judged = judge(kind("warning"), failures, BEGIN, often)
        assert judged.reason == "not caught"
        assert judged.failures == tuple(failures)
        # Of another severity it is another matter.
        assert judge(kind("critical"), [failed(0, "a")], BEGIN, often).good


class TestFalseAlarms:
    def test_an_hour_stops_the_loop_once_however_much_fails_in_it(self) -> None:
        assert quiet(failed(-3, "a"), failed(-3, "b")).good
        alarms = quiet(failed(-3, "a"), failed(-2, "a"), failed(-2, "w", "warning"))
        assert not alarms.good
        assert alarms.hours_with("critical") == 2
        assert alarms.by_expectation() == [("a", "critical", 2), ("w", "warning", 1)]

    def test_any_number_of_warnings_is_no_fault(self) -> None:
        assert quiet(*(failed(-n, "a", "warning") for n in range(1, 500))).good


def test_failures_are_read_from_outcomes() -> None:
    right, wrong = (
        ExpectationResult("volume", "events", "warning", success, "3", "at least 9", "few events")
        for success in (True, False)
    )
    outcome = ValidationResult("hours", str(BEGIN), (right, wrong), Path("page.html"))
    assert failures_of([outcome]) == [
        Failure(BEGIN, BEGIN, "hours.volume", "warning", "3", "at least 9", "few events")
    ]


def few_expectations(folder: Path) -> Path:
    """Suites that are quick to judge: of the hour's facts that few are refused, else nothing."""
    folder.mkdir()
    for suite in ("events", "sessions", "session_hours"):
        anything = {
            "name": "anything",
            "promise": "there may be any number of rows",
            "expect": "expect_table_row_count_to_be_between",
            "severity": "warning",
            "min_value": 0,
        }
        text = yaml.safe_dump({"suite": suite, "expectations": [anything]})
        (folder / f"{suite}.yaml").write_text(text)
    refused = {
        "name": "refused",
        "promise": "few records are refused",
        "expect": "expect_column_max_to_be_between",
        "severity": "critical",
        "column": "quarantine_rate_low",
        "max_value": 0.05,
    }
    text = yaml.safe_dump({"suite": "hours", "expectations": [refused]})
    (folder / "hours.yaml").write_text(text)
    return folder


def validate_by_counting(
    lake: Lake, _: Settings, hours: HourRange, kinds: Collection[Kind] = ("events", "sessions")
) -> list[ValidationResult]:
    """For `validate`: as by `few_expectations`, and of the sessions that are judged some are there.

    Great Expectations takes most of a drill's time; what it says of suites is tested by day too:
    `test_bad_hours`.
    """

    def outcome(suite: str, hour: Hour, name: str, success: bool) -> ValidationResult:
        result = ExpectationResult(name, None, "critical", success, "", "", "")
        return ValidationResult(suite, str(hour), (result,), Path("page.html"))

    outcomes = []
    if "events" in kinds:
        files = lake.arrow(SOURCE_FILES).to_pylist()
        for hour in hours:
            (row,) = (file for file in files if file["source_file"].startswith(f"{hour}/"))
            few = row["quarantined"] <= 0.05 * row["records"]
            outcomes.append(outcome("hours", hour, "refused", few))
    if "sessions" in kinds:
        there = lake.arrow(SESSIONS, hours).num_rows > 0
        outcomes.append(outcome("sessions", hours.first, "there", there))
    return outcomes


@pytest.mark.parametrize(
    "validated",
    ["by counting", pytest.param("by suites", marks=(pytest.mark.nightly, pytest.mark.slow))],
)
def test_a_small_drill(
    compute: Compute, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, validated: str
) -> None:
    """Refused records are caught in the first hour, and a quiet night stops nothing."""
    if validated == "by counting":
        monkeypatch.setattr("pipeline.simulator.drill.validate", validate_by_counting)
    settings = Settings(
        simulator=SimulatorSettings(users=250, items_per_day=60),
        quality=QualitySettings(suites=few_expectations(tmp_path / "suites")),
    )
    folder = tmp_path / "drill"
    scenarios = [SCENARIOS["wrong_time_unit"], SCENARIOS["real_night"]]
    done = Drill(compute, settings, folder, 1, fault_hours=1, hours_after=0).run(scenarios)
    caught, night = done.judgements
    assert done.quiet.hours == 24
    assert caught.caught is not None
    assert caught.caught.expectation == "hours.refused"
    assert (caught.hours_later, caught.good) == (1, True)
    assert (night.caught, night.good) == (None, True)
    assert done.quiet.failures == ()
    assert done.validate_s_per_hour > 0
    assert drill_facts(done)["scenarios"][0]["scenario"] == "wrong_time_unit"
    assert "1 quiet day" in drill_sentence(done)
    assert done.good
    assert complaint(done) == ""

    # What is finished of the history is not made again; another world is another drill.
    landing = folder / "history" / "landing" / "items.jsonl"
    before = landing.stat().st_mtime_ns
    monkeypatch.setattr("pipeline.simulator.drill.validate", lambda *_: [])
    Drill(compute, settings, folder, 1).run([])
    assert landing.stat().st_mtime_ns == before
    with pytest.raises(UsageError, match="holds a drill of 1 quiet day "):
        Drill(compute, settings, folder, 2).run([])


class TestFolder:
    def test_one_that_holds_something_else_is_refused(
        self, compute: Compute, tmp_path: Path
    ) -> None:
        (tmp_path / "lake").mkdir()
        with pytest.raises(UsageError, match="is not empty and holds no drill"):
            Drill(compute, Settings(), tmp_path, 1).run([])
        assert [path.name for path in tmp_path.iterdir()] == ["lake"]

    def test_a_history_that_was_never_finished_is_made_anew(
        self, compute: Compute, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A drill killed while it ingests leaves a mark that promises nothing."""

        class KilledError(Exception):
            pass

        def kill(*_: object) -> None:
            raise KilledError

        settings = Settings(simulator=SimulatorSettings(users=20, items_per_day=20))
        drill = Drill(compute, settings, tmp_path / "drill", 1)
        monkeypatch.setattr("pipeline.simulator.drill.ingest", kill)
        with pytest.raises(KilledError):
            drill.run([])
        leftover = tmp_path / "drill" / "live" / "leftover"
        leftover.write_text("of the first run")
        with pytest.raises(KilledError):
            drill.run([])
        assert not leftover.exists()
