from __future__ import annotations

import os
import random
from datetime import timedelta
from pathlib import Path
from typing import Any

import pyarrow.compute as pc
import pytest
from fuzzed_logs import H0, HEADER, expected_accounts, expected_events, fuzzed, refused_of
from landing_place import CLOCK, COUNTS, Place

from pipeline.errors import HourglassError, UsageError
from pipeline.hours import Hour, HourRange
from pipeline.ingest import read_raw
from pipeline.ingest.ingest import IngestSummary
from pipeline.lake.tables import EVENTS, FILLED_HOURS, QUARANTINE, SOURCE_FILES
from pipeline.spark.compute import Compute


def at(second: int, rest: str) -> str:
    return f"{H0.index * 3600 + second},{rest}"


@pytest.fixture
def place(tmp_path: Path, compute: Compute) -> Place:
    return Place(tmp_path, compute)


LOGS = fuzzed(seed=1, files=40)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, compute: Compute) -> Place:
    """Every kind of file, taken in at once; tests only read it."""
    place = Place(tmp_path_factory.mktemp("whole [1] ü"), compute)
    for log in LOGS:
        log.put(place.landing)
    summary = place.ingest()
    counts = expected_accounts(LOGS).values()
    totals = [sum(each) for each in zip(*counts, strict=True)]
    assert [getattr(summary, name) for name in COUNTS] == totals
    assert (summary.files, summary.known_files) == (len(LOGS), 0)
    return place


def test_every_record_of_every_file_is_accounted_for(whole: Place) -> None:
    accounts = whole.accounts()
    assert accounts == expected_accounts(LOGS)
    for records, accepted, duplicates, quarantined in accounts.values():
        assert records == accepted + duplicates + quarantined
    # The files would show little if one of the fates were missing from them.
    assert all(sum(counts) > 30 for counts in zip(*accounts.values(), strict=True))


def test_events_are_the_records_that_can_be_read_each_once(whole: Place) -> None:
    assert whole.events() == expected_events(LOGS)
    for row in whole.rows(EVENTS):
        assert row["hour"] == Hour.of(row["event_time"]).start


def test_quarantine_has_every_other_record_in_its_hour_of_arrival(whole: Place) -> None:
    assert whole.refused() == refused_of(LOGS)
    for row in whole.rows(QUARANTINE):
        named = row["source_file"].split("/")[0]
        arrival = Hour.parse(named) if named.startswith("2016") else Hour.of(CLOCK)
        assert row["hour"] == arrival.start
        assert row["reason"]


def test_filled_hours_count_the_events_of_each_hour(whole: Place) -> None:
    hours = [Hour.of(row["hour"]) for row in whole.rows(EVENTS)]
    counted = {hour: filled.rows for hour, filled in whole.lake.filled("ingest").items()}
    assert counted == {hour: hours.count(hour) for hour in set(hours)}
    assert whole.lake.state() == whole.lake.snapshots()


def test_ingesting_again_changes_nothing(whole: Place) -> None:
    before = whole.lake.snapshots()
    for path in whole.landing.rglob("*.csv"):
        os.utime(path, (1_500_000_000, 1_500_000_000))
    summary = whole.ingest(CLOCK + timedelta(days=1))
    assert summary == IngestSummary(files=0, known_files=len(LOGS))
    assert whole.lake.snapshots() == before
    assert not list(whole.settings.path("scratch").glob("parsed-*"))


def test_any_order_and_splitting_of_arrival_ends_the_same(whole: Place, place: Place) -> None:
    rng = random.Random(2)
    logs = rng.sample(LOGS, len(LOGS))
    first, second = sorted(rng.sample(range(8, len(logs)), 2))
    for part in (logs[:first], logs[first:second], logs[second:]):
        for log in part:
            log.put(place.landing)
        place.ingest()
        for records, *fates in place.accounts().values():
            assert records == sum(fates)
    assert place.content() == whole.content()
    assert place.accounts() == whole.accounts()
    # Taken in once more, as if never seen, over all that is there already.
    place.lake.overwrite(SOURCE_FILES, "true", SOURCE_FILES.schema.empty_table(), {})
    place.lake.record_filled("forget", [], FILLED_HOURS.schema.empty_table(), {})
    assert place.ingest().files == len(LOGS)
    assert place.content() == whole.content()
    assert place.accounts() == whole.accounts()


def test_a_grown_file_adds_its_new_lines_only(place: Place) -> None:
    place.put("a.csv", at(0, "u,i,,,"), "bad", at(1, "u,i,,k,pc"))
    place.put("b.csv", at(2, "u,i,,,"))
    assert place.ingest().files == 2
    place.put("a.csv", at(0, "u,i,,,"), "bad", at(1, "u,i,,k,tablet"), at(2, "u,i,,,"), "worse")
    summary = place.ingest(CLOCK + timedelta(hours=5))
    assert summary.hours == (HourRange(H0, H0 + 1),)
    assert (summary.files, summary.known_files) == (1, 1)
    assert [getattr(summary, name) for name in COUNTS] == [5, 3, 0, 2]
    now = H0.index * 3600.0
    assert place.events() == [
        (now, "u", "i", None, "", "a.csv", 2),
        # The same event by its key, as the file tells it now.
        (now + 1, "u", "i", None, "tablet", "a.csv", 4),
        # The same as b.csv's, and first by file and line.
        (now + 2, "u", "i", None, "", "a.csv", 5),
    ]
    # What was refused before is not refused a second time in the later hour.
    arrivals = {row["line"]: Hour.of(row["hour"]) for row in place.rows(QUARANTINE)}
    assert arrivals == {3: H0 + 1, 6: H0 + 6}
    assert place.refused() == [("a.csv", 3), ("a.csv", 6)]
    versions = [row for row in place.rows(SOURCE_FILES) if row["source_file"] == "a.csv"]
    assert sorted(row["records"] for row in versions) == [3, 5]
    assert len({(row["sha256"], row["bytes"]) for row in versions}) == 2
    assert place.ingest(CLOCK + timedelta(days=1)).files == 0


def test_hours_are_replaced_with_what_other_files_gave_them(place: Place) -> None:
    place.put("a.csv", at(0, "u,i,,,"), at(-3600, "u,i,,,"))
    place.put("c.csv", at(5, "v,i,,,"))
    place.ingest()
    place.put("b.csv", at(9, "w,i,,,"))
    assert place.ingest().hours == (HourRange(H0, H0 + 1),)
    now = H0.index * 3600.0
    assert [(time - now, user) for time, user, *_ in place.events()] == [
        (-3600, "u"),
        (0, "u"),
        (5, "v"),
        (9, "w"),
    ]
    assert {hour: f.rows for hour, f in place.lake.filled("ingest").items()} == {H0: 3, H0 - 1: 1}


def test_only_the_asked_hours_of_arrival_are_taken(place: Place) -> None:
    place.put(f"{H0}/a.csv", at(0, "u,i,,,"))
    place.put(f"{H0 + 1}/a.csv", at(1, "u,i,,,"))
    assert place.ingest(hours=HourRange(H0 + 1, H0 + 2)).files == 1
    assert [row[-2] for row in place.events()] == [f"{H0 + 1}/a.csv"]
    assert place.ingest().files == 1
    assert len(place.events()) == 2


def test_files_without_a_single_event_are_ingested_all_the_same(place: Place) -> None:
    place.put(f"{H0}/good.csv", at(0, "u,i,,,"))
    place.ingest()
    filled = place.lake.filled("ingest")
    (place.landing / "empty.csv").write_bytes(b"")
    place.put("blank.csv", "", " ")
    place.put(f"{H0}/bad.csv", "bad")
    summary = place.ingest()
    assert (summary.files, summary.hours) == (3, ())
    assert place.accounts() == {
        f"{H0}/good.csv": (1, 1, 0, 0),
        "empty.csv": (0, 0, 0, 0),
        "blank.csv": (0, 0, 0, 0),
        f"{H0}/bad.csv": (1, 0, 0, 1),
    }
    assert place.lake.filled("ingest") == filled
    # Readers of the state see the refused record and the accounts too.
    assert place.lake.state() == place.lake.snapshots()
    assert place.ingest().files == 0


def test_a_lake_may_begin_without_an_event(place: Place) -> None:
    (place.landing / "empty.csv").write_bytes(b"")
    assert place.ingest().records == 0
    assert place.accounts() == {"empty.csv": (0, 0, 0, 0)}
    assert place.events() == place.refused() == []
    assert place.ingest().files == 0


def nothing_committed(place: Place) -> bool:
    return set(place.lake.snapshots().values()) == {None}


def test_a_column_that_no_file_has_is_named_and_nothing_is_committed(place: Place) -> None:
    for name in ("a.csv", "b.csv"):
        place.put(name, at(0, "u,i,,,"), header=HEADER.replace("user_id", "visitor"))
    # Says nothing about the settings.
    (place.landing / "c.csv").write_bytes(b"\xff\x00\n")
    (place.landing / "d.csv").write_bytes(b"")
    with pytest.raises(HourglassError, match=r"a\.csv: .*user_id") as caught:
        place.ingest()
    assert "\n" not in str(caught.value)
    assert nothing_committed(place)


def test_a_landing_zone_with_nothing_in_it_is_told(place: Place) -> None:
    with pytest.raises(UsageError, match=r"landing: no file matches"):
        place.ingest()
    place.landing.rmdir()
    with pytest.raises(UsageError, match=r"landing: no such file or folder"):
        place.ingest()
    assert nothing_committed(place)


def test_records_that_do_not_add_up_are_never_committed(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    place.put("a.csv", at(0, "u,i,,,"), at(1, "u,i,,,"))
    parser = read_raw.FilesParser

    def forgetful(*rules: Any) -> Any:
        parse = parser(*rules)
        return lambda batches: (
            batch.filter(pc.fill_null(pc.not_equal(batch["line"], 2), True))
            for batch in parse(batches)
        )

    monkeypatch.setattr(read_raw, "FilesParser", forgetful)
    with pytest.raises(HourglassError, match=r"a\.csv: 2 records were read but 1 accounted"):
        place.ingest()
    assert nothing_committed(place)
