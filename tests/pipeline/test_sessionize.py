"""Sessions come out the same however their hours are computed (P1-P3), and as defined."""

from __future__ import annotations

import hashlib
import random
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
from session_oracle import HOUR_US, US, Event, Rules, Tables, session_tables
from staging import DAY, DAY_US, Log, expected_dwell_hours

from pipeline.hours import HourRange
from pipeline.lake.stale_hours import stale_hours
from pipeline.lake.tables import DWELL_HOURS, ITEM_HOURS, OPEN_SESSIONS, SESSIONS
from pipeline.sessions.sessionize import SessionizeSummary, sessionize
from pipeline.settings.tables import SessionSettings
from pipeline.spark.compute import Compute

CUT_OFTEN = Rules(max_session_hours=2)
GIVEN = Rules(given=True)
SPAN_H = 54


def random_log(seed: int, users: int, rules: Rules, span_h: int = SPAN_H) -> set[Event]:
    """Users of every awkward kind, each independent of the others."""
    rng = random.Random(seed)
    gap_us = rules.gap_s * US
    edges = [gap_us + nudge for nudge in (-US, -1, 0, 1, US)]
    events = []
    for user in range(users):
        kind = rng.choice(["edges", "edges", "robot", "boundaries", "bursts", "rare"])
        at = rng.randrange(span_h) * HOUR_US + rng.choice(
            [0, 1, HOUR_US - 1, rng.randrange(HOUR_US)]
        )
        for nth in range(rng.choice([1, 2, 5, 12, 150 if kind == "robot" else 20])):
            name = f"{seed}-{user}-{nth}"
            events.append(
                Event(
                    DAY_US + at,
                    hashlib.sha256(name.encode()).hexdigest()[:12],
                    f"user {user} ü",
                    f"item {rng.randrange(8)}",
                    rng.choice(["view", "buy"]),
                    rng.choice([None, 0.0, 2.5]),
                    rng.choice([None, "", "a", "b"]),
                    rng.choice([(), (("country", "BR"), ("device", "phone"))]),
                    # Neither the order of time nor that of keys; now and then not told at all.
                    file=f"{'ba'[nth % 2]}.csv",
                    line=None if nth % 7 == 6 else 1000 - nth,
                )
            )
            at += {
                "edges": rng.choice([*edges, 0, rng.randrange(gap_us)]),
                "robot": rng.randrange(min(gap_us, 1500 * US)),
                "boundaries": HOUR_US - at % HOUR_US - rng.choice([0, 0, 1]),
                "bursts": rng.choice([0, 0, 1, 7 * US, gap_us]),
                "rare": rng.randrange(1, 9) * HOUR_US,
            }[kind]
    # No one is awake in these hours: sessions are carried through and close in them.
    return {
        event
        for event in events
        if event.time_us < DAY_US + span_h * HOUR_US
        and (event.time_us - DAY_US) // HOUR_US not in (17, 18, 19)
    }


def at(text: str, user: str = "u", item: str = "i", given: str | None = None) -> Event:
    """An event of the first days, at ``hour:minute:second``; hours may go beyond 24."""
    hours, minutes, seconds = text.split(":")
    offset_us = (int(hours) * 3600 + int(minutes) * 60) * US + round(float(seconds) * US)
    return Event(DAY_US + offset_us, f"{user} {text}", user, item, given=given)


def hours(first: int, stop: int) -> HourRange:
    return HourRange(DAY + first, DAY + stop)


@pytest.fixture(
    params=[
        pytest.param("compute", id="in process"),
        pytest.param("on_spark", id="on Spark", marks=pytest.mark.nightly),
    ]
)
def either(request: pytest.FixtureRequest) -> Compute:
    """Where steps are computed, in turn."""
    compute: Compute = request.getfixturevalue(request.param)
    return compute


def run(compute: Compute, log: Log, first: int, stop: int) -> SessionizeSummary:
    done = sessionize(compute, log.lake, log.settings, hours(first, stop))
    assert stale_hours(log.lake, log.settings, DAY + stop) == []
    return done


def assert_as_defined(log: Log, stop: int) -> Tables:
    expected = session_tables(log.events, log.rules, DAY.index, DAY.index + stop)
    found = log.tables(hours(0, stop))
    assert found.sessions == expected.sessions
    assert found.open_sessions == expected.open_sessions
    assert found.item_hours == expected.item_hours
    dwell_hours = expected_dwell_hours(expected)
    assert log.dwell_hours(hours(0, stop)) == {
        hour: pytest.approx(row, rel=1e-12) for hour, row in dwell_hours.items()
    }
    return found


def test_the_oracle_knows_the_published_examples() -> None:
    """The reference itself, against sessions worked out by hand."""
    events = [at("0:10:00"), at("1:09:59"), at("2:09:59"), at("2:59:59.5")]
    made = session_tables(events, Rules(), DAY.index, DAY.index + 6)

    def told(rows: set[tuple[object, ...]]) -> list[tuple[object, ...]]:
        return sorted((row[0] - DAY.index, row[3], row[11], row[-1]) for row in rows)  # type: ignore[operator]

    # 3599 s continue a session, 3600 s start one; each closes an hour after its last event.
    assert told(made.sessions) == [
        (2, 0, "u 0:10:00", 3599.0),
        (2, 1, "u 1:09:59", None),
        (3, 0, "u 2:09:59", 3000.5),
        (3, 1, "u 2:59:59.5", None),
    ]
    assert [row[:3] for row in told(made.open_sessions)] == [
        (0, 0, "u 0:10:00"),
        (1, 0, "u 0:10:00"),
        (1, 1, "u 1:09:59"),
        (2, 0, "u 2:09:59"),
        (2, 1, "u 2:59:59.5"),
    ]
    # The silence of an event on the hour ends on the hour: it closes in the hour that begins then.
    on_the_hour = session_tables([at("1:00:00")], Rules(), DAY.index, DAY.index + 6)
    assert [row[0] for row in told(on_the_hour.sessions)] == [2]
    assert [row[0] for row in told(on_the_hour.open_sessions)] == [1]


@pytest.mark.parametrize(
    "rules",
    [
        pytest.param(Rules(), id="as published"),
        pytest.param(
            Rules(gap_s=1800, max_session_hours=1), id="short gap", marks=pytest.mark.nightly
        ),
        pytest.param(
            Rules(gap_s=3 * 3600, max_session_hours=2),
            id="gap longer than a session",
            marks=pytest.mark.nightly,
        ),
        pytest.param(Rules(gap_s=86400, given=True), id="given, with a gap of a day"),
    ],
)
def test_one_range_is_as_defined(compute: Compute, tmp_path: Path, rules: Rules) -> None:
    log = Log(tmp_path, rules)
    log.arrive(random_log(11, 250, log.rules))
    done = run(compute, log, 0, SPAN_H + 30)
    found = assert_as_defined(log, SPAN_H + 30)
    assert done.events == len(log.events) == done.closed_events == len(found.sessions)


@pytest.mark.parametrize(
    ("where", "rules", "cuts"),
    [
        # Hours around midnight and silent ones singly.
        pytest.param("compute", CUT_OFTEN, [0, 17, 18, 19, 24, 25, 58], id="by hours"),
        pytest.param(
            "on_spark",
            GIVEN,
            [0, 20, 41, 53, 58],
            id="ranges on Spark",
            marks=pytest.mark.nightly,
        ),
    ],
)
def test_hours_and_ranges_give_the_same_rows_as_one_range(
    compute: Compute,
    request: pytest.FixtureRequest,
    tmp_path: Path,
    where: str,
    rules: Rules,
    cuts: list[int],
) -> None:
    events = random_log(12, 250, rules)
    every = hours(0, cuts[-1])
    at_once = Log(tmp_path / "at once", rules)
    at_once.arrive(events)
    run(compute, at_once, 0, cuts[-1])
    expected = assert_as_defined(at_once, cuts[-1])

    chain = Log(tmp_path / "chain", rules)
    chain.arrive(events)
    for first, stop in pairwise(cuts):
        done = run(request.getfixturevalue(where), chain, first, stop)
        assert (done.asked, done.missing_or_changed, done.carried_on) == (stop - first, 0, 0)
    assert chain.tables(every) == expected
    assert chain.dwell_hours(every) == at_once.dwell_hours(every)
    assert chain.lake.filled("sessionize") == at_once.lake.filled("sessionize")


def test_running_a_range_again_changes_nothing(compute: Compute, tmp_path: Path) -> None:
    log = Log(tmp_path, CUT_OFTEN)
    log.arrive(random_log(13, 100, log.rules, span_h=12))
    run(compute, log, 0, 14)

    def content() -> tuple[object, ...]:
        every = hours(0, 14)
        return log.tables(every), log.dwell_hours(every), log.lake.filled("sessionize")

    before = content()
    done = run(compute, log, 3, 7)
    assert (done.asked, done.missing_or_changed, done.carried_on) == (4, 0, 0)
    assert content() == before


def test_late_events_end_in_the_same_tables(either: Compute, tmp_path: Path) -> None:
    """Events arrive in three waves, some a day late; each wave is sessionized as it comes."""
    rng = random.Random(7)
    log = Log(tmp_path, Rules(max_session_hours=3, given=True))
    waves: list[list[Event]] = [[], [], []]
    for event in sorted(random_log(14, 150, log.rules, span_h=30)):
        on_time = (event.time_us - DAY_US) // (15 * HOUR_US)
        waves[min(on_time + rng.choices([0, 1, 2], [0.9, 0.07, 0.03])[0], 2)].append(event)
    for (first, stop), wave in zip(((0, 15), (15, 30), (30, 33)), waves, strict=True):
        log.arrive(wave)
        run(either, log, first, stop)
        assert_as_defined(log, stop)


def test_a_late_event_is_carried_only_as_far_as_it_matters(
    compute: Compute, tmp_path: Path
) -> None:
    log = Log(tmp_path)
    log.arrive([at(f"{hour}:30:00", user=f"u{hour}") for hour in range(0, 60, 2)])
    run(compute, log, 0, 60)
    before = {spec: _files(log, hours(0, 60), spec) for spec in _SPECS}
    # It bridges nothing: its session opens and closes within two hours of its own.
    log.arrive([at("5:15:00", user="late")])
    assert stale_hours(log.lake, log.settings, DAY + 60) == [DAY + 5]
    done = run(compute, log, 59, 60)
    assert (done.asked, done.missing_or_changed, done.carried_on) == (1, 1, 24)
    assert [str(part) for part in done.filled] == [str(hours(5, 30)), str(hours(59, 60))]
    for spec in _SPECS:
        after = _files(log, hours(0, 60), spec)
        assert {path for path in after if path not in before[spec]} == set(
            _files(log, hours(5, 30), spec)
        ) | set(_files(log, hours(59, 60), spec))
        assert set(_files(log, hours(30, 59), spec)) <= set(before[spec])
        assert set(_files(log, hours(0, 5), spec)) <= set(before[spec])
    assert_as_defined(log, 60)


def test_a_late_event_that_joins_two_sessions_changes_all_that_follows(
    compute: Compute, tmp_path: Path
) -> None:
    """A robot's chain turns out to start earlier, so that every later cut of it moves."""
    log = Log(tmp_path, Rules(max_session_hours=12))
    log.arrive(at(f"{minute // 60}:{minute % 60}:00") for minute in range(180, 48 * 60, 50))
    run(compute, log, 0, 50)
    log.arrive([at("2:20:00"), at("1:50:00")])
    run(compute, log, 49, 50)
    found = assert_as_defined(log, 50)
    assert min(row[2] for row in found.sessions) == DAY_US + 110 * 60 * US
    assert len({row[1] for row in found.sessions}) == 4


def test_an_event_older_than_all_others_opens_the_hours_before_them(
    compute: Compute, tmp_path: Path
) -> None:
    log = Log(tmp_path)
    log.arrive([at("9:10:00"), at("12:00:00")])
    run(compute, log, 9, 14)
    log.arrive([at("3:00:00"), at("8:15:00")])
    done = run(compute, log, 13, 14)
    # The hours with the new events, and those in which what they left open closes.
    assert (done.asked, done.missing_or_changed) == (1, 2)
    # 8:15 and 9:10 are one session now.
    found = assert_as_defined(log, 14)
    assert len({row[1] for row in found.sessions}) == 3


def test_hours_before_the_one_asked_for_are_filled_too(compute: Compute, tmp_path: Path) -> None:
    log = Log(tmp_path)
    log.arrive([at("2:00:00"), at("2:20:00"), at("40:00:00")])
    done = run(compute, log, 60, 61)
    assert (done.asked, done.missing_or_changed) == (1, 2)
    # Where nothing happened and nothing stood open there is nothing to fill.
    silent = {DAY + hour for hour in range(6, 40)}
    assert set(log.lake.filled("sessionize")) >= {DAY + 2, DAY + 3, DAY + 40, DAY + 41, DAY + 60}
    assert not silent & set(log.lake.filled("sessionize"))
    assert_as_defined(log, 61)
    # Asked for, hours before the first event are filled with nothing.
    assert run(compute, log, 0, 2).filled == (hours(0, 2),)
    assert_as_defined(log, 61)


def test_new_rules_make_every_hour_stale(compute: Compute, tmp_path: Path) -> None:
    log = Log(tmp_path)
    log.arrive(random_log(15, 60, Rules(), span_h=10))
    run(compute, log, 0, 12)
    log.rules = Rules(gap_s=1200, max_session_hours=1)
    log.settings = log.settings.model_copy(update={"sessions": SessionSettings(**vars(log.rules))})
    assert stale_hours(log.lake, log.settings, DAY + 12) == list(hours(0, 12))
    run(compute, log, 11, 12)
    assert_as_defined(log, 12)


def test_changed_events_make_their_hour_stale_and_no_other(
    compute: Compute, tmp_path: Path
) -> None:
    log = Log(tmp_path)
    log.arrive([at("0:00:00"), at("6:00:00")])
    assert stale_hours(log.lake, log.settings, DAY) == []
    assert stale_hours(log.lake, log.settings, DAY + 7) == [DAY, DAY + 6]
    run(compute, log, 0, 8)
    log.arrive([replace(at("6:00:00"), key="twin", item="other")])
    assert stale_hours(log.lake, log.settings, DAY + 6) == []
    assert stale_hours(log.lake, log.settings, DAY + 20) == [DAY + 6]


_SPECS = (SESSIONS, OPEN_SESSIONS, ITEM_HOURS, DWELL_HOURS)


def _files(log: Log, within: HourRange, spec: object) -> list[str]:
    return [file.path for file in log.lake.files(spec, within)]  # type: ignore[arg-type]
