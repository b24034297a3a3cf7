"""Records that come too late are refused, and let in when that is asked."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from fuzzed_logs import H0
from landing_place import COUNTS, Place

from pipeline.hours import HourRange
from pipeline.ingest.ingest import IngestSummary
from pipeline.ingest.parse import TOO_LATE
from pipeline.lake.tables import LATE_RANGES, QUARANTINE
from pipeline.spark.compute import Compute

WEEK_S = 7 * 24 * 3600
A, B, C = f"{H0}/a.csv", f"{H0}/b.csv", "c.csv"


def at(second: int, item: str = "i") -> str:
    return f"{H0.index * 3600 + second},u,{item},,,"


def hours_around(second: int) -> HourRange:
    hour = H0 + second // 3600
    return HourRange(hour, hour + 1)


@pytest.fixture
def place(tmp_path: Path, compute: Compute) -> Place:
    return Place(tmp_path, compute)


def too_late(place: Place) -> list[tuple[str, int]]:
    rows = [row for row in place.rows(QUARANTINE) if row["reason"] == TOO_LATE]
    return sorted((row["source_file"], row["line"]) for row in rows)


def totals(summary: IngestSummary) -> list[int]:
    return [getattr(summary, name) for name in COUNTS]


def test_what_a_named_arrival_makes_too_late_is_refused(place: Place) -> None:
    lines = at(-WEEK_S), at(-WEEK_S - 1)
    place.put(A, *lines)
    # The name of this one tells no arrival: it is a log of old.
    place.put(C, at(-WEEK_S - 1, "j"), at(-100 * WEEK_S))
    place.ingest()
    assert too_late(place) == [(A, 3)]
    assert place.accounts() == {A: (2, 1, 0, 1), C: (2, 2, 0, 0)}


@pytest.mark.parametrize(
    ("max_lateness", "refused"),
    [
        ("170h", [3]),
        pytest.param("8d", [], marks=pytest.mark.nightly),
        pytest.param(None, [], marks=pytest.mark.nightly),
    ],
)
def test_the_limit_is_a_setting(place: Place, max_lateness: str | None, refused: list[int]) -> None:
    place.set_rules(max_lateness=max_lateness)
    place.put(A, at(0), at(-171 * 3600))
    place.ingest()
    assert [line for _, line in too_late(place)] == refused


def test_late_records_are_let_in_once_and_for_all(place: Place) -> None:
    old, older = -8 * 24 * 3600, -9 * 24 * 3600
    lines = [at(0), at(old), at(older), "bad", at(old, "j")]
    place.put(A, *lines)
    # Its old record is the first one's too, and was not known to be a duplicate.
    place.put(B, at(old), at(old, "k"))
    place.put(f"{H0 + 1}/unconcerned.csv", at(older, "l"))
    place.ingest()
    assert len(too_late(place)) == 6

    summary = place.ingest(late=hours_around(old))
    assert totals(summary) == [7, 4, 1, 2]
    assert (summary.files, summary.late, summary.missing) == (2, 4, ())
    assert hours_around(old) in summary.hours
    assert too_late(place) == [(A, 4), (f"{H0 + 1}/unconcerned.csv", 2)]
    accounts = place.accounts()
    assert (accounts[A], accounts[B]) == ((5, 3, 0, 2), (2, 1, 1, 0))
    assert place.refused() == [(A, 4), (A, 5), (f"{H0 + 1}/unconcerned.csv", 2)]

    before = place.lake.snapshots()
    assert place.ingest(late=hours_around(old)).files == 0
    assert place.ingest().files == 0
    assert place.lake.snapshots() == before

    # It stays let in when its file comes again, and what else is too late is still refused.
    place.put(A, *lines, at(old, "m"), at(older, "m"))
    place.ingest()
    assert place.accounts()[A] == (7, 4, 0, 3)
    assert too_late(place) == [(A, 4), (A, 8), (f"{H0 + 1}/unconcerned.csv", 2)]
    place.put(A, "worse", *lines[1:])
    place.ingest()
    assert (A, 3) not in too_late(place)
    assert len(place.rows(LATE_RANGES)) == 2


def test_a_file_that_arrives_with_the_asking_is_let_in_too(place: Place) -> None:
    old = -8 * 24 * 3600
    place.put(A, at(old), at(0))
    summary = place.ingest(late=hours_around(old))
    assert (totals(summary), summary.late) == ([2, 2, 0, 0], 1)
    assert place.ingest(late=hours_around(old)).files == 0


def test_the_range_is_of_event_times_whenever_the_file_arrived(place: Place) -> None:
    old = -8 * 24 * 3600
    place.put(A, at(old))
    place.ingest()
    hours = hours_around(old)
    assert totals(place.ingest(hours=HourRange(H0 - 300, hours.stop), late=hours)) == [1, 1, 0, 0]


def test_letting_in_gives_what_no_limit_would_have_given(place: Place, tmp_path: Path) -> None:
    old = -8 * 24 * 3600
    other = Place(tmp_path / "no limit", place.compute)
    other.set_rules(max_lateness=None)
    for each in (place, other):
        each.put(A, at(0), at(old, "j"), at(old + 1), "bad")
        each.put(B, at(old), at(old, "j"))
        for path in each.landing.rglob("*.csv"):
            os.utime(path, (1_500_000_000, 1_500_000_000))
        each.ingest()
    place.ingest(late=hours_around(old))
    wanted, found = other.digests(), place.digests()
    assert found.pop("late_ranges") != wanted.pop("late_ranges")
    assert found == wanted


def test_files_that_are_gone_are_named_and_the_others_taken(place: Place) -> None:
    old = -8 * 24 * 3600
    place.put(A, at(old))
    gone = place.put(B, at(old, "j"))
    place.ingest()
    gone.unlink()
    summary = place.ingest(late=hours_around(old))
    assert (summary.files, summary.missing) == (1, (B,))
    assert too_late(place) == [(B, 2)]
    # Taken in as ever, it is nobody's business that the file is gone.
    assert place.ingest().missing == ()


def test_where_lines_speak_for_themselves_only_files_of_the_range_are_missed(
    place: Place,
) -> None:
    changed: dict[str, Any] = {"name": "json_lines", "columns": {}}
    source = place.settings.source.model_validate(
        {**place.settings.source.model_dump(exclude={"columns"}), **changed}
    )
    place.settings = place.settings.model_copy(update={"source": source})

    def put(name: str, second: int) -> Path:
        path = place.landing / name
        path.parent.mkdir(exist_ok=True)
        time_s = H0.index * 3600 + second
        path.write_text(f'{{"event_time": {time_s}, "user_id": "u", "item_id": "i"}}\n')
        return path

    gone = [put(A, -8 * 24 * 3600), put(B, -9 * 24 * 3600)]
    put(C, 0)
    place.ingest()
    for path in gone:
        path.unlink()
    assert place.ingest(late=hours_around(-8 * 24 * 3600)).missing == (A,)
