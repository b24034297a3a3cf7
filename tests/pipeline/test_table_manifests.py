"""What a look at an hour opens does not grow with the hours before it, and nothing gets lost."""

from __future__ import annotations

import uuid
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyiceberg.io.pyarrow import PyArrowFileIO
from pyiceberg.manifest import ManifestFile
from pyiceberg.serializers import FromInputFile
from pyiceberg.table.snapshots import Snapshot

from pipeline.hours import Hour, HourRange
from pipeline.lake.iceberg import manifests
from pipeline.lake.lake import Lake
from pipeline.lake.parquet_files import HourFile
from pipeline.lake.tables import FILLED_HOURS, ITEM_HOURS

H0 = Hour.parse("2016-03-14T13")
FULL, SHORT = 8, 4


@pytest.fixture
def lake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Lake:
    """A lake whose manifests are full soon."""
    monkeypatch.setattr(manifests, "FULL_FILES", FULL)
    monkeypatch.setattr(manifests, "MOST_SHORT", SHORT)
    return Lake(f"sqlite:///{tmp_path / 'lake' / 'catalog.db'}", tmp_path / "lake")


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Numbers of entries of the manifests that were read."""
    numbers: list[int] = []
    read = ManifestFile.fetch_manifest_entry

    def counted(self: ManifestFile, *args: Any, **options: Any) -> Any:
        entries = read(self, *args, **options)
        numbers.append(len(entries))
        return entries

    monkeypatch.setattr(ManifestFile, "fetch_manifest_entry", counted)
    return numbers


def commit(lake: Lake, hours: Iterable[Hour], item: str = "a") -> None:
    """Give each of the hours, one a file, one row in the place of those that it has."""
    folder = lake.warehouse / ITEM_HOURS.name / "data"
    folder.mkdir(parents=True, exist_ok=True)
    files, ranges = [], []
    for hour in hours:
        path = folder / f"{uuid.uuid4().hex}.parquet"
        row = {"hour": hour.start, "item_id": item, "events": 1, "users": 1}
        pq.write_table(pa.Table.from_pylist([row], ITEM_HOURS.schema), path)
        files.append(HourFile(str(path), path.stat().st_size, 1, hour))
        ranges.append(HourRange(hour, hour + 1))
    lake.replace(ITEM_HOURS, ranges, files, {"made.by": "test"})


def manifests_of(lake: Lake) -> list[tuple[int, int]]:
    """How many files each manifest of the table has, and how many it tells are gone."""
    table = lake.table(ITEM_HOURS)
    snapshot = table.current_snapshot()
    assert snapshot is not None
    return [
        ((m.added_files_count or 0) + (m.existing_files_count or 0), m.deleted_files_count or 0)
        for m in snapshot.manifests(table.io)
    ]


def content(lake: Lake, state: dict[str, int | None] | None = None) -> dict[int, str]:
    rows = lake.arrow(ITEM_HOURS, state=state).to_pylist()
    assert len(rows) == len({row["hour"] for row in rows})
    return {Hour.of(row["hour"]).index - H0.index: row["item_id"] for row in rows}


def test_an_hour_is_found_without_the_entries_of_those_long_before(
    lake: Lake, opened: list[int]
) -> None:
    most = 0
    for nth in range(5 * FULL):
        opened.clear()
        commit(lake, [H0 + nth])
        most = max(most, sum(opened))
    assert content(lake) == dict.fromkeys(range(5 * FULL), "a")
    assert [files for files, _ in manifests_of(lake)].count(FULL) >= 4
    assert len(manifests_of(lake)) <= 5 + SHORT
    # Even a commit that joins manifests reads no full one: the short ones only.
    assert most <= FULL + SHORT
    opened.clear()
    assert len(lake.files(ITEM_HOURS, HourRange(H0 + 5 * FULL - 1, H0 + 5 * FULL))) == 1
    assert sum(opened) <= FULL + SHORT
    opened.clear()
    assert len(lake.files(ITEM_HOURS, HourRange(H0 + 1, H0 + 2))) == 1
    assert sum(opened) <= FULL + SHORT


def test_many_hours_of_one_commit_are_cut_into_manifests_that_lie_together(
    lake: Lake, opened: list[int]
) -> None:
    commit(lake, [H0 + nth for nth in range(5 * FULL + 3)])
    assert sorted(files for files, _ in manifests_of(lake)) == [3, *[FULL] * 5]
    opened.clear()
    assert len(lake.files(ITEM_HOURS, HourRange(H0 + 7, H0 + 9))) == 2
    assert opened == [FULL, FULL]
    assert content(lake) == dict.fromkeys(range(5 * FULL + 3), "a")


def test_hours_that_are_written_anew_take_the_place_of_the_former_ones(lake: Lake) -> None:
    commit(lake, [H0 + nth for nth in range(3 * FULL)])
    before = lake.snapshots()
    for nth in (1, FULL + 1, 2 * FULL + 1, 2, FULL + 2):
        commit(lake, [H0 + nth], "b")
    commit(lake, [H0 + 3 * FULL], "c")
    new = dict.fromkeys((1, 2, FULL + 1, FULL + 2, 2 * FULL + 1), "b")
    assert content(lake) == dict.fromkeys(range(3 * FULL), "a") | new | {3 * FULL: "c"}
    # Whoever reads the state of before sees it as it was.
    assert content(lake, before) == dict.fromkeys(range(3 * FULL), "a")
    snapshot = lake.table(ITEM_HOURS).current_snapshot()
    assert snapshot is not None
    assert snapshot.summary is not None
    assert snapshot.summary["total-data-files"] == str(3 * FULL + 1)
    # What is gone is told of by the snapshot that did it alone.
    assert sum(gone for _, gone in manifests_of(lake)) == 0


def test_a_manifest_of_all_hours_as_earlier_versions_left_it_is_cut_at_the_next_commit(
    lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as former:
        former.setattr(manifests, "FULL_FILES", 10_000)
        commit(lake, [H0 + nth for nth in range(4 * FULL)])
    assert manifests_of(lake) == [(4 * FULL, 0)]
    commit(lake, [H0 + 4 * FULL])
    assert sorted(files for files, _ in manifests_of(lake)) == [1, *[FULL] * 4]
    assert content(lake) == dict.fromkeys(range(4 * FULL + 1), "a")


def test_what_was_just_committed_is_not_read_again(
    lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit(lake, [H0])
    read: list[str] = []
    table_metadata = FromInputFile.table_metadata

    def noted(input_file: Any, *args: Any) -> Any:
        read.append(input_file.location)
        return table_metadata(input_file, *args)

    monkeypatch.setattr(FromInputFile, "table_metadata", noted)
    commit(lake, [H0 + 1])
    remembered = lake.table(ITEM_HOURS).metadata
    assert read == []
    input_file = PyArrowFileIO().new_input(lake.table(ITEM_HOURS).metadata_location)
    assert remembered.model_dump() == table_metadata(input_file).model_dump()


def test_a_commit_copies_none_of_the_snapshots_before_it(
    lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit(lake, [H0])
    again = Lake(lake.catalog_uri, lake.warehouse)
    former = again.table(ITEM_HOURS)
    before = former.metadata.model_dump()
    copied: list[int] = []
    deepcopy = Snapshot.__deepcopy__

    def noted(self: Snapshot, memo: Any = None) -> Any:
        copied.append(self.snapshot_id)
        return deepcopy(self, memo)

    monkeypatch.setattr(Snapshot, "__deepcopy__", noted)
    commit(again, [H0 + 1])
    commit(again, [H0 + 1], "b")
    assert copied == []
    assert len(again.table(ITEM_HOURS).metadata.snapshots) == 3
    # What others hold is as it was.
    assert former.metadata.model_dump() == before


def test_days_are_written_anew_in_one_snapshot_whose_manifests_stay_few(lake: Lake) -> None:
    row = {
        "step": "ingest",
        "input_digest": "",
        "output_digest": "d",
        "state_digest": "",
        "config_digest": "",
        "code_version": "",
        "rows": 1,
    }
    for day in range(3 * FULL):
        for hour in (H0 + 24 * day, H0 + 24 * day + 1):
            rows = pa.Table.from_pylist([{"hour": hour.start, **row}], FILLED_HOURS.schema)
            lake.record_filled("ingest", HourRange(hour, hour + 1), rows, {})
    table = lake.table(FILLED_HOURS)
    assert len(table.metadata.snapshots) == 6 * FULL
    snapshot = table.current_snapshot()
    assert snapshot is not None
    assert len(snapshot.manifests(table.io)) <= 3 + SHORT
    assert len(lake.filled("ingest")) == 6 * FULL
