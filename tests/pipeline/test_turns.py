"""Steps hold the lock for their commits alone; whatever others do meanwhile, nothing goes wrong."""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import pytest
from fuzzed_logs import H0
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from landing_place import CLOCK, Place
from staging import NO_SPARK

from pipeline.errors import HourglassError
from pipeline.hours import HourRange
from pipeline.ingest import ingest as ingest_module
from pipeline.ingest.ingest import ingest
from pipeline.lake.lake import Lake
from pipeline.lake.stale_hours import stale_hours
from pipeline.lake.tables import (
    DWELL_HOURS,
    EVENTS,
    ITEM_HOURS,
    OPEN_SESSIONS,
    SESSIONS,
    SOURCE_FILES,
    STEP_TABLES,
)
from pipeline.lake.turns import LakeMovedError, Turn, in_turn
from pipeline.process.locks import lake_lock
from pipeline.quality.validate_hours import validate
from pipeline.quality.verdicts import STEPS as STEPS_OF_KINDS
from pipeline.sessions.backfill import backfill
from pipeline.sessions.sessionize import sessionize

HOURS = HourRange(H0 - 2, H0 + 3)
EXAMPLES = max(3, settings.default.max_examples // 4)
FORK = multiprocessing.get_context("forkserver")


def line(hour: int, user: str, item: str, key: str) -> str:
    return f"{(H0 + hour).index * 3600 + len(user) * 60},{user},{item},,{key},pc"


# What lies in the landing zone before all, and what arrives while a step is at work.
FIRST = {f"{H0}/a.csv": [line(-2, "u", "i", "k1"), line(-1, "uu", "j", "k2")]}
LATER = {
    # Grown, in an hour of before; a new file that tells of an event of before; and a new hour.
    f"{H0}/a.csv": [*FIRST[f"{H0}/a.csv"], line(-2, "uuu", "i", "k3"), "bad"],
    f"{H0 + 1}/b.csv": [line(-2, "u", "i", "k1"), line(-1, "u", "j", "k4")],
    f"{H0 + 1}/c.csv": [line(0, "uu", "i", "k5"), line(0, "u", "i", "k6")],
}


class Killed(BaseException):
    """Stands for the end of a process: nothing that handles errors may handle it."""


class Site:
    """A landing place whose lake several processes write to, each by a lake of its own."""

    def __init__(self, place: Place) -> None:
        self.place = place

    def lake(self) -> Lake:
        rules = self.place.settings
        return Lake(rules.resolved_catalog_uri, rules.resolved_warehouse)

    def alone(self) -> AbstractContextManager[None]:
        """Taken at once, or another process is found to hold it."""
        return lake_lock(self.place.settings.resolved_warehouse, 0)

    def arrives(self, *names: str) -> None:
        for name in names:
            self.place.put(name, *LATER[name])

    def ingest(self, lake: Lake, alone: Callable[[], Any]) -> None:
        ingest(NO_SPARK, lake, self.place.settings, CLOCK, alone=alone)

    def sessionize(self, lake: Lake, alone: Callable[[], Any]) -> None:
        sessionize(NO_SPARK, lake, self.place.settings, HOURS, alone=alone)

    def backfill(self, lake: Lake, alone: Callable[[], Any]) -> None:
        backfill(NO_SPARK, lake, self.place.settings, CLOCK, HOURS, alone=alone)

    def take_back(self, lake: Lake, alone: Callable[[], Any]) -> None:
        with alone():
            lake.undo_unfinished()


STEPS = ("ingest", "sessionize", "backfill")


@contextmanager
def dying_after(commits: int) -> Iterator[None]:
    """The process ends with the commit after these, if it comes so far."""
    from pyiceberg.table import Transaction

    commit, left = Transaction.commit_transaction, [commits]

    def counted(tx: Transaction) -> Any:
        if left[0] == 0:
            raise Killed
        left[0] -= 1
        return commit(tx)

    with pytest.MonkeyPatch.context() as patch, suppress(Killed):
        patch.setattr(Transaction, "commit_transaction", counted)
        yield


def does(site: Site, step: str, files: tuple[str, ...], dies: int | None) -> None:
    """Another process, from its start to its end."""
    site.arrives(*files)
    work = partial(getattr(site, step), site.lake(), site.alone)
    if dies is None:
        work()
        return
    with dying_after(dies):
        work()


# About as many looks at a table has a step that computes something.
MOST_LOOKS = 60
COMPUTED = MOST_LOOKS + 1


def interrupted(site: Site, moments: dict[int, list[Callable[[], None]]]) -> tuple[Lake, Any]:
    """A lake and its lock; others act at the n-th look at a table that is had without the lock.

    Those of ``COMPUTED`` come between the last look and the lock for what was computed.
    """
    lake, state = site.lake(), {"looks": 0, "locks": 0, "locked": False}
    table = lake.table

    def act(moment: int) -> None:
        for action in moments.pop(moment, []):
            action()

    def look(*arguments: Any) -> Any:
        if state["locks"] and not state["locked"]:
            state["looks"] += 1
            act(state["looks"])
        return table(*arguments)

    @contextmanager
    def alone() -> Iterator[None]:
        state["locks"] += 1
        if state["locks"] > 1:
            act(COMPUTED)
        with site.alone():
            state["locked"] = True
            yield
        state["locked"] = False

    object.__setattr__(lake, "table", look)
    return lake, alone


OTHERS = st.tuples(
    st.one_of(st.integers(1, MOST_LOOKS), st.just(COMPUTED)),
    st.sampled_from((*STEPS, "take_back")),
    st.lists(st.sampled_from(sorted(LATER)), max_size=2, unique=True).map(tuple),
    st.none() | st.integers(0, 6),
)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Site:
    place = Place(tmp_path_factory.mktemp("turns") / "place", NO_SPARK)
    for name, lines in FIRST.items():
        place.put(name, *lines)
    site = Site(place)
    site.backfill(site.lake(), site.alone)
    place.remember()
    return site


@pytest.fixture(scope="module")
def quiet(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What the tables hold in the end where nobody came in between."""
    place = Place(tmp_path_factory.mktemp("quiet"), NO_SPARK)
    for name, lines in LATER.items():
        place.put(name, *lines)
    site = Site(place)
    site.backfill(site.lake(), site.alone)
    return content(site)


def content(site: Site) -> dict[str, Any]:
    place = site.place
    place.lake = site.lake()
    place.accounts()
    sessions = (SESSIONS, OPEN_SESSIONS, ITEM_HOURS, DWELL_HOURS)
    return place.content() | {s.name: sorted(map(repr, place.rows(s))) for s in sessions}


def is_whole(lake: Lake) -> bool:
    """Whether the tables are as the last finished step left them."""
    recorded = lake.state()
    return all(lake.snapshot(s) == recorded.get(s.name) for s in STEP_TABLES)


@settings(max_examples=EXAMPLES, suppress_health_check=list(HealthCheck))
@given(step=st.sampled_from(STEPS), others=st.lists(OTHERS, min_size=1, max_size=3))
def test_whoever_comes_in_between_nothing_is_lost_and_nothing_twice(
    site: Site, quiet: dict[str, Any], step: str, others: list[tuple[Any, ...]]
) -> None:
    site.place.put_back()
    site.arrives(f"{H0 + 1}/b.csv")
    moments: dict[int, list[Callable[[], None]]] = {}
    for look, *what in others:
        moments.setdefault(look, []).append(partial(does, site, *what))
    lake, alone = interrupted(site, moments)
    getattr(site, step)(lake, alone)
    # It has ended well, so all that it promises holds, whatever was half-done meanwhile.
    after = site.lake()
    assert is_whole(after)
    if step != "sessionize":
        taken_in = {row["source_file"] for row in after.arrow(SOURCE_FILES).to_pylist()}
        assert f"{H0 + 1}/b.csv" in taken_in
    if step != "ingest":
        assert stale_hours(after, site.place.settings, HOURS.stop) == []
    # And when all has arrived, and was taken in by whoever comes next, it is as if nobody had.
    site.arrives(*LATER)
    site.backfill(after, site.alone)
    assert content(site) == quiet


@pytest.mark.parametrize("fate", ["stays", "is killed", "is killed, and that is taken back"])
def test_what_was_read_of_anothers_half_done_step_counts_for_nothing(
    site: Site, quiet: dict[str, Any], monkeypatch: pytest.MonkeyPatch, fate: str
) -> None:
    """The former snapshots may be current again by then."""
    site.place.put_back()
    site.arrives(f"{H0 + 1}/c.csv")
    find, runs = ingest_module.find_new_files, []

    def found(*arguments: Any) -> Any:
        is_first = not runs
        runs.append(1)
        if is_first:
            does(site, "ingest", (), None if fate == "stays" else 2)
        answer = find(*arguments)
        if is_first and fate.endswith("taken back"):
            site.take_back(site.lake(), site.alone)
        return answer

    with monkeypatch.context() as patch:
        patch.setattr(ingest_module, "find_new_files", found)
        summary = ingest(NO_SPARK, site.lake(), site.place.settings, CLOCK, alone=site.alone)
    # The other one has a look at the files too.
    assert len(runs) == 3
    assert summary.files == (0 if fate == "stays" else 1)
    site.arrives(*LATER)
    site.backfill(site.lake(), site.alone)
    assert content(site) == quiet


def test_a_verdict_is_about_what_the_hour_holds(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pipeline.quality import validate_hours

    site.place.put_back()
    batches, judged = validate_hours.validate_batches, []

    def slow(*arguments: Any) -> Any:
        judged.append(1)
        if len(judged) == 1:
            does(site, "ingest", (f"{H0}/a.csv",), None)
        return batches(*arguments)

    monkeypatch.setattr(validate_hours, "validate_batches", slow)
    hours = HourRange(H0 - 2, H0 - 1)
    rules = site.place.settings
    validate(site.lake(), rules, hours, ("events",), alone=site.alone)
    lake = site.lake()
    content_digest = lake.filled("ingest", hours)[hours.first].output_digest
    (verdict,) = lake.filled(STEPS_OF_KINDS["events"], hours).values()
    assert verdict.input_digest == content_digest
    assert len(judged) == 2


def test_an_error_counts_where_nobody_came_in_between(site: Site) -> None:
    site.place.put_back()
    attempts: list[Turn] = []

    def fails(turn: Turn) -> None:
        attempts.append(turn)
        raise HourglassError("no")

    with pytest.raises(HourglassError, match="no"):
        in_turn(site.lake(), site.alone, fails)
    assert len(attempts) == 1


def test_what_fails_as_it_commits_is_not_done_again(site: Site) -> None:
    site.place.put_back()
    attempts: list[Turn] = []

    def fails(turn: Turn) -> None:
        attempts.append(turn)
        with turn.commits():
            turn.lake.replace(EVENTS, HOURS, [], {})
            raise HourglassError("the disk is full")

    with pytest.raises(HourglassError, match="full"):
        in_turn(site.lake(), site.alone, fails)
    assert len(attempts) == 1
    assert site.lake().undo_unfinished() == [EVENTS.name]


def test_a_turn_whose_lake_moved_commits_nothing(site: Site) -> None:
    site.place.put_back()
    turn = Turn(site.lake(), site.alone, site.lake().versions())
    does(site, "ingest", (f"{H0 + 1}/b.csv",), None)
    with pytest.raises(LakeMovedError), turn.commits():
        pytest.fail("it commits")
    with site.alone():
        pass


def test_a_file_that_upkeep_took_for_a_killed_runs_is_not_committed(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is left alone for `maintain.grace`, and a step may be at work for longer."""
    site.place.put_back()
    site.arrives(f"{H0 + 1}/c.csv")
    before = site.lake().versions()
    check = ingest_module.check_events

    def later(*arguments: Any) -> None:
        committed = {Path(file.path) for file in site.lake().files(EVENTS)}
        for path in (site.lake().warehouse / EVENTS.name / "data").rglob("*.parquet"):
            if path not in committed:
                path.unlink()
        check(*arguments)

    monkeypatch.setattr(ingest_module, "check_events", later)
    with pytest.raises(HourglassError, match="removed before it was committed: run the step again"):
        site.ingest(site.lake(), site.alone)
    assert site.lake().versions() == before


def ingest_that_waits(place: Place, reading: Connection) -> None:
    """Ingest in a process of its own, which says that it reads, and waits for an answer."""
    read = ingest_module.read_raw_files

    def slow(*arguments: Any) -> Any:
        reading.send("reading")
        reading.recv()
        return read(*arguments)

    ingest_module.read_raw_files = slow
    site = Site(place)
    lake = site.lake()
    site.ingest(lake, site.alone)
    reading.send("done")


@pytest.mark.parametrize("ends", ["in its turn", "by kill -9"])
def test_a_process_that_reads_keeps_nobody_from_writing(
    tmp_path: Path, quiet: dict[str, Any], ends: str
) -> None:
    place = Place(tmp_path, NO_SPARK)
    for name, lines in LATER.items():
        place.put(name, *lines)
    other = Place.__new__(Place)
    other.__dict__.update({k: v for k, v in vars(place).items() if k not in ("lake", "compute")})
    here, there = FORK.Pipe()
    process = FORK.Process(target=ingest_that_waits, args=(other, there))
    process.start()
    site = Site(place)
    try:
        assert here.recv() == "reading"
        # The lock is free, and stays so for a whole hour's steps.
        site.backfill(site.lake(), site.alone)
        if ends == "by kill -9":
            assert process.pid is not None
            os.kill(process.pid, signal.SIGKILL)
        else:
            # It reads once more, under the lock, and finds that all of it is there already.
            here.send("go on")
            assert here.recv() == "done"
    finally:
        process.join(60)
        process.close()
    assert content(site) == quiet
    site.backfill(site.lake(), site.alone)
    assert content(site) == quiet
