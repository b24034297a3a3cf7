"""Which path tells by ``source.arrival`` when a file arrived, and what follows from it."""

from __future__ import annotations

import os
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from fuzzed_logs import H0
from landing_place import CLOCK, Place

from pipeline.errors import UsageError
from pipeline.hours import Hour, HourRange
from pipeline.ingest.ingest import IngestSummary
from pipeline.ingest.landing.arrivals import arrival_teller
from pipeline.ingest.parse import TOO_LATE
from pipeline.ingest.summary import and_no_arrival, arrival_lines
from pipeline.lake.tables import QUARANTINE, SOURCE_FILES
from pipeline.sessions.backfill import plan_backfill
from pipeline.settings.settings import Settings, load_settings
from pipeline.settings.source import SourceSettings
from pipeline.sources import source_for
from pipeline.spark.compute import Compute

WEEK_H = 7 * 24


def hours_of(path: str, **arrival: Any) -> tuple[str, int] | None:
    """First hour and number of hours in which the file may have arrived."""
    settings = SourceSettings(name="delimited", **arrival)
    hours = arrival_teller(settings, source_for(settings))(path)
    return None if hours is None else (str(hours.first), len(hours))


@pytest.mark.parametrize(
    ("pattern", "path", "hour"),
    [
        ("dt=%Y-%m-%d/hour=%H", "dt=2025-11-28/hour=10/part-0.json", "2025-11-28T10"),
        ("%Y/%m/%d/%H", "2025/11/28/10/x.gz", "2025-11-28T10"),
        ("clicks-%Y%m%d%H", "clicks-2025112810.csv", "2025-11-28T10"),
        ("%Y-%m-%dT%H", "2025-11-28T10.jsonl", "2025-11-28T10"),
        ("%Y-%m-%dT%H", "2025-11-28T10/a.jsonl", "2025-11-28T10"),
        ("%Y%m%dT%H%M%SZ", "log_20251128T105959Z_3f.gz", "2025-11-28T10"),
        ("%d.%m.%y %H Uhr", "28.11.25 10 Uhr.csv", "2025-11-28T10"),
        ("%y%m%d%H", "x-69112810", "1969-11-28T10"),
        ("dt=%Y-%m-%d/*/hour=%H", "dt=2025-11-28/country=de/hour=10/p", "2025-11-28T10"),
        ("*%Y%m%d%H", "a7-2025112810", "2025-11-28T10"),
        ("100%%-%Y%m%d%H", "100%-2025112810", "2025-11-28T10"),
        # A code that stands twice says the same twice.
        ("%Y/%m/%d/x-%Y%m%d%H", "2025/11/28/x-2025112810", "2025-11-28T10"),
        ("%Y/%m/%d/x-%Y%m%d%H", "2025/11/27/x-2025112810", None),
        # Hive does not pad numbers.
        ("year=%Y/month=%m/day=%d/hour=%H", "year=2025/month=1/day=2/hour=3/p", "2025-01-02T03"),
        ("year=%Y/month=%m/day=%d/hour=%H", "year=2025/month=1/day=2/hour=0/p", "2025-01-02T00"),
        ("%Y%m%d%H", "2025112", None),
        ("x%Y-%m-%d9%H", "x2025-11-2893", None),
        # No digit stands beside it.
        ("%Y-%m-%dT%H", "12025-11-28T10", None),
        ("%Y-%m-%dT%H", "2025-11-28T103", None),
        ("clicks-%Y%m%d%H", "clicks-202511281005.csv", None),
        ("9/%Y%m%d%H", "19/2025112810", None),
        ("%Y%m%d%H", "events2025112810z", "2025-11-28T10"),
        ("dt=%Y%m%d%H", "updt=2025112810", "2025-11-28T10"),
        ("/dt=%Y%m%d%H/", "updt=2025112810/a", None),
        ("/dt=%Y%m%d%H/", "dt=2025112810/a", "2025-11-28T10"),
        # Of several places the last that a calendar has.
        ("dt=%Y%m%d%H", "dt=2025112709/again/dt=2025112810/a", "2025-11-28T10"),
        ("dt=%Y%m%d%H", "dt=2025112709/again/dt=2025023010/a", "2025-11-27T09"),
        ("dt=%Y%m%d%H", "dt=2025023010", None),
        ("dt=%Y%m%d%H", "dt=2025112824", None),
        ("dt=%Y%m%d%H", "dt=0000112824", None),
        # Other signs mean themselves.
        ("a.b[%Y%m%d%H", "a.b[2025112810", "2025-11-28T10"),
        ("a.b[%Y%m%d%H", "aXb[2025112810", None),
        ("%Y-%m-%dT%H", "\u0662\u0660\u0662\u0665-11-28T10", None),
    ],
)
def test_a_pattern_finds_the_hour_in_a_path(pattern: str, path: str, hour: str | None) -> None:
    assert hours_of(path, arrival=pattern) == (None if hour is None else (hour, 1))


def test_of_several_patterns_the_first_that_fits_counts_and_the_folders_own_no_more() -> None:
    patterns = ["/%Y/%m/%d/%H/", "%Y%m%d%H"]
    assert hours_of("2025/11/28/10/2025112811", arrival=patterns) == ("2025-11-28T10", 1)
    assert hours_of("late/2025112811", arrival=patterns) == ("2025-11-28T11", 1)
    assert hours_of("2025-11-28T10/a", arrival=patterns) is None
    assert hours_of("2025-11-28T10/a") == ("2025-11-28T10", 1)
    assert hours_of("2025-11-28T10.csv") is None
    assert hours_of("dt=2025-11-28/hour=10/a") is None


@pytest.mark.parametrize(
    ("path", "zone", "first", "hours"),
    [
        ("20251128", None, "2025-11-28T00", 24),
        ("20251128", "Europe/Berlin", "2025-11-27T23", 24),
        ("20251128", "Asia/Kolkata", "2025-11-27T18", 25),
        ("20251026", "Europe/Berlin", "2025-10-25T22", 25),
        ("20250330", "Europe/Berlin", "2025-03-29T23", 23),
        ("20251128 10", "Europe/Berlin", "2025-11-28T09", 1),
        ("20251128 10", "Asia/Kolkata", "2025-11-28T04", 2),
        # The hour that comes twice is both, the one that is left out the next.
        ("20251026 02", "Europe/Berlin", "2025-10-26T00", 2),
        ("20251026 03", "Europe/Berlin", "2025-10-26T02", 1),
        ("20250330 02", "Europe/Berlin", "2025-03-30T01", 1),
        ("20250330 03", "Europe/Berlin", "2025-03-30T01", 1),
    ],
)
def test_hours_and_days_of_a_zone(path: str, zone: str | None, first: str, hours: int) -> None:
    arrival: dict[str, Any] = {"arrival": ["%Y%m%d %H", "%Y%m%d"]}
    assert hours_of(path, **arrival, arrival_timezone=zone) == (first, hours)
    if zone is not None:
        local = {"timezone": zone, "time_unit": "iso8601"}
        assert hours_of(path, **arrival, **local) == (first, hours)
        own = {**local, "arrival_timezone": "UTC"}
        assert hours_of(path, **arrival, **own) == hours_of(path, **arrival)


@pytest.mark.parametrize(
    ("arrival", "complaint"),
    [
        ("%Y-%m", "tells no day: a pattern has %Y"),
        ("%m-%dT%H", "tells no day"),
        ("%Y%d%H", "tells no day"),
        ("", "tells no day"),
        ("%Y%m%d%I%p", "%I is no code of a path: there are %Y, %y, %m, %d, %H, %M, %S, and %%"),
        ("%d-%b-%Y", "%b is no code of a path"),
        ("%Y%m%d%", "% is no code of a path"),
        (["%Y%m%d", "%H"], "tells no day"),
        ([], "is empty: name a pattern like dt="),
    ],
)
def test_what_is_no_pattern_of_a_day_is_refused(arrival: Any, complaint: str) -> None:
    with pytest.raises(UsageError, match=r"source\.arrival") as refused:
        load_settings(None, {"source": {"arrival": arrival}})
    assert complaint in str(refused.value)


def test_a_zone_of_no_arrival_is_refused() -> None:
    with pytest.raises(UsageError, match="arrival_timezone is of the times in arrival: set both"):
        load_settings(None, {"source": {"arrival_timezone": "Europe/Berlin"}})
    with pytest.raises(UsageError, match=r"source\.arrival_timezone = 'Mars': is no time zone"):
        load_settings(None, {"source": {"arrival": "%Y%m%d", "arrival_timezone": "Mars"}})


def test_digests_of_before_stand() -> None:
    before, now = Settings(), load_settings(None, {"source": {"arrival": "%Y%m%d"}})
    assert before.digest("source") != now.digest("source")
    dumped = before.source.model_copy(update={"arrival": None, "arrival_timezone": None})
    assert Settings(source=dumped).digest("source") == before.digest("source")


# What a file's arrival decides.


@pytest.fixture
def place(tmp_path: Path, compute: Compute) -> Place:
    return Place(tmp_path, compute)


def set_arrival(place: Place, arrival: str | None, **others: Any) -> None:
    source = place.settings.source.model_copy(update={"arrival": arrival, **others})
    place.settings = place.settings.model_copy(update={"source": source})


def at(hour: Hour, item: str = "i", second: int = 0) -> str:
    return f"{hour.index * 3600 + second},u,{item},,,"


def reasons(place: Place) -> list[tuple[str, int, str]]:
    rows = place.rows(QUARANTINE)
    return sorted((row["source_file"], row["line"], row["reason"]) for row in rows)


def arrivals(place: Place) -> dict[str, Hour]:
    return {row["source_file"]: Hour.of(row["arrival"]) for row in place.rows(SOURCE_FILES)}


HIVE = "dt=%Y-%m-%d/hour=%H"


def hive(hour: Hour) -> str:
    return hour.start.strftime("dt=%Y-%m-%d/hour=%H/part-0.csv")


def test_an_hour_in_the_path_bounds_times_from_both_sides(place: Place) -> None:
    name = hive(H0)
    place.put(name, at(H0 - WEEK_H), at(H0 - WEEK_H, second=-1), at(H0 + 3), at(H0))
    set_arrival(place, HIVE)
    place.ingest(CLOCK + timedelta(days=30))
    assert reasons(place) == [
        (name, 3, TOO_LATE),
        (name, 4, "event_time is after the file's arrival"),
    ]
    assert arrivals(place) == {name: H0}
    assert {Hour.of(row["hour"]) for row in place.rows(QUARANTINE)} == {H0}


def test_files_of_later_hours_wait_and_those_that_tell_none_do_not(place: Place) -> None:
    place.put(hive(H0), at(H0))
    place.put(hive(H0 + 1), at(H0 + 1))
    place.put("other.csv", at(H0, "j"))
    set_arrival(place, HIVE)
    planned = plan_backfill(place.lake, place.settings, CLOCK, HourRange(H0, H0 + 1))
    assert (len(planned.waiting_files), planned.no_arrival) == (2, ("other.csv",))
    summary = place.ingest(hours=HourRange(Hour(0), H0 + 1))
    assert sorted(arrivals(place)) == [hive(H0), "other.csv"]
    assert summary.no_arrival == ("other.csv",)
    assert arrival_lines(summary) == (
        "\n1 file does not tell its arrival by source.arrival, so the hour of this run stands for "
        "it, and no record comes too late: other.csv"
    )
    again = place.ingest()
    assert (again.files, again.no_arrival) == (1, ())
    assert arrival_lines(again) == ""


def test_files_that_do_not_tell_are_named_and_counted() -> None:
    done = IngestSummary(7, 0, no_arrival=tuple("abcdefg"))
    assert arrival_lines(done).startswith("\n7 files do not tell their arrival by source.arrival")
    assert arrival_lines(done).endswith(": a; b; c; d; e; 2 more")
    assert and_no_arrival(done.no_arrival) == (
        "; 7 files without an arrival by source.arrival, such as a"
    )
    assert and_no_arrival("a") == "; 1 file without an arrival by source.arrival: a"
    assert and_no_arrival(()) == ""


def day_of(hour: Hour) -> tuple[str, Hour, Hour]:
    """The name of a day's file, the day's first hour and its last."""
    first = Hour.of(datetime.combine(hour.start.date(), datetime.min.time(), hour.start.tzinfo))
    return first.start.strftime("events_%Y%m%d.csv"), first, first + 23


def test_a_day_that_is_over_is_its_last_hour_and_as_old_as_its_first(place: Place) -> None:
    name, first, last = day_of(H0)
    place.put(
        name, at(first - WEEK_H), at(first - WEEK_H, second=-1), at(last, second=3599), at(last + 2)
    )
    set_arrival(place, "events_%Y%m%d")
    after = (last + 1).start + timedelta(minutes=5)
    assert place.ingest(after, HourRange(Hour(0), last)).files == 0
    assert place.ingest(after, HourRange(Hour(0), last + 1)).accepted == 2
    assert reasons(place) == [
        (name, 3, TOO_LATE),
        (name, 5, "event_time is after the file's arrival"),
    ]
    assert arrivals(place) == {name: last}


def test_a_day_that_is_not_over_arrives_as_it_is_read(place: Place) -> None:
    name, first, last = day_of(H0)
    clock = (H0 + 1).start + timedelta(minutes=5)
    path = place.put(name, at(first - WEEK_H, second=-1), at(H0), at(H0 + 1, second=3599))
    set_arrival(place, "events_%Y%m%d")
    # Its last hour lies ahead, so no limit can leave out what is here.
    summary = place.ingest(clock, HourRange(Hour(0), H0 + 1))
    assert (summary.files, summary.accepted, summary.no_arrival) == (1, 1, ())
    assert reasons(place) == [
        (name, 2, TOO_LATE),
        (name, 4, "event_time is after the file's arrival"),
    ]
    assert arrivals(place) == {name: H0 + 1}
    # The next day the same content is as it was, and what it has grown by arrived in the day.
    tomorrow = (last + 1).start + timedelta(minutes=5)
    assert place.ingest(tomorrow).files == 0
    with path.open("a") as grown:
        grown.write(at(last, "j") + "\n")
    assert place.ingest(tomorrow).files == 1
    assert arrivals(place) == {name: last}
    assert reasons(place) == [(name, 2, TOO_LATE)]
    assert place.accounts() == {name: (4, 3, 0, 1)}


def test_only_files_whose_arrival_changes_are_read_again(place: Place) -> None:
    place.put(hive(H0), at(H0), at(H0 - WEEK_H, second=-1))
    place.put(f"{H0}/b.csv", at(H0, "b"))
    place.put("c.csv", at(H0, "c"))
    for path in place.landing.rglob("*.csv"):
        os.utime(path, (1_457_960_000, 1_457_960_000))
    place.ingest()
    by_run = Hour.of(CLOCK)
    assert arrivals(place) == {hive(H0): by_run, f"{H0}/b.csv": H0, "c.csv": by_run}
    accounts = place.accounts()

    set_arrival(place, "%Y-%m-%dT%H")
    assert place.ingest().files == 0

    set_arrival(place, HIVE)
    planned = plan_backfill(place.lake, place.settings, CLOCK, None)
    assert (planned.waiting_files, planned.read_again) == ((hive(H0),), 1)
    later = CLOCK + timedelta(hours=7)
    summary = place.ingest(later)
    assert (summary.files, summary.read_again, summary.no_arrival) == (1, 1, ())
    assert arrivals(place) == {hive(H0): H0, f"{H0}/b.csv": H0, "c.csv": by_run}
    assert reasons(place) == [(hive(H0), 3, TOO_LATE)]
    assert place.accounts() == accounts | {hive(H0): (2, 1, 0, 1)}
    assert place.ingest(later).files == 0

    # Without it the path tells nothing any more, and all stays.
    set_arrival(place, None)
    assert place.ingest(later).files == 0
    set_arrival(place, HIVE, arrival_timezone="Asia/Tokyo")
    assert place.ingest(later).files == 1
    assert arrivals(place)[hive(H0)] == H0 - 9
    # What lies after that arrival is refused now.
    assert place.accounts()[hive(H0)] == (2, 1, 0, 1)
    assert reasons(place) == [(hive(H0), 2, "event_time is after the file's arrival")]


def test_what_came_too_late_may_be_let_in(place: Place) -> None:
    place.put(hive(H0), at(H0), at(H0 - WEEK_H - 1))
    set_arrival(place, HIVE)
    assert place.ingest().quarantined == 1
    old = HourRange(H0 - WEEK_H - 1, H0 - WEEK_H)
    assert place.ingest(late=old).late == 1
    assert place.rows(QUARANTINE) == []
    assert place.ingest().files == 0
