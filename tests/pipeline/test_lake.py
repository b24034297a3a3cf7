from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterable
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.errors import HourglassError
from pipeline.hours import Hour, HourRange, contiguous
from pipeline.lake import lake as lake_module
from pipeline.lake.lake import STATE_PROPERTY, FilledHour, Lake
from pipeline.lake.parquet_files import HourFile
from pipeline.lake.tables import (
    ADDED_LATER,
    ALL_TABLES,
    EVENTS,
    FILLED_HOURS,
    ITEM_HOURS,
    ITEMS,
    QUARANTINE,
    SOURCE_FILES,
    STEP_TABLES,
)
from pipeline.spark.compute import Compute

ROOT = Path(__file__).resolve().parents[2]
H0 = Hour.parse("2016-03-14T13")
NOTHING = FILLED_HOURS.schema.empty_table()


def new_lake(folder: Path) -> Lake:
    return Lake(f"sqlite:///{folder / 'lake' / 'catalog.db'}", folder / "lake")


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return new_lake(tmp_path)


def only(*hours: Hour) -> list[HourRange]:
    return contiguous(hours)


def staged(lake: Lake, items: Iterable[tuple[Hour, str]]) -> list[HourFile]:
    """Files of ``item_hours``, written without Spark: a row for each hour and item."""
    folder = lake.warehouse / ITEM_HOURS.name / "data"
    folder.mkdir(parents=True, exist_ok=True)
    files = []
    rows = [{"hour": h.start, "item_id": item, "events": 1, "users": 1} for h, item in items]
    for hour in sorted({row["hour"] for row in rows}):
        path = folder / f"{uuid.uuid4().hex}.parquet"
        mine = [row for row in rows if row["hour"] == hour]
        pq.write_table(pa.Table.from_pylist(mine, ITEM_HOURS.schema), path)
        files.append(HourFile(str(path), path.stat().st_size, len(mine), Hour.of(hour)))
    return files


def replace(lake: Lake, hours: HourRange | list[HourRange], *items: tuple[Hour, str]) -> None:
    lake.replace(ITEM_HOURS, hours, staged(lake, items), {"made.by": "test"})


def content(lake: Lake, **reading: Any) -> list[tuple[str, str]]:
    rows = lake.arrow(ITEM_HOURS, **reading).to_pylist()
    return sorted((str(Hour.of(row["hour"])), row["item_id"]) for row in rows)


def at(hour: Hour, *items: str) -> list[tuple[str, str]]:
    return [(str(hour), item) for item in items]


def filled_row(hour: Hour, step: str, output: str) -> dict[str, Any]:
    return {
        "hour": hour.start,
        "step": step,
        "input_digest": "i",
        "output_digest": output,
        "state_digest": "s",
        "config_digest": "c",
        "code_version": "v",
        "rows": 3,
    }


def record(lake: Lake, step: str, *rows: tuple[Hour, str]) -> None:
    table = pa.Table.from_pylist(
        [filled_row(hour, step, output) for hour, output in rows], FILLED_HOURS.schema
    )
    lake.record_filled(step, contiguous(hour for hour, _ in rows), table, {"made.by": "test"})


def test_a_new_lake_has_every_table_and_no_row(lake: Lake) -> None:
    assert lake.snapshots() == lake.state() == {spec.name: None for spec in ALL_TABLES}
    for spec in ALL_TABLES:
        table = lake.arrow(spec)
        assert (table.num_rows, table.schema) == (0, spec.schema)
        assert lake.files(spec) == []
    assert lake.filled("ingest") == {}


def test_replace_puts_rows_in_the_place_of_those_of_its_hours_only(lake: Lake) -> None:
    replace(lake, HourRange(H0, H0 + 3), (H0, "a"), (H0 + 1, "a"), (H0 + 1, "b"), (H0 + 2, "c"))
    replace(lake, HourRange(H0 + 1, H0 + 2), (H0 + 1, "new"))
    assert content(lake) == at(H0, "a") + at(H0 + 1, "new") + at(H0 + 2, "c")
    replace(lake, HourRange(H0, H0 + 2))
    assert content(lake) == at(H0 + 2, "c")


def test_replace_takes_scattered_hours_and_leaves_those_between(lake: Lake) -> None:
    replace(lake, HourRange(H0, H0 + 5), *((H0 + n, "old") for n in range(5)))
    replace(lake, only(H0, H0 + 2, H0 + 4), (H0, "new"), (H0 + 4, "new"))
    assert content(lake) == (
        at(H0, "new") + at(H0 + 1, "old") + at(H0 + 3, "old") + at(H0 + 4, "new")
    )


def test_no_hours_are_no_rows_and_no_change(lake: Lake) -> None:
    replace(lake, HourRange(H0, H0 + 1), (H0, "a"))
    replace(lake, [])
    assert content(lake) == at(H0, "a")
    assert content(lake, hours=[]) == content(lake, hours=HourRange(H0, H0)) == []
    assert lake.files(ITEM_HOURS, []) == []


@pytest.mark.nightly
def test_hundreds_of_scattered_hours_are_told_apart(lake: Lake) -> None:
    # Above 200 values Iceberg gives up on a set of them when it looks at a file's bounds.
    hours = [H0 + n for n in range(520)]
    replace(lake, HourRange(H0, H0 + 520), *((hour, "old") for hour in hours))
    even = hours[::2]
    assert len(lake.files(ITEM_HOURS, contiguous(even))) == len(even)
    rows = lake.arrow(ITEM_HOURS, contiguous(even), columns=("events",))
    assert (rows.num_rows, rows.column_names) == (len(even), ["events"])
    replace(lake, contiguous(even), *((hour, "new") for hour in even))
    wanted = [pair for n, hour in enumerate(hours) for pair in at(hour, "old" if n % 2 else "new")]
    assert content(lake) == wanted
    assert len(lake.files(ITEM_HOURS)) == len(hours)


def test_hours_before_1970_are_hours_like_others(lake: Lake) -> None:
    hours = [Hour(-2), Hour(-1), Hour(0)]
    replace(lake, HourRange(Hour(-2), Hour(1)), *((hour, "a") for hour in hours))
    replace(lake, HourRange(Hour(-1), Hour(0)), (Hour(-1), "b"))
    assert content(lake) == at(hours[0], "a") + at(hours[1], "b") + at(hours[2], "a")


def test_what_made_a_snapshot_is_recorded_in_it(lake: Lake) -> None:
    hours = HourRange(H0, H0 + 1)
    for items in ([(H0, "a")], []):
        replace(lake, hours, *items)
        assert lake.properties(ITEM_HOURS)["made.by"] == "test"
    record(lake, "ingest", (H0, "out"))
    assert lake.properties(FILLED_HOURS)["made.by"] == "test"


def test_a_reader_that_began_before_a_commit_goes_on_seeing_the_old_rows(lake: Lake) -> None:
    replace(lake, HourRange(H0, H0 + 1), (H0, "old"))
    before = lake.snapshots()
    replace(lake, HourRange(H0, H0 + 1), (H0, "new"))
    assert content(lake, state=before) == at(H0, "old")
    assert content(lake) == at(H0, "new")


@pytest.mark.parametrize("before", [(), ((H0, "old"),)])
def test_of_two_that_replace_the_same_hours_at_once_the_slower_is_told(
    tmp_path: Path, before: tuple[tuple[Hour, str], ...]
) -> None:
    mine, theirs = new_lake(tmp_path), new_lake(tmp_path)
    hours = HourRange(H0, H0 + 1)
    if before:
        replace(mine, hours, *before)
    files = staged(mine, [(H0, "mine")])
    with pytest.raises(HourglassError) as caught:
        _replace_while(mine, hours, files, lambda: replace(theirs, hours, (H0, "theirs")))
    assert str(caught.value) == (
        "table item_hours: another process committed at the same time; nothing was lost: "
        "run the step again"
    )
    assert content(mine) == content(theirs) == at(H0, "theirs")


def test_two_that_replace_other_hours_at_once_lose_nothing(tmp_path: Path) -> None:
    mine, theirs = new_lake(tmp_path), new_lake(tmp_path)
    both = HourRange(H0, H0 + 2)
    replace(mine, both, (H0, "old"), (H0 + 1, "old"))
    files = staged(mine, [(H0, "mine")])
    first, second = HourRange(H0, H0 + 1), HourRange(H0 + 1, H0 + 2)
    try:
        _replace_while(mine, first, files, lambda: replace(theirs, second, (H0 + 1, "theirs")))
        wanted = at(H0, "mine") + at(H0 + 1, "theirs")
    except HourglassError:
        wanted = at(H0, "old") + at(H0 + 1, "theirs")
    assert content(mine) == wanted


def _replace_while(
    lake: Lake, hours: HourRange, files: list[HourFile], meanwhile: Callable[[], None]
) -> None:
    """Replace, with something happening between its reading of the table and its commit."""
    add = lake_module._add

    def late(*arguments: Any) -> None:
        add(*arguments)
        lake_module._add = add
        meanwhile()

    lake_module._add = late
    try:
        lake.replace(ITEM_HOURS, hours, files, {})
    finally:
        lake_module._add = add


def test_two_that_append_at_once_both_stay(tmp_path: Path) -> None:
    from pyiceberg.table import Transaction

    mine, theirs = new_lake(tmp_path), new_lake(tmp_path)
    append = Transaction.append

    def row(name: str) -> pa.Table:
        return pa.Table.from_pylist([{"source_file": name}], SOURCE_FILES.schema)

    def late(tx: Transaction, *arguments: Any, **options: Any) -> None:
        append(tx, *arguments, **options)
        Transaction.append = append  # type: ignore[method-assign]
        theirs.append(SOURCE_FILES, row("theirs"), {})

    Transaction.append = late  # type: ignore[method-assign]
    try:
        mine.append(SOURCE_FILES, row("mine"), {})
    finally:
        Transaction.append = append  # type: ignore[method-assign]
    names = mine.arrow(SOURCE_FILES).column("source_file").to_pylist()
    assert sorted(names) == ["mine", "theirs"]


def test_the_state_is_what_the_last_finished_step_left(lake: Lake) -> None:
    hours = HourRange(H0, H0 + 1)
    replace(lake, hours, (H0, "unfinished"))
    assert lake.state()[ITEM_HOURS.name] is None
    assert content(lake, state=lake.state()) == []
    record(lake, "sessionize", (H0, "one"))
    finished = lake.state()
    assert content(lake, state=finished) == at(H0, "unfinished")

    replace(lake, hours, (H0, "later"))
    lake.append(SOURCE_FILES, pa.Table.from_pylist([{"source_file": "f"}], SOURCE_FILES.schema), {})
    assert lake.state() == finished
    assert content(lake, state=lake.state()) == at(H0, "unfinished")
    assert lake.arrow(SOURCE_FILES, state=lake.state()).num_rows == 0
    record(lake, "sessionize", (H0, "two"))
    assert lake.state() == lake.snapshots()
    assert content(lake, state=lake.state()) == at(H0, "later")


def test_a_step_that_fills_no_hour_makes_a_new_state_too(lake: Lake) -> None:
    record(lake, "ingest", (H0, "one"))
    lake.append(SOURCE_FILES, pa.Table.from_pylist([{"source_file": "f"}], SOURCE_FILES.schema), {})
    lake.record_filled("ingest", [], NOTHING, {})
    assert lake.state() == lake.snapshots()
    assert lake.filled("ingest") == {H0: FilledHour("i", "one", "s", "c", 3)}


def test_filled_hours_are_kept_by_step_and_hour(lake: Lake) -> None:
    record(lake, "ingest", (H0, "i0"), (H0 + 1, "i1"), (H0 + 30, "i30"))
    record(lake, "sessionize", (H0, "s0"))
    record(lake, "ingest", (H0 + 1, "i1 again"), (H0 + 40, "i40"))
    outputs = {hour: filled.output_digest for hour, filled in lake.filled("ingest").items()}
    assert outputs == {H0: "i0", H0 + 1: "i1 again", H0 + 30: "i30", H0 + 40: "i40"}
    assert lake.filled("sessionize") == {H0: FilledHour("i", "s0", "s", "c", 3)}
    assert set(lake.filled("ingest", HourRange(H0 + 1, H0 + 31))) == {H0 + 1, H0 + 30}


@pytest.mark.parametrize("days", [24, pytest.param(300, marks=pytest.mark.nightly)])
def test_scattered_days_can_be_filled_at_once(
    lake: Lake, days: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Both ways of replacing are taken: of few files at once, and day by day.
    monkeypatch.setattr("pipeline.lake.lake._FEW_FILES", 10)
    hours = [H0 + 48 * n for n in range(days)]
    record(lake, "ingest", *((hour, "one") for hour in hours))
    record(lake, "sessionize", *((hour + 1, "one") for hour in hours[::2]))
    record(lake, "ingest", *((hour, "two") for hour in hours[::2]))
    outputs = [filled.output_digest for _, filled in sorted(lake.filled("ingest").items())]
    assert outputs == ["two", "one"] * (days // 2)
    assert set(lake.filled("sessionize")) == {hour + 1 for hour in hours[::2]}


def test_filled_hours_without_rows_are_unfilled_again(lake: Lake) -> None:
    record(lake, "ingest", (H0, "i0"), (H0 + 1, "i1"))
    lake.record_filled("ingest", HourRange(H0, H0 + 1), NOTHING, {})
    assert set(lake.filled("ingest")) == {H0 + 1}


def test_a_state_that_another_program_overwrote_is_told(lake: Lake) -> None:
    record(lake, "ingest", (H0, "one"))
    lake.table(FILLED_HOURS).append(NOTHING)
    with pytest.raises(HourglassError, match=r"filled_hours: its snapshot .* by another program"):
        lake.state()
    with pytest.raises(HourglassError, match="by another program"):
        lake.undo_unfinished()


def test_what_a_killed_step_committed_is_taken_back(lake: Lake) -> None:
    hours = HourRange(H0, H0 + 2)
    replace(lake, hours, (H0, "old"), (H0 + 1, "old"))
    record(lake, "sessionize", (H0, "one"))
    finished = lake.state()
    assert lake.undo_unfinished() == []

    replace(lake, HourRange(H0, H0 + 1), (H0, "half"))
    replace(lake, HourRange(H0 + 1, H0 + 2), (H0 + 1, "half"))
    lake.append(SOURCE_FILES, pa.Table.from_pylist([{"source_file": "f"}], SOURCE_FILES.schema), {})
    lake.overwrite(ITEMS, "true", pa.Table.from_pylist([{"item_id": "i"}], ITEMS.schema), {})
    assert sorted(lake.undo_unfinished()) == ["item_hours", "source_files"]
    assert content(lake) == at(H0, "old") + at(H0 + 1, "old")
    assert lake.arrow(SOURCE_FILES).num_rows == 0
    # Complete in itself, so it is no half of anything.
    assert lake.arrow(ITEMS).num_rows == 1
    assert content(lake, state=finished) == content(lake, state=lake.state()) == content(lake)
    assert lake.undo_unfinished() == []

    replace(lake, HourRange(H0, H0 + 1), (H0, "whole"))
    record(lake, "sessionize", (H0, "two"))
    assert lake.undo_unfinished() == []
    assert content(lake) == at(H0, "whole") + at(H0 + 1, "old")


def test_a_first_step_that_was_killed_leaves_an_empty_lake(lake: Lake) -> None:
    replace(lake, HourRange(H0, H0 + 1), (H0, "half"))
    assert lake.undo_unfinished() == ["item_hours"]
    assert content(lake) == []
    assert lake.undo_unfinished() == []
    replace(lake, HourRange(H0, H0 + 1), (H0, "whole"))
    record(lake, "sessionize", (H0, "one"))
    assert content(lake, state=lake.state()) == content(lake) == at(H0, "whole")


def test_every_table_that_a_step_fills_can_be_taken_back() -> None:
    alone = {"filled_hours", "items", "users", "people", "recommendations"}
    assert {spec.name for spec in STEP_TABLES} | alone == {spec.name for spec in ALL_TABLES}
    assert not {spec.name for spec in STEP_TABLES} & alone


def test_recorded_states_name_every_other_table(lake: Lake) -> None:
    record(lake, "ingest", (H0, "one"))
    recorded = json.loads(lake.properties(FILLED_HOURS)[STATE_PROPERTY])
    assert set(recorded) == {spec.name for spec in ALL_TABLES} - {FILLED_HOURS.name}


def test_row_level_deletes_of_others_are_refused(
    lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = SimpleNamespace(delete_files=["position deletes"])
    scan = SimpleNamespace(plan_files=lambda: [task])
    monkeypatch.setattr(Lake, "_scan", lambda *_arguments: scan)
    with pytest.raises(HourglassError, match="table events has row-level deletes"):
        lake.files(EVENTS)


def test_every_column_that_came_later_can_be_added_to_a_table_of_before(tmp_path: Path) -> None:
    lake = new_lake(tmp_path)
    later = [spec for spec in ALL_TABLES if ADDED_LATER.keys() & {*spec.schema.names}]
    assert {name for spec in later for name in spec.schema.names} >= ADDED_LATER.keys()
    for spec in later:
        added = sorted(ADDED_LATER.keys() & {*spec.schema.names})
        with lake.table(spec).update_schema(allow_incompatible_changes=True) as update:
            for name in added:
                update.delete_column(name)
        lake.append(spec, spec.schema.empty_table(), {})
        fields = lake.table(spec).schema().as_arrow()
        assert {name: fields.field(name).type for name in added} == {
            name: arrow_type_of(ADDED_LATER[name]) for name in added
        }


def arrow_type_of(kind: pa.DataType) -> pa.DataType:
    return pa.large_string() if kind == pa.string() else kind


def test_a_lake_that_cannot_be_opened_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    lake = Lake("sqlite:////no/such/folder/catalog.db", tmp_path / "file")
    with pytest.raises(HourglassError, match=r"cannot open the lake at .*file"):
        lake.snapshots()


def test_a_catalog_that_another_holds_is_waited_for_and_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    new_lake(tmp_path).snapshots()
    address = f"sqlite:///{tmp_path}/catalog.db"
    with closing(sqlite3.connect(tmp_path / "catalog.db", check_same_thread=False)) as other:
        other.execute("BEGIN EXCLUSIVE")
        monkeypatch.setattr("pipeline.lake.catalog.BUSY_S", 1)
        began_s = time.monotonic()
        with pytest.raises(HourglassError, match=r"cannot open the lake at .*database is locked"):
            Lake(address, tmp_path).snapshots()
        assert time.monotonic() - began_s >= 1


@pytest.mark.nightly
def test_a_lake_whose_catalog_another_holds_for_long_is_waited_for(tmp_path: Path) -> None:
    lake = new_lake(tmp_path)
    before = lake.snapshots()
    with closing(sqlite3.connect(tmp_path / "catalog.db", check_same_thread=False)) as other:
        other.execute("BEGIN EXCLUSIVE")
        # SQLite's own time is 5 s; whoever is done sooner than ours is waited for.
        let_go = threading.Timer(6.0, other.rollback)
        let_go.start()
        assert lake.snapshots() == before
        let_go.join()


def test_a_new_lake_may_be_opened_by_several_at_once(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from pipeline.lake.lake import Lake;"
        "folder = Path(sys.argv[1]);"
        "print(len(Lake(f'sqlite:///{folder}/catalog.db', folder).snapshots()))"
    )
    command = [sys.executable, "-c", code, str(tmp_path)]
    opened = [
        subprocess.Popen(
            command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        for _ in range(3)
    ]
    for process in opened:
        out, err = process.communicate(timeout=120)
        assert (out.strip(), process.returncode) == (str(len(ALL_TABLES)), 0), err


def test_spark_and_arrow_read_what_spark_staged(compute: Compute, tmp_path: Path) -> None:
    lake = new_lake(tmp_path / "a folder ü 50% [1]")
    rows = [
        {
            "hour": (H0 + n % 3).start,
            "reason": "r" if n % 2 else None,
            "source_file": f"a/ü {n % 2}.csv",
            "line": n,
            "raw": "x,\t\u2603\n" * (n % 4),
        }
        for n in range(30)
    ]
    table = pa.Table.from_pylist(rows, QUARANTINE.schema)
    files = lake.stage(compute.spark.createDataFrame(table), QUARANTINE)
    assert lake.arrow(QUARANTINE).num_rows == 0
    lake.replace(QUARANTINE, HourRange(H0, H0 + 3), files, {})
    for part in (None, HourRange(H0 + 1, H0 + 2), only(H0, H0 + 2), []):
        asked = [part] if isinstance(part, HourRange) else part
        wanted = [
            row
            for row in table.to_pylist()
            if asked is None or any(Hour.of(row["hour"]) in hours for hours in asked)
        ]
        by_arrow = lake.arrow(QUARANTINE, part)
        assert by_arrow.schema == QUARANTINE.schema
        assert by_arrow.sort_by("line").to_pylist() == wanted
        by_spark = lake.read(compute.spark, QUARANTINE, part).toArrow().cast(QUARANTINE.schema)
        assert by_spark.sort_by("line").to_pylist() == wanted
