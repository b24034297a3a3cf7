"""A user's events of equal time come out as their records follow one another in the log."""

from __future__ import annotations

import random
from collections.abc import Iterable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from fuzzed_logs import H0, RawLog
from landing_place import Place
from session_oracle import HOUR_US, US, Event, Rules, session_tables
from staging import DAY, DAY_US, session_rows
from test_session_tasks import in_steps, read, session_files, write_events

from pipeline.dataset.build import freeze
from pipeline.dataset.rows.event_log import read_log
from pipeline.hours import HourRange
from pipeline.lake.fingerprint import content_digest
from pipeline.lake.lake import Lake
from pipeline.lake.parquet_files import HourFile, HourWriter
from pipeline.lake.tables import ALL_TABLES, OPEN_SESSIONS, SESSIONS, TableSpec
from pipeline.settings.source import ColumnSettings
from pipeline.settings.tables import DatasetSettings
from pipeline.spark.compute import Compute

HOURS = HourRange(H0 - 1, H0 + 2)
# By which nothing may be ordered: ids, items and keys fall where the lines rise.
KEYS = ("9", "7", "5", "3")


TIE_RANK = -3  # of the rows of ``sessions`` as `session_rows` has them


def clicks(file: str = "a.csv", **changes: Any) -> list[Event]:
    """Four clicks within one second, the log's order being that of the list."""
    return [
        Event(DAY_US + US, key, "u", f"item {key}", file=file, line=line, **changes)
        for line, key in enumerate(KEYS, start=1)
    ]


def positions(events: Iterable[Event], tmp_path: Path, rules: Rules) -> list[tuple[Any, ...]]:
    """Position, item and rank among equals of each event of closed sessions."""
    found, _, _ = in_steps(tmp_path, rules, events, [0, 1, 3])
    return sorted((row[3], row[6], row[TIE_RANK]) for row in found.sessions)


def test_clicks_within_a_second_keep_the_order_of_their_lines(tmp_path: Path) -> None:
    expected = [(nth, f"item {key}", nth + 1) for nth, key in enumerate(KEYS)]
    assert positions(clicks(), tmp_path, Rules()) == expected


def test_the_file_comes_before_the_line_and_the_line_before_the_key(tmp_path: Path) -> None:
    four = [
        replace(event, file=file, line=line)
        for event, file, line in zip(
            clicks(), ("b.csv", "a.csv", "a.csv", "B.csv"), (1, 10, 9, 50), strict=True
        )
    ]
    # Names as text: capitals first; a line is a number: 9 comes before 10.
    assert [item for _, item, _ in positions(four, tmp_path, Rules())] == [
        *("item 3", "item 5", "item 7", "item 9")
    ]


def test_rows_that_tell_no_line_are_in_the_order_of_their_keys(tmp_path: Path) -> None:
    nowhere = [replace(event, line=None) for event in clicks()]
    assert [item for _, item, _ in positions(nowhere, tmp_path, Rules())] == [
        *("item 3", "item 5", "item 7", "item 9")
    ]


def test_ranks_count_all_of_a_users_sessions_where_the_log_names_them(tmp_path: Path) -> None:
    named = [replace(event, given="ab"[nth % 2]) for nth, event in enumerate(clicks())]
    assert positions(named, tmp_path, Rules(given=True)) == [
        *((0, "item 7", 2), (0, "item 9", 1), (1, "item 3", 4), (1, "item 5", 3))
    ]


def test_an_event_alone_at_its_time_has_no_rank_and_leaves_digests_as_they_were(
    tmp_path: Path,
) -> None:
    alone = [replace(e, time_us=e.time_us + nth) for nth, e in enumerate(clicks())]
    (file,) = write_events(tmp_path, alone[:1])
    done = session_files(tmp_path, Rules(), HourRange(DAY, DAY + 2), [], [file])
    rows = read(dict(done.files), SESSIONS.name).drop_columns(["hour"])
    assert rows["tie_rank"].to_pylist() == [None]
    # What an earlier version, which had no such column, recorded of the same rows.
    (digest, _) = done.closed[DAY + 1]
    assert content_digest(rows.drop_columns(["tie_rank"])) == digest


def test_sessions_carried_in_from_an_older_lake_go_on(tmp_path: Path) -> None:
    """Their rows lack the rank: they stay in the order that they were given then."""
    former = [replace(event, line=None) for event in clicks()]
    later = [replace(e, time_us=DAY_US + HOUR_US, key=f"later {e.key}") for e in clicks()]
    events = [*former, *later]
    files = write_events(tmp_path / "events", events)
    first = session_files(
        tmp_path / "1", Rules(), HourRange(DAY, DAY + 1), [], [f for f in files if f.hour == DAY]
    )
    (carried,) = first.files[OPEN_SESSIONS.name]
    old = pq.read_table(carried.path).drop_columns(["tie_rank"])
    pq.write_table(old, carried.path)
    carried = HourFile(carried.path, Path(carried.path).stat().st_size, old.num_rows, DAY)
    done = session_files(
        tmp_path / "2",
        Rules(),
        HourRange(DAY + 1, DAY + 3),
        [carried],
        [f for f in files if f.hour == DAY + 1],
    )
    found = session_rows(read(dict(done.files), SESSIONS.name), "dwell_s")
    expected = session_tables(events, Rules(), DAY.index, DAY.index + 3).sessions
    # Only the rank of the carried ones is not known.
    assert {row[:TIE_RANK] for row in found} == {row[:TIE_RANK] for row in expected}
    assert sorted((row[3], row[TIE_RANK]) for row in found) == [
        *((place, None) for place in range(4)),
        *((place, place - 3) for place in range(4, 8)),
    ]


def test_a_table_of_an_older_lake_learns_the_rank(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = SESSIONS.schema.get_field_index("tie_rank")
    former = TableSpec(SESSIONS.name, SESSIONS.schema.remove(place), "hour")
    specs = tuple(former if spec.name == former.name else spec for spec in ALL_TABLES)
    row = {"hour": DAY.start, "user_id": "u", "position": 0, "context": []}

    def put(lake: Lake, spec: TableSpec, hour: int) -> None:
        rows = pa.Table.from_pylist([{**row, "hour": (DAY + hour).start}], spec.schema)
        file = HourWriter(lake.staging(spec)).write(DAY + hour, iter([rows]))
        lake.replace(spec, HourRange(DAY + hour, DAY + hour + 1), [file], {})

    address = f"sqlite:///{tmp_path / 'catalog.db'}"
    with monkeypatch.context() as past:
        past.setattr("pipeline.lake.catalog.ALL_TABLES", specs)
        put(Lake(address, tmp_path), former, 0)
    lake = Lake(address, tmp_path)
    assert lake.arrow(SESSIONS)["tie_rank"].to_pylist() == [None]
    put(lake, SESSIONS, 1)
    assert lake.arrow(SESSIONS)["tie_rank"].to_pylist() == [None, None]
    assert "tie_rank" in lake.table(SESSIONS).schema().column_names


HEADER = "user_id,event_time,item_id"


def place_of(folder: Path, compute: Compute) -> Place:
    place = Place(folder, compute)
    columns = {"columns": ColumnSettings()}
    rules = DatasetSettings(
        window="3h", history="1h", min_item_events=1, min_session_events=1, popularity_window="1h"
    )
    source = place.settings.source.model_copy(update=columns)
    place.settings = place.settings.model_copy(update={"source": source, "dataset": rules})
    return place


def whole_seconds(seed: int) -> dict[str, list[tuple[str, int, str]]]:
    """Two files of ten users who mostly act several times within a second, in no order of time."""
    rng = random.Random(seed)
    start_s = H0.index * 3600
    files = {}
    for name in ("ratings-b.csv", "ratings-a.csv"):
        rows = [
            (f"u{rng.randrange(10)}", start_s + rng.randrange(6), f"i{name[8]}{n}")
            for n in range(300)
        ]
        files[name] = rows
    return files


def in_log_order(files: dict[str, list[tuple[str, int, str]]]) -> dict[str, list[str]]:
    """Each user's items: by time, then file, then line."""
    rows = [
        (user, at_s, name, line, item)
        for name, lines in files.items()
        for line, (user, at_s, item) in enumerate(lines)
    ]
    items: dict[str, list[str]] = {}
    for user, *_, item in sorted(rows):
        items.setdefault(user, []).append(item)
    return items


def put(place: Place, files: dict[str, list[tuple[str, int, str]]]) -> None:
    for name, rows in files.items():
        lines = [HEADER, *(f"{user},{at_s},{item}" for user, at_s, item in rows), ""]
        RawLog(name, "\n".join(lines).encode()).put(place.landing)


@pytest.mark.slow
def test_data_sets_and_replays_hold_a_log_of_whole_seconds_in_its_own_order(
    tmp_path: Path, compute: Compute
) -> None:
    place = place_of(tmp_path, compute)
    files = whole_seconds(1)
    put(place, files)
    place.ingest()
    place.sessionize(HOURS)
    wanted = in_log_order(files)
    assert sum(len(set(pairwise(items))) for items in wanted.values()) > 500

    folder = freeze(compute, place.lake, place.settings, HOURS.stop)
    names = pq.read_table(folder / "vocabulary.parquet")["item_id"].to_pylist()
    shard = pq.read_table(folder / "part-00000.parquet").to_pylist()
    assert {row["user_id"]: [names[item - 1] for item in row["item"]] for row in shard} == wanted

    log = read_log(place.lake, place.lake.state(), HOURS)
    replayed: dict[str, list[str]] = {}
    for user, item in zip(log.user, log.item, strict=True):
        replayed.setdefault(log.user_ids[user], []).append(log.item_ids[item])
    assert replayed == wanted


@pytest.mark.slow
def test_an_owner_that_comes_late_moves_equal_times_too(tmp_path: Path, compute: Compute) -> None:
    """b.csv has x before y; then a.csv brings y as well, which is its own from then on."""
    now = H0.index * 3600
    b, a = {"b.csv": [("u", now, "x"), ("u", now, "y")]}, {"a.csv": [("u", now, "y")]}
    in_turn, at_once = (place_of(tmp_path / name, compute) for name in ("in turn", "at once"))
    for files in (b, a):
        put(in_turn, files)
        in_turn.ingest()
        in_turn.sessionize(HOURS)
    put(at_once, {**b, **a})
    at_once.ingest()
    at_once.sessionize(HOURS)
    rows = sorted((row["position"], row["item_id"]) for row in at_once.rows(SESSIONS))
    assert rows == [(0, "y"), (1, "x")]
    assert in_turn.rows(SESSIONS) == at_once.rows(SESSIONS)
    assert in_turn.content() == at_once.content()
