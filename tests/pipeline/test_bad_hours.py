"""Bad hours stop the loop, mended ones let it go on, and readers see nothing half-made."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path

import pytest
import yaml
from landing_place import Place

from pipeline.errors import HourglassError, UsageError
from pipeline.hours import Hour, HourRange
from pipeline.lake.lake import Lake
from pipeline.lake.tables import FAILED_EXPECTATIONS, PROFILES, SESSIONS
from pipeline.quality.checks.results import refuse_critical, worst
from pipeline.quality.checks.suite import SUITE_FOLDER
from pipeline.quality.validate_hours import validate
from pipeline.quality.verdicts import quality_passed, refuse_learning_from, verdicts_of
from pipeline.sessions.backfill import plan_backfill
from pipeline.sessions.sessionize import SessionizeSummary, sessionize
from pipeline.spark.compute import Compute

FIRST = Hour.parse("2016-03-14T13")
HOURS = HourRange(FIRST, FIRST + 4)
NOW = (FIRST + 4).start


class Loop(Place):
    """Four hours of a shop, and the hourly steps as the DAG runs them."""

    def deliver(self, hour: Hour, bad: int = 0, item: str = "tea", name: str = "clicks") -> None:
        """A file of the hour with twenty good records, and some without a user."""
        start_s = hour.index * 3600
        good = [f"{start_s + 60 * n},u{n % 4},{item},1,{hour}-{name}-{n},web" for n in range(20)]
        wrecks = [f"{start_s},,{item},1,{hour}-{name}-bad-{n},web" for n in range(bad)]
        self.put(f"{hour}/{name}.csv", *good, *wrecks)

    def take_in(self, clock: datetime = NOW) -> None:
        self.ingest(clock + timedelta(minutes=1))

    def judge(self, hours: HourRange, accepted: str | None = None) -> str:
        found = validate(self.lake, self.settings, hours, ("events",), accepted)
        return worst(result for outcome in found for result in outcome.results)

    def fill(self, hours: HourRange) -> SessionizeSummary:
        return sessionize(self.compute, self.lake, self.settings, hours)

    def closed(self) -> set[Hour]:
        return {Hour.of(row["hour"]) for row in self.rows(SESSIONS)}

    def verdicts(self) -> dict[Hour, str]:
        return verdicts_of(self.lake, "events", HOURS)


def only(hour: Hour) -> HourRange:
    return HourRange(hour, hour + 1)


@pytest.fixture(scope="module")
def few_expectations(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Suites that are quick to judge: that few records are refused, and else nothing much."""
    folder = tmp_path_factory.mktemp("suites")
    built_in = yaml.safe_load((SUITE_FOLDER / "hours.yaml").read_text(encoding="utf-8"))
    chosen = {"hours": [e for e in built_in["expectations"] if e["name"].startswith("quarantine")]}
    for suite in ("events", "sessions", "session_hours"):
        rows = {"expect": "expect_table_row_count_to_be_between", "min_value": 0}
        about = {"name": "rows", "promise": "there may be any number", "severity": "warning"}
        chosen[suite] = [about | rows]
    for suite, expectations in chosen.items():
        text = yaml.safe_dump({"suite": suite, "expectations": expectations})
        (folder / f"{suite}.yaml").write_text(text, encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def delivered(tmp_path_factory: pytest.TempPathFactory, compute: Compute) -> Loop:
    """The second hour is bad: fifteen of its thirty-five records name no user."""
    loop = Loop(tmp_path_factory.mktemp("loop"), compute)
    for hour in HOURS:
        loop.deliver(hour, bad=15 if hour == FIRST + 1 else 0)
    loop.take_in()
    loop.remember()
    return loop


@pytest.fixture
def strict_loop(delivered: Loop) -> Loop:
    """The four hours as they were delivered, whatever the test before made of them."""
    delivered.put_back()
    return delivered


@pytest.fixture
def loop(strict_loop: Loop, few_expectations: Path) -> Loop:
    """The same, of which few things are expected."""
    quality = strict_loop.settings.quality.model_copy(update={"suites": few_expectations})
    strict_loop.settings = strict_loop.settings.model_copy(update={"quality": quality})
    return strict_loop


def test_a_bad_hour_stays_unfilled_until_it_is_mended_and_a_rerun_goes_on(
    strict_loop: Loop,
) -> None:
    loop = strict_loop
    assert loop.judge(only(FIRST)) != "critical"
    loop.fill(only(FIRST))
    assert loop.judge(only(FIRST + 1)) == "critical"
    before = loop.lake.state()

    # What comes after it waits as well, though nothing is wrong with it.
    assert loop.judge(only(FIRST + 2)) != "critical"
    seen = loop.lake.snapshot(SESSIONS)
    for hours in (only(FIRST + 1), only(FIRST + 2)):
        done = loop.fill(hours)
        assert [hour for hour, _ in done.failed] == [FIRST + 1]
        assert "quarantine" in done.failed[0][1]
        assert "--accept" in done.failed[0][1]
        assert not done.filled
    assert loop.lake.snapshot(SESSIONS) == seen == before["sessions"]
    with pytest.raises(HourglassError, match=f"{FIRST + 1}"):
        refuse_learning_from(loop.lake, HOURS)
    planned = plan_backfill(loop.lake, loop.settings, NOW, HOURS).ranges
    assert (planned[0].hours, planned[0].why) == (only(FIRST + 1), "refused: critical")

    # The producer delivers the hour again, whole; the next run takes it in and goes on.
    loop.deliver(FIRST + 1)
    loop.take_in()
    # Not better until somebody has found it better.
    assert loop.fill(only(FIRST + 1)).failed
    assert loop.judge(only(FIRST + 1)) != "critical"
    done = loop.fill(only(FIRST + 3))
    assert not done.failed
    assert done.filled == (HourRange(FIRST + 1, FIRST + 4),)
    refuse_learning_from(loop.lake, HOURS)


def test_a_person_may_let_an_hour_pass_and_the_reason_is_kept(loop: Loop) -> None:
    with pytest.raises(UsageError, match="say why"):
        loop.judge(only(FIRST + 1), accepted=" ")
    assert loop.judge(only(FIRST + 1), accepted="the shop was closed") == "critical"
    assert loop.verdicts()[FIRST + 1] == "accepted"
    kept = [
        row
        for row in loop.rows(FAILED_EXPECTATIONS)
        if row["severity"] == "critical" and row["expectation"] == "quarantine_rate_critical"
    ]
    assert [row["accepted"] for row in kept] == ["the shop was closed"]
    assert not loop.fill(HOURS).failed
    assert quality_passed(loop.lake, HOURS, only(FIRST + 1), loop.lake.state()) is True
    # It holds when the hour is judged again, and no longer once the hour has changed.
    again = validate(loop.lake, loop.settings, only(FIRST + 1))
    refuse_critical(again)
    assert loop.verdicts()[FIRST + 1] == "accepted"
    loop.deliver(FIRST + 1, bad=20, name="more")
    loop.take_in()
    with pytest.raises(HourglassError, match="refused"):
        refuse_critical(validate(loop.lake, loop.settings, only(FIRST + 3)))
    assert loop.verdicts()[FIRST + 1] == "critical"


@pytest.fixture
def picky(loop: Loop, tmp_path: Path) -> Iterator[Loop]:
    """Bad is what sells poison; records without a user are nobody's business."""
    suites = tmp_path / "suites"
    suites.mkdir()
    poison = (
        "{name: p, promise: no poison, severity: critical, column: item_id, value_set: [poison]"
    )
    (suites / "events.yaml").write_text(
        "suite: events\nexpectations:\n"
        f"  - {poison}, expect: expect_column_values_to_not_be_in_set}}\n",
        encoding="utf-8",
    )
    fine = "{name: f, promise: it is there, severity: warning, column: events"
    (suites / "hours.yaml").write_text(
        f"suite: hours\nexpectations:\n  - {fine}, expect: expect_column_values_to_not_be_null}}\n",
        encoding="utf-8",
    )
    quality = loop.settings.quality.model_copy(update={"suites": suites})
    loop.settings = loop.settings.model_copy(update={"quality": quality})
    yield loop


def test_what_comes_late_is_judged_with_the_hour_it_changes(picky: Loop) -> None:
    assert picky.judge(HourRange(FIRST, FIRST + 3)) == "ok"
    picky.fill(HourRange(FIRST, FIRST + 3))
    # With the fourth hour's file comes one of the first hour.
    picky.deliver(FIRST, item="poison", name="late")
    picky.take_in()
    assert FIRST not in picky.verdicts()
    assert picky.judge(only(FIRST + 3)) == "critical"
    assert picky.verdicts()[FIRST] == "critical"
    assert {picky.verdicts()[FIRST + n] for n in (1, 2, 3)} == {"ok"}
    assert picky.fill(only(FIRST + 3)).failed[0][0] == FIRST


def test_the_verdict_on_a_long_range_falls_on_the_hours_that_earned_it(picky: Loop) -> None:
    picky.deliver(FIRST + 2, item="poison", name="more")
    picky.take_in()
    # Thirty hours are judged in batches of four.
    assert picky.judge(HourRange(FIRST, FIRST + 30)) == "critical"
    assert picky.verdicts() == {
        FIRST: "ok",
        FIRST + 1: "ok",
        FIRST + 2: "critical",
        FIRST + 3: "ok",
    }
    failed = picky.rows(FAILED_EXPECTATIONS)
    assert [(Hour.of(row["hour"]), row["expectation"]) for row in failed] == [(FIRST + 2, "p")]


@pytest.mark.nightly
def test_a_long_range_does_not_wash_a_critical_hour(loop: Loop) -> None:
    """Among thirty hours its fifteen bad records would be few."""
    assert loop.judge(only(FIRST + 1)) == "critical"
    assert loop.judge(HourRange(FIRST - 26, FIRST + 4)) == "critical"
    assert loop.verdicts()[FIRST + 1] == "critical"


def test_an_hour_of_which_nothing_was_accepted_is_no_silent_hour(loop: Loop) -> None:
    empty = FIRST + 4
    bad = [f"{empty.index * 3600},,tea,1,bad-{n},web" for n in range(50)]
    loop.put(f"{empty}/clicks.csv", *bad)
    loop.take_in(empty.end)
    assert loop.judge(only(FIRST + 1), accepted="known") == "critical"
    assert loop.judge(only(empty)) == "critical"
    done = loop.fill(HourRange(FIRST, FIRST + 6))
    assert [hour for hour, _ in done.failed] == [empty]
    assert done.filled == (HourRange(FIRST, empty),)


def test_hours_before_the_log_begins_are_not_judged(picky: Loop) -> None:
    picky.deliver(FIRST)
    picky.take_in()
    for before in (only(FIRST - 9), only(FIRST - 1)):
        with pytest.raises(UsageError, match=f"the first event is of {FIRST}"):
            picky.judge(before)
    assert picky.judge(HourRange(FIRST - 9, FIRST + 1)) != "critical"
    # Further on than the weeks that hours are compared with.
    assert picky.judge(only(FIRST + 40 * 168)) != "critical"


@pytest.mark.nightly
def test_judging_again_changes_nothing(loop: Loop) -> None:
    once = []
    for _ in range(2):
        loop.judge(HOURS)
        once.append([loop.rows(spec) for spec in (PROFILES, FAILED_EXPECTATIONS)])
    assert once[0] == once[1]
    assert once[0][0]


def test_sessions_are_judged_where_they_are_up_to_date(loop: Loop) -> None:
    judge = (loop.lake, loop.settings, only(FIRST + 2), ("sessions",))
    with pytest.raises(HourglassError, match="not up to date"):
        validate(*judge)  # type: ignore[arg-type]
    loop.fill(HOURS)
    outcomes = validate(*judge)  # type: ignore[arg-type]
    assert [outcome.suite for outcome in outcomes] == ["sessions", "session_hours"]
    assert verdicts_of(loop.lake, "sessions", HOURS) == {FIRST + 2: "ok"}


def test_a_kill_between_its_commits_leaves_no_trace(
    loop: Loop, monkeypatch: pytest.MonkeyPatch
) -> None:
    loop.judge(only(FIRST))
    before = loop.rows(PROFILES)

    def killed(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Lake, "record_filled", killed)
        loop.judge(only(FIRST + 1))
    half = loop.rows(PROFILES)
    assert len(half) > len(before)
    state = loop.lake.state()
    assert loop.rows(PROFILES, state=state) == before
    assert loop.judge(only(FIRST + 1)) == "critical"
    assert sorted(map(str, loop.rows(PROFILES))) == sorted(map(str, half))
