from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from judging import write_artefact

from pipeline.dataset.manifest import FORMAT, Manifest
from pipeline.errors import HourglassError
from pipeline.maintenance.maintain import ModelInputs
from training.cli.main import run
from training.registry.lineage import trained_from
from training.registry.mlflow_registry import CHAMPION, Registry, open_registry, point
from training.registry.mlflow_run import TrainingRun, log_training

RUN = TrainingRun(
    model_id="m-1",
    system="pop",
    parameters={},
    metrics={"loss": 1.5},
    dataset_id="d1",
    as_of="2016-03-14T13",
    snapshots={"events": 11, "items": None},
    config_digest="c",
    code_version="v",
    seed=0,
)
BOTH = ModelInputs(frozenset({"d1", "d2"}), {"events": frozenset({11, 12})})

FACTS = {
    **{"format": FORMAT, "config_digest": "c", "code_version": "", "as_of": "2016-03-14T13"},
    **{"window_start": "2016-03-14T03", "history_start": "2016-03-14T03", "steps": []},
    **{"n_targets": 1, "n_items": 1, "n_users": 1, "n_events": 1, "event_types": ["view"]},
    **{"popularity_window_h": 24, "max_session_hours": 24, "gap_s": 3600},
    "dwell": {"n": 0, "mean_s": 0, "m2_s2": 0, "width_s": 0, "bins": 2},
    "files": {"vocabulary.parquet": "", "popularity.parquet": ""},
}


@pytest.fixture(scope="module")
def work(mlflow_tables: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One work folder for all tests."""
    return tmp_path_factory.mktemp("lineage") / "work"


@pytest.fixture(scope="module")
def registry(work: Path) -> Registry:
    """A store with a version each of two registered models."""
    registry = opened(work)
    for named, training in (
        (registry, RUN),
        (replace(registry, name="other"), replace(RUN, model_id="m-2", dataset_id="d2")),
    ):
        write_artefact(registry.models, training.model_id)
        snapshots = {"events": 10 + int(training.dataset_id[1])}
        log_training(named, replace(training, snapshots={**training.snapshots, **snapshots}))
    return registry


def store(work: Path) -> str:
    return f"sqlite:///{work / 'mlflow.db'}"


def opened(work: Path) -> Registry:
    return open_registry(store(work), "hourglass", work / "models", work / "mlflow")


def asked(work: Path, live_only: bool = False) -> ModelInputs:
    return trained_from(store(work), "hourglass", work / "models", work / "mlflow", live_only)


def test_every_version_of_every_registered_model_counts(work: Path, registry: Registry) -> None:
    assert asked(work) == BOTH


def test_asked_for_live_models_only_the_others_do_not_count(work: Path, registry: Registry) -> None:
    assert asked(work, live_only=True) == ModelInputs()
    point(registry, CHAMPION, "1")
    only = ModelInputs(frozenset({"d1"}), {"events": frozenset({11})})
    assert asked(work, live_only=True) == only


def test_a_store_that_was_never_made_is_not_made(tmp_path: Path) -> None:
    assert asked(tmp_path) == ModelInputs()
    assert list(tmp_path.iterdir()) == []


def test_models_without_a_record_mean_that_the_store_is_the_wrong_one(tmp_path: Path) -> None:
    write_artefact(tmp_path / "models", "m-1")
    with pytest.raises(HourglassError, match=r"holds 1 model but .* records none"):
        asked(tmp_path)


@pytest.fixture
def home(work: Path, registry: Registry) -> Iterator[Path]:
    """The work folder with the data sets of both models and one of none, all old."""
    for name in ("d1", "d2", "d3"):
        folder = work / "shards" / name
        folder.mkdir(parents=True, exist_ok=True)
        manifest = folder / "manifest.json"
        manifest.write_text(Manifest.model_validate(FACTS | {"dataset_id": name}).text)
        os.utime(manifest, (0, 0))
    point(registry, CHAMPION, "1")
    config = work / "hourglass.yaml"
    config.write_text(f"work: {work}\n")
    yield config


def left(home: Path) -> set[str]:
    return {folder.name for folder in (home.parent / "shards").iterdir()}


def test_the_command_removes_what_no_model_needs_and_more_when_told(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def maintain(*options: str) -> dict[str, dict[str, int]]:
        assert run(["maintain", "--config", str(home), "--json", *options]) == 0
        facts: dict[str, dict[str, int]] = json.loads(capsys.readouterr().out)
        return facts

    assert maintain("--plan")["datasets"]["count"] == 1
    assert left(home) == {"d1", "d2", "d3"}
    assert maintain()["datasets"]["count"] == 1
    assert left(home) == {"d1", "d2"}
    assert maintain()["freed_bytes"] == 0
    assert maintain("--forget-models")["datasets"]["count"] == 1
    assert left(home) == {"d1"}


def test_the_command_says_it_in_a_sentence(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["maintain", "--config", str(home), "--plan"]) == 0
    assert capsys.readouterr().out == "would do: 1 data set removed (0.0 MiB)\n"
    assert run(["maintain", "--config", str(home)]) == 0
    assert capsys.readouterr().out == "1 data set removed (0.0 MiB)\n"
    assert run(["maintain", "--config", str(home)]) == 0
    assert capsys.readouterr().out == "nothing to do: everything is needed\n"
