"""Commits under ``kill -9``: a process that only commits dies again and again, readers look on.

The tasks run in the process itself, without Spark, so that most kills fall between or within the
commits.  ``HOURGLASS_TEST_COMMIT_KILLS=1000`` kills more often.
"""

from __future__ import annotations

import multiprocessing
import os
import random
import time
from collections import Counter
from pathlib import Path

import pytest
from session_oracle import Event, Rules, session_tables
from staging import DAY, NO_SPARK, Log, expected_dwell_hours
from test_backfill_killed import NO_DIGEST
from test_ingest_killed import dying_after
from test_sessionize import random_log

from pipeline.hours import Hour, HourRange
from pipeline.lake.fingerprint import content_digest
from pipeline.lake.lake import Lake
from pipeline.lake.tables import EVENTS, OPEN_SESSIONS, SESSIONS, STEP_TABLES
from pipeline.sessions import sessionize as sessionize_module
from pipeline.sessions.sessionize import sessionize

KILLS = int(os.environ.get("HOURGLASS_TEST_COMMIT_KILLS", "2"))
_MANY = 10
_MOST = 5  # times as many, before bad luck is no longer believed
SPAN_H = 8
EVERY = HourRange(DAY, DAY + SPAN_H + 2)
RULES = Rules(max_session_hours=3)


def take_in_and_sessionize(work: Path, events: set[Event]) -> None:
    """What dies: it commits the events, then the sessions of some hours at a time."""
    sessionize_module._HOURS_PER_STEP = 3
    log = Log(work, RULES)
    log.lake.undo_unfinished()
    log.arrive(events)
    sessionize(NO_SPARK, log.lake, log.settings, EVERY)


def seen(lake: Lake) -> frozenset[str]:
    """The keys of the events of one state, in which everything agrees with what is recorded."""
    state = lake.state()
    filled = lake.filled_steps(state=state)
    events = lake.arrow(EVENTS, state=state)
    counted = Counter(Hour.of(hour) for hour in events["hour"].to_pylist())
    assert counted == {hour: record.rows for hour, record in filled.get("ingest", {}).items()}
    sessions = filled.get("sessionize", {})
    for spec, name in ((SESSIONS, "output_digest"), (OPEN_SESSIONS, "state_digest")):
        recorded = {hour: getattr(record, name) for hour, record in sessions.items()}
        for hour, digest in recorded.items():
            rows = lake.arrow(spec, HourRange(hour, hour + 1), state).drop_columns(["hour"])
            assert (content_digest(rows) if rows.num_rows else NO_DIGEST) == digest
        hours = {Hour.of(hour) for hour in lake.arrow(spec, state=state)["hour"].to_pylist()}
        assert hours <= set(recorded)
    return frozenset(events["event_key"].to_pylist())


@pytest.mark.slow
def test_commits_killed_at_any_instant_are_whole_or_not_there(tmp_path: Path) -> None:
    rng = random.Random(2)
    spawn = multiprocessing.get_context("forkserver")
    arrived: set[Event] = set()
    known = [frozenset[str]()]
    log = Log(tmp_path, RULES)
    killed = half_done = 0
    needed_s = 3.0
    for nth in range(_MOST * KILLS):
        # How long it takes is learned from those that end before their kill.  Whether a kill falls
        # between two commits is luck: by night there are more until one did.
        if killed >= KILLS and (half_done or KILLS < _MANY):
            break
        if nth % 4 == 0:
            arrived |= random_log(100 + nth, 3, RULES, span_h=SPAN_H)
            known.append(frozenset(event.key for event in arrived))
        process = spawn.Process(target=take_in_and_sessionize, args=(tmp_path, arrived))
        begun = time.monotonic()
        process.start()
        process.join(rng.uniform(0.1, 1.2) * needed_s)
        if process.is_alive():
            process.kill()
            process.join()
            killed += 1
            # A busy machine: else none would ever come to its commits.
            needed_s *= 1.1
        else:
            assert process.exitcode == 0
            needed_s = time.monotonic() - begun
        now, finished = log.lake.snapshots(), log.lake.state()
        half_done += any(now[spec.name] != finished[spec.name] for spec in STEP_TABLES)
        assert seen(log.lake) in known
    print(f"{killed} killed, {half_done} of them between two commits of a step")
    assert killed >= KILLS
    assert half_done or KILLS < _MANY

    last = spawn.Process(target=take_in_and_sessionize, args=(tmp_path, arrived))
    last.start()
    last.join(600)
    assert last.exitcode == 0
    assert seen(log.lake) == known[-1]
    expected = session_tables(arrived, RULES, DAY.index, EVERY.stop.index)
    found = log.tables(EVERY)
    assert found.sessions == expected.sessions
    assert found.open_sessions == expected.open_sessions
    assert found.item_hours == expected.item_hours
    assert set(log.dwell_hours(EVERY)) == set(expected_dwell_hours(expected))


def test_killed_between_any_two_commits_a_rerun_ends_as_if_undisturbed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    logs = [Log(tmp_path / name, RULES) for name in ("quiet", "disturbed")]
    for seed in (100, 101):
        for log in logs:
            log.arrive(random_log(seed, 3, RULES, span_h=SPAN_H))
        if seed == 100:
            for log in logs:
                sessionize(NO_SPARK, log.lake, log.settings, EVERY)
    quiet, disturbed = logs
    before = disturbed.lake.state()
    # Sessions, open sessions, item hours, dwell hours; what records that the hours are filled ends
    # the step.
    for commits in range(1, 5):
        with dying_after(commits, monkeypatch):
            sessionize(NO_SPARK, disturbed.lake, disturbed.settings, EVERY)
        now = disturbed.lake.snapshots()
        assert sum(now[spec.name] != before[spec.name] for spec in STEP_TABLES) == commits
        assert disturbed.lake.state() == before
        disturbed.lake.undo_unfinished()
    for log in logs:
        sessionize(NO_SPARK, log.lake, log.settings, EVERY)
    assert disturbed.tables(EVERY) == quiet.tables(EVERY)
    assert disturbed.dwell_hours(EVERY) == quiet.dwell_hours(EVERY)
    assert disturbed.lake.filled("sessionize") == quiet.lake.filled("sessionize")
