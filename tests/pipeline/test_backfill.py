"""Backfill: what it plans, what it does after a failure or an interruption, and what it skips."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any, NoReturn

import pytest
from session_oracle import Event, Rules, session_tables
from staging import DAY, Log, expected_dwell_hours
from test_sessionize import assert_as_defined, at, hours, random_log, run

from pipeline.cli import _sessionize_sentence
from pipeline.errors import HourglassError
from pipeline.hours import Hour, HourRange
from pipeline.ingest.ingest import IngestSummary
from pipeline.ingest.landing.new_files import NewFiles
from pipeline.lake import stale_hours as staleness
from pipeline.lake.stale_hours import stale_hours
from pipeline.lake.tables import EVENTS, SESSIONS
from pipeline.sessions import backfill as backfill_module
from pipeline.sessions import sessionize as sessionize_module
from pipeline.sessions.backfill import backfill, plan_backfill
from pipeline.sessions.sessionize import SessionizeSummary, sessionize
from pipeline.settings.tables import SessionSettings
from pipeline.spark.compute import Compute

CLOCK = (DAY + 90).start + timedelta(minutes=30)


@pytest.fixture(autouse=True)
def no_new_files(monkeypatch: pytest.MonkeyPatch) -> None:
    """Events are put into the lake by the tests themselves."""
    monkeypatch.setattr(backfill_module, "ingest", lambda *_: IngestSummary(0, 0))
    nothing = NewFiles([], {}, [], 0, [], [])
    monkeypatch.setattr(backfill_module, "find_new_files", lambda *_: nothing)


def fill(compute: Compute, log: Log, asked: HourRange | None = None) -> SessionizeSummary | None:
    return backfill(compute, log.lake, log.settings, CLOCK, asked)[1]


def planned(log: Log, asked: HourRange | None = None) -> list[tuple[str, int, str]]:
    plan = plan_backfill(log.lake, log.settings, CLOCK, asked)
    return [(str(part.hours), part.events, part.why) for part in plan.ranges]


def test_the_plan_says_what_and_why_and_changes_nothing(compute: Compute, tmp_path: Path) -> None:
    log = Log(tmp_path)
    log.arrive([at("0:10:00"), at("1:00:00"), at("9:00:00")])
    run(compute, log, 0, 5)
    log.arrive([at("1:30:00", user="late"), at("20:00:00")])
    before = log.lake.snapshots()
    assert planned(log) == [
        (str(hours(1, 2)), 2, "inputs changed"),
        (str(hours(9, 10)), 1, "not filled"),
        (str(hours(20, 21)), 1, "not filled"),
    ]
    assert planned(log, hours(5, 10)) == planned(log)[:2]
    assert log.lake.snapshots() == before
    assert fill(compute, log) is not None
    assert planned(log) == []
    assert_as_defined(log, 21)
    log.settings = log.settings.model_copy(update={"sessions": SessionSettings(gap_s=60)})
    assert {why for _, _, why in planned(log)} == {"other settings"}


def test_nothing_to_do_is_nothing_done(compute: Compute, tmp_path: Path) -> None:
    log = Log(tmp_path)
    assert planned(log) == []
    assert fill(compute, log) is None
    log.arrive([at("3:00:00")])
    assert fill(compute, log) is not None
    assert fill(compute, log) is None


def test_an_hour_that_fails_is_named_and_what_does_not_follow_from_it_is_done(
    compute: Compute, tmp_path: Path
) -> None:
    """The file of hour 6 is damaged; 7 and 8 may hold its sessions, 20 and 21 cannot."""
    log = Log(tmp_path)
    log.arrive(at(f"{hour}:30:00", user=f"u{hour % 2}") for hour in (0, 1, 2, 3, 6, 7, 8, 20, 21))
    (damaged,) = [Path(file.path) for file in log.lake.files(EVENTS, hours(6, 7))]
    whole = damaged.read_bytes()
    damaged.write_bytes(whole[:-20] + b"\0" * 20)
    done = fill(compute, log)
    assert done is not None
    ((failed, reason),) = done.failed
    assert failed == DAY + 6
    assert "Parquet" in reason
    assert "\n" not in reason
    assert done.waiting == 2
    assert [str(part) for part in done.filled] == [
        str(hours(0, 4)),
        str(hours(4, 5)),
        str(hours(20, 22)),
    ] or set(log.lake.filled("sessionize")) >= {DAY + h for h in (0, 1, 2, 3, 20, 21)}
    assert stale_hours(log.lake, log.settings, DAY + 22) == [DAY + 6, DAY + 7, DAY + 8]

    damaged.write_bytes(whole)
    again = fill(compute, log)
    assert again is not None
    assert again.failed == ()
    assert_as_defined(log, 22)
    assert stale_hours(log.lake, log.settings, DAY + 22) == []


def test_an_interrupted_backfill_goes_on_where_it_was(
    compute: Compute, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = Log(tmp_path)
    log.arrive(random_log(31, 40, log.rules, span_h=15))
    monkeypatch.setattr(sessionize_module, "_HOURS_PER_STEP", 4)
    compute_sessions = sessionize_module.compute_sessions
    steps: list[Hour] = []
    calls = 0

    def twice(*arguments: Any) -> Any:
        nonlocal calls
        if calls == 2:
            raise KeyboardInterrupt
        calls += 1
        steps.extend(hour for hour_range in arguments[-1] for hour in hour_range)
        return compute_sessions(*arguments)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(sessionize_module, "compute_sessions", twice)
        fill(compute, log)
    assert sorted(log.lake.filled("sessionize")) == steps
    done = fill(compute, log)
    assert done is not None
    assert not {*steps} & {h for p in done.filled for h in p}
    stop = max(event.hour for event in log.events) + 1 - DAY.index
    assert_as_defined(log, stop)


def test_a_full_disk_ends_the_run_and_the_next_one_completes_it(
    compute: Compute, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = Log(tmp_path)
    log.arrive([at("1:00:00"), at("2:00:00")])
    tried = []

    def full(*arguments: Any) -> NoReturn:
        tried.append(arguments[-1])
        raise RuntimeError("job aborted") from OSError(28, "No space left on device")

    with monkeypatch.context() as patch, pytest.raises(HourglassError, match="no space is left"):
        patch.setattr(sessionize_module, "compute_sessions", full)
        fill(compute, log)
    assert len(tried) == 1, "a full disk is not tried again in halves"
    assert log.lake.filled("sessionize") == {}
    fill(compute, log)
    assert_as_defined(log, 3)


def without_shortcut(log: Log, stop: Hour, patch: pytest.MonkeyPatch) -> list[Hour]:
    with patch.context() as inner:
        inner.setattr(type(log.lake), "stable_from", lambda *_: None)
        return stale_hours(log.lake, log.settings, stop)


def waves(rng: random.Random) -> Iterator[list[Event]]:
    for wave in range(4):
        yield [
            at(f"{rng.randrange(30)}:{rng.randrange(60)}:0", user=f"{wave} {n % 3}", item=f"{n}")
            for n in range(rng.randrange(4))
        ]


def test_hours_found_settled_are_rightly_passed_over(
    compute: Compute, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Events arrive anywhere, ranges are asked for anywhere: the shortcut never hides an hour."""
    rng = random.Random(41)
    log = Log(tmp_path)
    used = 0
    for wave in waves(rng):
        log.arrive(wave)
        for stop in (DAY + 10, DAY + 40):
            assert stale_hours(log.lake, log.settings, stop) == without_shortcut(
                log, stop, monkeypatch
            )
        first = rng.randrange(30)
        sessionize(compute, log.lake, log.settings, hours(first, first + rng.randrange(1, 8)))
        for stop in (DAY + first, DAY + 40):
            assert stale_hours(log.lake, log.settings, stop) == without_shortcut(
                log, stop, monkeypatch
            )
        used += log.lake.stable_from(staleness.rules_digest(log.settings)) is not None
    assert used
    sessionize(compute, log.lake, log.settings, hours(31, 32))
    expected = session_tables(log.events, log.rules, DAY.index, DAY.index + 32)
    assert log.tables(hours(0, 32)).sessions == expected.sessions
    assert set(log.dwell_hours(hours(0, 32))) == set(expected_dwell_hours(expected))


def test_a_stray_event_of_long_ago_costs_its_own_hours_and_no_more(
    compute: Compute, tmp_path: Path
) -> None:
    log = Log(tmp_path)
    log.arrive([at("3:00:00")])
    run(compute, log, 3, 5)
    old = Hour.parse("1990-01-01T00")
    log.arrive([Event(old.index * 3_600_000_000 + 5, "old", "u", "i")])
    done = fill(compute, log)
    assert done is not None
    assert sum(len(part) for part in done.filled) <= 3
    assert log.lake.arrow(SESSIONS).num_rows == 2
    assert stale_hours(log.lake, log.settings, DAY + 40) == []


def sparse_log(rng: random.Random, days: int) -> list[Event]:
    """A few events a day at most, in hours that touch, that are a gap apart, and far ones."""
    events = []
    for day in range(days):
        for nth in range(rng.choice([1, 1, 2])):
            minute = 24 * 60 * day + rng.choice([0, 59, 60, 119, rng.randrange(24 * 60)])
            user = f"u{rng.randrange(2)}"
            text = f"{minute // 60}:{minute % 60}:{rng.choice([0, 59])}"
            events.append(at(text, user=f"{user} {nth}", item=f"i{rng.randrange(3)}"))
    return events


@pytest.mark.parametrize(
    "rules",
    [
        pytest.param(Rules(), id="a gap of an hour"),
        pytest.param(
            Rules(gap_s=60), id="sessions that close within their hour", marks=pytest.mark.nightly
        ),
        pytest.param(Rules(gap_s=26 * 3600, max_session_hours=30), id="sessions over days"),
    ],
)
def test_silence_is_stepped_over_and_tables_are_those_made_hour_by_hour(
    compute: Compute, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rules: Rules
) -> None:
    rng = random.Random(f"{rules}")
    events = sparse_log(rng, 2)
    stop = max(event.hour for event in events) + 1 - DAY.index
    close_h = rules.gap_s // 3600 + 2
    steps = []
    compute_sessions = sessionize_module.compute_sessions

    def counting(*arguments: Any) -> Any:
        steps.append(arguments[-1])
        return compute_sessions(*arguments)

    def fill_all(log: Log) -> SessionizeSummary | None:
        return backfill(compute, log.lake, log.settings, (DAY + stop + 60).start, None)[1]

    log = Log(tmp_path / "at once", rules)
    log.arrive(events)
    with monkeypatch.context() as patch:
        patch.setattr(sessionize_module, "compute_sessions", counting)
        assert fill_all(log) is not None
    assert len(steps) == 1
    chain = Log(tmp_path / "by hours", rules)
    chain.arrive(events)
    for hour in range(min(event.hour for event in events) - DAY.index, stop + close_h):
        sessionize(compute, chain.lake, chain.settings, hours(hour, hour + 1))
    every = hours(0, stop + close_h)
    assert log.tables(every) == chain.tables(every)
    assert log.dwell_hours(every) == chain.dwell_hours(every)
    filled, by_hours = log.lake.filled("sessionize"), chain.lake.filled("sessionize")
    assert {hour: by_hours[hour] for hour in filled} == filled
    assert not [h for h, made in by_hours.items() if h not in filled and made.rows]
    assert stale_hours(log.lake, log.settings, DAY + stop + close_h) == []
    # What comes late between them joins and parts sessions as ever.
    late = [replace(event, time_us=event.time_us + 50 * 60 * 10**6, key=f"late {event.key}")
            for event in rng.sample(events, 2)]  # fmt: skip
    log.arrive(late)
    assert fill_all(log) is not None
    expected = session_tables(log.events, rules, DAY.index, DAY.index + stop + close_h)
    assert log.tables(every).sessions == expected.sessions


def test_the_sentence_names_a_few_ranges_and_says_where_nothing_was_taken_in() -> None:
    ranges = tuple(HourRange(Hour(10 * n), Hour(10 * n + 2)) for n in range(6))
    sentence = _sessionize_sentence(SessionizeSummary(ranges, 12, 9, 2, 70, 60))
    assert sentence == (
        f"filled {ranges[0]}, {ranges[1]}, {ranges[2]} and 3 other ranges: 70 events in, "
        "60 in closed sessions; 9 earlier hours were filled too, because missing or changed; "
        "2 later hours were done again after a change"
    )
    marked = _sessionize_sentence(SessionizeSummary(ranges[:1], 2, 0, 0, 7, 5, robot_events=4))
    assert marked.endswith("7 events in, 5 in closed sessions, of which 4 are marked as robots'")
    first = _sessionize_sentence(SessionizeSummary(ranges[:1], 1, 0, 0, 7, 7, closing=1))
    assert first.endswith("; 1 later hour was filled too, because sessions close there")
    empty = _sessionize_sentence(SessionizeSummary(ranges[:1], 2, 0, 0, 0, 0))
    assert empty.endswith("; no event of these hours was taken in: see hourglass ingest")
