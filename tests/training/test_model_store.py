"""A whole life of models at a real MLflow server: trained here, promoted and served elsewhere."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml
from mlflow_server import COMPOSE, composed, mlflow_server
from synthetic import AS_OF, AS_OF_S, ring_walks, write_dataset

from pipeline.errors import HourglassError
from pipeline.hours import Hour
from pipeline.lake.lake import Lake
from pipeline.lake.tables import RECOMMENDATIONS
from pipeline.settings.settings import Settings, load_settings
from training.cli.main import run
from training.data.reader import DataSet, read_dataset, sha256_of
from training.deployment.rollback import roll_back_by_hand
from training.evaluation.evaluate import evaluate
from training.recommend.recommend import recommend
from training.registry.artefact import WEIGHTS_NAME
from training.registry.mlflow_registry import (
    CARD_SHA256,
    Registry,
    champion,
    open_registry,
    registered_version,
)
from training.registry.model_card import CARD_NAME
from training.registry.model_store import available
from training.steps.judge_candidates import ensure_champion, judge_candidates
from training.steps.recommend import champion_at

pytestmark = pytest.mark.slow
AT = "2026-01-01T00:00:00"
LINE, FLOOR = "item_knn", "recent_pop"


@dataclass(frozen=True)
class World:
    """A work folder whose settings name the server, and where the server keeps artefacts."""

    settings: Settings
    config: Path
    registry: Registry
    artifacts: Path
    dataset: Path
    frozen: Path

    def data(self) -> tuple[DataSet, DataSet]:
        """What is learned from, and what judges."""
        return read_dataset(self.dataset), read_dataset(self.frozen)

    def elsewhere(self) -> None:
        """From here on it is a machine on which nothing was trained."""
        shutil.rmtree(self.registry.models)

    def command(self, *arguments: str) -> int:
        return run(["--config", str(self.config), *arguments])

    def stored(self, model_id: str) -> Path:
        """Where the server keeps a model."""
        version = registered_version(self.registry, model_id)
        (found,) = self.artifacts.glob(f"*/{version.run_id}/artifacts/model")
        return found


@pytest.fixture(scope="module")
def world(mlflow_tables: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """Two lines, trained by the command, of which nothing is live yet."""
    folder = tmp_path_factory.mktemp("served")
    # The server finds its tables made.
    open_registry(f"sqlite:///{folder / 'mlflow.db'}", LINE, folder, folder)
    with mlflow_server(folder) as uri:
        said = {
            "work": str(folder / "work"),
            "mlflow_uri": uri,
            "candidate": LINE,
            "models": [{"system": LINE}, {"system": FLOOR}],
            "gate": {"baseline": FLOOR},
            "evaluation": {"bootstrap_samples": 100},
        }
        config = folder / "hourglass.yaml"
        config.write_text(yaml.safe_dump(said))
        settings = load_settings(config)
        shards = settings.path("shards")
        base = write_dataset(shards / "base", ring_walks(200, AS_OF_S - 7200, seed=0))
        (base / "lineage.json").write_text(json.dumps({"events": 42}))
        (base / "quality.json").write_text(json.dumps({"verdict": "ok", "failed": []}))
        after = settings.path("frozen") / "after"
        ends = {"as_of": "2016-03-14T14", "window_start": AS_OF}
        write_dataset(after, ring_walks(60, AS_OF_S, seed=1), base=base, **ends)
        registry = open_registry(
            uri, settings.registered_model, settings.path("models"), settings.path("mlflow")
        )
        made = World(settings, config, registry, folder / "artifacts", base, after)
        assert made.command("train", "--dataset", "base") == 0
        yield made


def model_id(world: World, line: str) -> str:
    index = world.settings.path("candidates") / f"{world.dataset.name}.json"
    found: str = json.loads(index.read_text())[line]
    return found


def test_a_version_s_source_is_an_artefact_of_its_run(world: World) -> None:
    version = registered_version(world.registry, model_id(world, LINE))
    assert version.source == f"runs:/{version.run_id}/model"
    folder = world.registry.models / model_id(world, LINE)
    at_server = world.stored(model_id(world, LINE))
    assert {path.name: path.read_bytes() for path in at_server.iterdir()} == {
        path.name: path.read_bytes() for path in folder.iterdir()
    }
    assert version.tags[CARD_SHA256] == sha256_of(folder / CARD_NAME)
    assert world.command("train", "--dataset", "base") == 0  # again changes nothing
    assert registered_version(world.registry, model_id(world, LINE)).version == version.version
    # Nothing of it lies where only this machine could find it.
    assert not world.settings.path("mlflow").exists()


def test_what_the_server_gives_must_be_what_was_registered(world: World, tmp_path: Path) -> None:
    candidate = model_id(world, LINE)
    saved = shutil.copytree(world.registry.models, tmp_path / "models")
    for name in (WEIGHTS_NAME, CARD_NAME):
        path = world.stored(candidate) / name
        whole = path.read_bytes()
        world.elsewhere()
        path.write_bytes(whole[:-2] + b"  ")
        with pytest.raises(HourglassError, match=f"{name}: the content does not match"):
            available(world.registry, candidate)
        assert list(world.registry.models.iterdir()) == []
        path.write_bytes(whole)
    with pytest.raises(HourglassError, match="hrnn-0 is not registered"):
        available(world.registry, "hrnn-0")
    world.elsewhere()
    saved.rename(world.registry.models)


def test_models_live_on_other_machines_than_they_were_trained_on(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    """Evaluate, gate, promote, recommend and roll back, each where no model is at first."""
    settings, registry, candidate = world.settings, world.registry, model_id(world, LINE)
    world.elsewhere()
    first = ensure_champion(settings, registry, world.dataset, AT)
    world.elsewhere()
    made = evaluate(settings, registry, *world.data(), lambda *_: None)
    assert made.failures == {}
    assert made.n_targets > 0
    world.elsewhere()
    decision, path = judge_candidates(settings, registry, *world.data(), True, AT)[-1]
    assert decision.outcome.value == "promote", decision.sentence
    world.elsewhere()
    assert world.command("promote", "--decision", path.name) == 0, capsys.readouterr().err
    live = champion(registry)
    assert live is not None
    assert live.model_id == candidate
    world.elsewhere()
    live = champion_at(registry, Hour.parse(AS_OF))
    lake = Lake(settings.resolved_catalog_uri, settings.resolved_warehouse)
    done = recommend(settings, lake, live, world.dataset, Hour.parse(AS_OF), lambda *_: None, None)
    assert done.users == 200
    assert lake.arrow(RECOMMENDATIONS).num_rows == done.rows
    world.elsewhere()
    back = roll_back_by_hand(registry, registry.records, "by hand", AT)
    assert (back.left.model_id, back.champion.model_id) == (candidate, first.model_id)


def test_the_services_share_what_this_was_tried_with() -> None:
    """The server keeps the artefacts in the volume and takes its workers' name for it."""
    services = yaml.safe_load(COMPOSE.read_text("utf-8"))["services"]
    words = composed()
    assert "--artifacts-destination=/data/mlflow" in words
    assert "data:/data" in services["mlflow"]["volumes"]
    for name in ("scheduler", "api-server"):
        address = services[name]["environment"]["HOURGLASS_MLFLOW_URI"]
        assert address == "http://mlflow:5000"
    (hosts,) = [word for word in words if word.startswith("--allowed-hosts=")]
    assert "mlflow:5000" in hosts
    # With a root of its own an experiment would point to a folder that only the server has.
    assert not [word for word in words if word.startswith("--default-artifact-root")]
    assert "--no-serve-artifacts" not in words
