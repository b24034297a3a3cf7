"""The tasks of sessionize, run here one after another: thousands of logs, split anyhow."""

from __future__ import annotations

import hashlib
import os
import random
import tempfile
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from session_oracle import HOUR_US, US, Event, Rules, Tables, moments, session_tables
from staging import DAY, DAY_US, event_table, session_rows
from test_sessionize import random_log

from pipeline.hours import US_PER_HOUR, Hour, HourRange
from pipeline.lake.parquet_files import HourFile
from pipeline.lake.tables import DWELL_HOURS, ITEM_HOURS, OPEN_SESSIONS, SESSIONS
from pipeline.sessions import compute_range, gap_kernel, stages
from pipeline.sessions.compute_range import OUTPUTS, Computed, make_plan, run_in_process
from pipeline.sessions.dwell import moments_of_us
from pipeline.sessions.stages import Plan
from pipeline.settings.tables import SessionSettings

SPAN_H = 30
EXAMPLES = int(os.environ.get("HOURGLASS_TEST_EXAMPLES", "6"))
EVERY = HourRange(DAY, DAY + SPAN_H)


def plan_in(
    folder: Path, rules: Rules, hours: HourRange, carried: list[HourFile], events: list[HourFile]
) -> Plan:
    """A plan for two cores whose files go below the folder."""
    folders = {spec.name: str(folder / spec.name) for spec in OUTPUTS}
    return make_plan(SessionSettings(**vars(rules)), hours, carried, events, folders, cores=2)


def session_files(
    folder: Path, rules: Rules, hours: HourRange, carried: list[HourFile], events: list[HourFile]
) -> Computed:
    """The session tables' files of a range, computed here."""
    if not carried and not events:
        return Computed({spec.name: () for spec in OUTPUTS}, {}, {})
    return run_in_process(plan_in(folder, rules, hours, carried, events))


def write_events(folder: Path, events: Iterable[Event]) -> list[HourFile]:
    """A file or two for each hour, their rows in an order that says nothing."""
    folder.mkdir(parents=True, exist_ok=True)
    by_file: dict[tuple[int, int], list[Event]] = defaultdict(list)
    for event in events:
        says_nothing = hashlib.sha256(event.key.encode()).digest()
        by_file[event.hour, says_nothing[0] % 2].append(event)
    files = []
    for (index, half), held in sorted(by_file.items()):
        shuffled = sorted(held, key=lambda event: hashlib.sha256(event.key.encode()).digest())
        path = folder / f"events-{index}-{half}.parquet"
        pq.write_table(event_table(shuffled), path)
        files.append(HourFile(str(path), path.stat().st_size, len(held), Hour(index)))
    return files


def in_steps(
    folder: Path, rules: Rules, events: Iterable[Event], cuts: list[int]
) -> tuple[Tables, dict[int, tuple[Any, ...]], dict[Hour, tuple[str, int]]]:
    """All tables' rows, their dwell rows and the state digests, computed range by range."""
    arrived = write_events(folder, events)
    made: dict[str, list[HourFile]] = {spec.name: [] for spec in OUTPUTS}
    states: dict[Hour, tuple[str, int]] = {}
    carried: list[HourFile] = []
    for nth, (first, stop) in enumerate(pairwise(cuts)):
        hours = HourRange(DAY + first, DAY + stop)
        here = [file for file in arrived if file.hour in hours]
        done = session_files(folder / str(nth), rules, hours, carried, here)
        for name, files in done.files.items():
            made[name].extend(files)
            assert len({file.hour for file in files}) == len(files), "an hour in two files"
        states.update(done.opened)
        carried = [file for file in done.files[OPEN_SESSIONS.name] if file.hour == hours.stop - 1]
    tables = Tables(
        session_rows(read(made, SESSIONS.name), "dwell_s"),
        session_rows(read(made, OPEN_SESSIONS.name), "chain_start"),
        {
            (hour.timestamp() // 3600, *rest)
            for hour, *rest in (row.values() for row in read(made, ITEM_HOURS.name).to_pylist())
        },
    )
    dwells = {
        int(hour.timestamp() // 3600): tuple(rest)
        for hour, *rest in (row.values() for row in read(made, DWELL_HOURS.name).to_pylist())
    }
    return tables, dwells, states


def read(made: dict[str, list[HourFile]], name: str) -> pa.Table:
    spec = next(spec for spec in OUTPUTS if spec.name == name)
    parts = [pq.read_table(file.path) for file in made[name]]
    return pa.concat_tables([spec.schema.empty_table(), *parts])


def assert_same(rules: Rules, events: set[Event], cuts: list[int]) -> dict[Hour, tuple[str, int]]:
    with tempfile.TemporaryDirectory() as folder:
        found, dwells, states = in_steps(Path(folder), rules, events, cuts)
    expected = session_tables(events, rules, DAY.index, DAY.index + cuts[-1])
    assert found.sessions == expected.sessions
    assert found.open_sessions == expected.open_sessions
    assert found.item_hours == expected.item_hours
    assert dwells == {
        hour: pytest.approx(moments(values), rel=1e-12) for hour, values in expected.dwells.items()
    }
    return states


@st.composite
def random_logs(draw: st.DrawFn) -> tuple[Rules, set[Event], list[int]]:
    """Rules, the logs of 25 users, and where a range that holds them is cut."""
    rules = Rules(
        gap_s=draw(st.sampled_from([3600, 3600, 1800, 5400, 86400])),
        max_session_hours=draw(st.sampled_from([24, 24, 1, 2, 7])),
        given=draw(st.booleans()),
        passive_types=draw(st.sampled_from([(), (), ("view",), ("buy",), ("push", "buy")])),
        robot_events_per_hour=draw(st.sampled_from([None, 1000, 1, 3, 10])),
        robot_run_hours=draw(st.sampled_from([None, 24, 1, 5])),
    )
    events = random_log(draw(st.integers(0, 2**32)), 25, rules, span_h=20)
    inner = draw(st.sets(st.integers(1, SPAN_H - 1), max_size=8))
    return rules, events, [0, *sorted(inner), SPAN_H]


@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))
@given(random_logs())
def test_thousands_of_random_logs_cut_anyhow_are_as_defined(
    case: tuple[Rules, set[Event], list[int]],
) -> None:
    """25 users an example, each a log of its own, of gaps around the limit and hours' edges."""
    rules, events, cuts = case
    in_parts = assert_same(rules, events, cuts)
    at_once = assert_same(rules, events, [0, SPAN_H])
    assert in_parts == at_once


def test_many_tasks_of_each_stage_give_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    events = random_log(5, 120, Rules(), span_h=20)
    few = assert_same(Rules(), events, [0, 9, SPAN_H])
    monkeypatch.setattr(compute_range, "_ROWS_WORTH_A_TASK", 20)
    monkeypatch.setattr(compute_range, "_ROWS_PER_SCAN", 60)
    monkeypatch.setattr(compute_range, "_ROWS_PER_BUCKET", 90)
    monkeypatch.setattr(compute_range, "_ROWS_PER_GROUP", 100)
    monkeypatch.setattr(stages, "_OPEN_ROWS_AT_ONCE", 30)
    assert assert_same(Rules(), events, [0, 9, SPAN_H]) == few


def test_trails_whose_half_digests_are_equal_stay_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    """64 bits order trails and 128 tell them apart; here all share the first 64."""
    digests = gap_kernel.session_key_hashes

    def alike(names: Any) -> tuple[Any, Any]:
        high, low = digests(names)
        return np.full_like(high, 7), low

    monkeypatch.setattr(stages, "session_key_hashes", alike)
    rules = Rules(max_session_hours=3)
    events = random_log(6, 40, rules, span_h=20)
    with tempfile.TemporaryDirectory() as folder:
        found, _, _ = in_steps(Path(folder), rules, events, [0, 11, SPAN_H])
    expected = session_tables(events, rules, DAY.index, DAY.index + SPAN_H)
    # The ids are made of the half that is equal here; all else is as it should be.
    assert {(row[0], *row[2:]) for row in found.sessions} == {
        (row[0], *row[2:]) for row in expected.sessions
    }


def test_the_digest_of_open_sessions_changes_with_any_field() -> None:
    """Recomputation stops where this digest is as it was: it must miss nothing."""
    one = Event(DAY_US + 5 * US, "k", "u", "i", "view", 1.0, "s", (("a", "b"),))
    others = [
        replace(one, time_us=one.time_us + 1),
        replace(one, key="l"),
        replace(one, user="v"),
        replace(one, item="j"),
        replace(one, event_type="buy"),
        replace(one, value=None),
        replace(one, value=2.0),
        replace(one, given=None),
        replace(one, given=""),
        replace(one, context=()),
        replace(one, context=(("a", "c"),)),
        replace(one, context=(("ab", ""),)),
    ]
    digests = set()
    for event in [one, *others]:
        with tempfile.TemporaryDirectory() as folder:
            _, _, states = in_steps(Path(folder), Rules(), [event], [0, 1])
        digests.add(states[DAY][0])
    assert len(digests) == 1 + len(others)
    # A chain that began earlier is another state, even where the events are the same: the cut of
    # an endless session is counted from there.
    early = Event(DAY_US, "e", "u", "i")
    late = [Event(DAY_US + n * 3000 * US, f"l{n}", "u", "i") for n in (1, 2, 3)]
    cut = Rules(max_session_hours=1)
    with tempfile.TemporaryDirectory() as folder:
        _, _, whole = in_steps(Path(folder), cut, [early, *late], [0, 3])
    with tempfile.TemporaryDirectory() as folder:
        _, _, later = in_steps(Path(folder), cut, late, [0, 3])
    assert whole[DAY + 2] != later[DAY + 2]


def test_names_that_run_together_are_different_trails() -> None:
    names = [("ab", "c"), ("a", "bc"), ("abc", ""), ("", "abc"), ("1:a", ""), ("1", ":a")]
    high, low = gap_kernel.session_key_hashes(names)
    assert len(set(zip(high.tolist(), low.tolist(), strict=True))) == len(names)


def test_a_session_id_is_the_trail_and_the_start_in_hexadecimal() -> None:
    trail = np.array([0, 2**64 - 1, 255], np.uint64)
    start_us = np.array([1, -1, 1_456_789_012_345_678], np.int64)
    assert gap_kernel.session_ids(trail, start_us).to_pylist() == [
        f"{int(t):016x}{int(s) % 2**64:016x}" for t, s in zip(trail, start_us, strict=True)
    ]


@given(st.lists(st.integers(0, 30 * 86400 * US), min_size=1, max_size=50))
def test_dwell_moments_are_those_of_the_values(dwell_us: list[int]) -> None:
    row = moments_of_us(np.array(dwell_us, np.int64))
    expected = moments([value / US for value in dwell_us])
    assert tuple(row.values()) == pytest.approx(expected, rel=1e-9, abs=1e-3)
    shuffled = random.Random(1).sample(dwell_us, len(dwell_us))
    assert moments_of_us(np.array(shuffled, np.int64)) == row


def test_dwell_moments_of_many_long_times_do_not_overflow() -> None:
    most_us = 366 * 86400 * US
    row = moments_of_us(np.full(100_000, most_us, np.int64))
    assert (row["mean_s"], row["m2_s2"], row["n"]) == (most_us / US, 0.0, 100_000)


def test_an_event_without_a_user_is_refused_by_name() -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (file,) = write_events(folder, [Event(DAY_US, "k", "u", "i")])
        table = pq.read_table(file.path)
        nobody = pa.array([None], pa.string())
        index = table.column_names.index("user_id")
        pq.write_table(table.set_column(index, "user_id", nobody), file.path)
        with pytest.raises(Exception, match="1 event has no user or item"):
            session_files(folder / "out", Rules(), EVERY, [], [file])


def hours_of(files: Iterable[HourFile]) -> Iterator[Hour]:
    return (file.hour for file in files if file.hour is not None)


@given(
    st.lists(st.tuples(st.integers(0, 60), st.integers(1, 2000)), min_size=1, max_size=40),
    st.integers(1, 5),
)
def test_a_plan_takes_every_file_and_hour_once(shape: list[tuple[int, int]], cores: int) -> None:
    events = [HourFile(f"f{n}", 1, rows, DAY + h) for n, (h, rows) in enumerate(sorted(shape))]
    hours = HourRange(DAY, DAY + 61)
    limits = {"_ROWS_WORTH_A_TASK": 300, "_ROWS_PER_SCAN": 900, "_ROWS_PER_GROUP": 700}
    with pytest.MonkeyPatch.context() as patch:
        for name, value in limits.items():
            patch.setattr(compute_range, name, value)
        plan = make_plan(SessionSettings(), hours, events[:0], events, {}, cores)
    assert (plan.scans[0], plan.scans[-1]) == (0, len(events))
    assert (plan.groups[0], plan.groups[-1]) == (hours.first.index, hours.stop.index)
    assert all(a < b for bounds in (plan.scans, plan.groups) for a, b in pairwise(bounds))
    tasks = [set(hours_of(events[a:b])) for a, b in pairwise(plan.scans)]
    assert sum(map(len, tasks)) == len(set().union(*tasks)), "an hour's files in two tasks"
    assert HOUR_US == US_PER_HOUR
