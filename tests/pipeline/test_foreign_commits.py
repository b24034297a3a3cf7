"""What another program committed is never undone, stops the steps, and can be let stand."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NoReturn

import pyarrow as pa
import pytest
from landing_place import CLOCK, H0, Place
from old_lake import OldLake
from staging import NO_SPARK

from pipeline.adopt.accept_commits import accept, commits_of_others
from pipeline.dataset.build import freeze
from pipeline.errors import HourglassError
from pipeline.hours import Hour, HourRange
from pipeline.ingest.file_audit import read_audits
from pipeline.ingest.metadata.item_user_tables import load_metadata
from pipeline.lake.catalog import open_catalog
from pipeline.lake.commits import is_own
from pipeline.lake.lake import Lake, State
from pipeline.lake.parquet_files import HourWriter
from pipeline.lake.stale_hours import CHANGED_BY_OTHERS
from pipeline.lake.tables import (
    ALL_TABLES,
    DWELL_HOURS,
    EVENTS,
    FILLED_HOURS,
    ITEM_HOURS,
    ITEMS,
    OPEN_SESSIONS,
    PROFILES,
    QUARANTINE,
    RECOMMENDATIONS,
    SESSIONS,
    SOURCE_FILES,
    USERS,
    TableSpec,
)
from pipeline.maintenance.compact import compact, fragments
from pipeline.sessions.backfill import backfill, plan_backfill
from pipeline.settings.settings import Settings
from pipeline.spark.compute import Compute
from training.cli.main import run

FOREIGN = "another program committed snapshot"


@pytest.fixture
def old(tmp_path: Path) -> OldLake:
    return OldLake(tmp_path / "work")


def foreign(lake: Lake) -> Any:
    """The catalog as another client of Iceberg opens it."""
    from pyiceberg.catalog.sql import SqlCatalog

    return SqlCatalog("hourglass", uri=lake.catalog_uri, warehouse=str(lake.warehouse))


def delete(lake: Lake, spec: TableSpec, where: str) -> int:
    table = foreign(lake).load_table(f"hourglass.{spec.name}")
    table.delete(where)
    return int(table.current_snapshot().snapshot_id)


def add(lake: Lake, spec: TableSpec, *rows: dict[str, Any]) -> int:
    table = foreign(lake).load_table(f"hourglass.{spec.name}")
    table.append(pa.Table.from_pylist(list(rows), spec.schema))
    return int(table.current_snapshot().snapshot_id)


def items_at(old: OldLake, state: State | None = None) -> list[tuple[str, str]]:
    rows = old.lake.arrow(ITEM_HOURS, state=state).to_pylist()
    return sorted((str(Hour.of(row["hour"])), row["item_id"]) for row in rows)


def names(old: OldLake) -> list[str]:
    return sorted(old.lake.arrow(SOURCE_FILES)["source_file"].to_pylist())


def test_every_way_to_commit_leaves_the_mark(old: OldLake) -> None:
    for hour in (H0, H0 + 1):
        old.step(hour, ("a",), ("b",))
        old.step(hour, ("a", "c"))
    for name in "abcdef":
        old.account(name)
    old.describe("x")
    old.describe()
    row = dict.fromkeys(PROFILES.schema.names, "p") | {"hour": H0.start, "weight": 1.0}
    rows = pa.Table.from_pylist([row], PROFILES.schema)
    for _ in range(2):
        old.lake.rewrite_days(PROFILES, HourRange(H0, H0 + 1), rows, {}, _all)
    old.lake.replace(RECOMMENDATIONS, HourRange(H0, H0 + 1), [], {})
    old.record(H0, "done")
    old.step(H0 + 5, ("a",), ("b",))
    compact(old.lake, fragments(old.lake, 1 << 20))
    old.commit(H0 + 6, ("half",))
    fresh = OldLake(old.settings.work.with_name("fresh"))
    fresh.commit(H0, ("first step, killed",))
    fresh.lake.undo_unfinished()
    seen = 0
    for lake in (old.lake, fresh.lake):
        for spec in ALL_TABLES:
            for snapshot in lake.table(spec).metadata.snapshots:
                seen += 1
                said = snapshot.summary.additional_properties if snapshot.summary else {}
                assert said["hourglass.commit"] == "own", spec.name
    assert seen > 20


def _all(rows: pa.Table) -> pa.Array:
    return pa.repeat(True, rows.num_rows)


def test_a_foreign_commit_stops_each_step_and_is_named(old: OldLake) -> None:
    old.step(H0, ("a", "b"))
    last = old.step(H0 + 30, ("c",))
    snapshot = delete(old.lake, ITEM_HOURS, "item_id = 'a'")
    for attempt in (old.lake.undo_unfinished, old.lake.refuse_foreign):
        with pytest.raises(HourglassError) as caught:
            attempt()
        sentence = str(caught.value)
        for part in ("table item_hours", str(snapshot), "-1 rows", "1 hour changed", str(H0)):
            assert part in sentence
        assert "hourglass adopt" in sentence
    # A step that was at work when it came does not put its rows over it, nor records it.
    for commit in (lambda: old.commit(H0, ("d",)), lambda: old.record(H0 + 1, "e")):
        with pytest.raises(HourglassError, match=FOREIGN):
            commit()
    assert old.lake.state() == last
    assert items_at(old) == [(str(H0), "b"), (str(H0 + 30), "c")]


def test_what_is_let_stand_is_the_state_and_its_hours_are_stale(old: OldLake) -> None:
    old.step(H0, ("a", "b"))
    old.step(H0 + 1, ("c",))
    snapshot = delete(old.lake, ITEM_HOURS, "item_id = 'a'")
    (planned,) = commits_of_others(old.lake)
    assert planned.snapshots == (snapshot,)
    assert accept(old.lake, NO_SPARK) == [planned]
    assert items_at(old, old.lake.state()) == [(str(H0), "b"), (str(H0 + 1), "c")]
    stale = old.lake.filled("sessionize")
    assert {h: row.input_digest for h, row in stale.items()} == {H0: CHANGED_BY_OTHERS}
    assert old.lake.filled("ingest").keys() == {H0, H0 + 1}
    accepted = json.loads(old.lake.properties(FILLED_HOURS)["hourglass.accepted"])
    assert accepted == [
        {"table": "item_hours", "snapshots": [snapshot], "set_to": None, "rows": -1}
    ]
    state = old.lake.state()
    assert old.lake.undo_unfinished() == []
    assert accept(old.lake, NO_SPARK) == []
    assert old.lake.state() == state == old.lake.snapshots()
    old.step(H0, ("again",))
    assert items_at(old) == [(str(H0), "again"), (str(H0 + 1), "c")]


def account(name: str) -> dict[str, Any]:
    row: dict[str, Any] = dict.fromkeys(SOURCE_FILES.schema.names)
    counts = dict.fromkeys(("bytes", "records", "accepted", "duplicates", "quarantined"), 0)
    times = {"arrival": H0.start, "modified": H0.start}
    return row | counts | times | {"source_file": name, "sha256": name}


def put(old: OldLake, *files: str) -> None:
    rows = pa.Table.from_pylist([account(name) for name in files], SOURCE_FILES.schema)
    old.lake.append(SOURCE_FILES, rows, {})


@pytest.mark.parametrize(
    ("order", "left"),
    [
        (("foreign", "own"), ["a"]),
        (("own", "foreign"), ["a"]),
        (("own", "foreign", "own"), ["a"]),
        (("foreign", "own", "foreign 2"), ["foreign"]),
        (("own", "foreign 2", "own"), ["foreign"]),
    ],
    ids=["foreign, own", "own, foreign", "own, foreign, own", "foreign, own, foreign", "rewritten"],
)
def test_only_what_killed_steps_committed_is_taken_back(
    old: OldLake, order: tuple[str, ...], left: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    put(old, "a", "b")
    old.record(H0, "one")
    # As at an earlier version, which did not look before it committed.
    monkeypatch.setattr(Lake, "refuse_foreign", lambda _: None)
    for n, who in enumerate(order):
        if who == "own":
            put(old, f"own {n}")
        elif who == "foreign":
            delete(old.lake, SOURCE_FILES, "source_file = 'b'")
        else:
            delete(old.lake, SOURCE_FILES, "source_file in ('a', 'b')")
            add(old.lake, SOURCE_FILES, account("foreign"))
    monkeypatch.undo()
    before = old.lake.snapshot(SOURCE_FILES)
    with pytest.raises(HourglassError, match=FOREIGN):
        old.lake.undo_unfinished()
    assert old.lake.snapshot(SOURCE_FILES) == before
    accept(old.lake, NO_SPARK)
    assert names(old) == left
    assert old.lake.undo_unfinished() == []


def test_an_hour_that_a_killed_step_wrote_before_the_deletion_is_as_it_was(old: OldLake) -> None:
    def refused(raw: str) -> dict[str, Any]:
        return {"hour": H0.start, "reason": "r", "source_file": "f", "line": 1, "raw": raw}

    def write(*raws: str) -> None:

        rows = pa.Table.from_pylist([refused(raw) for raw in raws], QUARANTINE.schema)
        file = HourWriter(old.lake.staging(QUARANTINE)).write(H0, iter([rows]))
        old.lake.replace(QUARANTINE, HourRange(H0, H0 + 1), [file], {})

    put(old, "f")
    write("a", "b")
    old.record(H0, "one")
    write("a", "b", "c")
    delete(old.lake, QUARANTINE, "raw = 'a'")
    accept(old.lake, NO_SPARK)
    assert old.lake.arrow(QUARANTINE)["raw"].to_pylist() == ["b"]
    (file,) = read_audits(old.lake)
    assert (file.quarantined, file.removed) == (-1, 1)


def test_a_table_that_was_set_back_is_not_set_forward_again(old: OldLake) -> None:
    first = old.step(H0, ("a",))
    old.step(H0, ("a", "b"))
    table = foreign(old.lake).load_table("hourglass.item_hours")
    table.manage_snapshots().set_current_snapshot(first["item_hours"]).commit()
    with pytest.raises(HourglassError, match=r"set it to snapshot \d+, -1 rows, 1 hour changed"):
        old.lake.undo_unfinished()
    accept(old.lake, NO_SPARK)
    assert items_at(old) == [(str(H0), "a")]
    assert old.lake.undo_unfinished() == []


def test_a_state_whose_snapshot_another_program_expired_can_be_let_stand(old: OldLake) -> None:
    old.step(H0, ("a",), ("b",))
    delete(old.lake, ITEM_HOURS, "item_id = 'a'")
    table = foreign(old.lake).load_table("hourglass.item_hours")
    current = table.current_snapshot().snapshot_id
    gone = [s.snapshot_id for s in table.metadata.snapshots if s.snapshot_id != current]
    table.maintenance.expire_snapshots().by_ids(gone).commit()
    with pytest.raises(HourglassError, match="which hours changed is not known any more"):
        old.lake.undo_unfinished()
    accept(old.lake, NO_SPARK)
    assert items_at(old) == [(str(H0), "b")]
    assert old.lake.filled("sessionize")[H0].input_digest == CHANGED_BY_OTHERS


def test_properties_columns_and_tags_of_others_stay_and_stop_nothing(old: OldLake) -> None:
    from pyiceberg.types import StringType

    state = old.step(H0, ("a",))
    table = foreign(old.lake).load_table("hourglass.item_hours")
    with table.transaction() as tx:
        tx.set_properties({"owner": "somebody"})
    with table.update_schema() as update:
        update.add_column("note", StringType())
    table.manage_snapshots().create_tag(state["item_hours"], "audit").commit()
    old.commit(H0, ("half",))
    assert old.lake.undo_unfinished() == ["item_hours"]
    left = foreign(old.lake).load_table("hourglass.item_hours")
    assert left.properties["owner"] == "somebody"
    assert "note" in left.schema().column_names
    assert "audit" in left.metadata.refs
    old.step(H0, ("b",))
    assert items_at(old) == [(str(H0), "b")]


def test_what_an_earlier_version_left_half_done_is_taken_back(old: OldLake) -> None:
    # Commits of that time had no mark, but each said what step they were of.
    old.step(H0, ("a",))
    table = foreign(old.lake).load_table("hourglass.item_hours")
    rows = pa.Table.from_pylist(
        [{"hour": H0.start, "item_id": "half", "events": 1, "users": 1}], ITEM_HOURS.schema
    )
    table.append(rows, snapshot_properties={"hourglass.step": "sessionize"})
    items = foreign(old.lake).load_table("hourglass.items")
    items.append(
        pa.Table.from_pylist([{"item_id": "i"}], ITEMS.schema),
        snapshot_properties={"hourglass.source_sha256": "x"},
    )
    assert old.lake.undo_unfinished() == ["item_hours"]
    assert old.lake.arrow(ITEMS).num_rows == 1
    assert items_at(old) == [(str(H0), "a")]


def test_a_first_step_that_an_earlier_version_took_back_is_no_foreign_commit(old: OldLake) -> None:
    old.commit(H0, ("half",))
    foreign(old.lake).load_table("hourglass.item_hours").delete()
    assert old.lake.undo_unfinished() == []
    old.commit(H0, ("half again",))
    assert old.lake.undo_unfinished() == ["item_hours"]
    old.step(H0, ("whole",))
    assert items_at(old) == [(str(H0), "whole")]


def test_rows_that_others_deleted_from_filled_hours_are_computed_again(old: OldLake) -> None:
    old.step(H0, ("a",))
    row = dict.fromkeys(FILLED_HOURS.schema.names, "s") | {"hour": H0.start, "rows": 1}
    for hour in (H0, H0 + 1):
        rows = [row | {"hour": hour.start, "step": "sessionize"}]
        table = pa.Table.from_pylist(rows, FILLED_HOURS.schema)
        old.lake.record_filled("sessionize", HourRange(hour, hour + 1), table, {})
    snapshot = delete(old.lake, FILLED_HOURS, f"hour = '{(H0 + 1).start.isoformat()}'")
    for attempt in (old.lake.state, old.lake.undo_unfinished, old.lake.refuse_foreign):
        with pytest.raises(HourglassError, match=f"{snapshot} was committed by another program"):
            attempt()
    with pytest.raises(HourglassError, match="by another program"):
        old.record(H0, "over it")
    sizes: list[int] = []

    def digests(_: Compute, size: int, __: object) -> list[Any]:
        sizes.append(size)
        return []

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("pipeline.adopt.accept_commits.run_on_engine", digests)
        (commit,) = accept(old.lake, NO_SPARK)
    assert (commit.spec, commit.snapshots) == (FILLED_HOURS, (snapshot,))
    assert len(sizes) == 1
    stale = old.lake.filled("sessionize")
    assert {h: r.input_digest for h, r in stale.items()} == {H0: "s", H0 + 1: CHANGED_BY_OTHERS}
    assert old.lake.undo_unfinished() == []


def test_where_nothing_tells_how_the_tables_stood_all_hours_are_computed_again(
    old: OldLake, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(old, "a")
    old.step(H0, ("a",))
    old.step(H0 + 1, ("b",))
    add(old.lake, FILLED_HOURS, dict.fromkeys(FILLED_HOURS.schema.names, "x") | _TIMES)
    table = foreign(old.lake).load_table("hourglass.filled_hours")
    current = table.current_snapshot().snapshot_id
    gone = [s.snapshot_id for s in table.metadata.snapshots if s.snapshot_id != current]
    table.maintenance.expire_snapshots().by_ids(gone).commit()
    monkeypatch.setattr("pipeline.adopt.accept_commits.run_on_engine", lambda *_: [])
    (commit,) = accept(old.lake, NO_SPARK)
    assert commit.hours is None
    assert items_at(old) == [(str(H0), "a"), (str(H0 + 1), "b")]
    assert names(old) == ["a"]
    stale = old.lake.filled("sessionize")
    assert {row.input_digest for row in stale.values()} == {CHANGED_BY_OTHERS}
    assert stale.keys() == {H0, H0 + 1}
    # No event is left of what ingest had recorded.
    assert old.lake.filled("ingest") == {}
    assert old.lake.undo_unfinished() == []


_TIMES = {"hour": H0.start, "rows": 1}


def test_the_command_shows_and_then_lets_stand(
    old: OldLake, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tmp_path / "hourglass.yaml"
    config.write_text(f"work: {old.settings.work}\n")
    old.step(H0, ("a", "b"))
    snapshot = delete(old.lake, ITEM_HOURS, "item_id = 'a'")
    before = old.lake.snapshots()
    command = ["--config", str(config), "adopt"]
    assert run([*command, "--plan"]) == 0
    assert f"table item_hours: {FOREIGN} {snapshot}, -1 rows" in capsys.readouterr().out
    assert old.lake.snapshots() == before
    assert run([*command, "--json"]) == 0
    said = json.loads(capsys.readouterr().out)["commits"]
    hours = [f"{H0} to {H0 + 1}"]
    assert said == [{"table": "item_hours", "snapshots": [snapshot], "rows": -1, "hours": hours}]
    assert run(command) == 0
    assert "nothing to adopt" in capsys.readouterr().out


def test_a_killed_adoption_is_done_again(old: OldLake, monkeypatch: pytest.MonkeyPatch) -> None:
    put(old, "a", "b")
    old.step(H0, ("a", "b"))
    put(old, "half")
    delete(old.lake, SOURCE_FILES, "source_file = 'b'")
    delete(old.lake, ITEM_HOURS, "item_id = 'a'")
    for name in ("adopt_foreign_commit", "overwrite", "record_accepted"):
        with monkeypatch.context() as patch:
            patch.setattr(Lake, name, _killed)
            with pytest.raises(KeyboardInterrupt):
                accept(old.lake, NO_SPARK)
        with pytest.raises(HourglassError, match=FOREIGN):
            old.lake.undo_unfinished()
    accept(old.lake, NO_SPARK)
    assert names(old) == ["a"]
    assert items_at(old) == [(str(H0), "b")]
    assert old.lake.state() == old.lake.snapshots()


def _killed(*_: Any, **__: Any) -> NoReturn:
    raise KeyboardInterrupt


def test_a_table_set_back_after_adopt_keeps_what_came_between(old: OldLake) -> None:
    old.step(H0, ("a", "b"))
    delete(old.lake, ITEM_HOURS, "item_id = 'a'")
    accept(old.lake, NO_SPARK)
    kept = old.step(H0 + 1, ("c",))
    old.step(H0 + 2, ("d",))
    table = foreign(old.lake).load_table("hourglass.item_hours")
    table.manage_snapshots().set_current_snapshot(kept["item_hours"]).commit()
    with pytest.raises(HourglassError, match=r"set it to snapshot \d+, -1 rows, 1 hour changed"):
        old.lake.undo_unfinished()
    accept(old.lake, NO_SPARK)
    assert items_at(old) == [(str(H0), "b"), (str(H0 + 1), "c")]


def test_a_commit_while_adopt_works_is_not_swallowed(
    old: OldLake, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(old, "a", "b", "c")
    old.record(H0, "one")
    delete(old.lake, SOURCE_FILES, "source_file = 'a'")
    record = Lake.record_accepted

    def beside(lake: Lake, *arguments: Any) -> None:
        delete(old.lake, SOURCE_FILES, "source_file = 'b'")
        record(lake, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(Lake, "record_accepted", beside)
        with pytest.raises(HourglassError, match="while `hourglass adopt` was at work"):
            accept(old.lake, NO_SPARK)
    accept(old.lake, NO_SPARK)
    assert names(old) == ["c"]


def test_a_deletion_from_a_metadata_table_is_not_undone_by_the_same_file(
    old: OldLake, tmp_path: Path
) -> None:
    path = tmp_path / "users.jsonl"
    path.write_text('{"user_id": "ann"}\n{"user_id": "bob"}\n')
    source = old.settings.source.model_copy(update={"users_path": path})
    settings: Settings = old.settings.model_copy(update={"source": source})

    def users() -> list[str]:
        load_metadata(old.lake, settings)
        return sorted(old.lake.arrow(USERS)["user_id"].to_pylist())

    assert users() == ["ann", "bob"]
    old.step(H0, ("a",))
    delete(old.lake, USERS, "user_id = 'ann'")
    (fault,) = load_metadata(old.lake, settings).faults
    assert fault.startswith(f"table users: {FOREIGN}")
    assert old.lake.arrow(USERS)["user_id"].to_pylist() == ["bob"]
    accept(old.lake, NO_SPARK)
    assert users() == ["bob"]
    # Another file is read, and says who there is.
    path.write_text('{"user_id": "ann"}\n{"user_id": "cy"}\n')
    assert users() == ["ann", "cy"]


def test_recommendations_of_others_stop_nothing(old: OldLake) -> None:
    old.step(H0, ("a",))
    add(old.lake, RECOMMENDATIONS, {"hour": H0.start, "user_id": "u", "item_id": "i"})
    assert old.lake.undo_unfinished() == []
    old.lake.replace(RECOMMENDATIONS, HourRange(H0, H0 + 1), [], {})
    assert old.lake.arrow(RECOMMENDATIONS).num_rows == 0


def test_row_level_deletes_are_told_before_anything_is_let_stand(
    old: OldLake, monkeypatch: pytest.MonkeyPatch
) -> None:
    old.step(H0, ("a", "b"))
    delete(old.lake, ITEM_HOURS, "item_id = 'a'")
    before = old.lake.snapshots()
    scan = SimpleNamespace(plan_files=lambda: [SimpleNamespace(delete_files=["some"])])
    original = Lake._scan

    def with_deletes(lake: Lake, spec: TableSpec, *rest: Any) -> Any:
        return scan if spec == ITEM_HOURS else original(lake, spec, *rest)

    monkeypatch.setattr(Lake, "_scan", with_deletes)
    attempts: tuple[Callable[[], Any], ...] = (
        old.lake.undo_unfinished,
        lambda: accept(old.lake, NO_SPARK),
    )
    for attempt in attempts:
        with pytest.raises(HourglassError, match="table item_hours has row-level deletes"):
            attempt()
    monkeypatch.undo()
    assert old.lake.snapshots() == before


def line(minute: int, rest: str) -> str:
    """A line of the log, so many minutes after the first hour began."""
    return f"{H0.index * 3600 + minute * 60},{rest}"


LINES = (
    line(1, "ann,a,1,1,m"),
    line(2, "bob,a,1,2,m"),
    line(30, "ann,b,1,3,m"),
    line(40, "bob,b,1,4,m"),
    "not a line of a log",
)
MORE = (line(65, "ann,c,1,5,m"), line(66, "bob,c,1,6,m"))
STOP = H0 + 6
DERIVED = (SESSIONS, OPEN_SESSIONS, ITEM_HOURS, DWELL_HOURS)


def filled_place(folder: Path, compute: Compute, *lines: str) -> Place:
    place = Place(folder, compute)
    place.put("first.csv", *[text for text in lines if text in LINES])
    place.put("second.csv", *[text for text in lines if text in MORE])
    refill(place)
    return place


def refill(place: Place) -> Any:
    clock = CLOCK + timedelta(hours=10)
    return backfill(place.compute, place.lake, place.settings, clock, HourRange(H0, STOP))


def derived(place: Place) -> dict[str, list[str]]:
    """What is made from events, whatever the digests of the raw files."""
    return {spec.name: sorted(map(repr, place.rows(spec))) for spec in DERIVED}


def test_a_deleted_person_stays_deleted_everywhere(compute: Compute, tmp_path: Path) -> None:
    place = filled_place(tmp_path / "lake", compute, *LINES, *MORE)
    without = filled_place(
        tmp_path / "without", compute, *[text for text in (*LINES, *MORE) if ",ann," not in text]
    )
    for spec in (EVENTS, SESSIONS, OPEN_SESSIONS):
        assert "ann" in repr(place.rows(spec)), spec.name
    snapshot = delete(place.lake, EVENTS, "user_id = 'ann'")

    # Everything that would compute on what stood before stops, and names the hours.
    clock = CLOCK + timedelta(hours=10)
    attempts: tuple[Callable[[], Any], ...] = (
        lambda: refill(place),
        lambda: place.sessionize(HourRange(H0, STOP)),
        lambda: plan_backfill(place.lake, place.settings, clock, None),
        lambda: freeze(compute, place.lake, place.settings, H0 + 1, None),
    )
    for attempt in attempts:
        with pytest.raises(HourglassError, match=f"table events: .*{snapshot}, -3 rows, 2 hours"):
            attempt()
    assert "ann" not in repr(place.rows(EVENTS))

    accept(place.lake, compute)
    plan = plan_backfill(place.lake, place.settings, clock, HourRange(H0, STOP))
    assert {hour for part in plan.ranges for hour in part.hours} >= {H0, H0 + 1}
    _, done = refill(place)
    assert done is not None
    assert derived(place) == derived(without)
    assert place.lake.filled("ingest") == {
        hour: row for hour, row in place.lake.filled("ingest").items() if row.rows
    }
    rows = {a.source_file: a for a in read_audits(place.lake)}
    first, second = rows["first.csv"], rows["second.csv"]
    assert (first.records, first.accepted, first.quarantined, first.removed) == (5, 2, 1, 2)
    assert (second.records, second.accepted, second.removed) == (2, 1, 1)
    assert str(snapshot) in str(first.removed_by)
    assert sum(a.accepted for a in rows.values()) == len(place.rows(EVENTS)) == 3

    # Nor does anything later bring the rows back; what follows is as if they had never been.
    assert refill(place) == (place.ingest(clock), None)
    later = line(45, "bob,d,1,7,m")
    for each in (place, without):
        each.put("third.csv", later)
        refill(each)
    assert "ann" not in repr([place.rows(spec) for spec in (EVENTS, *DERIVED)])
    assert derived(place) == derived(without)
    outputs = [
        {h: r.output_digest for h, r in each.lake.filled("ingest").items()}
        for each in (place, without)
    ]
    assert outputs[0] == outputs[1]


def test_hours_of_sessions_that_others_changed_are_computed_anew(
    compute: Compute, tmp_path: Path
) -> None:
    place = filled_place(tmp_path / "lake", compute, *LINES, *MORE)
    whole = derived(place)
    delete(place.lake, SESSIONS, "user_id = 'ann'")
    delete(place.lake, OPEN_SESSIONS, f"hour = '{H0.start.isoformat()}'")
    add(place.lake, DWELL_HOURS, {"hour": (H0 + 5).start, "n": 7})
    with pytest.raises(HourglassError, match=r"table sessions.*table open_sessions.*dwell_hours"):
        refill(place)
    accept(place.lake, NO_SPARK)
    plan = plan_backfill(place.lake, place.settings, CLOCK, HourRange(H0, STOP))
    assert "changed by another program" in {part.why for part in plan.ranges}
    refill(place)
    assert derived(place) == whole
    assert open_catalog(place.lake.catalog_uri, place.lake.warehouse)
    assert all(is_own(place.lake.table(s).current_snapshot()) for s in DERIVED)


def test_events_of_a_killed_ingest_are_not_kept_by_a_deletion_after_it(
    compute: Compute, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = filled_place(tmp_path / "lake", compute, *LINES)
    place.put("second.csv", *MORE)
    with monkeypatch.context() as patch:
        patch.setattr(Lake, "record_filled", _killed)
        with pytest.raises(KeyboardInterrupt):
            place.ingest()
    assert len(place.rows(EVENTS)) == 6
    delete(place.lake, EVENTS, "user_id = 'ann'")
    accept(place.lake, compute)
    # The half-done file is out again, and is read anew: its rows come back, as from any raw file.
    assert sorted(row["event_key"] for row in place.rows(EVENTS)) == ["2", "4"]
    refill(place)
    assert sorted(row["event_key"] for row in place.rows(EVENTS)) == ["2", "4", "5", "6"]
    assert place.accounts()["second.csv"] == (2, 2, 0, 0)
