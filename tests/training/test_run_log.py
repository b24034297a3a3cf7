"""Runs of fits that are still going on."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from judging import write_artefact
from lives import registry
from mlflow.exceptions import MlflowException
from runs import training

from pipeline.errors import HourglassError
from training.registry.mlflow_registry import Registry, open_registry
from training.registry.mlflow_run import EpochMetrics, MlflowRun, log_training

__all__ = ["registry"]


class Troubled:
    """A client whose ``log_batch`` fails from its n-th call on, so many times."""

    def __init__(self, client: Any, first: int, times: int) -> None:
        self._client, self._first, self._times, self.calls = client, first, times, 0

    def log_batch(self, *arguments: Any, **named: Any) -> None:
        self.calls += 1
        if self._first <= self.calls < self._first + self._times:
            raise MlflowException("the server does not answer")
        self._client.log_batch(*arguments, **named)

    def __getattr__(self, name: str) -> object:
        return getattr(self._client, name)


def points(registry: Registry, run_id: str, name: str) -> list[tuple[int, float]]:
    return [(at.step, at.value) for at in registry.client.get_metric_history(run_id, name)]


def only_run(registry: Registry) -> Any:
    experiment = registry.client.get_experiment_by_name(registry.name)
    (found,) = registry.client.search_runs([experiment.experiment_id])
    return found


def test_a_run_is_written_while_its_fit_goes_on(registry: Registry) -> None:
    log = MlflowRun(registry, replace(training("hrnn-a"), name="mine", metrics={}), pytest.fail)
    log.epoch(EpochMetrics(1, {"epoch_loss": 3.0, "epoch_validation_loss": float("nan")}))
    found = only_run(registry)
    assert (found.info.status, found.data.params["units"]) == ("RUNNING", "8")
    assert found.data.tags["model"] == "mine"
    assert points(registry, found.info.run_id, "epoch_loss") == [(1, 3.0)]
    log.epoch(EpochMetrics(2, {"epoch_loss": 2.0}))
    write_artefact(registry.models, "hrnn-a")
    assert log.finish({"loss": 2.0}) == "1"
    found = only_run(registry)
    assert found.info.status == "FINISHED"
    assert found.data.metrics == {"epoch_loss": 2.0, "loss": 2.0}


def test_trouble_with_mlflow_costs_no_fit(registry: Registry) -> None:
    client = Troubled(registry.client, first=2, times=1)
    said: list[str] = []
    log = MlflowRun(replace(registry, open_client=lambda: client), training("hrnn-a"), said.append)  # type: ignore[arg-type,return-value]
    for epoch in (1, 2, 3):
        log.epoch(EpochMetrics(epoch, {"epoch_loss": 1.0 / epoch}))
    assert client.calls == 2  # it is not asked again and again
    (sentence,) = said
    assert "the server does not answer" in sentence
    write_artefact(registry.models, "hrnn-a")
    log.finish({"loss": 1.5})
    curve = points(registry, only_run(registry).info.run_id, "epoch_loss")
    assert curve == [(1, 1.0), (2, 0.5), (3, 1.0 / 3)]


def test_a_fit_that_cannot_be_recorded_at_its_end_fails(registry: Registry) -> None:
    client = Troubled(registry.client, first=2, times=100)
    log = MlflowRun(
        replace(registry, open_client=lambda: client), training("hrnn-a"), lambda _: None
    )  # type: ignore[arg-type,return-value]
    log.epoch(EpochMetrics(1, {"epoch_loss": 1.0}))
    write_artefact(registry.models, "hrnn-a")
    with pytest.raises(HourglassError, match="MLflow could not record the curves of hrnn-a"):
        log.finish({"loss": 1.5})


def test_a_failure_is_recorded_and_the_next_try_is_another_run(registry: Registry) -> None:
    MlflowRun(registry, training("hrnn-a"), pytest.fail).fail("hrnn: the loss became nan")
    found = only_run(registry)
    assert (found.info.status, found.data.tags["failure"]) == (
        "FAILED",
        "hrnn: the loss became nan",
    )
    write_artefact(registry.models, "hrnn-a")
    MlflowRun(registry, training("hrnn-a"), pytest.fail).finish({"loss": 1.5})
    assert registry.client.get_run(found.info.run_id).info.status == "FAILED"
    experiment = registry.client.get_experiment_by_name(registry.name)
    runs = registry.client.search_runs([experiment.experiment_id])
    assert sorted(run.info.status for run in runs) == ["FAILED", "FINISHED"]


@pytest.mark.parametrize("stopped", [True, False])
def test_a_fit_that_was_stopped_goes_on_in_its_run(
    store: str, tmp_path: Path, stopped: bool
) -> None:
    registry = open_registry(store, f"stopped-{stopped}", tmp_path / "models", tmp_path / "runs")
    first = MlflowRun(registry, training("hrnn-a"), pytest.fail)
    first.epoch(EpochMetrics(1, {"epoch_loss": 3.0}))
    if stopped:  # else it was killed, and could say nothing
        first.fail("interrupted", "KILLED")
    second = MlflowRun(registry, training("hrnn-a"), pytest.fail)
    second.epoch(EpochMetrics(2, {"epoch_loss": 2.0}))
    write_artefact(registry.models, "hrnn-a")
    second.finish({"loss": 2.0})
    found = only_run(registry)
    assert found.info.status == "FINISHED"
    assert "failure" not in found.data.tags
    assert points(registry, found.info.run_id, "epoch_loss") == [(1, 3.0), (2, 2.0)]


def test_what_a_model_was_continued_from_is_recorded(registry: Registry) -> None:
    write_artefact(registry.models, "hrnn-b")
    log_training(registry, replace(training("hrnn-b"), continued_from="hrnn-a"))
    (version,) = registry.client.search_model_versions(f"name = '{registry.name}'")
    assert version.tags["continued_from"] == "hrnn-a"
    assert only_run(registry).data.tags["continued_from"] == "hrnn-a"
