"""Backfill killed at any instant: readers see whole states, a rerun completes (P5).

``HOURGLASS_TEST_KILLS=100`` kills more often.
"""

from __future__ import annotations

import os
import random
import subprocess
import sys
import threading
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pytest
from fuzzed_logs import H0
from killing import ROOT, run_and_kill, settings_file
from landing_place import Place

from pipeline.hours import Hour, HourRange
from pipeline.lake.fingerprint import content_digest
from pipeline.lake.lake import Lake, State
from pipeline.lake.tables import (
    EVENTS,
    OPEN_SESSIONS,
    QUARANTINE,
    SESSIONS,
    SOURCE_FILES,
    STEP_TABLES,
    TableSpec,
)
from pipeline.sessions.backfill import backfill
from pipeline.settings.settings import Settings
from pipeline.spark.compute import Compute

KILLS = int(os.environ.get("HOURGLASS_TEST_KILLS", "1"))
_MORE = 10  # rounds until one was killed: on a quick machine all may end before their time
CLOCK = datetime(2026, 1, 1, tzinfo=UTC)
NO_DIGEST = "0-0"
SPAN_H = 5


def put_round(place: Place, rng: random.Random, nth: int) -> set[str]:
    """Some files that arrive in one hour, of events up to five old; one line in ten is broken."""
    names = set()
    for n in range(3):
        name = f"{H0 + SPAN_H}/{nth:03d}-{n}.csv"
        lines = []
        for line in range(25):
            at_s = H0.index * 3600 + rng.randrange(SPAN_H * 3600)
            user = f"u{rng.randrange(12)}"
            lines.append(
                "broken" if rng.random() < 0.1 else f"{at_s},{user},i{rng.randrange(9)},,,{line}"
            )
        place.put(name, *lines, lines[0])
        names.add(name)
    return names


def assert_whole(lake: Lake) -> frozenset[str]:
    """Every table of one state agrees with what the steps recorded; the files that are in it."""
    state = lake.state()
    filled = lake.filled_steps(state=state)
    accounts = lake.arrow(SOURCE_FILES, state=state).to_pylist()
    events = Counter(_hours(lake.arrow(EVENTS, state=state)))
    assert events == {h: f.rows for h, f in filled.get("ingest", {}).items() if f.rows}
    assert sum(row["accepted"] for row in accounts) == events.total()
    refused = lake.arrow(QUARANTINE, state=state).num_rows
    assert sum(row["quarantined"] for row in accounts) == refused
    sessions = filled.get("sessionize", {})
    assert _digests(lake, SESSIONS, state) == _some(
        {hour: record.output_digest for hour, record in sessions.items()}
    )
    assert _digests(lake, OPEN_SESSIONS, state) == _some(
        {hour: record.state_digest for hour, record in sessions.items()}
    )
    return frozenset(row["source_file"] for row in accounts)


def _hours(rows: pa.Table) -> list[Hour]:
    return [Hour(us // 3_600_000_000) for us in rows["hour"].cast(pa.int64()).to_pylist()]


def _digests(lake: Lake, spec: TableSpec, state: State) -> dict[Hour, str]:
    rows = lake.arrow(spec, state=state)
    hours = pa.array([hour.index for hour in _hours(rows)], pa.int64())
    plain = rows.drop_columns(["hour"])
    return {
        Hour(index): content_digest(plain.filter(pa.compute.equal(hours, index)))
        for index in set(hours.to_pylist())
    }


def _some(digests: dict[Hour, str]) -> dict[Hour, str]:
    return {hour: digest for hour, digest in digests.items() if digest != NO_DIGEST}


class Reader(threading.Thread):
    """Looks at the lake over and over while others write to it and die."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(daemon=True)
        self.lake = Lake(settings.resolved_catalog_uri, settings.resolved_warehouse)
        self.looks = 0
        self.fault: BaseException | None = None
        self.done = threading.Event()

    def run(self) -> None:
        try:
            while not self.done.wait(0.5):
                assert_whole(self.lake)
                self.looks += 1
        except BaseException as error:
            self.fault = error

    def finish(self) -> int:
        self.done.set()
        self.join(120)
        if self.fault is not None:
            raise self.fault
        return self.looks


@pytest.mark.slow
def test_a_backfill_killed_at_any_instant_leaves_whole_states_and_the_next_completes_it(
    compute: Compute, tmp_path: Path
) -> None:
    place = Place(tmp_path, compute)
    config = settings_file(place, tmp_path)
    rng = random.Random(8)
    arrived = [frozenset(put_round(place, rng, 0))]
    longest_s = run_and_kill(config, "backfill", "backfilling", 300.0)
    assert longest_s is not None
    assert assert_whole(place.lake) == arrived[0]
    reader = Reader(place.settings)
    reader.start()
    killed = half_done = 0
    for nth in range(1, KILLS + _MORE):
        if nth > KILLS and killed:
            break
        arrived.append(arrived[-1] | put_round(place, rng, nth))
        needed_s = run_and_kill(config, "backfill", "backfilling", rng.uniform(0.0, longest_s))
        # What was left undone adds up: without more time none would ever come to its commits.
        longest_s = 0.5 * longest_s + 0.5 * needed_s if needed_s else 1.3 * longest_s
        killed += needed_s is None
        now, finished = place.lake.snapshots(), place.lake.state()
        half_done += any(now[spec.name] != finished[spec.name] for spec in STEP_TABLES)
        assert assert_whole(place.lake) in arrived
    looks = reader.finish()
    print(f"{killed} killed, {half_done} of them between commits; {looks} looks of a reader")
    assert killed
    assert looks

    everything = (compute, place.lake, place.settings, CLOCK, None)
    backfill(*everything)
    assert assert_whole(place.lake) == arrived[-1]
    assert place.lake.state() == place.lake.snapshots()
    quiet = Place(tmp_path / "quiet", compute)
    for path in place.landing.rglob("*.csv"):
        copy = quiet.landing / path.relative_to(place.landing)
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_bytes(path.read_bytes())
    backfill(compute, quiet.lake, quiet.settings, CLOCK, None)
    found, expected = place.digests(), quiet.digests()
    # When a file was seen on disk is no content, and which empty hours were looked at neither.
    differing = {name for name in found if found[name] != expected[name]}
    assert differing <= {"source_files", "filled_hours"}
    assert place.accounts() == quiet.accounts()


def test_two_backfills_at_once_do_the_work_once(compute: Compute, tmp_path: Path) -> None:
    place = Place(tmp_path, compute)
    config = settings_file(place, tmp_path)
    put_round(place, random.Random(3), 0)
    command = [sys.executable, "-m", "training.cli", "--config", str(config), "backfill", "--json"]
    both = [
        subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        for _ in range(2)
    ]
    for process in both:
        _, stderr = process.communicate(timeout=300)
        assert process.returncode == 0, stderr.decode()
    assert_whole(place.lake)
    assert len(place.accounts()) == 3
    every = HourRange(H0, H0 + SPAN_H)
    assert {hour for hour in place.lake.filled("sessionize") if hour in every}
    quiet = Place(tmp_path / "quiet", compute)
    put_round(quiet, random.Random(3), 0)
    backfill(compute, quiet.lake, quiet.settings, CLOCK, None)
    for name in ("events", "sessions", "open_sessions", "item_hours", "dwell_hours", "quarantine"):
        assert place.digests()[name] == quiet.digests()[name]
