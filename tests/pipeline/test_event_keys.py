"""A key that the log gives is told of in several hours: its event is kept in the first."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import pytest
from fuzzed_logs import H0
from landing_place import Place

from pipeline.hours import Hour, HourRange
from pipeline.lake.lake import Lake
from pipeline.lake.parquet_files import HourFile
from pipeline.lake.stale_hours import stale_hours
from pipeline.lake.tables import EVENTS, REPEATED_KEYS
from pipeline.settings.source import ColumnSettings, SourceSettings
from pipeline.settings.tables import IngestSettings
from pipeline.sources import source_for
from pipeline.spark.compute import Compute

HEADER = "event_time,user_id,item_id,id"
START_S = (H0 - 12).index * 3600


class Record(NamedTuple):
    """A line of a raw file, its order being that in which records win."""

    time_s: int
    file: str
    line: int
    key: str
    item: str

    @property
    def hour(self) -> int:
        return self.time_s // 3600


def place_of(folder: Path, compute: Compute, key_window: str = "7d") -> Place:
    place = Place(folder, compute)
    columns = {"columns": ColumnSettings(event_key="id")}
    source = place.settings.source.model_copy(update=columns)
    place.settings = place.settings.model_copy(update={"source": source})
    place.set_rules(key_window=key_window)
    return place


def kept(records: Iterable[Record], window_h: float) -> list[Record]:
    """The first record of each hour that tells of a key, unless one just before told of it."""
    told: dict[str, dict[int, list[Record]]] = defaultdict(lambda: defaultdict(list))
    for record in records:
        told[record.key][record.hour].append(record)
    return sorted(
        min(told[key][hour])
        for key in told
        for hour in told[key]
        if not any(0 < hour - other <= window_h for other in told[key])
    )


def stored(place: Place) -> list[Record]:
    return sorted(
        Record(
            *(int(row["event_time"].timestamp()), row["source_file"], row["line"]),
            *(row["event_key"], row["item_id"]),
        )
        for row in place.rows(EVENTS)
    )


def put(place: Place, records: Iterable[Record]) -> None:
    files: dict[str, list[Record]] = defaultdict(list)
    for record in records:
        files[record.file].append(record)
    for name, rows in files.items():
        lines = (f"{row.time_s},u,{row.item},{row.key}" for row in rows)
        place.put(name, *lines, header=HEADER)


def random_records(seed: int) -> list[Record]:
    """Ten files of a few keys, each told of in several of twelve hours, near and far apart."""
    rng = random.Random(seed)
    records = []
    for _ in range(120):
        name = f"{rng.randrange(10)}.csv"
        at_s = START_S + rng.choice([0, 3599, rng.randrange(12 * 3600)])
        line = 2 + sum(record.file == name for record in records)
        key = f"ev-{rng.randrange(14)}"
        records.append(Record(at_s, name, line, key, f"i{len(records)}"))
    return records


def owned(records: Iterable[Record], window_h: float) -> dict[str, tuple[int, ...]]:
    records = list(records)
    accepted = [record.file for record in kept(records, window_h)]
    names = [record.file for record in records]
    return {
        name: (names.count(name), accepted.count(name), names.count(name) - accepted.count(name), 0)
        for name in names
    }


@pytest.mark.slow
@pytest.mark.parametrize(
    ("key_window", "window_h", "deliveries"),
    [
        pytest.param("2h", 2, (1, 3), id="two hours"),
        pytest.param("all", float("inf"), (1, 2), id="all", marks=pytest.mark.nightly),
    ],
)
def test_any_order_of_arrival_keeps_the_same_events(
    tmp_path: Path,
    compute: Compute,
    key_window: str,
    window_h: float,
    deliveries: tuple[int, ...],
) -> None:
    """At once, or in so many runs; between two runs one file has grown."""
    records = random_records(3)
    assert len({r.hour for r in records}) > 10
    wanted = kept(records, window_h)
    contents = []
    for nth, runs in enumerate(deliveries):
        rng = random.Random(f"{key_window} {nth}")
        place = place_of(tmp_path / str(nth), compute, key_window)
        names = sorted({record.file for record in records})
        rng.shuffle(names)
        for run in range(runs):
            there = set(names[: len(names) * (run + 1) // runs])
            # The last file of each run is not whole yet: it grows in the next.
            growing = names[len(there) - 1] if run + 1 < runs else ""
            arrived = [r for r in records if r.file in there and (r.file != growing or r.line < 6)]
            put(place, arrived)
            place.ingest()
            assert stored(place) == kept(arrived, window_h)
            assert place.accounts() == owned(arrived, window_h)
        before = place.lake.snapshots()
        place.ingest()
        assert place.lake.snapshots() == before
        contents.append((place.content(), sorted(map(repr, place.rows(REPEATED_KEYS)))))
    assert stored(place) == wanted
    assert all(content == contents[0] for content in contents)
    assert contents[0][1], "nothing was repeated"


@pytest.fixture
def place(tmp_path: Path, compute: Compute) -> Place:
    return place_of(tmp_path, compute)


NOON_S = START_S + 3600


def test_a_key_told_again_a_second_into_the_next_hour_is_a_duplicate(place: Place) -> None:
    a = [Record(NOON_S - 1, "a.csv", 2, "ev-1", "x"), Record(NOON_S - 2, "a.csv", 3, "ev-2", "y")]
    b = [
        Record(NOON_S + 1, "b.csv", 2, "ev-1", "x"),
        Record(NOON_S + 2, "b.csv", 3, "ev-2", "y"),
        Record(NOON_S + 3, "b.csv", 4, "ev-3", "z"),
    ]
    put(place, a)
    place.ingest()
    put(place, b)
    place.ingest()
    assert stored(place) == sorted([*a, b[2]])
    assert place.accounts() == {"a.csv": (2, 2, 0, 0), "b.csv": (3, 1, 2, 0)}


def test_an_earlier_record_that_comes_late_takes_the_event_over(place: Place) -> None:
    later = Record(NOON_S + 7200, "a.csv", 2, "ev-1", "x")
    earlier = Record(NOON_S - 1, "b.csv", 2, "ev-1", "y")
    other = Record(NOON_S + 7300, "a.csv", 3, "ev-2", "z")
    put(place, [later, other])
    place.ingest()
    hours = HourRange(Hour(later.hour) - 4, Hour(later.hour) + 4)
    place.sessionize(hours)
    put(place, [earlier])
    summary = place.ingest()
    assert stored(place) == [earlier, other]
    assert place.accounts() == {"a.csv": (2, 1, 1, 0), "b.csv": (1, 1, 0, 0)}
    # The sessions of the hour that lost it are to be made anew.
    assert {Hour(later.hour), Hour(earlier.hour)} == {h for part in summary.hours for h in part}
    assert Hour(later.hour) in stale_hours(place.lake, place.settings, hours.stop)


def test_a_key_that_a_file_no_longer_tells_is_another_files_again(place: Place) -> None:
    """a.csv was cut off within a line: it told of ev-1, and means ev-12."""
    b = Record(NOON_S + 1, "b.csv", 2, "ev-1", "x")
    put(place, [b])
    cut = place.landing / "a.csv"
    cut.write_text(f"{HEADER}\n{NOON_S - 1},u,x,ev-1")
    place.ingest()
    assert [record.file for record in stored(place)] == ["a.csv"]
    cut.write_text(f"{HEADER}\n{NOON_S - 1},u,x,ev-12\n")
    place.ingest()
    assert stored(place) == [Record(NOON_S - 1, "a.csv", 2, "ev-12", "x"), b]
    assert place.accounts() == {"a.csv": (1, 1, 0, 0), "b.csv": (1, 1, 0, 0)}
    assert place.rows(REPEATED_KEYS) == []


def test_the_changed_line_of_a_file_stays_where_it_belongs_now(place: Place) -> None:
    put(place, [Record(NOON_S - 1, "a.csv", 2, "ev-1", "x")])
    place.ingest()
    moved = Record(NOON_S + 1, "a.csv", 2, "ev-1", "x")
    put(place, [moved])
    place.ingest()
    assert stored(place) == [moved]


def test_hours_beyond_the_window_are_not_opened_and_logs_without_keys_open_none(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[int] = []
    files = Lake.files

    def noted(*arguments: object, **options: object) -> list[HourFile]:
        listed = files(*arguments, **options)  # type: ignore[arg-type]
        read.extend(f.hour.index for f in listed if f.hour and "/events/" in f.path)
        return listed

    place.set_rules(key_window="2h")
    put(place, [Record(NOON_S + h * 3600, "a.csv", 2 + h, f"ev-{h}", "x") for h in range(9)])
    place.ingest()
    monkeypatch.setattr(Lake, "files", noted)
    put(place, [Record(NOON_S + 4 * 3600, "b.csv", 2, "new", "x")])
    place.ingest()
    hour = NOON_S // 3600
    assert set(read) == {hour + h for h in (2, 3, 4, 5, 6)}
    # Other columns in the same place would have all files read again.
    plain = Place(tmp_path / "plain", place.compute)
    columns = {"columns": ColumnSettings(event_key=None)}
    source = plain.settings.source.model_copy(update=columns)
    plain.settings = plain.settings.model_copy(update={"source": source})
    put(plain, [Record(NOON_S + h * 3600, "a.csv", 2 + h, f"ev-{h}", "x") for h in range(9)])
    plain.ingest()
    read.clear()
    put(plain, [Record(NOON_S + 4 * 3600, "c.csv", 2, "new", "z")])
    plain.ingest()
    assert set(read) == {hour + 4}


def test_the_window_is_a_duration_or_all() -> None:
    assert IngestSettings().key_window == "7d"
    assert IngestSettings(key_window="all").key_window == "all"
    with pytest.raises(ValueError, match="is not a duration"):
        IngestSettings(key_window="ever")


@pytest.mark.parametrize(
    ("name", "has_keys"),
    [("simulator", True), ("gharchive", True), ("movielens", False), ("delimited", False)],
)
def test_a_source_says_whether_its_records_have_keys(
    tmp_path: Path, name: str, has_keys: bool
) -> None:
    assert source_for(SourceSettings(name=name, path=tmp_path)).has_keys is has_keys
