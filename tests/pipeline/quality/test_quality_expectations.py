"""Every expectation provoked by one bad row, and what the worst of them decides."""

from __future__ import annotations

import math
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet
import pytest
from quality_rows import (
    GOOD_EVENTS,
    HOUR,
    VALUES,
    event,
    events,
    files,
    hours_frame,
    session_event,
    sessions,
)

from pipeline.errors import HourglassError
from pipeline.hours import HourRange
from pipeline.lake.tables import EVENTS
from pipeline.quality.checks.expectations import Batch, validate_batches, validate_frame
from pipeline.quality.checks.results import ExpectationResult, Severity, refuse_critical, worst
from pipeline.quality.checks.suite import load_suite
from pipeline.quality.hour_metrics import events_frame, sessions_frame, wilson_low

if TYPE_CHECKING:
    import pandas as pd
    from pyspark.sql import SparkSession


def failures(suite: str, frame: pd.DataFrame, site: Path) -> dict[str, ExpectationResult]:
    outcome = validate_frame(load_suite(suite, VALUES), frame, str(HOUR), site, keep=5)
    return {result.name: result for result in outcome.results if not result.success}


def test_a_good_hour_of_events_keeps_every_promise(tmp_path: Path) -> None:
    outcome = validate_frame(
        load_suite("events", VALUES), events_frame(events(*GOOD_EVENTS)), str(HOUR), tmp_path, 5
    )
    assert outcome.verdict == "ok"
    assert [result.name for result in outcome.results] == [
        check.name for check in load_suite("events", VALUES).checks
    ]
    assert outcome.results[2].sentence == "events/2016-03-14T13: every event has a user_id"


@pytest.mark.parametrize(
    ("bad", "broken"),
    [
        ({"user_id": None}, {"user_id_present"}),
        ({"user_id": ""}, {"user_id_length"}),
        ({"user_id": "x" * 513}, {"user_id_length"}),
        ({"item_id": None}, {"item_id_present"}),
        ({"item_id": ""}, {"item_id_length"}),
        ({"event_time": None}, {"event_time_present"}),
        ({"event_time": HOUR.end}, {"event_time_in_hour"}),
        ({"event_time": HOUR.start - timedelta(microseconds=1)}, {"event_time_in_hour"}),
        ({"event_key": None}, {"event_key_present"}),
        ({"event_key": "k0"}, {"event_key_unique"}),
        ({"event_type": "drop table"}, {"event_type_known"}),
        ({"value": math.inf}, {"value_finite"}),
        ({"value": -math.inf}, {"value_finite"}),
        ({"event_time": HOUR.end - timedelta(microseconds=1)}, set()),
        ({"user_id": "x" * 512}, set()),
    ],
)
def test_each_bad_event_breaks_its_own_promise(
    tmp_path: Path, bad: dict[str, Any], broken: set[str]
) -> None:
    frame = events_frame(events(*GOOD_EVENTS, event("k2", **bad)))
    assert set(failures("events", frame, tmp_path)) == broken


def test_a_missing_column_breaks_the_schema_and_what_needs_it(tmp_path: Path) -> None:
    frame = events_frame(events(*GOOD_EVENTS)).drop(columns="value")
    broken = failures("events", frame, tmp_path)
    assert set(broken) == {"columns_present", "value_finite"}
    assert broken["columns_present"].observed == "there is no column value"
    assert "could not be checked" in broken["value_finite"].sentence


def test_an_empty_hour_is_a_warning(tmp_path: Path) -> None:
    broken = failures("events", events_frame(events()), tmp_path)
    assert set(broken) == {"has_events"}
    assert worst(broken.values()) == "warning"
    assert not failures("sessions", sessions_frame(sessions()), tmp_path)
    assert not failures("hours", hours_frame(HOUR, events(), files(0, 0, 0, 0)), tmp_path)


def test_a_sentence_names_the_thing_the_count_the_limit_and_the_mend(tmp_path: Path) -> None:
    frame = events_frame(events(*GOOD_EVENTS, event("k0")))
    broken = failures("events", frame, tmp_path)["event_key_unique"]
    assert broken.sentence == (
        'events/2016-03-14T13: broken promise "no event occurs twice": 2 of 3 rows '
        "(limit: no exceptions): ingest the hour again, which removes duplicates"
    )
    assert (broken.column, broken.severity, broken.examples) == ("event_key", "critical", ("k0",))


@pytest.mark.parametrize(
    ("bad", "broken"),
    [
        ({}, set()),
        ({"session_id": None}, {"session_id_present"}),
        ({"position": -1}, {"position_not_negative"}),
        ({"position": 0}, {"position_once"}),
        ({"dwell_s": -0.5}, {"dwell_in_gap"}),
        ({"dwell_s": 3600.0}, {"dwell_in_gap"}),
        ({"dwell_s": 3599.999}, set()),
        ({"event_time": HOUR.start + timedelta(hours=22)}, {"age_in_limit"}),
        ({"event_time": HOUR.start - timedelta(hours=3)}, {"age_in_limit"}),
        ({"hour": HOUR.end}, {"closed_in_hour"}),
    ],
)
def test_each_bad_session_row_breaks_its_own_promise(
    tmp_path: Path, bad: dict[str, Any], broken: set[str]
) -> None:
    rows = (session_event(0), session_event(1), session_event(2, dwell_s=None) | bad)
    assert set(failures("sessions", sessions_frame(sessions(*rows)), tmp_path)) == broken


@pytest.mark.parametrize(
    ("counts", "broken"),
    [
        ((1000, 1000, 0, 0), set()),
        ((1000, 990, 0, 10), set()),
        ((1000, 989, 0, 11), set()),
        ((1000, 970, 0, 30), {"quarantine_rate_warning"}),
        ((1000, 900, 0, 100), {"quarantine_rate_warning", "quarantine_rate_critical"}),
        ((12, 11, 0, 1), {"quarantine_rate_warning"}),
        ((1000, 801, 199, 0), set()),
        ((1000, 800, 200, 0), {"duplicate_rate"}),
        ((1000, 998, 1, 0), {"records_conserved"}),
        ((0, 0, 0, 0), set()),
    ],
)
def test_what_happened_to_the_records_of_an_hour(
    tmp_path: Path, counts: tuple[int, int, int, int], broken: set[str]
) -> None:
    found = set(failures("hours", hours_frame(HOUR, events(), files(*counts)), tmp_path))
    # None of their events lie in the hour: where enough were accepted that is told as well.
    late = {"late_share"} if counts[1] >= 100 else set()
    assert found == broken | late


def busy_hour(robot: int, same_item: int, last_minute: int) -> pa.Table:
    """100 events; the first ``robot`` by one user, the first ``same_item`` on one item."""
    return events(
        *(
            event(
                f"k{n}",
                user_id="robot" if n < robot else f"u{n}",
                item_id="home" if n < same_item else f"i{n}",
                event_time=HOUR.start + timedelta(minutes=last_minute * (n + 1) / 100),
            )
            for n in range(100)
        )
    )


@pytest.mark.parametrize(
    ("table", "broken"),
    [
        (busy_hour(49, 49, 59), set()),
        (busy_hour(50, 1, 59), {"share_of_top_user"}),
        (busy_hour(1, 50, 59), {"share_of_top_item"}),
        (busy_hour(1, 1, 30), set()),
        (busy_hour(1, 1, 29), {"latest_event_lag"}),
        (busy_hour(99, 99, 1).slice(0, 99), set()),
    ],
)
def test_lopsided_hours_warn_once_they_have_events_enough(
    tmp_path: Path, table: pa.Table, broken: set[str]
) -> None:
    found = failures("hours", hours_frame(HOUR, table, files(100, 100, 0, 0)), tmp_path)
    assert set(found) == broken
    assert {result.severity for result in found.values()} <= {"warning"}


def test_a_nan_is_found_where_pandas_would_take_it_for_nothing(tmp_path: Path) -> None:
    table = events(event("k0", value=math.nan), event("k1", value=None))
    assert set(failures("hours", hours_frame(HOUR, table, files(2, 2, 0, 0)), tmp_path)) == {
        "no_nan_values"
    }


def test_the_wilson_bound_solves_its_own_equation() -> None:
    for hits, trials in [(1, 12), (10, 100), (50, 600), (600, 600)]:
        low, p = wilson_low(hits, trials), hits / trials
        # The bound is the rate whose own normal interval just reaches p.
        assert p - low == pytest.approx(1.96 * math.sqrt(low * (1 - low) / trials))
    assert wilson_low(0, 50) == pytest.approx(0, abs=1e-12)
    assert wilson_low(0, 0) == 0


def outcome(severity: Severity, success: bool) -> ExpectationResult:
    return ExpectationResult("n", None, severity, success, "", "", f"{severity} fault")


@pytest.mark.parametrize(
    ("results", "verdict"),
    [
        ([], "ok"),
        ([outcome("critical", True)], "ok"),
        ([outcome("warning", False), outcome("critical", True)], "warning"),
        ([outcome("warning", False), outcome("critical", False)], "critical"),
    ],
)
def test_the_worst_failure_decides(results: list[ExpectationResult], verdict: str) -> None:
    assert worst(results) == verdict


def test_critical_failures_refuse_and_warnings_pass(tmp_path: Path) -> None:
    suite = load_suite("events", VALUES)
    empty, bad = events_frame(events()), events_frame(events(event("k", user_id=None, item_id="")))
    outcomes = validate_batches(
        [Batch(suite, empty, str(HOUR)), Batch(suite, bad, str(HOUR + 1))], tmp_path, keep=5
    )
    refuse_critical(outcomes[:1])
    with pytest.raises(HourglassError, match=r"every event has a user_id.*1 more critical failure"):
        refuse_critical(outcomes)


@pytest.mark.slow
def test_spark_and_pandas_frames_get_the_same_answers(tmp_path: Path, spark: SparkSession) -> None:
    table = events(
        *GOOD_EVENTS,
        event("k2", user_id=None, event_time=HOUR.end),
        event("k1", event_type="?", value=math.inf, item_id=""),
    )
    columns = [field.name for field in EVENTS.schema if field.name != "context"]
    path = tmp_path / "events.parquet"
    pa.parquet.write_table(table.select(columns), path)
    suite = load_suite("events", VALUES)
    frames = (events_frame(table), spark.read.parquet(str(path)))
    by_pandas, by_spark = (
        validate_frame(suite, frame, str(HOUR), tmp_path / f"site{n}", 5).results
        for n, frame in enumerate(frames)
    )
    assert [(r.name, r.success, r.observed) for r in by_pandas] == [
        (r.name, r.success, r.observed) for r in by_spark
    ]
    assert sum(not result.success for result in by_pandas) == 6


def test_the_files_of_a_log_loaded_in_one_piece_count_for_every_hour_they_fill() -> None:
    piece = files(records=50, accepted=40, duplicates=0, quarantined=10).slice(0, 1)
    later = hours_frame(HOUR + 5, events(event("k", source_file="a.csv")), piece)
    assert later["quarantine_rate"].tolist() == [0.2]
    large = events(event("k", source_file="a.csv")).cast(
        pa.schema(
            [
                f if f.name != "source_file" else f.with_type(pa.large_string())
                for f in EVENTS.schema
            ]
        )
    )
    assert hours_frame(HOUR + 5, large, piece)["records"].tolist() == [50]
    elsewhere = hours_frame(HOUR + 5, events(event("k", source_file="b.csv")), piece)
    assert elsewhere["records"].tolist() == [0]


def test_a_range_of_hours_is_judged_as_one_batch(tmp_path: Path) -> None:
    hours = HourRange(HOUR - 1, HOUR + 1)
    values = VALUES | {"hour_start": hours.first.start}
    table = events(
        event("k0", event_time=hours.first.start),
        event("k1", event_time=HOUR.end - timedelta(minutes=1)),
    )
    facts = hours_frame(hours, table, files(10, 9, 1, 0), min_events=1)
    assert facts["records"].tolist() == [10]
    assert facts["latest_event_lag_s"].isna().all()
    closed = sessions(session_event(0, hour=hours.first.start), session_event(1))
    frames = {"events": events_frame(table), "sessions": sessions_frame(closed), "hours": facts}
    outcomes = validate_batches(
        (
            Batch(load_suite(name, values), frame, f"{hours.first}+2h")
            for name, frame in frames.items()
        ),
        tmp_path / "data_docs",
        keep=5,
    )
    broken = {r.name for outcome in outcomes for r in outcome.results if not r.success}
    assert broken == {"share_of_top_user", "share_of_top_item", "late_share"}
    assert all(outcome.page.is_file() for outcome in outcomes)


def test_a_key_that_occurs_twice_is_found_among_very_many(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipeline.quality.hour_metrics.MANY_EVENTS", 3)
    good = [event(f"k{n}") for n in range(5)]
    assert not failures("events", events_frame(events(*good)), tmp_path)
    for key, broken in (("k3", "event_key_unique"), (None, "event_key_present")):
        bad = events_frame(events(*good, event("x", event_key=key)))
        assert set(failures("events", bad, tmp_path)) == {broken}


@pytest.mark.parametrize(
    ("ratio", "sure", "told"),
    [
        (0.4, 0.4, "users_ratio_z5 is 0.4"),
        (0.9, math.nan, "users_ratio is 0.9, as it may"),
        (math.nan, math.nan, "too little to judge by"),
    ],
)
def test_of_one_row_the_fact_is_told(tmp_path: Path, ratio: float, sure: float, told: str) -> None:
    frame = hours_frame(HOUR, events(), files(0, 0, 0, 0))
    frame = frame.assign(users_ratio=ratio, users_ratio_z5=sure)
    outcome = validate_frame(load_suite("hours", VALUES), frame, str(HOUR), tmp_path / "d", keep=5)
    found = {result.name: result for result in outcome.results}["users_lost"]
    assert found.observed == told
    assert told in outcome.page.read_text(encoding="utf-8")
    assert found.success is (told != "users_ratio_z5 is 0.4")


def test_of_a_rate_both_the_share_and_what_is_sure_of_it_are_told(tmp_path: Path) -> None:
    frame = hours_frame(HOUR, events(), files(0, 0, 0, 0))
    frame = frame.assign(quarantine_rate=5 / 35, quarantine_rate_low=0.0626)
    outcome = validate_frame(load_suite("hours", VALUES), frame, str(HOUR), tmp_path / "d", keep=5)
    found = {result.name: result for result in outcome.results}["quarantine_rate_critical"]
    assert found.observed == "quarantine_rate is 0.143, with 95 % confidence at least 0.0626"
