"""Between an ingest and its sessionize, data sets are as they were before the ingest."""

from __future__ import annotations

import json
import random
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pytest
import typer
from session_oracle import HOUR_US, US, Event, Rules
from staging import DAY, DAY_US, NO_SPARK, Log
from typer.testing import CliRunner

from pipeline.cli import dataset
from pipeline.dataset.build import freeze, freeze_test_set, histories_at
from pipeline.errors import HourglassError
from pipeline.hours import HourRange
from pipeline.lake.commits import STEP_PROPERTY, WITHDRAWN_PROPERTY
from pipeline.lake.stale_hours import settled_state, stale_hours
from pipeline.lake.steps import INGEST
from pipeline.lake.tables import FILLED_HOURS
from pipeline.quality.verdict_log import HourVerdict, record
from pipeline.quality.verdicts import quality_passed
from pipeline.sessions.sessionize import sessionize
from pipeline.settings.tables import SessionSettings
from pipeline.spark.compute import Compute
from pipeline.text.wording import counted
from pipeline.workspace import CommandContext

RULES = Rules(max_session_hours=3)
HOURS = 12
T = 9
app = typer.Typer()
app.command()(dataset)


def events_of(name: str, hours: range, rng: random.Random, n: int = 40) -> set[Event]:
    """Events of few users on few items, at random times of some hours."""
    return {
        Event(
            DAY_US + rng.randrange(hours.start * HOUR_US, hours.stop * HOUR_US) // US * US,
            f"{name} {number}",
            f"user {rng.randrange(6)}",
            f"item {rng.randrange(5)}",
        )
        for number in range(n)
    }


@pytest.fixture
def rng() -> random.Random:
    return random.Random(7)


@pytest.fixture
def compute() -> Compute:
    return NO_SPARK


def a_log(work: Path, compute: Compute, *arrivals: set[Event]) -> Log:
    """A log of twelve hours, sessionized after each arrival."""
    small = {"window": "8h", "history": "1h", "popularity_window": "6h", "min_item_events": 1}
    made = Log(work, RULES, **small)
    for events in arrivals:
        made.arrive(events)
        sessionize(compute, made.lake, made.settings, HourRange(DAY, DAY + HOURS))
    return made


@pytest.fixture
def first(rng: random.Random) -> set[Event]:
    return events_of("first", range(HOURS), rng, 300)


@pytest.fixture
def log(compute: Compute, tmp_path: Path, first: set[Event]) -> Log:
    return a_log(tmp_path / "log", compute, first)


def contents(folder: Path) -> dict[str, bytes]:
    """The rows of a data set, by file; its manifest names snapshots, which no two lakes share."""
    return {path.name: path.read_bytes() for path in folder.glob("*.parquet")}


def test_late_events_wait_for_their_sessions(
    compute: Compute, log: Log, first: set[Event], tmp_path: Path, rng: random.Random
) -> None:
    hours = HourRange(DAY + T, DAY + T + 2)
    base = freeze(compute, log.lake, log.settings, DAY + T)
    test_set = freeze_test_set(compute, log.lake, log.settings, base, hours)
    requests = histories_at(compute, log.lake, log.settings, base, DAY + HOURS)
    late = events_of("late", range(T), rng)
    for events in (set(sorted(late)[::2]), late):
        log.arrive(events)
        assert freeze(compute, log.lake, log.settings, DAY + T) == base
        assert freeze_test_set(compute, log.lake, log.settings, base, hours) == test_set
        assert histories_at(compute, log.lake, log.settings, base, DAY + HOURS) == requests
    sessionize(compute, log.lake, log.settings, HourRange(DAY, DAY + HOURS))
    after = freeze(compute, log.lake, log.settings, DAY + T)
    twin = a_log(tmp_path / "twin", compute, first | late)
    expected = freeze(compute, twin.lake, twin.settings, DAY + T)
    assert after.name == expected.name != base.name
    assert contents(after) == contents(expected)


def test_what_is_frozen_for_the_first_time_knows_what_was_settled(
    compute: Compute, log: Log, first: set[Event], tmp_path: Path, rng: random.Random
) -> None:
    """Not only a folder that lies there already: the rows are read from that state."""
    log.arrive(events_of("late", range(T), rng))
    twin = a_log(tmp_path / "twin", compute, first)
    now, before = (freeze(compute, each.lake, each.settings, DAY + T) for each in (log, twin))
    assert now.name == before.name
    assert contents(now) == contents(before) != {}


def test_a_verdict_between_the_two_changes_nothing(
    compute: Compute, log: Log, rng: random.Random
) -> None:
    base = freeze(compute, log.lake, log.settings, DAY + T)
    log.arrive(events_of("late", range(T), rng))
    verdicts = [HourVerdict("events", DAY + hour, "ok") for hour in range(T)]
    record(log.lake, verdicts, [], "rules")
    assert freeze(compute, log.lake, log.settings, DAY + T) == base


def test_hours_were_validated_as_they_were_before_late_events(
    compute: Compute, log: Log, rng: random.Random
) -> None:
    """Late events that nobody has looked at yet do not judge, so they are no reason to block."""
    learned, judged = HourRange(DAY, DAY + T), HourRange(DAY + T, DAY + T + 1)

    def passed() -> bool | None:
        settled = settled_state(log.lake, log.settings, judged.stop)
        return quality_passed(log.lake, learned, judged, settled)

    assert passed() is None
    record(log.lake, [HourVerdict("events", DAY + T, "ok")], [], "rules")
    assert passed() is True
    log.arrive(events_of("late", range(T + 1), rng))
    assert passed() is True
    assert quality_passed(log.lake, learned, judged, log.lake.state()) is None
    record(log.lake, [HourVerdict("events", DAY + T, "ok")], [], "rules")
    assert passed() is True
    sessionize(compute, log.lake, log.settings, HourRange(DAY, DAY + HOURS))
    assert passed() is True
    log.arrive(events_of("later", range(T + 1), rng))
    sessionize(compute, log.lake, log.settings, HourRange(DAY, DAY + HOURS))
    assert passed() is None  # its sessions hold what was never looked at
    log.arrive(events_of("latest", range(T + 1), rng))
    record(log.lake, [HourVerdict("events", DAY + 1, "critical")], [], "rules")
    assert passed() is False


def test_an_hour_that_never_had_sessions_is_refused(
    compute: Compute, log: Log, rng: random.Random
) -> None:
    """Before its ingest the hour was empty: a data set of that state would lose all of it."""
    log.arrive(events_of("new", range(HOURS, HOURS + 1), rng))
    with pytest.raises(HourglassError, match=f"from {DAY + HOURS} on"):
        freeze(compute, log.lake, log.settings, DAY + HOURS + 1)
    log.arrive(events_of("late", range(T), rng))
    with pytest.raises(HourglassError, match="are not sessionized"):
        freeze(compute, log.lake, log.settings, DAY + HOURS + 1)
    freeze(compute, log.lake, log.settings, DAY + T)


def test_other_rules_are_refused(compute: Compute, log: Log, rng: random.Random) -> None:
    log.arrive(events_of("late", range(T), rng))
    other = log.settings.model_copy(update={"sessions": SessionSettings(gap_s=60)})
    with pytest.raises(HourglassError, match="other events or rules"):
        freeze(compute, log.lake, other, DAY + T)


def test_a_step_of_another_kind_ends_the_search(
    compute: Compute, log: Log, rng: random.Random
) -> None:
    """What it did, say to take out a person's events, is not to be undone by looking below it."""
    log.arrive(events_of("late", range(T), rng))
    freeze(compute, log.lake, log.settings, DAY + T)
    nothing = pa.Table.from_pylist([], FILLED_HOURS.schema)
    log.lake.record_filled("other", [], nothing, {STEP_PROPERTY: "other"}, invalidates=False)
    with pytest.raises(HourglassError, match="are not sessionized"):
        freeze(compute, log.lake, log.settings, DAY + T)


def test_half_of_the_hours_sessionized_is_not_a_state_to_read(
    compute: Compute, log: Log, rng: random.Random, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Late hours are committed before new ones; a command between the two is refused."""
    monkeypatch.setattr("pipeline.sessions.sessionize._HOURS_PER_STEP", 2)
    settled = log.lake.state()
    log.arrive(events_of("late", range(T), rng))
    states, stop = [], DAY + HOURS

    def look(_step: HourRange, _left: int) -> None:
        state = settled_state(log.lake, log.settings, stop)
        states.append((state, stale_hours(log.lake, log.settings, stop, state)))

    sessionize(compute, log.lake, log.settings, HourRange(DAY, stop), look)
    first, *others = states
    assert first == (settled, [])
    assert others
    assert all(state != settled and stale for state, stale in others)
    assert settled_state(log.lake, log.settings, stop) == log.lake.state() != settled


def test_a_state_from_before_an_hour_arrived_is_not_read(
    compute: Compute, log: Log, rng: random.Random, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a silence a new hour comes with late events, and it alone gets its sessions."""
    new = HOURS + 3
    log.arrive(events_of("late", range(3, 4), rng) | events_of("new", range(new, new + 1), rng))
    late = DAY + 3
    monkeypatch.setattr(
        "pipeline.sessions.sessionize.refused_hours", lambda *_: {late: "it is critical"}
    )
    sessionize(compute, log.lake, log.settings, HourRange(DAY + new, DAY + new + 1))
    assert DAY + new in log.lake.filled("sessionize")
    assert stale_hours(log.lake, log.settings, DAY + new + 1)[0] == late
    with pytest.raises(HourglassError, match="are not sessionized"):
        freeze(compute, log.lake, log.settings, DAY + new + 1)


def test_what_an_ingest_took_away_is_not_read_any_more(
    compute: Compute, log: Log, rng: random.Random
) -> None:
    """Say a person's records, of which a file was cleaned."""
    log.arrive(events_of("late", range(T), rng))
    nothing = pa.Table.from_pylist([], FILLED_HOURS.schema)
    freeze(compute, log.lake, log.settings, DAY + T)
    made_by = {STEP_PROPERTY: INGEST, WITHDRAWN_PROPERTY: "1"}
    log.lake.record_filled(INGEST, [], nothing, made_by)
    with pytest.raises(HourglassError, match="are not sessionized"):
        freeze(compute, log.lake, log.settings, DAY + T)


def test_mended_events_do_not_excuse_those_that_judged(
    compute: Compute, log: Log, rng: random.Random
) -> None:
    learned, judged = HourRange(DAY, DAY + T), HourRange(DAY + T, DAY + T + 1)
    record(log.lake, [HourVerdict("events", DAY + T, "critical")], [], "rules")
    bad = log.lake.state()
    assert quality_passed(log.lake, learned, judged, bad) is False
    log.arrive(events_of("mended", range(T, T + 1), rng))
    record(log.lake, [HourVerdict("events", DAY + T, "ok")], [], "rules")
    sessionize(compute, log.lake, log.settings, HourRange(DAY, DAY + HOURS))
    assert quality_passed(log.lake, learned, judged, log.lake.state()) is True
    assert quality_passed(log.lake, learned, judged, bad) is False


def test_a_person_may_let_pass_what_judged(log: Log) -> None:
    learned, judged = HourRange(DAY, DAY + T), HourRange(DAY + T, DAY + T + 1)
    record(log.lake, [HourVerdict("events", DAY + T, "critical")], [], "rules")
    then = log.lake.state()
    record(log.lake, [HourVerdict("events", DAY + T, "accepted", (), "why")], [], "rules")
    assert quality_passed(log.lake, learned, judged, then) is True


def test_whatever_the_order_of_steps_the_state_is_one_that_was_settled(
    compute: Compute, log: Log, rng: random.Random
) -> None:
    settled = log.lake.state()
    for number in range(8):
        if rng.random() < 0.6:
            log.arrive(events_of(f"late {number}", range(HOURS), rng, 5))
        else:
            sessionize(compute, log.lake, log.settings, HourRange(DAY, DAY + HOURS))
            settled = log.lake.state()
        assert settled_state(log.lake, log.settings, DAY + HOURS) == settled


def test_the_command_says_which_late_events_are_not_in_it(
    log: Log, rng: random.Random, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nothing where all is settled; else how many hours wait."""

    def frozen() -> tuple[dict[str, object], str]:
        ctx = CommandContext(log.settings, datetime(2024, 4, 1, tzinfo=UTC), as_json=True)
        done = CliRunner().invoke(app, ["--as-of", str(DAY + T)], obj=ctx)
        assert not done.exception, done.exception
        return json.loads(done.stdout), done.stderr

    facts, told = frozen()
    assert facts["hours_waiting"] == 0
    assert "late events" not in told
    log.arrive(events_of("late", range(3, 4), rng, 5))
    waiting = stale_hours(log.lake, log.settings, DAY + T)
    later, told = frozen()
    assert later["dataset_id"] == facts["dataset_id"]
    assert later["hours_waiting"] == len(waiting) > 0
    assert f"late events of {counted(len(waiting), 'hour')} before {DAY + T} are not in it" in told
