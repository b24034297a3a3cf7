"""Ingest that is killed: readers see whole states, and what runs next completes it."""

from __future__ import annotations

import os
import random
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from fuzzed_logs import H0, RawLog, event_rows, expected_events, fuzzed, refused_of
from killing import run_and_kill, settings_file
from landing_place import CLOCK, Place

from pipeline.hours import HourRange
from pipeline.lake.lake import Lake
from pipeline.lake.tables import EVENTS, LATE_RANGES, QUARANTINE, SOURCE_FILES, STEP_TABLES
from pipeline.settings.settings import Settings
from pipeline.spark.compute import Compute

KILLS = int(os.environ.get("HOURGLASS_TEST_KILLS", "1"))
_MORE = 5
BEGUN = ("ingest", "ingesting")

Seen = tuple[Any, ...]


def seen_by_readers(lake: Lake) -> Seen:
    """Events, refused records and files as one state of the lake has them."""
    state = lake.state()
    quarantine = lake.arrow(QUARANTINE, state=state).to_pylist()
    files = lake.arrow(SOURCE_FILES, state=state).column("source_file").to_pylist()
    return (
        event_rows(lake.arrow(EVENTS, state=state).to_pylist()),
        sorted((row["source_file"], row["line"]) for row in quarantine),
        sorted(files),
    )


def expected_of(logs: list[RawLog]) -> Seen:
    return expected_events(logs), refused_of(logs), sorted(log.name for log in logs)


class Killed(BaseException):
    """Stands for the end of the process: nothing that handles errors may handle it."""


@contextmanager
def dying_after(commits: int, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    from pyiceberg.table import Transaction

    commit = Transaction.commit_transaction
    left = [commits]

    def counted(tx: Transaction) -> Any:
        if left[0] == 0:
            raise Killed
        left[0] -= 1
        return commit(tx)

    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(Transaction, "commit_transaction", counted)
        yield


def test_killed_between_any_two_commits_and_run_again_it_ends_as_if_undisturbed(
    compute: Compute, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = fuzzed(seed=5, files=8), fuzzed(seed=6, files=16)
    later = CLOCK + timedelta(hours=2)
    quiet, disturbed = Place(tmp_path / "quiet", compute), Place(tmp_path / "disturbed", compute)
    for place in (quiet, disturbed):
        for log in first:
            log.put(place.landing)
        place.ingest()
        for log in second:
            log.put(place.landing)
    assert disturbed.content() == quiet.content()
    before = seen_by_readers(disturbed.lake)
    assert before == expected_of(first)
    # Between the commits that ingest makes, and while what was left of them is taken back: an
    # attempt begins with as many commits as tables were left half-done by the one before.
    for attempt, (commits, half_done) in enumerate([(2, 2), (5, 3), (2, 1)]):
        # In another hour each, so that what it leaves behind lies elsewhere.
        with dying_after(commits, monkeypatch):
            disturbed.ingest(CLOCK + timedelta(minutes=30 * attempt))
        assert seen_by_readers(disturbed.lake) == before
        now, finished = disturbed.lake.snapshots(), disturbed.lake.state()
        assert sum(now[spec.name] != finished[spec.name] for spec in STEP_TABLES) == half_done
    quiet.ingest(later)
    disturbed.ingest(later)
    assert disturbed.content() == quiet.content()
    assert disturbed.accounts() == quiet.accounts()
    assert disturbed.lake.state() == disturbed.lake.snapshots()
    assert seen_by_readers(disturbed.lake) == expected_of(first + second)


def test_killed_while_late_records_are_let_in_it_is_as_if_nobody_had_asked(
    compute: Compute, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = Place(tmp_path, compute)
    old = H0 - 8 * 24
    place.put(f"{H0}/a.csv", f"{old.index * 3600},u,i,,,", f"{H0.index * 3600},u,i,,,")
    place.ingest()
    before, late = seen_by_readers(place.lake), HourRange(old, old + 1)
    assert len(before[1]) == 1
    # After the events, the quarantine, the accounts, and what is remembered of the asking.
    for commits in (1, 4):
        with dying_after(commits, monkeypatch):
            place.ingest(late=late)
        assert seen_by_readers(place.lake) == before
        place.lake.undo_unfinished()
    assert place.rows(LATE_RANGES) == []
    assert place.ingest(late=late).accepted == 2
    assert (len(place.events()), place.refused()) == (2, [])


class Reader(threading.Thread):
    """Reads the lake's state over and over, and keeps each different thing it saw."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(daemon=True)
        self.lake = Lake(settings.resolved_catalog_uri, settings.resolved_warehouse)
        self.seen: list[Seen] = []
        self.fault: BaseException | None = None
        self.done = threading.Event()

    def run(self) -> None:
        try:
            while not self.done.wait(0.05):
                now = seen_by_readers(self.lake)
                if not self.seen or self.seen[-1] != now:
                    self.seen.append(now)
        except Exception as error:
            self.fault = error

    def finish(self) -> list[Seen]:
        self.done.set()
        self.join(60)
        assert self.fault is None, self.fault
        return self.seen


@pytest.mark.slow
@pytest.mark.parametrize(
    "from_mib", [64, pytest.param(0, marks=pytest.mark.nightly)], ids=["in process", "by Spark"]
)
def test_killed_at_any_instant_readers_see_whole_states_and_a_rerun_completes(
    compute: Compute, tmp_path: Path, from_mib: int
) -> None:
    place = Place(tmp_path, compute)
    logs = fuzzed(seed=9, files=6 * (KILLS + 1 + _MORE))
    for log in logs:
        # Their arrival in their names, so that the time of the run plays no part.
        log.name = f"{H0}/{log.name.replace('/', '-')}"
    batches = [logs[at : at + 6] for at in range(0, len(logs), 6)]
    config = settings_file(place, tmp_path, from_mib)

    for log in batches[0]:
        log.put(place.landing)
    begun = time.monotonic()
    place.ingest()
    whole = [expected_of(batches[0])]
    assert seen_by_readers(place.lake) == whole[0]

    rng = random.Random(4)
    longest_s = 3 * (time.monotonic() - begun)
    arrived = list(batches[0])
    killed = 0
    for attempt, batch in enumerate(batches[1:]):
        # All of them may have ended before their time: until one did not, there are more.
        if attempt >= KILLS and killed:
            break
        for log in batch:
            log.put(place.landing)
        arrived += batch
        whole.append(expected_of(arrived))
        reader = Reader(place.settings)
        reader.start()
        if attempt % 2:
            # Parsing takes most of the time; the commits are crowded at the end.
            staged = place.settings.resolved_warehouse / EVENTS.name / "data"
            needed_s = run_and_kill(config, *BEGUN, rng.uniform(0, longest_s / 4), staged)
        else:
            needed_s = run_and_kill(config, *BEGUN, rng.uniform(0, longest_s))
            longest_s = needed_s or longest_s
        killed += needed_s is None
        last = seen_by_readers(place.lake)
        assert last in whole
        places = [whole.index(seen) for seen in (*reader.finish(), last)]
        assert places == sorted(places)
        if needed_s is not None:
            assert last == whole[-1]
    assert killed
    place.ingest()
    assert seen_by_readers(place.lake) == whole[-1]
    assert place.lake.state() == place.lake.snapshots()

    quiet = Place(tmp_path / "quiet", compute)
    for log in arrived:
        log.put(quiet.landing)
    quiet.ingest()
    assert place.content() == quiet.content()
