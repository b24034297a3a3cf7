"""Sessions of persons: in whatever order events and people come, they end as if all were there."""

from __future__ import annotations

import json
import os
import random
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from session_oracle import HOUR_US, Event, Rules, session_tables
from staging import DAY, DAY_US, NO_SPARK, Log, expected_dwell_hours
from test_ingest_killed import dying_after
from test_people import Record, person_of
from test_sessionize import at, hours, random_log

from pipeline.adopt.accept_commits import accept
from pipeline.dataset.build import freeze
from pipeline.errors import HourglassError
from pipeline.hours import Hour, HourRange
from pipeline.ingest.metadata.item_user_tables import LoadedMetadata, load_metadata
from pipeline.ingest.people import changes
from pipeline.lake import catalog
from pipeline.lake.stale_hours import PEOPLE_CHANGED, filled_state, stale_hours, why_stale
from pipeline.lake.stale_hours import rules_digest as rules_of
from pipeline.lake.steps import SESSIONIZE
from pipeline.lake.tables import (
    FILLED_HOURS,
    ITEM_HOURS,
    OPEN_SESSIONS,
    PEOPLE,
    SESSIONS,
    TableSpec,
)
from pipeline.sessions import compute_range, people
from pipeline.sessions import sessionize as sessionize_module
from pipeline.sessions.backfill import plan_backfill
from pipeline.sessions.sessionize import SessionizeSummary, sessionize
from pipeline.settings.tables import DatasetSettings
from pipeline.spark.compute import Compute
from training.data.reader import read_dataset

HISTORIES = int(os.environ.get("HOURGLASS_TEST_HISTORIES", "1"))
SPAN_H = 14
EVERY = hours(0, SPAN_H)


def us(clock: str) -> int:
    """The microsecond of an hour and minute of the first day."""
    return at(f"{clock}:00").time_us


class PeopleLog(Log):
    """A lake whose people come from files of a folder."""

    def __init__(self, work: Path, rules: Rules | None = None) -> None:
        super().__init__(work, rules)
        self.folder = work / "people"
        self.folder.mkdir(parents=True)
        self.people: list[Record] = []
        self.path: Path | None = self.folder

    def tell(self, records: Iterable[Record], name: str | None = None) -> LoadedMetadata:
        """A further file of records (or one in the place of another of that name) comes."""
        records = list(records)
        self.people += records
        path = self.folder / (name or f"{len(list(self.folder.iterdir())):03d}.jsonl")
        path.write_text("".join(f"{line_of(record)}\n" for record in records), encoding="utf-8")
        return self.load()

    def load(self) -> LoadedMetadata:
        source = self.settings.source.model_copy(
            update={"path": self.folder.parent, "people_path": self.path, "time_unit": "us"}
        )
        return load_metadata(self.lake, self.settings.model_copy(update={"source": source}))

    def fill(self, range_of_hours: HourRange = EVERY) -> SessionizeSummary:
        return sessionize(NO_SPARK, self.lake, self.settings, range_of_hours)

    def stale(self) -> list[Hour]:
        return stale_hours(self.lake, self.settings, EVERY.stop)

    def marked(self) -> set[Hour]:
        filled = self.lake.filled(SESSIONIZE)
        return {hour for hour, row in filled.items() if row.input_digest == PEOPLE_CHANGED}

    def persons(self, records: Iterable[Record] | None = None) -> dict[Event, str]:
        records = self.people if records is None else list(records)
        return {event: person_of(records, event.user, event.time_us) for event in self.events}

    def column(self, spec: TableSpec, name: str, stop: int = SPAN_H) -> dict[str, set[str | None]]:
        """What the rows of an event's key hold, in the hours before one."""
        values: dict[str, set[str | None]] = {}
        for row in self.lake.arrow(spec, hours(0, stop)).to_pylist():
            values.setdefault(row["event_key"], set()).add(row[name])
        return values

    def assert_as_defined(self, stop: int = SPAN_H) -> None:
        persons = self.persons()
        of_persons = {replace(event, user=person) for event, person in persons.items()}
        expected = session_tables(of_persons, self.rules, DAY.index, DAY.index + stop)
        found = self.tables(hours(0, stop))
        assert found.sessions == expected.sessions
        assert found.open_sessions == expected.open_sessions
        assert found.item_hours == expected.item_hours
        assert self.dwell_hours(hours(0, stop)) == {
            hour: pytest.approx(row, rel=1e-12)
            for hour, row in expected_dwell_hours(expected).items()
        }
        log_ids = {
            event.key: {None if event.user == person else event.user}
            for event, person in persons.items()
        }
        for spec in (SESSIONS, OPEN_SESSIONS):
            for key, anonymous in self.column(spec, "anonymous_id", stop).items():
                assert anonymous == log_ids[key]


def line_of(record: Record) -> str:
    return json.dumps(
        {
            "anonymous_id": record.anonymous,
            "person_id": record.person,
            "valid_from": record.begin,
            "valid_to": record.end,
            "told_at": None if record.told is None else DAY_US + record.told,
        }
    )


def touched(log: PeopleLog, before: dict[Event, str], after: dict[Event, str]) -> set[Hour]:
    filled = log.lake.filled(SESSIONIZE)
    changed = (event for event in log.events if before.get(event) != after[event])
    return {Hour(event.hour) for event in changed} & filled.keys()


@pytest.fixture
def log(tmp_path: Path) -> PeopleLog:
    return PeopleLog(tmp_path)


@pytest.fixture(autouse=True)
def _hour_by_hour(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else a day at once is made again after a change, which hides how far it reaches."""
    monkeypatch.setattr(sessionize_module, "_FORWARD_STEP_H", 1)


def test_a_visitor_who_logs_in_has_one_session_from_the_first_click(log: PeopleLog) -> None:
    log.arrive([at("1:10:00", "cookie"), at("1:20:00", "anna"), at("1:30:00", "other")])
    log.fill()
    done = log.tell([Record("cookie", "anna")])
    assert done == LoadedMetadata(
        {"people": 1},
        notes=(
            "people: 1 interval in which an id is a person, 0 before; 1 id changed, which makes "
            "1 hour stale",
        ),
    )
    assert log.stale() == [DAY + 1]
    log.fill()
    log.assert_as_defined()
    rows = log.lake.arrow(SESSIONS).sort_by("event_time").to_pylist()
    assert [(row["user_id"], row["anonymous_id"], row["position"]) for row in rows] == [
        ("anna", "cookie", 0),
        ("anna", None, 1),
        ("other", None, 0),
    ]
    counts = log.lake.arrow(ITEM_HOURS).to_pylist()
    assert [(row["events"], row["users"]) for row in counts] == [(3, 2)]


def test_exactly_the_hours_with_events_that_are_another_persons_are_made_again(
    log: PeopleLog,
) -> None:
    """From 3:00 to 9:00 the cookie is Anna's; its other hours and other users' stay as they are."""
    events = [at(f"{h}:05:00", "cookie") for h in (1, 4, 8, 11)]
    events += [at(f"{h}:15:00", "other") for h in range(SPAN_H)]
    log.arrive(events)
    log.fill()
    log.tell([Record("cookie", "anna", us("3:00"), us("9:00"))])
    assert log.marked() == {DAY + 4, DAY + 8}
    assert log.stale() == [DAY + 4, DAY + 8]
    log.fill()
    log.assert_as_defined()


def made_again(log: PeopleLog, monkeypatch: pytest.MonkeyPatch) -> list[Hour]:
    """The hours that are computed when only what is stale is asked for."""
    computed: list[Hour] = []
    compute = compute_range.compute_sessions

    def counting(*arguments: Any) -> compute_range.Computed:
        computed.extend(hour for part in arguments[3] for hour in part)
        return compute(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(sessionize_module, "compute_sessions", counting)
        first = log.stale()[0]
        sessionize(NO_SPARK, log.lake, log.settings, HourRange(first, first + 1))
        while stale := log.stale():
            sessionize(NO_SPARK, log.lake, log.settings, HourRange(stale[0], stale[0] + 1))
    return sorted(computed)


def test_the_hours_that_are_computed_again_are_counted(
    log: PeopleLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    events = [at(f"{h}:05:00", "cookie") for h in (1, 4, 8, 11)]
    events += [at(f"{h}:15:00", "other") for h in range(SPAN_H)]
    log.arrive(events)
    log.fill()
    log.tell([Record("cookie", "anna", us("3:00"), us("9:00"))])
    # Each of the two hours, and the one in which its session closes: what is open then is as it
    # was, so nothing goes on from there.
    assert made_again(log, monkeypatch) == [DAY + h for h in (4, 5, 8, 9)]
    log.assert_as_defined()
    # A correction that changes nothing about any event makes nothing stale.
    done = log.tell([Record("cookie", "anna", us("2:00"), us("9:00"))])
    assert done.rows == {"people": 1}
    assert log.stale() == []
    log.assert_as_defined()


def test_a_session_that_began_in_an_hour_that_nothing_touches_goes_on_in_one_that_is(
    log: PeopleLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Anna was there before the cookie: the session begins an hour before the first marked one."""
    log.arrive([at("1:40:00", "anna"), at("2:10:00", "cookie"), at("3:05:00", "anna")])
    log.fill()
    log.tell([Record("cookie", "anna")])
    assert log.marked() == {DAY + 2}
    assert made_again(log, monkeypatch) == [DAY + 2, DAY + 3, DAY + 4]
    log.assert_as_defined()
    rows = log.lake.arrow(SESSIONS)
    assert len(rows["session_id"].unique()) == 1


def test_people_are_corrected_withdrawn_and_taken_away_with_the_setting(log: PeopleLog) -> None:
    log.arrive([at("1:10:00", "cookie"), at("1:20:00", "anna"), at("1:30:00", "bea")])
    log.fill()
    empty = [log.tables(EVERY), log.dwell_hours(EVERY)]
    for record in (
        Record("cookie", "anna", None, None, 1),
        Record("cookie", "bea", None, None, 2),
        Record("cookie", None, None, None, 3),
    ):
        log.tell([record])
        assert log.stale() == [DAY + 1]
        log.fill()
        log.assert_as_defined()
    assert [log.tables(EVERY), log.dwell_hours(EVERY)] == empty
    log.tell([Record("cookie", "anna", None, None, 4)])
    log.fill()
    log.path = None
    (note,) = log.load().notes
    assert note == (
        "people: source.people_path is not set any more: 0 intervals in which an id is a person, "
        "1 before; 1 id changed, which makes 1 hour stale"
    )
    log.fill()
    assert [log.tables(EVERY), log.dwell_hours(EVERY)] == empty
    assert log.load() == LoadedMetadata({})
    assert log.stale() == []


def test_hours_that_are_not_filled_yet_need_no_mark(log: PeopleLog) -> None:
    log.arrive([at("1:10:00", "cookie"), at("5:10:00", "cookie")])
    log.fill(hours(0, 3))
    log.tell([Record("cookie", "anna")])
    assert log.marked() == {DAY + 1}
    log.fill()
    log.assert_as_defined()


def test_why_an_hour_is_stale_is_said_in_the_plan(log: PeopleLog) -> None:
    log.arrive([at("1:10:00", "cookie"), at("5:10:00", "other")])
    log.fill()
    log.tell([Record("cookie", "anna")])
    now = filled_state(log.lake, log.settings)
    assert why_stale(now, rules_of(log.settings), DAY + 1) == "people changed"
    landing = log.settings.work / "landing"
    landing.mkdir()
    (landing / "events.csv").touch()
    source = log.settings.source.model_copy(update={"path": landing, "name": "delimited"})
    settings = log.settings.model_copy(update={"source": source})
    plan = plan_backfill(log.lake, settings, EVERY.stop.start, EVERY)
    assert [(p.hours, p.why) for p in plan.ranges] == [(hours(1, 2), "people changed")]


def random_people(rng: random.Random, users: list[str], n: int) -> list[Record]:
    """Records about users, some of them about each other, whose bounds are times of events."""
    records = []
    for _ in range(n):
        bounds = sorted(rng.sample(range(SPAN_H * 4), 2))
        begin, end = (DAY_US + quarter * HOUR_US // 4 for quarter in bounds)
        person = rng.choice([*users, "anna", "bea", None])
        records.append(
            Record(
                rng.choice(users),
                person,
                rng.choice([None, begin]),
                rng.choice([None, end]),
                rng.choice([None, 1, 2, 3]),
            )
        )
    return records


@pytest.mark.parametrize("seed", range(HISTORIES))
def test_whatever_comes_when_it_ends_as_if_everything_had_been_there(
    seed: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Events, people, corrections and withdrawals come; files are replaced; hours are filled.

    After each load exactly the filled hours with an event of another person are marked, and
    after each run all filled hours are as if they had been made from scratch.
    """
    rng = random.Random(seed)
    rules = Rules(rng.choice([1800, 3600, 7200]), rng.choice([24, 2]), given=rng.random() < 0.4)
    monkeypatch.setattr(sessionize_module, "_FORWARD_STEP_H", rng.choice([1, 3, 24]))
    monkeypatch.setattr(sessionize_module, "_HOURS_PER_STEP", rng.choice([1, 4, 1000]))
    monkeypatch.setattr(changes, "_EVENTS_AT_ONCE", rng.choice([1, 7, 1 << 20]))
    if seed % 2:
        monkeypatch.setattr(compute_range, "_ROWS_WORTH_A_TASK", 10)
        monkeypatch.setattr(compute_range, "_ROWS_PER_SCAN", 20)
        monkeypatch.setattr(compute_range, "_ROWS_PER_GROUP", 15)
    log = PeopleLog(tmp_path, rules)
    waiting = sorted(random_log(seed, 6, rules, span_h=SPAN_H - 4))
    users = sorted({event.user for event in waiting})
    rng.shuffle(waiting)
    for _ in range(7):
        batch, waiting = waiting[: len(waiting) // 2 + 1], waiting[len(waiting) // 2 + 1 :]
        if batch:
            log.arrive(batch)
        before, marked = log.persons(), log.marked()
        if rng.random() < 0.8:
            files = sorted(log.folder.iterdir())
            if files and rng.random() < 0.3:
                gone = rng.choice(files)
                left = {line for path in files if path != gone for line in lines_of(path)}
                log.people = [record for record in log.people if line_of(record) in left]
                log.tell(random_people(rng, users, 3), gone.name)
            else:
                log.tell(random_people(rng, users, rng.choice([1, 2, 6])))
            assert log.marked() == marked | touched(log, before, log.persons())
        stop = rng.choice([5, 9, SPAN_H])
        log.fill(hours(rng.randrange(stop), stop))
        assert not [hour for hour in log.stale() if hour < DAY + stop]
        log.assert_as_defined(stop)
    log.arrive(waiting)
    log.fill()
    log.assert_as_defined()
    at_once = PeopleLog(tmp_path / "at once", rules)
    at_once.arrive(log.events)
    shuffled = rng.sample(log.people, len(log.people))
    at_once.tell(shuffled[::2])
    at_once.tell([*shuffled[1::2], *shuffled[:2]])
    at_once.fill()
    assert at_once.tables(EVERY) == log.tables(EVERY)
    assert at_once.dwell_hours(EVERY) == log.dwell_hours(EVERY)
    assert at_once.lake.arrow(PEOPLE).equals(log.lake.arrow(PEOPLE))
    assert_same_states(at_once, log)


def lines_of(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8").splitlines()


def assert_same_states(one: PeopleLog, other: PeopleLog) -> None:
    """Data sets are named after these digests: the same sessions make the same ones."""
    states = [
        {
            hour: (row.output_digest, row.state_digest, row.rows)
            for hour, row in log.lake.filled(SESSIONIZE, EVERY).items()
            if row.rows or not row.state_digest.startswith("0-")
        }
        for log in (one, other)
    ]
    assert states[0] == states[1]


def test_killed_between_the_marks_and_the_table_the_next_run_does_it_all(
    log: PeopleLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    log.arrive([at("1:10:00", "cookie"), at("1:20:00", "anna"), at("4:00:00", "other")])
    log.fill()
    with dying_after(1, monkeypatch):
        log.tell([Record("cookie", "anna")])
    assert log.marked() == {DAY + 1}
    assert log.lake.arrow(PEOPLE).num_rows == 0
    # Another process may make the hour in between: as it was, since the table is as it was.
    log.fill()
    assert log.stale() == []
    assert log.column(SESSIONS, "anonymous_id")["cookie 1:10:00"] == {None}
    log.load()
    assert log.stale() == [DAY + 1]
    log.fill()
    log.assert_as_defined()
    assert log.load().rows == {"people": 0}


def test_what_a_killed_step_left_is_taken_back_before_hours_are_marked(
    log: PeopleLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    log.arrive([at("1:10:00", "cookie"), at("4:00:00", "other")])
    log.fill()
    log.arrive([at("4:10:00", "other")])
    with dying_after(2, monkeypatch):
        log.fill()
    log.tell([Record("cookie", "anna")])
    assert log.column(SESSIONS, "position").keys() == {"cookie 1:10:00", "other 4:00:00"}
    log.fill()
    log.assert_as_defined()


def test_marks_hold_although_all_before_was_found_right(log: PeopleLog) -> None:
    log.arrive([at("1:10:00", "cookie"), at("8:00:00", "other")])
    log.fill()
    rules = rules_of(log.settings)
    assert log.lake.stable_from(rules) == EVERY.stop
    log.tell([Record("cookie", "anna")])
    assert log.lake.stable_from(rules) == DAY + 1
    log.fill()
    assert log.lake.stable_from(rules) == EVERY.stop


def test_what_another_program_does_to_the_table_makes_its_hours_stale_once_it_stands(
    log: PeopleLog,
) -> None:
    log.arrive([at("1:10:00", "cookie"), at("5:20:00", "bea"), at("8:00:00", "other")])
    log.tell([Record("cookie", "anna"), Record("bea", "anna")])
    log.fill()
    log.lake.table(PEOPLE).delete("anonymous_id == 'bea'")
    with pytest.raises(HourglassError, match="table people: another program committed snapshot"):
        log.fill()
    accept(log.lake, NO_SPARK)
    assert log.stale() == [DAY + 5]
    log.fill()
    log.people = [Record("cookie", "anna")]
    log.assert_as_defined()


def test_logs_with_sessions_of_their_own_keep_them_apart_for_a_person_too(tmp_path: Path) -> None:
    log = PeopleLog(tmp_path, Rules(given=True))
    log.arrive(
        [
            at("1:10:00", "cookie", given="s"),
            at("1:20:00", "anna", given="s"),
            at("1:21:00", "anna", given="t"),
        ]
    )
    log.tell([Record("cookie", "anna")])
    log.fill()
    log.assert_as_defined()
    sessions = log.column(SESSIONS, "session_id")
    assert sessions["cookie 1:10:00"] == sessions["anna 1:20:00"] != sessions["anna 1:21:00"]


def test_equal_times_of_a_person_are_in_the_order_of_the_log(log: PeopleLog) -> None:
    """Two ids of one person at the same microsecond: the records' order counts, not the ids'."""
    events = [at("1:10:00", "cookie"), at("1:10:00", "anna"), at("1:10:00", "tablet")]
    log.arrive(
        replace(event, file=file, line=line)
        for event, (file, line) in zip(
            events, [("b.csv", 7), ("a.csv", 9), ("a.csv", 2)], strict=True
        )
    )
    log.fill()
    log.tell([Record("cookie", "anna"), Record("tablet", "anna")])
    log.fill()
    log.assert_as_defined()
    ranks = log.column(SESSIONS, "tie_rank")
    assert ranks == {"tablet 1:10:00": {1}, "anna 1:10:00": {2}, "cookie 1:10:00": {3}}


def test_an_event_without_a_user_is_no_person_either(log: PeopleLog) -> None:
    """It is left to the scan, which refuses it by name."""
    log.tell([Record("cookie", "anna")])
    files = tuple(file.path for file in log.lake.files(PEOPLE))
    ids = pa.array([None, "cookie", "b"], pa.string())
    rows = people.as_persons(pa.table({"user_id": ids, "event_time": [0, 0, 0]}), files)
    assert rows["user_id"].to_pylist() == [None, "anna", "b"]


def test_rows_of_an_earlier_version_have_no_column_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Their tables get it with the first commit, and their digests stand."""
    former = tuple(
        replace(
            spec,
            schema=pa.schema([field for field in spec.schema if field.name != "anonymous_id"]),
        )
        if spec in (SESSIONS, OPEN_SESSIONS)
        else spec
        for spec in catalog.ALL_TABLES
    )
    with monkeypatch.context() as patch:
        patch.setattr(catalog, "ALL_TABLES", former)
        log = PeopleLog(tmp_path)
        assert "anonymous_id" not in log.lake.table(SESSIONS).schema().column_names
    log.arrive([at("1:10:00", "cookie"), at("5:10:00", "other")])
    log.fill()
    assert "anonymous_id" in log.lake.table(SESSIONS).schema().column_names
    assert log.column(SESSIONS, "anonymous_id") == {
        "cookie 1:10:00": {None},
        "other 5:10:00": {None},
    }


def test_data_sets_learn_from_persons_and_have_another_name_then(tmp_path: Path) -> None:
    log = PeopleLog(tmp_path)
    every_event = DatasetSettings(min_item_events=1, min_session_events=1)
    log.settings = log.settings.model_copy(update={"dataset": every_event})
    clicks = [
        at(f"{h}:{m}:00", user) for h in (1, 3, 5) for m, user in ((10, "cookie"), (20, "anna"))
    ]
    log.arrive([*clicks, at("2:00:00", "bea"), at("2:10:00", "bea")])
    log.fill()
    before = freeze(NO_SPARK, log.lake, log.settings, DAY + 8)
    assert set(read_dataset(before).histories.user_ids) == {"cookie", "anna", "bea"}
    log.tell([Record("cookie", "anna", us("3:00"))])
    log.fill()
    after = freeze(NO_SPARK, log.lake, log.settings, DAY + 8)
    assert after.name != before.name
    histories = read_dataset(after).histories
    lengths = dict(zip(histories.user_ids, histories.lengths.tolist(), strict=True))
    assert lengths == {"anna": 5, "bea": 2, "cookie": 1}
    # Withdrawn, it is the data set of before again.
    log.tell([Record("cookie", None, us("3:00"), None, 1)])
    log.fill()
    assert freeze(NO_SPARK, log.lake, log.settings, DAY + 8).name == before.name


@pytest.mark.nightly
def test_on_spark_the_tables_are_the_same(
    tmp_path: Path, on_spark: Compute, monkeypatch: pytest.MonkeyPatch
) -> None:
    rules = Rules(max_session_hours=2)
    events = random_log(9, 20, rules, span_h=SPAN_H - 4)
    records = random_people(random.Random(3), sorted({e.user for e in events}), 40)
    log = PeopleLog(tmp_path, rules)
    log.arrive(events)
    log.fill()
    log.tell(records)
    assert log.marked()
    sessionize(on_spark, log.lake, log.settings, EVERY)
    log.assert_as_defined()


def test_a_filled_hours_row_that_is_marked_keeps_all_else(log: PeopleLog) -> None:
    log.arrive([at("1:10:00", "cookie"), at("1:20:00", "other")])
    log.fill()
    before = {(row["hour"], row["step"]): row for row in log.lake.arrow(FILLED_HOURS).to_pylist()}
    log.tell([Record("cookie", "anna")])
    after = {(row["hour"], row["step"]): row for row in log.lake.arrow(FILLED_HOURS).to_pylist()}
    key = ((DAY + 1).start, SESSIONIZE)
    assert after.pop(key) == {**before.pop(key), "input_digest": PEOPLE_CHANGED}
    assert after == before
