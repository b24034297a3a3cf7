"""A data set folder is read whole, or refused with one sentence."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from synthetic import AS_OF_S, PART_SCHEMA, Known, write_dataset

from pipeline.errors import HourglassError
from pipeline.hours import Hour
from training.data.reader import read_dataset, sha256_of

EVENTS = {
    "ann": [("tea", AS_OF_S - 7200), ("milk", AS_OF_S - 7130, "like", 2.5), ("tea", AS_OF_S - 60)],
    "bob": [("milk", AS_OF_S - 30)],
    "eve": [("jam", AS_OF_S - 90), ("tea", AS_OF_S - 80)],
}


def rewrite_part(folder: Path, change: Callable[[list[dict[str, Any]]], None]) -> None:
    """Alter the first part and its checksum, as a faulty writer would."""
    path = folder / "part-00000.parquet"
    rows = pq.read_table(path).to_pylist()
    change(rows)
    pq.write_table(pa.Table.from_pylist(rows, PART_SCHEMA), path)
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["files"][path.name] = sha256_of(path)
    (folder / "manifest.json").write_text(json.dumps(manifest))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_dataset(tmp_path / "small", EVENTS, window_start="2016-03-14T12")


@pytest.mark.parametrize("parts", [1, 2, 3, 5])
def test_the_lists_come_back_flat(tmp_path: Path, parts: int) -> None:
    data = read_dataset(
        write_dataset(tmp_path / "d", EVENTS, window_start="2016-03-14T12", parts=parts)
    )
    histories = data.histories
    assert data.item_ids.tolist() == ["jam", "milk", "tea"]
    assert histories.user_ids.tolist() == ["ann", "bob", "eve"]
    assert histories.offsets.tolist() == [0, 3, 4, 6]
    assert histories.item.tolist() == [3, 2, 3, 2, 1, 3]
    assert (histories.time_us[:2] // 1_000_000 - AS_OF_S).tolist() == [-7200, -7130]
    assert histories.session_start.tolist() == [True, False, True, True, True, False]
    assert np.array_equal(
        histories.dwell_s, [70, np.nan, np.nan, np.nan, 10, np.nan], equal_nan=True
    )
    assert histories.dwell_bin.tolist() == [2, 0, 0, 0, 1, 0]
    assert histories.event_type.tolist() == [1, 0, 1, 1, 1, 1]
    assert np.isnan(histories.value).tolist() == [True, False, True, True, True, True]
    assert histories.n_context.tolist() == [2, 0, 0]
    assert histories.is_target.tolist() == [False, False, True, True, True, True]
    assert histories.user_of_event.tolist() == [0, 0, 0, 1, 2, 2]
    assert histories.item.dtype == np.int32
    assert histories.offsets.dtype == np.int64


def test_support_popularity_and_manifest(folder: Path) -> None:
    data = read_dataset(folder)
    assert data.item_events.tolist() == [1, 1, 2]  # of the window: ann's first two are context
    counts = zip(
        data.popularity.item, data.popularity.hour_index - data.manifest.as_of.index, strict=True
    )
    assert dict(zip(counts, data.popularity.events, strict=True)) == {
        (2, -2): 1,
        (3, -2): 1,
        (1, -1): 1,
        (2, -1): 1,
        (3, -1): 2,
    }
    assert data.manifest.as_of == Hour.parse("2016-03-14T13")
    assert data.manifest.dwell.width_s == 60
    assert data.manifest.n_targets == 4


def test_a_test_part_keeps_the_vocabulary_of_its_base(tmp_path: Path, folder: Path) -> None:
    later = {"ann": [("tea", AS_OF_S - 60), ("gin", AS_OF_S + 5), ("jam", AS_OF_S + 9)]}
    test = read_dataset(
        write_dataset(
            tmp_path / "t", later, base=folder, window_start="2016-03-14T13", as_of="2016-03-14T14"
        )
    )
    assert test.item_ids.tolist() == ["jam", "milk", "tea"]
    assert test.histories.item.tolist() == [3, 1]
    assert test.histories.is_target.tolist() == [False, True]
    assert test.manifest.base_dataset_id == "small"
    assert test.manifest.left_out_events == 1


@settings(deadline=None)
@given(st.lists(st.lists(st.integers(0, 5), min_size=1, max_size=6), min_size=1, max_size=6))
def test_any_histories_come_back(
    tmp_path_factory: pytest.TempPathFactory, histories: list[list[int]]
) -> None:
    users = {
        f"u{row}": [(f"i{item}", AS_OF_S - 1000 + step) for step, item in enumerate(items)]
        for row, items in enumerate(histories)
    }
    folder = tmp_path_factory.mktemp("any") / "d"
    data = read_dataset(write_dataset(folder, users, parts=2))
    read = {
        user: data.item_ids[data.histories.item[start:stop] - 1].tolist()
        for user, start, stop in zip(
            data.histories.user_ids,
            data.histories.offsets[:-1],
            data.histories.offsets[1:],
            strict=True,
        )
    }
    assert read == {user: [event[0] for event in events] for user, events in users.items()}


def test_features_of_items_and_users(tmp_path: Path) -> None:
    items = {"tea": Known(["hot", "green"], {"price": 3.0}), "jam": Known(["red"], {"price": 1.0})}
    folder = write_dataset(
        tmp_path / "d", EVENTS, items_known=items, users_known={"bob": Known(["new"])}
    )
    data = read_dataset(folder)
    found = data.item_features
    assert found is not None
    assert data.item_ids.tolist() == ["jam", "milk", "tea"]
    assert found.offsets.tolist() == [0, 1, 1, 3]
    assert found.token_names[found.token].tolist() == ["red", "green", "hot"]
    assert found.number_names.tolist() == ["price"]
    assert found.numbers.tolist() == [[-1], [0], [1]]
    users = data.user_features
    assert users is not None
    assert data.histories.user_features is users
    assert (users.offsets.tolist(), users.numbers.shape) == ([0, 0, 1, 1], (3, 0))


@pytest.mark.parametrize(
    ("column", "row"), [("tokens", [3]), ("tokens", [-1]), ("numbers", [1.0, 2.0])]
)
def test_features_that_contradict_the_manifest(tmp_path: Path, column: str, row: list[Any]) -> None:
    items = {"tea": Known(["hot"], {"price": 3.0})}
    folder = write_dataset(tmp_path / "d", EVENTS, items_known=items)
    path = folder / "item_features.parquet"
    table = pq.read_table(path)
    rows = table.to_pylist()
    rows[0][column] = row
    pq.write_table(pa.Table.from_pylist(rows, table.schema), path)
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["files"][path.name] = sha256_of(path)
    (folder / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(
        HourglassError, match="rows, numbers or tokens are not those of the 3 items"
    ):
        read_dataset(folder)


def test_a_missing_folder(tmp_path: Path) -> None:
    with pytest.raises(HourglassError, match="no such data set folder: build it with hourglass"):
        read_dataset(tmp_path / "nowhere")


@pytest.mark.parametrize(
    "name", ["manifest.json", "part-00000.parquet", "vocabulary.parquet", "popularity.parquet"]
)
def test_a_missing_file(folder: Path, name: str) -> None:
    (folder / name).unlink()
    with pytest.raises(HourglassError, match=f"{name}: .*build the data set again"):
        read_dataset(folder)


@pytest.mark.parametrize("name", ["part-00000.parquet", "vocabulary.parquet", "popularity.parquet"])
def test_a_flipped_bit(folder: Path, name: str) -> None:
    content = bytearray((folder / name).read_bytes())
    content[len(content) // 2] ^= 1
    (folder / name).write_bytes(content)
    with pytest.raises(HourglassError, match=f"{name}: the content does not match"):
        read_dataset(folder)


def test_no_users(tmp_path: Path) -> None:
    folder = write_dataset(tmp_path / "empty", {}, vocabulary=["a"])
    with pytest.raises(HourglassError, match=r"empty: the data set is empty \(0 users\)"):
        read_dataset(folder)


def test_lists_of_unequal_length(folder: Path) -> None:
    rewrite_part(folder, lambda rows: rows[2]["dwell_s"].append(1.0))
    with pytest.raises(HourglassError, match="user 'eve' has 2 entries in item but 3 in dwell_s"):
        read_dataset(folder)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda rows: rows[0]["item"].__setitem__(0, 4), "run from 1 to 4 but the vocabulary"),
        (lambda rows: rows[0]["item"].__setitem__(0, 0), "run from 0 to 3 but the vocabulary"),
        (lambda rows: rows[0]["item"].__setitem__(0, None), "item holds 1 nulls"),
        (lambda rows: rows[0]["time_us"].reverse(), "events of user 'ann' are not in time order"),
        (lambda rows: rows[1].update(n_context=2), "user 'bob' has n_context = 2 of 1 event:"),
    ],
)
def test_contradictions(
    folder: Path, change: Callable[[list[dict[str, Any]]], None], sentence: str
) -> None:
    rewrite_part(folder, change)
    with pytest.raises(HourglassError, match=sentence):
        read_dataset(folder)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"format": 3}, "format 3 is not 2"),
        ({"as_of": "yesterday"}, "as_of: .*'yesterday' is not an hour"),
        ({"files": {}}, "does not list vocabulary.parquet"),
        ({"gap_s": None}, "gap_s: Input should be a valid integer"),
    ],
)
def test_a_manifest_that_says_something_else(
    folder: Path, change: dict[str, object], sentence: str
) -> None:
    manifest = json.loads((folder / "manifest.json").read_text()) | change
    (folder / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(HourglassError, match=sentence):
        read_dataset(folder)


def test_a_manifest_that_is_no_json(folder: Path) -> None:
    (folder / "manifest.json").write_text("{")
    with pytest.raises(HourglassError, match="the whole file: Invalid JSON"):
        read_dataset(folder)
