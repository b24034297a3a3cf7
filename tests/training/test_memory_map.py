"""Flat files are made once, mapped afterwards, and never believed where they may be wrong."""

from __future__ import annotations

import errno
import json
import multiprocessing
import os
import shutil
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from synthetic import AS_OF_S, Event, write_dataset

from pipeline.errors import HourglassError
from pipeline.maintenance.unused_datasets import remove_folder
from training.data import memory_map
from training.data.reader import Histories, read_dataset

EVENTS = {
    "ann": [
        Event("tea", AS_OF_S - 7200, context={"device": "phone"}),
        Event("milk", AS_OF_S - 7130, "like", 2.5, {"device": "desk", "country": "fi"}),
        Event("tea", AS_OF_S - 60),
    ],
    "bob": [Event("milk", AS_OF_S - 30, context={"country": "jp"})],
    "eve": [Event("jam", AS_OF_S - 90), Event("tea", AS_OF_S - 80)],
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_dataset(tmp_path / "small", EVENTS, parts=2, context=("device", "country"))


def columns(histories: Histories) -> dict[str, Any]:
    return {
        field.name: value.tolist()
        for field in fields(histories)
        if isinstance(value := getattr(histories, field.name), np.ndarray)
    }


def is_mapped(histories: Histories) -> bool:
    base: Any = histories.item
    while base is not None and not isinstance(base, np.memmap):
        base = base.base
    return base is not None


def forbid_decoding(monkeypatch: pytest.MonkeyPatch) -> None:
    def forbidden(*_: object) -> None:
        raise AssertionError("the shards are decoded again")

    monkeypatch.setattr(memory_map, "read_shards", forbidden)


def assert_same(one: Histories, other: Histories) -> None:
    np.testing.assert_equal(columns(one), columns(other))


@settings(max_examples=30, deadline=None)
@given(st.lists(st.lists(st.integers(0, 5), min_size=1, max_size=6), min_size=1, max_size=6))
def test_what_is_mapped_is_what_was_decoded(
    tmp_path_factory: pytest.TempPathFactory, users: list[list[int]]
) -> None:
    rows = {
        f"u{row}": [
            Event(f"i{item}", AS_OF_S - 99 + at, value=item / 2, context={"c": str(item % 3)})
            for at, item in enumerate(items)
        ]
        for row, items in enumerate(users)
    }
    folder = write_dataset(tmp_path_factory.mktemp("any") / "d", rows, parts=3, context=("c",))
    (folder / memory_map.FOLDER).write_text("in the way")
    decoded = read_dataset(folder).histories
    assert not is_mapped(decoded)
    (folder / memory_map.FOLDER).unlink()
    for _ in range(2):
        mapped = read_dataset(folder).histories
        assert is_mapped(mapped)
        assert_same(mapped, decoded)
        for name in ("item", "time_us", "context", "offsets", "n_context", "session_start"):
            assert getattr(mapped, name).dtype == getattr(decoded, name).dtype


def test_the_second_reading_decodes_nothing(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = read_dataset(folder).histories
    assert first.context.tolist() == [[2, 0], [1, 1], [0, 0], [0, 2], [0, 0], [0, 0]]
    forbid_decoding(monkeypatch)
    second = read_dataset(folder).histories
    assert_same(first, second)
    assert not second.item.flags.writeable


def test_what_is_read_is_not_listed(folder: Path) -> None:
    manifest = (folder / "manifest.json").read_bytes()
    read_dataset(folder)
    assert (folder / "manifest.json").read_bytes() == manifest
    assert {path.name for path in folder.iterdir() if path.name[0] == "."} == {
        ".flat",
        ".flat.lock",
    }


@pytest.mark.parametrize("name", ["item", "context", "offsets"])
def test_a_truncated_flat_file_is_made_again(folder: Path, name: str) -> None:
    first = read_dataset(folder).histories
    expected = columns(first)
    path = folder / memory_map.FOLDER / f"{name}.npy"
    shutil.copy(path, folder / "copy")
    del first
    os.truncate(path, path.stat().st_size - 3)
    np.testing.assert_equal(columns(read_dataset(folder).histories), expected)
    assert path.read_bytes() == (folder / "copy").read_bytes()


@pytest.mark.parametrize("name", ["item.npy", "value.npy", "seal.json"])
def test_an_altered_flat_file_is_made_again(folder: Path, name: str) -> None:
    """The altered file is of the old size, and its time of writing is set back."""
    expected = columns(read_dataset(folder).histories)
    path = folder / memory_map.FOLDER / name
    before, content = path.stat(), bytearray(path.read_bytes())
    content[-4] ^= 1
    path.unlink()  # what is mapped already must stay as it is
    path.write_bytes(content)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    np.testing.assert_equal(columns(read_dataset(folder).histories), expected)


def test_a_missing_flat_file_is_made_again(folder: Path) -> None:
    expected = columns(read_dataset(folder).histories)
    (folder / memory_map.FOLDER / "item.npy").unlink()
    np.testing.assert_equal(columns(read_dataset(folder).histories), expected)
    assert (folder / memory_map.FOLDER / "item.npy").exists()


def test_an_altered_shard_is_noticed_though_flat_files_are_there(folder: Path) -> None:
    read_dataset(folder)
    path = folder / "part-00001.parquet"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.unlink()
    path.write_bytes(content)
    with pytest.raises(HourglassError, match=r"part-00001\.parquet: the content does not match"):
        read_dataset(folder)
    path.unlink()
    with pytest.raises(HourglassError, match=r"part-00001\.parquet: the file is missing"):
        read_dataset(folder)


def test_flat_files_of_another_data_set_are_not_believed(folder: Path, tmp_path: Path) -> None:
    """It has as many users and events, in as many shards."""
    read_dataset(folder)
    rows = {user: [event._replace(item="jam") for event in EVENTS[user]] for user in EVENTS}
    other = write_dataset(
        tmp_path / "other",
        rows,
        parts=2,
        context=("device", "country"),
        vocabulary=["jam", "milk", "tea"],
    )
    shutil.copytree(folder / memory_map.FOLDER, other / memory_map.FOLDER)
    assert read_dataset(other).histories.item.tolist() == [1] * 6


def test_a_copied_folder_is_held_to_its_checksums_and_mapped(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = read_dataset(folder).histories
    copied = shutil.copytree(folder, tmp_path / "copied")
    forbid_decoding(monkeypatch)
    second = read_dataset(copied).histories
    assert is_mapped(second)
    assert_same(first, second)


def test_a_full_disk_is_no_failure(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(memory_map._Column, "append", full)
    histories = read_dataset(folder).histories
    assert not is_mapped(histories)
    assert histories.item.tolist() == [3, 2, 3, 2, 1, 3]
    assert [path.name for path in folder.iterdir() if path.is_dir()] == []


def test_what_a_killed_process_left_is_removed(folder: Path) -> None:
    (folder / ".flat-0123").mkdir()
    (folder / ".flat-0123" / "item.npy").write_bytes(b"half")
    read_dataset(folder)
    assert not (folder / ".flat-0123").exists()


def test_flat_files_go_with_their_data_set(folder: Path) -> None:
    read_dataset(folder)
    remove_folder(folder)
    assert list(folder.parent.iterdir()) == []


def _read_and_tell(folder: Path, queue: Any) -> None:
    histories = read_dataset(folder).histories
    queue.put((is_mapped(histories), histories.item.tolist()))


def test_processes_that_read_at_once_agree(folder: Path) -> None:
    # Forked from here a process would keep locks that other threads hold.
    context = multiprocessing.get_context("forkserver")
    queue = context.Queue()
    processes = [context.Process(target=_read_and_tell, args=(folder, queue)) for _ in range(4)]
    for process in processes:
        process.start()
    told = [queue.get(timeout=600) for _ in processes]
    for process in processes:
        process.join()
    assert told == [(True, [3, 2, 3, 2, 1, 3])] * 4


def test_a_manifest_that_counts_other_events(folder: Path) -> None:
    path = folder / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"n_events": 5}))
    with pytest.raises(
        HourglassError, match="hold 3 users and 6 events or more, the manifest says"
    ):
        read_dataset(folder)


def test_a_context_code_without_a_value(folder: Path) -> None:
    path = folder / "manifest.json"
    manifest = json.loads(path.read_text())
    manifest["context_fields"][0]["values"].pop()
    path.write_text(json.dumps(manifest))
    with pytest.raises(HourglassError, match="'device' run from 0 to 2 but it has 1 value:"):
        read_dataset(folder)


def test_the_first_format_has_no_context(tmp_path: Path) -> None:
    folder = write_dataset(tmp_path / "old", {"ann": [("tea", AS_OF_S - 9)]})
    path = folder / "manifest.json"
    manifest = json.loads(path.read_text()) | {"format": 1}
    for name in ("context_fields", "n_cold_items", "item_numbers", "user_numbers"):
        del manifest[name]
    path.write_text(json.dumps(manifest))
    data = read_dataset(folder)
    assert data.histories.context.shape == (1, 0)
    assert (data.item_features, data.user_features) == (None, None)
