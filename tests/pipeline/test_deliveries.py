"""The same files in any order, late, doubled and in pieces end in the same tables (P2, P3)."""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest
from fuzzed_logs import H0, RawLog, expected_accounts, expected_events, fuzzed, plain, refused_of
from landing_place import Place

from pipeline.hours import Hour, HourRange
from pipeline.lake.tables import EVENTS, SOURCE_FILES
from pipeline.settings.source import ColumnSettings
from pipeline.spark.compute import Compute

SEED = int(os.environ.get("HOURGLASS_TEST_SEED", "0"))
DELIVERIES = int(os.environ.get("HOURGLASS_TEST_DELIVERIES", "1"))
HOURS = HourRange(H0 - 4, H0 + 3)
_MODIFIED_S = 1_457_960_000


def random_logs(seed: int) -> list[RawLog]:
    """Files of every kind whose names tell their arrival; some of them there twice or more."""
    rng = random.Random(seed)
    logs = [plain(rng, "0.csv", bad_share=0.1), *fuzzed(seed, 16)]
    for log in logs:
        log.name = f"{H0 + rng.randrange(2)}/{rng.randrange(100)}-{Path(log.name).name}"
    copies = [RawLog(f"{log.name}-copy.csv", log.content, log.records) for log in logs[::5]]
    return logs + copies


def deliver(place: Place, log: RawLog, share: float = 1.0) -> None:
    """Put a file, or its first part for now, as a writer that is not done would leave it."""
    part = RawLog(log.name, log.content[: int(len(log.content) * share)])
    path = part.put(place.landing)
    # An empty file is whole from the start.
    if share == 1 or not log.content:
        os.utime(path, (_MODIFIED_S, _MODIFIED_S))


def deliver_all(place: Place, logs: list[RawLog], rng: random.Random) -> None:
    """In random order over some runs, some of the files in pieces, with sessions in between."""
    first, *others = logs
    deliver(place, first)
    runs = rng.randrange(2, 5)
    whole_in = {log.name: rng.randrange(runs) for log in others}
    share = dict.fromkeys(whole_in, 0.0)
    for run in range(runs):
        for log in rng.sample(others, len(others)):
            if whole_in[log.name] == run:
                deliver(place, log)
            elif whole_in[log.name] > run and rng.random() < 0.5:
                share[log.name] += rng.random() * (0.95 - share[log.name])
                deliver(place, log, share[log.name])
        place.ingest()
        place.accounts()
        if rng.random() < 0.5:
            place.sessionize(HOURS)
    place.sessionize(HOURS)


@pytest.mark.slow
@pytest.mark.parametrize("world", range(max(1, DELIVERIES // 3)))
def test_any_delivery_of_the_same_files_ends_in_the_same_tables(
    tmp_path: Path, compute: Compute, world: int
) -> None:
    logs = random_logs(SEED + world)
    at_once = Place(tmp_path / "at once", compute)
    for log in logs:
        deliver(at_once, log)
    at_once.ingest()
    at_once.sessionize(HOURS)
    assert at_once.events() == expected_events(logs)
    assert at_once.accounts() == expected_accounts(logs)
    assert at_once.refused() == refused_of(logs)
    wanted = at_once.digests()
    for delivery in range(min(DELIVERIES, 3)):
        place = Place(tmp_path / str(delivery), compute)
        deliver_all(place, logs, random.Random(f"{SEED} {world} {delivery}"))
        assert place.digests() == wanted
        before = place.lake.snapshots()
        place.ingest()
        assert place.lake.snapshots() == before


def reading(place: Place, time_unit: str = "s") -> Place:
    """With a source whose lines are complete wherever one of their fields is cut off."""
    columns = ColumnSettings(item_id="item_id", event_key=None)
    changed = {"columns": columns, "time_unit": time_unit}
    source = place.settings.source.model_copy(update=changed)
    place.settings = place.settings.model_copy(update={"source": source})
    return place


@pytest.fixture
def place(tmp_path: Path, compute: Compute) -> Place:
    return Place(tmp_path, compute)


def test_what_a_line_said_before_it_was_whole_is_forgotten(place: Place) -> None:
    reading(place)
    now = H0.index * 3600
    whole = f"user_id,event_time,item_id\nu,{now},x\nu,{now + 1},item12"
    b, c = RawLog(f"{H0}/b.csv", whole[:-1].encode()), f"{H0}/c.csv"
    b.put(place.landing)
    place.put(c, f"u,{now + 1},item1", f"u,{now + 2},y", header="user_id,event_time,item_id")
    place.ingest()
    # Nobody can tell yet that b never meant item1, and b comes before c.
    assert [row[2::3] for row in place.events()] == [("x", b.name), ("item1", b.name), ("y", c)]
    assert place.accounts() == {b.name: (2, 2, 0, 0), c: (2, 1, 1, 0)}
    b.content = whole.encode()
    b.put(place.landing)
    place.ingest()
    items = sorted((row[2], row[5]) for row in place.events())
    assert items == [("item1", c), ("item12", b.name), ("x", b.name), ("y", c)]
    assert place.accounts() == {b.name: (2, 2, 0, 0), c: (2, 2, 0, 0)}


def test_it_is_forgotten_also_where_it_was_of_another_hour(place: Place) -> None:
    reading(place, "iso8601")
    log = RawLog(f"{H0}/b.csv", b"user_id,item_id,event_time\nu,i,2016-03-14")
    log.put(place.landing)
    place.ingest()
    assert [Hour.of(row["hour"]) for row in place.rows(EVENTS)] == [H0 - 13]
    log.content += b"T13:20:00\nu,i,2016-03-14T1"
    log.put(place.landing)
    place.ingest()
    assert [Hour.of(row["hour"]) for row in place.rows(EVENTS)] == [H0]
    assert place.refused() == [(log.name, 3)]
    assert set(place.lake.filled("ingest")) == {H0}
    log.content += b"3:30:00"
    log.put(place.landing)
    place.ingest()
    assert place.accounts() == {log.name: (2, 2, 0, 0)}
    assert place.refused() == []


def test_a_file_that_becomes_another_keeps_what_it_once_told(place: Place) -> None:
    now = H0.index * 3600
    place.put("a.csv", f"{now},u,x,,,", "bad")
    place.ingest()
    place.put("a.csv", f"{now},u,y,,,", f"{now},u,x,,,", "worse")
    place.ingest()
    assert sorted(row[2] for row in place.events()) == ["x", "y"]
    assert place.refused() == [("a.csv", 3), ("a.csv", 4)]
    accounts = sorted(place.rows(SOURCE_FILES), key=lambda row: row["records"])
    # The event of both contents belongs to the line that comes first, which is the old one's.
    fates = [(row["accepted"], row["duplicates"], row["quarantined"]) for row in accounts]
    assert fates == [(1, 0, 1), (1, 1, 1)]
