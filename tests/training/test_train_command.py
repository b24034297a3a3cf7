"""`hourglass train` as people and Airflow run it: it resumes, continues, fails, shares the work."""

from __future__ import annotations

import json
import multiprocessing
import shutil
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from shop import SMALL, Shop, by_item, one_thread, run_into, run_until_killed

from pipeline.settings.settings import load_settings
from tests.training.learning import started_together
from training.cli.main import run
from training.data.reader import sha256_of
from training.registry.candidates import candidates
from training.registry.mlflow_registry import Registry, open_registry, point, version_of

ROOT = Path(__file__).resolve().parents[2]
LONG = {**SMALL, "epochs": 10, "checkpoint_s": 0.02}
STILL = {**SMALL, "learning_rate": 1e-12, "epochs": 1}  # learns next to nothing


@pytest.fixture(scope="module")
def shop(mlflow_tables: None, tmp_path_factory: pytest.TempPathFactory) -> Shop:
    """One work folder for all tests."""
    made = Shop(
        tmp_path_factory.mktemp("train"),
        [
            {"system": "pop"},
            {"name": "small", "system": "hrnn", "parameters": SMALL},
            {"name": "still", "system": "hrnn", "parameters": STILL, "keep_optimiser": True},
            {"name": "wider", "system": "hrnn", "parameters": {**STILL, "width": 9}},
            {"name": "wild", "system": "gru4rec", "parameters": {**SMALL, "learning_rate": 3e38}},
        ],
    )
    made.add_dataset("today")
    made.add_dataset("later", hours_later=5, new_items=["a-new", "b-new"])
    return made


@pytest.fixture
def registry(shop: Shop) -> Registry:
    return opened(shop)


def opened(shop: Shop) -> Registry:
    store = f"sqlite:///{shop.work / 'mlflow.db'}"
    return open_registry(store, "hourglass", shop.work / "models", shop.work / "mlflow")


def results(capfd: pytest.CaptureFixture[str], shop: Shop, *arguments: str) -> list[dict[str, Any]]:
    """What a command that must succeed prints on standard output: JSON and nothing else."""
    capfd.readouterr()
    code = run(shop.arguments(*arguments))
    said = capfd.readouterr()
    assert code == 0, said.err
    return [json.loads(line) for line in said.out.splitlines()]


def refused(capfd: pytest.CaptureFixture[str], shop: Shop, *arguments: str) -> str:
    capfd.readouterr()
    assert run(shop.arguments(*arguments)) in (1, 2)
    said = capfd.readouterr()
    assert said.out == ""
    assert "Traceback" not in said.err
    return said.err.strip().splitlines()[-1].removeprefix("hourglass: ")


def run_of(registry: Registry, model_id: str) -> Any:
    experiment = registry.client.get_experiment_by_name(registry.name)
    (found,) = registry.client.search_runs(
        [experiment.experiment_id], f"tags.model_id = '{model_id}'"
    )
    return found


def test_models_are_trained_and_found_by_name(
    shop: Shop, capfd: pytest.CaptureFixture[str], registry: Registry
) -> None:
    chosen = ("--dataset", "today", "--model", "pop", "--model", "small")
    pop, small = results(capfd, shop, *chosen)
    assert (pop["name"], small["name"], small["system"]) == ("pop", "small", "hrnn")
    assert candidates(load_settings(shop.config), "today") == {
        "pop": pop["model_id"],
        "small": small["model_id"],
    }
    assert small["metrics"]["epochs"] == 3
    assert small["seconds"] > 0
    assert (small["resumed_from"], small["continued_from"]) == (None, None)
    assert not list((shop.work / "checkpoints").glob("*"))  # the model is safe
    # Again: what is there is kept.
    _, again = results(capfd, shop, *chosen)
    assert (small["is_new"], again) == (True, {**small, "seconds": 0.0, "is_new": False})

    found = run_of(registry, small["model_id"])
    assert found.info.status == "FINISHED"
    assert found.data.tags["model"] == "small"
    assert found.data.tags["dataset_id"] == "today"
    assert {"device", "threads", "torch", "processes"} <= found.data.tags.keys()
    assert found.data.metrics["loss"] == pytest.approx(small["metrics"]["loss"])
    curve = registry.client.get_metric_history(found.info.run_id, "epoch_loss")
    assert [at.step for at in curve] == [1, 2, 3]
    assert curve[-1].value == pytest.approx(small["metrics"]["loss"])
    assert curve[0].value > curve[-1].value
    assert len(registry.client.get_metric_history(found.info.run_id, "epoch_events_per_s")) == 3


def test_progress_is_plain_lines_where_there_is_no_terminal(
    shop: Shop, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    # Between the ends of epochs a line comes where one lasts longer.
    monkeypatch.setattr("training.fit.progress_display._LINE_EVERY_S", 1e9)
    results(capfd, shop, "--dataset", "today", "--model", "small")
    capfd.readouterr()
    run(shop.arguments("--dataset", "today", "--model", "small", "--seed", "8"))
    lines = [line for line in capfd.readouterr().err.splitlines() if "small" in line]
    assert lines[0].startswith("training small (hrnn-")
    assert [line.split(", loss")[0] for line in lines[1:]] == [
        f"small: end of epoch {epoch}" for epoch in (1, 2, 3)
    ]


def start_and_kill(shop: Shop, *arguments: str, in_epoch: int) -> None:
    """Run the command in a process of its own that is killed in the midst of an epoch."""
    log = shop.work / "killed.log"
    process = multiprocessing.get_context("forkserver").Process(
        target=run_until_killed, args=(in_epoch, log, shop.arguments(*arguments))
    )
    process.start()
    process.join(600)
    assert process.exitcode == -signal.SIGKILL, log.read_text()


@pytest.mark.parametrize(
    ("system", "parameters"),
    [
        ("gru4rec", {**LONG, "dropout": 0.3}),
        ("rrn", {"width": 4, "epochs": 10, "device": "cpu", "checkpoint_s": 0.02}),
    ],
    ids=["sequences", "ratings"],
)
def test_a_killed_fit_resumes_to_the_same_weights(
    tmp_path: Path,
    shop: Shop,
    capfd: pytest.CaptureFixture[str],
    registry: Registry,
    system: str,
    parameters: dict[str, Any],
) -> None:
    model = {"name": "long", "system": system, "parameters": parameters}
    undisturbed = Shop(tmp_path, [model])
    shutil.copytree(shop.work / "shards" / "today", undisturbed.work / "shards" / "today")
    (whole,) = results(capfd, undisturbed, "--model", "long")
    assert whole["resumed_from"] is None

    own = shop.config.read_text()
    try:
        shop.configure([model])
        asked = ("--dataset", "today", "--model", "long")
        start_and_kill(shop, *asked, in_epoch=5)
        assert not (shop.work / "models" / whole["model_id"]).exists()
        assert run_of(registry, whole["model_id"]).info.status == "RUNNING"
        (resumed,) = results(capfd, shop, *asked)
    finally:
        shop.config.write_text(own)
    assert resumed["model_id"] == whole["model_id"]
    assert resumed["resumed_from"].startswith("fit, epoch ")
    begun_at = int(resumed["resumed_from"].split()[2].strip(","))
    assert begun_at == 5
    assert resumed["metrics"] == whole["metrics"]
    for name in ("weights.safetensors", "model.json"):
        both = [place.work / "models" / whole["model_id"] / name for place in (shop, undisturbed)]
        assert sha256_of(both[0]) == sha256_of(both[1])
    # One run, whose curve has every epoch: those learned before the kill but for the last, which
    # may have been kept and not yet told when it was killed.
    found = run_of(registry, whole["model_id"])
    assert found.info.status == "FINISHED"
    curve = registry.client.get_metric_history(found.info.run_id, "epoch_loss")
    steps = [at.step for at in curve]
    assert set(range(1, LONG["epochs"] + 1)) - {*steps} <= {begun_at - 1}
    # What was learned for good before the kill is not learned, or told, twice.
    assert all(steps.count(epoch) == 1 for epoch in range(1, begun_at - 1))


def test_fresh_begins_anew(shop: Shop, capfd: pytest.CaptureFixture[str]) -> None:
    asked = ("--dataset", "today", "--model", "small", "--seed", "3")
    (once,) = results(capfd, shop, *asked)
    shutil.rmtree(shop.work / "models" / once["model_id"])
    left = shop.work / "checkpoints" / once["model_id"] / "fit"
    left.mkdir(parents=True)
    (left / "fit.safetensors").write_bytes(b"rubbish")
    assert "the checkpoint is damaged" in refused(capfd, shop, *asked)
    (again,) = results(capfd, shop, *asked, "--fresh")
    assert again["metrics"] == once["metrics"]
    assert not left.exists()


def test_a_model_is_continued_with_new_items(
    shop: Shop, capfd: pytest.CaptureFixture[str], registry: Registry
) -> None:
    (first,) = results(capfd, shop, "--dataset", "today", "--model", "still")
    assert (shop.work / "models" / first["model_id"] / "optimiser.safetensors").is_file()
    version = version_of(registry, first["model_id"])
    assert version is not None
    point(registry, "champion", str(version.version))
    (second,) = results(
        capfd, shop, "--dataset", "later", "--model", "still", "--init-from", "champion"
    )
    assert second["continued_from"] == first["model_id"]
    assert shop.card(second["model_id"])["continued_from"] == first["model_id"]
    assert shop.card(second["model_id"])["optimiser_continued"] is True
    assert run_of(registry, second["model_id"]).data.tags["continued_from"] == first["model_id"]
    registered = version_of(registry, second["model_id"])
    assert registered is not None
    assert registered.tags["continued_from"] == first["model_id"]
    # New items stand first in the vocabulary: vectors went by id, not by place.
    old, new = (
        by_item(
            shop.weights(one["model_id"]),
            pq.read_table(shop.work / "models" / one["model_id"] / "vocabulary.parquet")[
                "item_id"
            ].to_pylist(),
        )
        for one in (first, second)
    )
    assert list(new)[:2] == ["a-new", "b-new"]
    for item, vector in old.items():
        assert np.allclose(vector, new[item], atol=1e-6)
    # From scratch it is another model.
    (anew,) = results(capfd, shop, "--dataset", "later", "--model", "still")
    assert anew["model_id"] != second["model_id"]
    assert anew["continued_from"] is None


def test_what_cannot_be_continued_is_refused(
    shop: Shop, capfd: pytest.CaptureFixture[str], registry: Registry
) -> None:
    (later,) = results(capfd, shop, "--dataset", "later", "--model", "still")
    (pop,) = results(capfd, shop, "--dataset", "today", "--model", "pop")

    def why(init_from: str, dataset: str, model: str) -> str:
        asked = ("--dataset", dataset, "--model", model, "--init-from", init_from)
        return refused(capfd, shop, *asked)

    # P6: it knows what came after the data set's time.
    assert "knows all up to 2016-03-14T18, later than today as of 2016-03-14T13" in why(
        later["model_id"], "today", "still"
    )
    assert "is a pop, which is always fitted anew" in why(pop["model_id"], "today", "pop")
    assert "what is to be trained is pop" in why(later["model_id"], "later", "pop")
    assert "there is no model 'hrnn-no'" in why("hrnn-no", "later", "still")
    assert "there is no previous model yet" in why("previous", "later", "still")
    assert "there is no model '../x'" in why("../x", "later", "still")
    assert "there is no model '..'" in why("..", "later", "still")
    assert "has shape" in why(later["model_id"], "later", "wider")


def test_a_failed_fit_is_recorded_with_its_sentence(
    shop: Shop, capfd: pytest.CaptureFixture[str], registry: Registry
) -> None:
    sentence = refused(capfd, shop, "--dataset", "today", "--model", "wild")
    assert "gru4rec: " in sentence
    assert "lower learning_rate" in sentence
    experiment = registry.client.get_experiment_by_name(registry.name)
    (found,) = registry.client.search_runs([experiment.experiment_id], "tags.model = 'wild'")
    assert found.info.status == "FAILED"
    assert found.data.tags["failure"] == sentence
    assert version_of(registry, found.data.tags["model_id"]) is None
    # Another try is another run; what failed stays failed.
    refused(capfd, shop, "--dataset", "today", "--model", "wild")
    again = registry.client.search_runs([experiment.experiment_id], "tags.model = 'wild'")
    assert [one.info.status for one in again] == ["FAILED", "FAILED"]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("--device", "tpu"), "Invalid value for '--device'"),
        (("--model", "nope"), "no model 'nope': use one of pop, small, "),
        (("--system", "hrnn_trend"), "is not among those of the configured models"),
        (("--dataset", "nope"), "no data set 'nope'"),
        (("--processes", "0"), "Invalid value for '--processes'"),
    ],
)
def test_wrong_questions(
    shop: Shop, capfd: pytest.CaptureFixture[str], arguments: tuple[str, ...], sentence: str
) -> None:
    assert sentence in refused(capfd, shop, *arguments)


def test_a_candidate_that_is_no_model_is_refused_before_a_fit(
    shop: Shop, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOURGLASS_CANDIDATE", "smal")
    sentence = refused(capfd, shop, "--model", "pop")
    assert "candidate: no entry of models is called 'smal' (did you mean 'small'?)" in sentence


def test_a_gpu_that_is_not_there(
    shop: Shop, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    said = refused(capfd, shop, "--dataset", "today", "--model", "small", "--device", "cuda")
    assert "this machine has no usable GPU" in said


def test_a_data_set_without_events(shop: Shop, capfd: pytest.CaptureFixture[str]) -> None:
    shop.add_dataset("empty", hours_later=-5, users=0)
    said = refused(capfd, shop, "--dataset", "empty", "--model", "small")
    assert "the data set is empty (0 users)" in said


def by_torchrun(shop: Shop, capfd: pytest.CaptureFixture[str]) -> str:
    """What `--processes 2` prints."""
    assert run(shop.arguments("--processes", "2")) == 0
    printed = capfd.readouterr()
    return printed.out + printed.err


def by_forks(shop: Shop, capfd: pytest.CaptureFixture[str]) -> str:
    """What two children print that find one another as those do that torchrun starts."""
    log = shop.root / "printed"
    children = started_together(2, run_into, log, shop.arguments())
    for child in children:
        child.join(600)
    printed = "".join(log.with_name(f"printed{rank}").read_text() for rank in range(2))
    assert [child.exitcode for child in children] == [0, 0], printed
    return printed


@pytest.mark.parametrize(
    "train", [by_forks, pytest.param(by_torchrun, marks=(pytest.mark.nightly, pytest.mark.slow))]
)
def test_two_processes_learn_what_one_does(
    tmp_path: Path,
    shop: Shop,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    train: Callable[[Shop, pytest.CaptureFixture[str]], str],
) -> None:
    (alone,) = results(capfd, shop, "--dataset", "today", "--model", "small")
    both = Shop(tmp_path, [{"name": "small", "system": "hrnn", "parameters": SMALL}])
    shutil.copytree(shop.work / "shards" / "today", both.work / "shards" / "today")
    opened(both)  # its tables are there before the processes come
    monkeypatch.chdir(ROOT)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    printed = train(both, capfd)
    # Only the first process answers.
    (shared,) = [json.loads(line) for line in printed.splitlines() if line.startswith("{")]
    assert shared["model_id"] == alone["model_id"]
    assert shared["metrics"]["loss"] == pytest.approx(alone["metrics"]["loss"], rel=1e-4)
    one, two = (place.weights(alone["model_id"]) for place in (shop, both))
    for name, weight in one.items():
        if weight.dtype.kind == "f":
            assert np.allclose(weight, two[name], atol=1e-4), name
    assert printed.count("training small") == 1
    facts = json.loads((both.work / "models" / alone["model_id"] / "facts.json").read_text())
    assert facts["processes"] == "2"


@pytest.mark.nightly
def test_processes_that_fail_say_one_sentence(tmp_path: Path, shop: Shop) -> None:
    """With a stand-in for torchrun it is shown in `test_train.py`."""
    both = Shop(
        tmp_path,
        [{"name": "wild", "system": "gru4rec", "parameters": {**SMALL, "learning_rate": 3e38}}],
    )
    shutil.copytree(shop.work / "shards" / "today", both.work / "shards" / "today")
    done = subprocess.run(
        both.command("--processes", "2"),
        cwd=ROOT,
        env=one_thread(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert done.stdout == ""
    assert "Traceback" not in done.stderr
    sentences = [line for line in done.stderr.splitlines() if line.startswith("hourglass: ")]
    assert len(sentences) == 1
    assert "lower learning_rate" in sentences[0]
