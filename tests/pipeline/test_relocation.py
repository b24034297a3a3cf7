"""A lake that was copied, moved or restored: it stops, and `adopt` makes it one of its own."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import sqlite3
from collections.abc import Callable, Mapping
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml
from old_lake import H0, OldLake

from pipeline.adopt import relocation
from pipeline.adopt.relocation import check_whole, moved_tables, relocate
from pipeline.errors import HourglassError
from pipeline.lake.catalog import existing_catalog
from pipeline.lake.lake import Lake, State
from pipeline.lake.tables import ALL_TABLES, FILLED_HOURS, ITEM_HOURS
from pipeline.maintenance.maintain import ModelInputs, maintain
from training.cli.main import run

LATER = datetime.now(UTC) + timedelta(days=30)


class Pair:
    """A lake with a past, and a copy of its work folder in another place."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._open()
        self.first.account("a")
        self.first.describe("x", "y")
        self.states: list[State] = [
            self.first.step(H0, ("a",)),
            self.first.step(H0, ("b",), ("c",)),
            self.first.step(H0 + 30, ("d",)),
        ]
        self.seen = [self.first.seen(state) for state in self.states]
        shutil.copytree(self.first.settings.work, self.copy.settings.work)
        self.config = settings_file(folder / "hourglass.yaml", self.copy.settings.work)
        (folder / "landing").mkdir()
        shutil.copytree(folder, self._then)

    def _open(self) -> None:
        self.first = OldLake(self.folder / "first place" / "work")
        self.copy = OldLake(self.folder / "second [1] ü" / "copy")

    @property
    def _then(self) -> Path:
        return self.folder.with_name(f"{self.folder.name} as it was")

    def put_back(self) -> None:
        """Be as it was, at the same paths."""
        shutil.rmtree(self.folder)
        shutil.copytree(self._then, self.folder)
        self._open()

    def adopt(self, *options: str) -> int:
        return run(["--config", str(self.config), "adopt", *options])

    def seen_in_copy(self) -> list[dict[str, str]]:
        fresh = OldLake(self.copy.settings.work)
        return [fresh.seen(state) for state in self.states]


@pytest.fixture(scope="module")
def made_pair(tmp_path_factory: pytest.TempPathFactory) -> Pair:
    return Pair(tmp_path_factory.mktemp("pair") / "places")


@pytest.fixture
def pair(made_pair: Pair) -> Pair:
    """The pair as it was made, whatever the test before did to it."""
    made_pair.put_back()
    return made_pair


def settings_file(path: Path, work: Path | str, **more: str) -> Path:
    source = {"path": str(path.parent / "landing")}
    text = yaml.safe_dump({"work": str(work), "source": source, **more})
    path.write_text(text, encoding="utf-8")
    return path


def content(folder: Path) -> dict[str, str]:
    """Digest of every file below a folder, but for the lock, which holds nothing."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != "writer.lock"
    }


def naming(folder: Path, former: Path) -> list[str]:
    """Files below a folder, other than table rows, that hold the name of another folder."""
    return sorted(
        str(path.relative_to(folder))
        for path in folder.rglob("*")
        if path.is_file()
        and path.suffix != ".parquet"
        and any(name in path.read_bytes() for name in (os.fsencode(former), uri_of(former)))
    )


def uri_of(folder: Path) -> bytes:
    return folder.as_uri().encode()


COMMANDS = [
    ["ingest"],
    ["backfill"],
    ["backfill", "--plan"],
    ["sessionize", "--from", "2016-03-14T13", "--to", "2016-03-14T14"],
    ["validate", "--from", "2016-03-14T13", "--to", "2016-03-14T14"],
    ["dataset", "--as-of", "2016-03-14T14"],
    ["maintain"],
    ["maintain", "--plan"],
    ["report"],
]


@pytest.mark.parametrize("command", COMMANDS, ids=[" ".join(c[:2]) for c in COMMANDS])
def test_every_command_stops_on_a_copy_and_writes_nothing(
    pair: Pair, command: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    before = content(pair.first.settings.work), content(pair.copy.settings.work)
    assert run(["--config", str(pair.config), *command]) == 1
    (sentence,) = [line for line in capsys.readouterr().err.splitlines() if "hourglass:" in line]
    for place in (pair.copy.lake.warehouse, pair.first.lake.warehouse):
        assert str(place) in sentence
    assert "hourglass adopt" in sentence
    assert (content(pair.first.settings.work), content(pair.copy.settings.work)) == before


def test_an_adopted_copy_has_the_same_snapshots_and_leaves_the_first_alone(
    pair: Pair, capsys: pytest.CaptureFixture[str]
) -> None:
    before = content(pair.first.settings.work)
    ids = {spec.name: pair.first.snapshot_ids(spec) for spec in ALL_TABLES}
    assert pair.adopt() == 0
    assert f"instead of {pair.first.lake.warehouse}" in capsys.readouterr().out
    copy = OldLake(pair.copy.settings.work)
    assert {spec.name: copy.snapshot_ids(spec) for spec in ALL_TABLES} == ids
    assert pair.seen_in_copy() == pair.seen
    for spec in ALL_TABLES:
        for state in (None, *pair.states):
            for file in copy.lake.files(spec, state=state):
                assert Path(file.path).is_relative_to(copy.lake.warehouse)

    # More commits than metadata files are kept: each removes the oldest it knows.
    for n in range(25):
        copy.describe(f"item {n}")
        state = copy.step(H0 + 2, (f"new {n}",))
    last = copy.seen(state)
    assert maintain(copy.lake, copy.settings, ModelInputs(), LATER).files
    assert naming(copy.lake.warehouse, pair.first.settings.work) == []
    assert copy.seen(copy.lake.state()) == last
    assert content(pair.first.settings.work) == before
    assert [pair.first.seen(state) for state in pair.states] == pair.seen


def test_a_second_adoption_changes_nothing(pair: Pair, capsys: pytest.CaptureFixture[str]) -> None:
    assert pair.adopt() == 0
    before = content(pair.copy.settings.work)
    capsys.readouterr()
    assert pair.adopt() == 0
    assert "nothing to adopt" in capsys.readouterr().out
    assert content(pair.copy.settings.work) == before


def test_a_plan_changes_nothing(pair: Pair, capsys: pytest.CaptureFixture[str]) -> None:
    before = content(pair.copy.settings.work)
    assert pair.adopt("--plan") == 0
    assert "would name" in capsys.readouterr().out
    assert content(pair.copy.settings.work) == before


def test_a_moved_lake_is_adopted_though_its_first_place_is_gone(pair: Pair) -> None:
    shutil.rmtree(pair.first.settings.work)
    with pytest.raises(HourglassError, match="moved, copied or linked"):
        pair.copy.lake.snapshots()
    assert pair.adopt() == 0
    assert pair.seen_in_copy() == pair.seen
    assert not pair.first.settings.work.exists()


def test_a_copy_of_an_adopted_copy_can_be_adopted(pair: Pair, tmp_path: Path) -> None:
    assert pair.adopt() == 0
    third = tmp_path / "third"
    shutil.copytree(pair.copy.settings.work, third)
    before = content(pair.copy.settings.work)
    assert run(["--config", str(settings_file(tmp_path / "3.yaml", third)), "adopt"]) == 0
    copied = OldLake(third)
    assert [copied.seen(state) for state in pair.states] == pair.seen
    copied.step(H0, ("e",))
    assert content(pair.copy.settings.work) == before


@pytest.mark.parametrize(
    ("name", "after"),
    [("rewritten", 0), ("rewritten", 7), ("update", 0), ("update", 5)],
    ids=["first table", "eighth table", "first row", "sixth row"],
)
def test_killed_anywhere_the_copy_still_stops_and_the_next_adoption_completes(
    pair: Pair, monkeypatch: pytest.MonkeyPatch, name: str, after: int
) -> None:
    before = content(pair.first.settings.work)
    with monkeypatch.context() as patch:
        module = relocation if name == "rewritten" else __import__("sqlalchemy")
        _die_at(name, module, after, patch)
        assert pair.adopt() == 130
    with pytest.raises(HourglassError, match="moved, copied or linked"):
        OldLake(pair.copy.settings.work).lake.snapshots()
    assert pair.adopt() == 0
    assert pair.seen_in_copy() == pair.seen
    assert content(pair.first.settings.work) == before


def _die_at(name: str, module: Any, after: int, patch: pytest.MonkeyPatch) -> None:
    original: Callable[..., Any] = getattr(module, name)
    calls = iter(range(10**6))

    def dying(*args: Any, **named: Any) -> Any:
        if next(calls) >= after:
            raise KeyboardInterrupt
        return original(*args, **named)

    patch.setattr(module, name, dying)


def _remove(path: Path) -> None:
    path.unlink()


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def _link(path: Path) -> None:
    path.rename(path.with_suffix(".moved"))
    path.symlink_to(path.with_suffix(".moved"))


@pytest.mark.parametrize(
    ("pattern", "damage", "told"),
    [
        ("item_hours/data/**/*.parquet", _remove, "is missing"),
        ("item_hours/data/**/*.parquet", _cut, r"has \d+ bytes instead of \d+"),
        ("item_hours/data/**/*.parquet", _link, "is a link"),
        ("item_hours/metadata/*-m0.avro", _remove, "is missing"),
        ("item_hours/metadata/*-m0.avro", _cut, "bytes instead of"),
        ("item_hours/metadata/snap-*.avro", _remove, "is missing"),
        ("users/metadata/*.json", _remove, "its metadata .* is missing"),
    ],
    ids=[
        *("rows gone", "rows cut", "rows linked"),
        *("manifest gone", "manifest cut", "list gone", "metadata gone"),
    ],
)
def test_an_incomplete_copy_is_refused_and_stays_as_it_is(
    pair: Pair,
    pattern: str,
    damage: Callable[[Path], None],
    told: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    damage(sorted(pair.copy.lake.warehouse.glob(pattern))[0])
    before = content(pair.copy.settings.work)
    assert pair.adopt() == 1
    error = capsys.readouterr().err
    assert re.search(told, error), error
    assert "nothing was changed" in error
    assert content(pair.copy.settings.work) == before


def test_a_catalog_that_the_first_lake_uses_too_is_refused(
    pair: Pair, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shared = pair.first.settings.resolved_catalog_uri
    settings_file(pair.config, pair.copy.settings.work, catalog_uri=shared)
    before = content(pair.first.settings.work)
    assert run(["--config", str(pair.config), "backfill"]) == 1
    assert "moved, copied or linked" in capsys.readouterr().err
    assert pair.adopt() == 1
    assert "may be what the lake there uses too" in capsys.readouterr().err
    assert content(pair.first.settings.work) == before
    # Who says that the first lake is no longer used has its catalog name the copy.
    assert pair.adopt("--alone") == 0
    moved = Lake(shared, pair.copy.lake.warehouse)
    assert moved.state() == pair.states[-1]
    with pytest.raises(HourglassError, match="moved, copied or linked"):
        OldLake(pair.first.settings.work).lake.snapshots()


def test_a_catalog_that_is_one_file_with_the_first_is_refused(
    pair: Pair, capsys: pytest.CaptureFixture[str]
) -> None:
    (pair.copy.lake.warehouse / "catalog.db").unlink()
    os.link(pair.first.lake.warehouse / "catalog.db", pair.copy.lake.warehouse / "catalog.db")
    before = content(pair.first.settings.work)
    assert pair.adopt() == 1
    assert "may be what the lake there uses too" in capsys.readouterr().err
    assert content(pair.first.settings.work) == before


def test_a_table_folder_that_is_a_link_is_refused(
    pair: Pair, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = pair.copy.lake.warehouse / "item_hours"
    shutil.rmtree(folder)
    folder.symlink_to(pair.first.lake.warehouse / "item_hours")
    before = content(pair.first.settings.work)
    assert pair.adopt() == 1
    assert "is a link to" in capsys.readouterr().err
    assert content(pair.first.settings.work) == before


def test_the_same_lake_under_another_name_keeps_working(
    pair: Pair, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (pair.folder / "link").symlink_to(pair.first.settings.work.parent)
    through = OldLake(pair.folder / "link" / "work")
    state = through.step(H0 + 3, ("through the link",))
    assert pair.first.seen(state) == through.seen(state)
    # A relative name, and one that goes up and down again.
    monkeypatch.chdir(pair.first.settings.work.parent)
    for name in ("work", "../first place/work", "../first place/../link/work"):
        state = OldLake(Path(name)).step(H0 + 4, (name,))
        assert pair.first.lake.state() == state
        assert run(["--config", str(settings_file(tmp_path / "r.yaml", name)), "adopt"]) == 0
        assert "nothing to adopt" in capsys.readouterr().out


def test_one_table_whose_folder_is_elsewhere_on_purpose_keeps_working(tmp_path: Path) -> None:
    old = OldLake(tmp_path / "work")
    old.step(H0, ("a",))
    (tmp_path / "large disk").mkdir()
    shutil.move(old.lake.warehouse / "item_hours", tmp_path / "large disk")
    (old.lake.warehouse / "item_hours").symlink_to(tmp_path / "large disk" / "item_hours")
    again = OldLake(tmp_path / "work")
    assert again.seen(again.step(H0 + 1, ("b",)))


def test_a_lake_whose_catalog_alone_was_mended_by_hand_is_not_opened(pair: Pair) -> None:
    # The catalog then names metadata here, which names metadata to remove there.
    first, copy = str(pair.first.lake.warehouse), str(pair.copy.lake.warehouse)
    with closing(sqlite3.connect(pair.copy.lake.warehouse / "catalog.db")) as catalog:
        change = "UPDATE iceberg_tables SET metadata_location = replace(metadata_location, ?, ?)"
        catalog.execute(change, (first, copy))
        catalog.commit()
    with pytest.raises(HourglassError, match="moved, copied or linked"):
        OldLake(pair.copy.settings.work).lake.snapshots()
    assert pair.adopt() == 0
    assert pair.seen_in_copy() == pair.seen


def test_tables_of_other_programs_in_the_catalog_go_with_the_lake(pair: Pair) -> None:
    pair.first.lake.catalog.create_namespace("notes")
    rows = pair.first.lake.arrow(ITEM_HOURS).select(["item_id"])
    place = str(pair.first.lake.warehouse / "extra" / "things")
    pair.first.lake.catalog.create_table("notes.things", rows.schema, place).append(rows)
    shutil.rmtree(pair.copy.settings.work)
    shutil.copytree(pair.first.settings.work, pair.copy.settings.work)
    assert pair.adopt() == 0
    table = OldLake(pair.copy.settings.work).lake.catalog.load_table("notes.things")
    assert table.location() == str(pair.copy.lake.warehouse / "extra" / "things")
    assert table.scan().to_arrow().num_rows == rows.num_rows


def test_branches_statistics_and_deleted_entries_are_carried_over(pair: Pair) -> None:
    first = pair.first
    first.lake.table(ITEM_HOURS).manage_snapshots().create_tag(
        pair.states[0][ITEM_HOURS.name] or 0, "audit"
    ).commit()
    with first.lake.table(ITEM_HOURS).transaction() as tx:
        tx.delete("item_id = 'd'")
    shutil.rmtree(pair.copy.settings.work)
    shutil.copytree(first.settings.work, pair.copy.settings.work)
    catalog = existing_catalog(pair.copy.settings.resolved_catalog_uri, pair.copy.lake.warehouse)
    moved = moved_tables(catalog, pair.copy.lake.warehouse)
    check_whole(moved)
    relocate(catalog, moved)
    before, after = (OldLake(o.settings.work).lake.table(ITEM_HOURS) for o in (first, pair.copy))
    assert after.metadata.refs == before.metadata.refs
    assert after.metadata.snapshot_log == before.metadata.snapshot_log
    assert after.metadata.last_updated_ms == before.metadata.last_updated_ms
    places = [str(o.lake.warehouse) for o in (first, pair.copy)]
    assert _entries(after, places[1]) == _entries(before, places[0])


def _entries(table: Any, place: str) -> list[Any]:
    """All that manifests say, without the place and their own names."""
    found = []
    for snapshot in table.metadata.snapshots:
        for manifest in snapshot.manifests(table.io):
            found.append([repr(value) for value in manifest._data[2:]])
            for entry in manifest.fetch_manifest_entry(table.io, discard_deleted=False):
                file = entry.data_file
                path = file.file_path.removeprefix(place)
                values = (*entry._data[:4], *file._data[2:])
                about = [dict(v) if isinstance(v, Mapping) else repr(v) for v in values]
                found.append([path, *about])
    return found


def test_nothing_is_made_where_there_is_no_lake(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = settings_file(tmp_path / "hourglass.yaml", tmp_path / "work")
    assert run(["--config", str(config), "adopt"]) == 1
    assert "there is no lake at" in capsys.readouterr().err
    assert not (tmp_path / "work").exists()


def test_what_a_killed_step_left_is_taken_back_after_the_adoption(pair: Pair) -> None:
    pair.first.commit(H0, ("half",))
    shutil.rmtree(pair.copy.settings.work)
    shutil.copytree(pair.first.settings.work, pair.copy.settings.work)
    assert pair.adopt() == 0
    copy = OldLake(pair.copy.settings.work)
    assert copy.lake.undo_unfinished() == [ITEM_HOURS.name]
    assert copy.lake.snapshot(FILLED_HOURS) == pair.states[-1][FILLED_HOURS.name]
    assert pair.seen_in_copy() == pair.seen
