"""A data set as known is what a lake would have made that had taken in only what was there."""

from __future__ import annotations

import random
import shutil
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow.parquet as pq
import pytest
import typer
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from known_lakes import account, arrived_before, audit_of, lake_of, late_events, some_late
from session_oracle import HOUR_US, US, Event, Rules
from staging import DAY, DAY_US, NO_SPARK, Log
from typer.testing import CliRunner

from pipeline.cli import dataset
from pipeline.dataset.as_known.arrivals import file_arrivals
from pipeline.dataset.as_known.delays import Delays
from pipeline.dataset.as_known.late_events import read_late_events
from pipeline.dataset.build import find_test_set, freeze, freeze_test_set, histories_at
from pipeline.dataset.manifest import read_manifest
from pipeline.hours import Hour, HourRange
from pipeline.ingest.ingest import ingest
from pipeline.ingest.landing.arrivals import by_patterns
from pipeline.lake.lake import Lake
from pipeline.sessions.sessionize import sessionize
from pipeline.settings.settings import Settings
from pipeline.settings.simulator import SimulatorSettings
from pipeline.settings.source import SourceSettings
from pipeline.settings.tables import DatasetSettings
from pipeline.settings.time_text import path_pattern
from pipeline.simulator.writer import simulate
from pipeline.spark.compute import Compute
from pipeline.workspace import CommandContext

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

STOP, AS_OF = 30, DAY + 24
DATASET: dict[str, Any] = {
    "window": "8h",
    "history": "9h",
    "popularity_window": "12h",
    "max_history_events": 6,
    "min_item_events": 2,
    "max_dwell_bins": 5,
    "context": ("device",),
}
PLAIN = Rules(max_session_hours=3)
RULES = {
    "plain": PLAIN,
    "passive and robots": Rules(
        max_session_hours=3, passive_types=("beat",), robot_events_per_hour=7, robot_run_hours=4
    ),
    "sessions of the log": Rules(max_session_hours=3, given=True),
}


def walks(seed: int, users: int = 25, hours: int = STOP) -> set[Event]:
    """Users at all hours, in bursts; some events fall on one instant, some are heartbeats."""
    rng, events = random.Random(seed), set()
    for user in range(users):
        at_us = DAY_US + rng.randrange(hours * HOUR_US)
        for nth in range(rng.randrange(1, 45)):
            item = f"item {min(int(rng.paretovariate(0.8)), 12)}"
            context = (("device", rng.choice("abc")),) if rng.random() < 0.8 else ()
            kind = rng.choice(["view", "view", "buy", "beat"])
            given_session = rng.choice(["one", "two", None])
            events.add(
                Event(
                    at_us, f"{user} {nth}", f"user {user:02d}", item, kind,
                    None, given_session, context, line=60 - nth,
                )
            )  # fmt: skip
            most_us = rng.choice([0, 90 * US, 900 * US, 2 * HOUR_US])
            at_us += rng.randrange(most_us + 1)
    return {event for event in events if event.time_us < DAY_US + hours * HOUR_US}


def as_known(settings: Settings, **changed: object) -> Settings:
    rules = settings.dataset.model_copy(update={"as_known": True, **changed})
    return settings.model_copy(update={"dataset": rules})


def content(folder: Path) -> dict[str, Any]:
    """The bytes of all files, and what the manifest says but for what names the lake."""
    manifest = read_manifest(folder).facts
    names = {"dataset_id", "base_dataset_id", "unknown_events"}
    files = {path.name: path.read_bytes() for path in folder.iterdir() if path.suffix == ".parquet"}
    return {**files, "manifest": {k: v for k, v in manifest.items() if k not in names}}


@pytest.mark.parametrize(
    ("name", "seed"),
    [
        ("plain", 1),
        ("passive and robots", 2),
        ("sessions of the log", 3),
        *(pytest.param(name, seed, marks=pytest.mark.nightly) for name in RULES for seed in (4, 5)),
    ],
)
def test_a_data_set_as_known_is_that_of_a_lake_without_what_came_later(
    tmp_path: Path, name: str, seed: int
) -> None:
    rules = RULES[name]
    events = late_events(walks(seed), some_late(0.15, 7, str(seed)))
    whole = lake_of(tmp_path / "whole", events, rules, STOP, **DATASET)
    there = arrived_before(events, AS_OF)
    past = lake_of(tmp_path / "past", there, rules, STOP, **DATASET)
    before = {event for event in events if event.hour < AS_OF.index}
    unknown = before - there
    assert len(unknown) > 3
    found = freeze(NO_SPARK, whole.lake, as_known(whole.settings), AS_OF)
    expected = freeze(NO_SPARK, past.lake, past.settings, AS_OF)
    happened = freeze(NO_SPARK, whole.lake, whole.settings, AS_OF)
    assert content(found) == content(expected) != content(happened)
    # Of the log's first hours all is within reach.
    assert read_manifest(found).unknown_events == len(
        [e for e in unknown if e.hour >= AS_OF.index - 20]
    )
    found, expected = (
        histories_at(NO_SPARK, each.lake, settings, base, AS_OF)
        for each, settings, base in (
            (whole, as_known(whole.settings), found),
            (past, past.settings, expected),
        )
    )
    assert content(found) == content(expected)


def test_what_persons_did_is_late_under_whatever_id(tmp_path: Path) -> None:
    """Two ids are one person; of one of them something came late."""
    people = {f"user {n:02d}": f"person {n // 2}" for n in range(20)}
    events = late_events(walks(6), some_late(0.15, 7))
    whole = lake_of(tmp_path / "whole", events, PLAIN, STOP, people, **DATASET)
    there = arrived_before(events, AS_OF)
    past = lake_of(tmp_path / "past", there, PLAIN, STOP, people, **DATASET)
    found = freeze(NO_SPARK, whole.lake, as_known(whole.settings), AS_OF)
    expected = freeze(NO_SPARK, past.lake, past.settings, AS_OF)
    assert read_manifest(found).unknown_events
    assert content(found) == content(expected)
    users = pq.read_table(found / "part-00000.parquet")["user_id"].to_pylist()
    assert any(user.startswith("person") for user in users)


PLANTED = Event(DAY_US + 22 * HOUR_US + 5, "planted", "user 00", "planted item", "view")


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> Log:
    """A lake in which two events on an item of their own came hours after the data set's time."""
    events = late_events(walks(7), lambda _: 0)
    late = {PLANTED, replace(PLANTED, time_us=PLANTED.time_us + 60 * US, key="planted too")}
    events |= late_events(late, lambda _: 4)
    return lake_of(tmp_path_factory.mktemp("planted"), events, PLAIN, STOP, **DATASET)


def items_of(folder: Path) -> list[str]:
    return pq.read_table(folder / "vocabulary.parquet")["item_id"].to_pylist()


def test_an_event_that_came_later_is_in_no_part_of_the_data_set(planted: Log) -> None:
    known = freeze(NO_SPARK, planted.lake, as_known(planted.settings), AS_OF)
    happened = freeze(NO_SPARK, planted.lake, planted.settings, AS_OF)
    assert "planted item" in items_of(happened)
    assert "planted item" not in items_of(known)
    for name in ("part-00000.parquet", "popularity.parquet", "vocabulary.parquet"):
        assert (known / name).read_bytes() != (happened / name).read_bytes()
    first, other = read_manifest(known), read_manifest(happened)
    assert first.unknown_events == 2
    assert first.dwell.n < other.dwell.n
    assert first.dwell.width_s != other.dwell.width_s
    assert first.n_events < other.n_events
    assert "unknown_events" not in other.facts


@pytest.mark.parametrize(("hour", "is_known"), [(25, False), (26, False), (27, True)])
def test_an_event_is_known_from_the_end_of_the_hour_of_its_arrival(
    planted: Log, hour: int, is_known: bool
) -> None:
    as_of = DAY + hour  # it arrived in hour 26
    folder = freeze(NO_SPARK, planted.lake, as_known(planted.settings), as_of)
    assert ("planted item" in items_of(folder)) == is_known


def test_where_nothing_is_late_it_is_the_data_set_as_happened(planted: Log) -> None:
    as_of = DAY + 28
    happened = freeze(NO_SPARK, planted.lake, planted.settings, as_of)
    assert freeze(NO_SPARK, planted.lake, as_known(planted.settings), as_of) == happened


def test_the_settings_of_before_have_the_ids_of_before(planted: Log) -> None:
    """The new key is in no digest, whatever it says."""
    settings = as_known(planted.settings)
    assert settings.digest("dataset", "sessions") == planted.settings.digest("dataset", "sessions")
    dumped = planted.settings.dataset.model_dump(mode="json", exclude={"as_known"})
    assert "as_known" not in dumped


def test_test_sets_judge_by_what_happened(planted: Log) -> None:
    base = freeze(NO_SPARK, planted.lake, as_known(planted.settings), AS_OF - 3)
    hours = HourRange(AS_OF - 3, AS_OF)
    settings = as_known(planted.settings)
    frozen = freeze_test_set(NO_SPARK, planted.lake, settings, base, hours)
    assert find_test_set(planted.lake, planted.settings, base, hours) == frozen
    assert "unknown_events" not in read_manifest(frozen).facts


@pytest.mark.nightly
def test_spark_makes_the_same(spark: SparkSession, tmp_path: Path) -> None:
    events = late_events(walks(2), some_late(0.15, 7))
    rules = RULES["passive and robots"]
    lake = lake_of(tmp_path, events, rules, STOP, **DATASET)
    settings = as_known(lake.settings)
    here = freeze(NO_SPARK, lake.lake, settings, AS_OF)
    expected = content(here)
    here.rename(here.with_name("made here"))
    by_spark = Compute(lambda: spark, from_mib=0)
    assert content(freeze(by_spark, lake.lake, settings, AS_OF)) == expected


def run_dataset(log: Log, *options: str) -> str:
    app = typer.Typer()
    app.command()(dataset)
    ctx = CommandContext(log.settings, (DAY + 40).start, False)
    done = CliRunner().invoke(app, ["--as-of", str(AS_OF), *options], obj=ctx)
    if done.exception:
        raise done.exception
    return " ".join((done.stdout + done.stderr).split())


def test_the_command_says_what_it_leaves_out(planted: Log) -> None:
    said = f"as known: 2 events of before {AS_OF} are not in it: they arrived later"
    assert said in run_dataset(planted, "--as-known")
    for options in ((), ("--as-happened",)):
        assert "as known" not in run_dataset(planted, *options)


def test_the_command_says_which_hours_were_loaded_afterwards(tmp_path: Path) -> None:
    events = late_events(walks(8), lambda event: 30 * 24 - event.hour + DAY.index)
    log = lake_of(tmp_path, events, PLAIN, STOP, **DATASET)
    assert "loaded afterwards, with " in run_dataset(log, "--as-known")
    assert "loaded afterwards" not in run_dataset(log)


# When files arrived.

H0 = Hour.parse("2024-03-02T10")
NAMED = by_patterns([path_pattern("%Y-%m-%dT%H"), path_pattern("dt=%Y-%m-%d")], None)


def test_a_path_tells_the_arrival_for_good() -> None:
    # A year later, or by the run of the same hour: the path says it.
    (arrival,) = file_arrivals([audit_of(f"{H0}/a", 1)], NAMED).values()
    assert arrival == (H0.index, H0.index + 1)
    # In any hour of the day: what happened on the day may have come at once.
    (arrival,) = file_arrivals([audit_of("dt=2024-03-02/a", 1, H0 + 13)], NAMED).values()
    assert arrival == (H0.index - 10, H0.index + 14)


def test_elsewhere_it_is_the_run_that_took_the_file_in() -> None:
    (arrival,) = file_arrivals([audit_of("a.csv", 1, H0)], NAMED).values()
    # What happened in the hour before is on time: the run at its end took it in.
    assert arrival == (H0.index - 1, H0.index)


def test_of_several_contents_the_latest_with_an_event_counts() -> None:
    contents = [audit_of("a.csv", n, H0 + h, str(h)) for h, n in ((2, 4), (0, 3), (5, 0))]
    (arrival,) = file_arrivals(contents, NAMED).values()
    assert arrival.known_from == H0.index + 2
    (arrival,) = file_arrivals([contents[2]], NAMED).values()
    assert arrival.known_from == H0.index + 5


def delays_of(log: Log, stop: int = STOP) -> Delays:
    hours = HourRange(DAY, DAY + stop)
    return read_late_events(log.lake, log.settings, log.lake.state(), hours, DAY).delays


def test_an_hour_that_was_loaded_afterwards_is_on_time(tmp_path: Path) -> None:
    """All of the log lay in one folder a month later: nothing says when it was first there."""
    events = late_events(walks(8), lambda event: 30 * 24 - event.hour + DAY.index)
    log = lake_of(tmp_path, events, PLAIN, STOP, **DATASET)
    n_hours = len({event.hour for event in events})
    assert delays_of(log) == Delays(len(events), 0, len(events), n_hours)
    known = freeze(NO_SPARK, log.lake, as_known(log.settings), AS_OF)
    assert known == freeze(NO_SPARK, log.lake, log.settings, AS_OF)


def test_one_late_file_does_not_make_its_hour_a_loaded_one(tmp_path: Path) -> None:
    usual = walks(8)
    once = {event.hour: event for event in usual}  # of each hour one
    more = {replace(event, key=f"{event.key} late") for event in once.values()}
    usual |= {replace(event, key=f"{event.key} too") for event in once.values()}
    events = late_events(usual, lambda _: 0) | late_events(more, lambda _: 100)
    log = lake_of(tmp_path, events, PLAIN, STOP, **DATASET)
    assert delays_of(log) == Delays(len(events), len(more), 0, 0)


def test_a_file_without_an_account_is_on_time(tmp_path: Path) -> None:
    log = Log(tmp_path, PLAIN, **DATASET)
    log.arrive(walks(9))
    n_events = len(log.events)
    assert delays_of(log) == Delays(n_events, 0, 0, 0)


# Sessions in memory.


@given(data=st.data())
@hypothesis_settings(max_examples=15)
def test_whatever_comes_late_the_sessions_are_those_of_the_rest(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    """By the definitions in plain Python: whoever is late, whenever, of whatever rules."""
    from known_lakes import known_tables, tables_of

    rules = RULES[data.draw(st.sampled_from(sorted(RULES)))]
    events = walks(data.draw(st.integers(0, 10_000)), users=4, hours=12)
    delays = data.draw(st.lists(st.sampled_from([0, 0, 1, 2, 5]), min_size=1, max_size=40))
    order = {event.key: place for place, event in enumerate(sorted(events))}
    events = late_events(events, lambda event: delays[order[event.key] % len(delays)])
    log = Log(tmp_path_factory.mktemp("lake"), rules)
    account(log, events)
    log.arrive(events)
    for hour in (DAY + 4, DAY + 9, DAY + 12):
        there = arrived_before(events, hour)
        late = read_late_events(
            log.lake, log.settings, log.lake.state(), HourRange(DAY, hour), hour
        )
        assert known_tables(late, hour) == tables_of(events, there, rules, hour)


# From raw files to the data set, and a site of which it is known what came when.


def taken_in(work: Path, landing: Path, hours: HourRange) -> tuple[Lake, Settings]:
    settings = Settings(
        work=work,
        source=SourceSettings(name="simulator", path=landing),
        dataset=DatasetSettings(**{**DATASET, "context": ()}),
    )
    lake = Lake(settings.resolved_catalog_uri, settings.resolved_warehouse)
    ingest(NO_SPARK, lake, settings, (hours.stop + 100).start)
    sessionize(NO_SPARK, lake, settings, hours)
    return lake, settings


def test_of_a_simulated_site_the_data_set_is_that_of_the_hour(tmp_path: Path) -> None:
    """All of it is taken in a hundred hours later; the other lake got what lay there at T."""
    start = Hour.parse("2026-01-05T00")
    hours, as_of = HourRange(start, start + 16), start + 12
    world = SimulatorSettings(users=400, late_rate=0.1, duplicate_rate=0.05)
    landing, then = tmp_path / "landing", tmp_path / "landing then"
    simulate(world, landing, tmp_path / "truth", hours)
    for folder in landing.iterdir():
        if folder.is_dir() and Hour.parse(folder.name) < as_of:
            shutil.copytree(folder, then / folder.name)
    whole, settings = taken_in(tmp_path / "whole", landing, hours)
    past, past_settings = taken_in(tmp_path / "past", then, HourRange(start, as_of))
    known = freeze(NO_SPARK, whole, as_known(settings), as_of)
    expected = freeze(NO_SPARK, past, past_settings, as_of)
    assert content(known) == content(expected)
    assert (read_manifest(known).unknown_events or 0) > 10
    happened = freeze(NO_SPARK, whole, settings, as_of)
    assert read_manifest(happened).n_events > read_manifest(known).n_events
