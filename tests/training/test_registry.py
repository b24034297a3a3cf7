from __future__ import annotations

import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from judging import write_artefact
from lives import dying, registry
from runs import register, training

from pipeline.errors import HourglassError, UsageError
from pipeline.hours import Hour
from training.registry.mlflow_registry import Registry, log_evaluation, open_registry, ui_command
from training.registry.mlflow_run import log_training

__all__ = ["registry"]
ROOT = Path(__file__).resolve().parents[2]


def test_a_run_holds_what_is_needed_to_repeat_it(registry: Registry) -> None:
    register(registry, "hrnn-a")
    (version,) = registry.client.search_model_versions(f"name = '{registry.name}'")
    run = registry.client.get_run(version.run_id)
    assert run.info.status == "FINISHED"
    assert run.data.metrics == {"loss": 1.5}
    assert run.data.params["units"] == "8"
    assert run.data.params["seed"] == "7"
    wanted = {
        "model_id": "hrnn-a",
        "dataset_id": "base",
        "snapshots": '{"events": 42}',
        "config_digest": "d" * 16,
        "code_version": "0.1.0",
        "seed": "7",
        "as_of": "2016-03-14T13",
    }
    assert wanted.items() <= run.data.tags.items()
    assert version.source == (registry.models / "hrnn-a").as_uri()
    assert version.tags["model_id"] == "hrnn-a"


def test_training_the_same_model_again_adds_nothing(registry: Registry) -> None:
    write_artefact(registry.models, "hrnn-a")
    assert log_training(registry, training("hrnn-a")) == "1"
    assert log_training(registry, training("hrnn-a")) == "1"
    experiment = registry.client.get_experiment_by_name(registry.name)
    assert len(registry.client.search_runs([experiment.experiment_id])) == 1
    assert len(registry.client.search_model_versions(f"name = '{registry.name}'")) == 1


@pytest.mark.parametrize(
    "method", ["create_run", "log_batch", "set_terminated", "create_model_version"]
)
def test_a_recording_cut_short_is_completed_by_the_next(
    store: str, tmp_path: Path, method: str
) -> None:
    whole = open_registry(store, f"cut-{method}", tmp_path / "models", tmp_path / "runs")
    write_artefact(whole.models, "hrnn-a")
    with pytest.raises(KeyboardInterrupt):
        log_training(dying(whole, method), training("hrnn-a"))
    log_training(whole, training("hrnn-a"))
    experiment = whole.client.get_experiment_by_name(whole.name)
    (run,) = whole.client.search_runs([experiment.experiment_id])
    assert (run.info.status, run.data.metrics) == ("FINISHED", {"loss": 1.5})
    (version,) = whole.client.search_model_versions(f"name = '{whole.name}'")
    assert version.run_id == run.info.run_id


def test_the_latest_evaluation_is_shown_not_the_best(registry: Registry) -> None:
    register(registry, "hrnn-a")
    first, second = Hour.parse("2016-03-14T13"), Hour.parse("2016-03-14T14")
    log_evaluation(registry, "hrnn-a", first, {"mrr_at_20": 0.25})
    for _ in range(2):  # again changes nothing
        log_evaluation(registry, "hrnn-a", second, {"mrr_at_20": 0.125, "recall_at_20": 0.5})
    (version,) = registry.client.search_model_versions(f"name = '{registry.name}'")
    metrics = registry.client.get_run(version.run_id).data.metrics
    assert metrics == {"loss": 1.5, "mrr_at_20": 0.125, "recall_at_20": 0.5}
    curve = registry.client.get_metric_history(version.run_id, "mrr_at_20")
    assert [(point.step, point.value) for point in curve] == [
        (first.index, 0.25),
        (second.index, 0.125),
    ]


def test_an_artefact_that_is_not_there_is_not_registered(registry: Registry) -> None:
    with pytest.raises(HourglassError, match="hrnn-a: the artefact is missing"):
        log_training(registry, training("hrnn-a"))


def test_names_that_mlflow_could_misread_are_refused(
    store: str, tmp_path: Path, registry: Registry
) -> None:
    with pytest.raises(UsageError, match="registered_model"):
        open_registry(store, "a' or '1", tmp_path, tmp_path)
    with pytest.raises(HourglassError, match="not a model id"):
        log_training(registry, training("../elsewhere"))


def test_a_store_that_cannot_be_opened_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "mlflow.db").write_text("this is not a database, it only has the name of one")
    with pytest.raises(HourglassError, match=r"MLflow could not open .*check mlflow_uri"):
        open_registry(f"sqlite:///{tmp_path / 'mlflow.db'}", "m", tmp_path, tmp_path)


@pytest.mark.nightly
def test_nothing_is_printed_even_when_the_tables_are_made(tmp_path: Path) -> None:
    script = (
        "import sys; from pathlib import Path; from training.registry.mlflow_registry import *; "
        "assert 'mlflow' not in sys.modules; p = Path(sys.argv[1]); "
        "r = open_registry(f'sqlite:///{p}/m.db', 'm', p, p); assert champion(r) is None"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path)],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={"PYTHONPATH": str(ROOT), "PATH": ""},
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert {path.name for path in tmp_path.iterdir()} == {"m.db"}


def test_the_command_that_opens_the_page() -> None:
    command = shlex.split(ui_command("sqlite:////w/my work/mlflow.db", Path("/w/runs")))
    # That of this environment, which need not be the reader's active one.
    assert Path(command[0]) == Path(sys.executable).with_name("mlflow")
    assert command[1:] == [
        *("ui", "--backend-store-uri", "sqlite:////w/my work/mlflow.db"),
        *("--default-artifact-root", "file:///w/runs"),
    ]
    assert ui_command("http://mlflow:5000", Path("/w")).endswith("webbrowser http://mlflow:5000")
