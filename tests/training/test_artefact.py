"""Models as files: what is saved scores the same when loaded, and damage is refused."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file
from small_models import small
from synthetic import AS_OF_S, write_dataset

from pipeline.errors import HourglassError
from training.data.reader import DataSet, Requests, read_dataset, sha256_of
from training.model_types import Tensors
from training.models import MODEL_NAMES, build
from training.models.parts.base import Model
from training.registry.artefact import Extras, load_model, load_parent, model_id_of, save_model


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> DataSet:
    users = {
        f"u{user}": [
            (f"i{(user * step) % 7}", AS_OF_S - 4000 + 100 * step, "view", step % 3 + 1.0)
            for step in range(1, 9)
        ]
        for user in range(6)
    }
    return read_dataset(write_dataset(tmp_path_factory.mktemp("artefact") / "d", users))


def save(
    folder: Path,
    data: DataSet,
    name: str = "hrnn",
    seed: int = 0,
    code_version: str = "abc",
    metrics: dict[str, float] | None = None,
    extras: Extras | None = None,
) -> tuple[Model, str]:
    parameters = small(name)
    system = build(name, parameters)
    found = system.fit(data, seed, lambda progress: None)
    model_id = save_model(
        folder, system, parameters, data, seed, metrics or found, code_version, extras
    )
    return system, model_id


@pytest.mark.parametrize("name", MODEL_NAMES)
def test_a_loaded_model_is_the_saved_one(tmp_path: Path, data: DataSet, name: str) -> None:
    system, model_id = save(tmp_path, data, name)
    loaded = load_model(tmp_path / model_id)
    requests = Requests(np.arange(6), np.arange(6), np.full(6, AS_OF_S * 1_000_000))
    assert np.array_equal(
        loaded.model.score(data.histories, requests), system.score(data.histories, requests)
    )
    for key, tensor in system.tensors().items():
        assert np.array_equal(loaded.model.tensors()[key], tensor)
    assert loaded.item_ids.tolist() == data.item_ids.tolist()
    assert loaded.card.system == name
    assert loaded.card.as_of == data.manifest.as_of
    assert loaded.card.dataset_id == "d"


def test_the_folder_holds_only_plain_files(tmp_path: Path, data: DataSet) -> None:
    _, model_id = save(tmp_path, data)
    assert model_id.startswith("hrnn-")
    assert len(model_id) == len("hrnn-") + 12
    assert [path.name for path in tmp_path.iterdir()] == [model_id]
    names = {path.name for path in (tmp_path / model_id).iterdir()}
    assert names == {"weights.safetensors", "model.json", "vocabulary.parquet", "facts.json"}
    card = json.loads((tmp_path / model_id / "model.json").read_text())
    assert card["parameters"] == small("hrnn")
    assert card["as_of"] == "2016-03-14T13"
    assert card["tensors"]["items.bias.weight"] == {"dtype": "float32", "shape": [8, 1]}


def test_the_id_names_what_the_model_was_made_from() -> None:
    made = ("hrnn", {"width": 4, "epochs": 1}, "d", 0, "abc")
    same = ("hrnn", {"epochs": 1, "width": 4}, "d", 0, "abc")
    assert model_id_of(*made) == model_id_of(*same)
    others = [
        ("pop", {"width": 4, "epochs": 1}, "d", 0, "abc"),
        ("hrnn", {"width": 5, "epochs": 1}, "d", 0, "abc"),
        ("hrnn", {"width": 4, "epochs": 1}, "e", 0, "abc"),
        ("hrnn", {"width": 4, "epochs": 1}, "d", 1, "abc"),
        ("hrnn", {"width": 4, "epochs": 1}, "d", 0, "abd"),
    ]
    assert len({model_id_of(*made), *(model_id_of(*other) for other in others)}) == 6


def test_the_id_names_what_the_model_was_continued_from() -> None:
    made = ("hrnn", {"width": 4}, "d", 0, "abc")
    anew = model_id_of(*made)
    ids = {anew, *(model_id_of(*made, *more) for more in [("a",), ("b",), ("a", True)])}
    assert len(ids) == 4
    ids |= {model_id_of(*made, made_anew_after=parent) for parent in "ab"}
    assert len(ids) == 6


def test_how_a_fit_went_is_no_part_of_the_model(tmp_path: Path, data: DataSet) -> None:
    _, model_id = save(tmp_path / "a", data, extras=Extras(facts={"seconds": 1.0, "device": "cpu"}))
    save(tmp_path / "b", data, extras=Extras(facts={"seconds": 2.0, "device": "H200"}))
    cards = [(tmp_path / at / model_id / "model.json").read_bytes() for at in "ab"]
    assert cards[0] == cards[1]
    facts = json.loads((tmp_path / "b" / model_id / "facts.json").read_text())
    assert facts == {"seconds": 2.0, "device": "H200"}


OPTIMISER: Tensors = {"a/step": np.array([7.0], np.float32), "a/mean": np.ones((2, 3), np.float32)}


def test_the_optimiser_is_kept_where_it_is_wanted(tmp_path: Path, data: DataSet) -> None:
    system, model_id = save(tmp_path, data, extras=Extras(OPTIMISER, "hrnn-before"))
    start, card = load_parent(tmp_path / model_id)
    assert card.continued_from == "hrnn-before"
    assert start.model_id == model_id
    assert start.item_ids.tolist() == data.item_ids.tolist()
    assert start.optimiser is not None
    assert {name: part.tolist() for name, part in start.optimiser.items()} == {
        name: part.tolist() for name, part in OPTIMISER.items()
    }
    for name, tensor in system.tensors().items():
        assert np.array_equal(start.tensors[name], tensor)


def test_without_an_optimiser_a_start_has_none(tmp_path: Path, data: DataSet) -> None:
    _, model_id = save(tmp_path, data)
    assert load_parent(tmp_path / model_id)[0].optimiser is None


def test_a_damaged_optimiser_is_refused_but_scoring_needs_none(
    tmp_path: Path, data: DataSet
) -> None:
    _, model_id = save(tmp_path, data, extras=Extras(OPTIMISER))
    file = tmp_path / model_id / "optimiser.safetensors"
    file.write_bytes(file.read_bytes()[:-1] + b"?")
    assert load_model(tmp_path / model_id).card.model_id == model_id
    with pytest.raises(HourglassError, match=r"optimiser\.safetensors: the content does not match"):
        load_parent(tmp_path / model_id)


def test_saving_again_changes_nothing(tmp_path: Path, data: DataSet) -> None:
    _, model_id = save(tmp_path, data)
    before = {
        p.name: (p.stat().st_mtime_ns, p.read_bytes()) for p in (tmp_path / model_id).iterdir()
    }
    assert save(tmp_path, data)[1] == model_id
    after = {
        p.name: (p.stat().st_mtime_ns, p.read_bytes()) for p in (tmp_path / model_id).iterdir()
    }
    assert after == before


def test_saving_again_mends_a_damaged_model(tmp_path: Path, data: DataSet) -> None:
    _, model_id = save(tmp_path, data)
    (tmp_path / model_id / "weights.safetensors").write_bytes(b"rubbish")
    save(tmp_path, data)
    assert load_model(tmp_path / model_id).card.model_id == model_id


def test_an_interrupted_save_leaves_nothing_that_loads(
    tmp_path: Path, data: DataSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full_disk(*args: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("training.registry.artefact.sha256_of", full_disk)
    with pytest.raises(HourglassError, match="cannot write the model: No space left on device"):
        save(tmp_path, data)
    assert list(tmp_path.iterdir()) == []


def test_metrics_that_are_no_numbers_become_null(tmp_path: Path, data: DataSet) -> None:
    _, model_id = save(tmp_path, data, metrics={"loss": float("nan"), "epochs": 2.0})
    assert load_model(tmp_path / model_id).card.metrics == {"loss": None, "epochs": 2.0}


def test_weights_that_are_not_finite_are_not_saved(tmp_path: Path, data: DataSet) -> None:
    system = build("pop", {})
    system.fit(data, 0, lambda progress: None)
    system.load({"events": np.array([1.0, np.nan, np.inf])})
    with pytest.raises(HourglassError, match="tensor 'events' holds 2 values that are not finite"):
        save_model(tmp_path, system, {}, data, 0, {}, "abc")
    assert list(tmp_path.iterdir()) == []


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory, data: DataSet) -> Path:
    folder = tmp_path_factory.mktemp("saved")
    return folder / save(folder, data)[1]


@pytest.fixture
def model(saved: Path, tmp_path: Path) -> Path:
    return shutil.copytree(saved, tmp_path / saved.name)


def rewrite(
    model: Path, name: str, card: dict[str, Any] | None = None, **tensors: NDArray[np.generic]
) -> None:
    """Change the card or the weights, with checksums to match."""
    if tensors:
        save_file({**load_file(model / name), **tensors}, model / name)
    content = json.loads((model / "model.json").read_text())
    content["files"][name] = sha256_of(model / name)
    (model / "model.json").write_text(json.dumps({**content, **(card or {})}))


def test_no_such_model(tmp_path: Path) -> None:
    with pytest.raises(HourglassError, match="hrnn-0: no such model: train it"):
        load_model(tmp_path / "hrnn-0")


@pytest.mark.parametrize("name", ["model.json", "weights.safetensors", "vocabulary.parquet"])
def test_a_missing_file(model: Path, name: str) -> None:
    (model / name).unlink()
    with pytest.raises(HourglassError, match=f"{name}: .*(has no card|is missing)"):
        load_model(model)


@pytest.mark.parametrize("name", ["weights.safetensors", "vocabulary.parquet"])
def test_one_flipped_bit(model: Path, name: str) -> None:
    content = bytearray((model / name).read_bytes())
    content[-1] ^= 1
    (model / name).write_bytes(content)
    with pytest.raises(HourglassError, match=f"{name}: the content does not match the card's"):
        load_model(model)


def test_a_card_that_is_cut_short(model: Path) -> None:
    (model / "model.json").write_text((model / "model.json").read_text()[:50])
    with pytest.raises(HourglassError, match="the whole file: Invalid JSON"):
        load_model(model)


def test_weights_that_are_no_safetensors(model: Path) -> None:
    (model / "weights.safetensors").write_bytes(b"rubbish")
    rewrite(model, "weights.safetensors")
    with pytest.raises(HourglassError, match="not a safetensors file: train the model again"):
        load_model(model)


@pytest.mark.parametrize(
    ("tensors", "sentence"),
    [
        (
            {"items.bias.weight": np.full((8, 1), np.nan, np.float32)},
            "holds 8 values that are not fin",
        ),
        (
            {"items.bias.weight": np.zeros((9, 1), np.float32)},
            r"is float32 \(9, 1\), the card says",
        ),
        (
            {"items.bias.weight": np.zeros((8, 1), np.float64)},
            r"is float64 \(8, 1\), the card says",
        ),
        ({"more": np.zeros(1, np.float32)}, "tensor 'more' is missing from the card"),
    ],
)
def test_other_tensors_than_the_card_says(
    model: Path, tensors: dict[str, NDArray[np.generic]], sentence: str
) -> None:
    rewrite(model, "weights.safetensors", **tensors)
    with pytest.raises(HourglassError, match=sentence):
        load_model(model)


def test_a_vocabulary_of_another_size(model: Path) -> None:
    table = pq.read_table(model / "vocabulary.parquet")
    pq.write_table(table.slice(0, 5), model / "vocabulary.parquet")
    rewrite(model, "vocabulary.parquet")
    with pytest.raises(HourglassError, match="holds 5 items, the card says 7"):
        load_model(model)


def test_a_vocabulary_and_card_that_agree_on_a_wrong_size(model: Path) -> None:
    table = pa.table({"item": [1], "item_id": ["i0"], "events": [3]})
    pq.write_table(table, model / "vocabulary.parquet")
    rewrite(model, "vocabulary.parquet", card={"n_items": 1})
    with pytest.raises(HourglassError, match="scores 7 items but its vocabulary holds 1"):
        load_model(model)


def test_a_card_of_another_format(model: Path) -> None:
    rewrite(model, "vocabulary.parquet", card={"format": 9})
    with pytest.raises(HourglassError, match="format 9 is not 1"):
        load_model(model)
