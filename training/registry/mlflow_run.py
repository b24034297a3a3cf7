"""What MLflow is told of a fit: while it runs, when it fails, and once the model is there."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from pipeline.errors import HourglassError
from training.data.reader import sha256_of
from training.models.parts.base import GradientTrained, Model
from training.registry.mlflow_registry import (
    CARD_SHA256,
    CHAMPION_RECORD,
    Registry,
    artefact_folder,
    make_registered_model,
    named_errors,
    tag,
    version_of,
)
from training.registry.mlflow_tables import Version
from training.registry.model_card import CARD_NAME
from training.registry.model_store import store_model

if TYPE_CHECKING:
    from mlflow.entities import Run

_PARAM_CHARS = 6000  # MLflow refuses longer values
_TAG_CHARS = 5000
_FAILURE = "failure"


@dataclass(frozen=True)
class TrainingRun:
    """What is recorded of one training, enough to repeat it."""

    model_id: str
    system: str
    parameters: Mapping[str, Any]
    metrics: Mapping[str, float | None]
    dataset_id: str
    as_of: str
    snapshots: Mapping[str, Any]
    config_digest: str
    code_version: str
    seed: int
    name: str = ""  # that of the settings or of the file; default: the system's
    continued_from: str | None = None
    made_anew_after: str | None = None  # the model that it would have been continued from
    facts: Mapping[str, str] = field(default_factory=dict)  # of the machine
    init_from: str = ""  # the rule that said what it continues from


@dataclass(frozen=True)
class EpochMetrics:
    """Figures after one epoch; the epoch is the step of each curve."""

    epoch: int
    figures: Mapping[str, float]


class MlflowRun:
    """A run in MLflow that is written while its fit goes on.

    Trouble with MLflow between the first word and the last is told once and costs no fit: what it
    did not take is given to it again at the end.

    Args:
        registry: where.
        run: of which fit; its metrics are not known yet.
        say: told once when MLflow is in trouble.

    Raises:
        HourglassError: MLflow refuses.
    """

    def __init__(
        self, registry: Registry, run: TrainingRun, print_line: Callable[[str], None]
    ) -> None:
        self._registry, self._run, self._print_line = registry, run, print_line
        self._waiting: list[tuple[int, EpochMetrics]] = []
        self._in_trouble = False
        with named_errors(f"begin a run of {run.model_id}"):
            self._run_id = _open_run(registry, run)

    def epoch(self, metrics_of_epoch: EpochMetrics) -> None:
        """Add a point to each curve."""
        self._waiting.append((time.time_ns() // 1_000_000, metrics_of_epoch))
        if self._in_trouble:
            # A server that does not answer would hold up every epoch.
            return
        try:
            self._write()
        except HourglassError as error:
            self._in_trouble = True
            self._print_line(f"{error}; the curves are recorded when the fit has ended")

    def finish(self, metrics: Mapping[str, float | None]) -> str:
        """Complete the run and register its artefact; returns the model's version.

        Raises:
            HourglassError: the artefact is not in the models folder, or MLflow refuses.
        """
        self._write()
        return log_training(self._registry, replace(self._run, metrics=metrics))

    def fail(self, sentence: str, status: str = "FAILED") -> None:
        """End the run with the sentence that its fit ended with; status FAILED or KILLED."""
        try:
            self._write()
            with named_errors("record a failure"):
                client = self._registry.client
                client.set_tag(self._run_id, _FAILURE, sentence[:_TAG_CHARS])
                client.set_terminated(self._run_id, status)
        except HourglassError as error:
            # The failure itself is what the user has to hear of.
            self._print_line(str(error))

    def _write(self) -> None:
        from mlflow.entities import Metric

        if not self._waiting:
            return
        metrics = [
            Metric(name, value, at_ms, point.epoch)
            for at_ms, point in self._waiting
            for name, value in point.figures.items()
            if math.isfinite(value)
        ]
        with named_errors(f"record the curves of {self._run.model_id}"):
            self._registry.client.log_batch(self._run_id, metrics=metrics)
        self._waiting = []


def log_training(registry: Registry, run: TrainingRun) -> str:
    """Log a training run and register its artefact; again for the same model changes nothing.

    Returns:
        The version of the model, a number as text.

    Raises:
        HourglassError: the artefact is not in the models folder, or MLflow refuses.
    """
    folder = artefact_folder(registry, run.model_id)
    with named_errors(f"record {run.model_id}"):
        run_id = _finished_run(registry, run)
        version = version_of(registry, run.model_id)
        digest = sha256_of(folder / CARD_NAME)
        if version is not None:
            _note_card(registry, version, digest)
        else:
            make_registered_model(registry)
            created = registry.client.create_model_version(
                registry.name,
                store_model(registry, run_id, folder),
                run_id=run_id,
                tags={
                    "model_id": run.model_id,
                    CARD_SHA256: digest,
                    "system": run.system,
                    "as_of": run.as_of,
                    **_descent(run),
                },
                await_creation_for=0,
            )
            return str(created.version)
    return version.version


def _note_card(registry: Registry, version: Version, digest: str) -> None:
    """Record the card of a model that was trained again, provided that it was never live.

    What is or was live keeps the record of what was proven, and a server that of what it holds;
    whoever loads the model compares.
    """
    if registry.at_server or CHAMPION_RECORD in version.tags:
        return
    if version.tags.get(CARD_SHA256) != digest:
        tag(registry, version.version, **{CARD_SHA256: digest})


def _finished_run(registry: Registry, run: TrainingRun) -> str:
    """The run of this model, made where there is none and completed where it was cut short."""
    if (finished := _finished_run_id(registry, run.model_id)) is not None:
        return finished
    from mlflow.entities import Metric

    client = registry.client
    run_id = _open_run(registry, run)
    open_run = client.get_run(run_id)
    client.log_batch(
        run_id,
        metrics=[
            Metric(name, value, open_run.info.start_time, 0)
            for name, value in run.metrics.items()
            if value is not None and math.isfinite(value) and name not in open_run.data.metrics
        ],
    )
    client.set_terminated(run_id, "FINISHED")
    return run_id


def _finished_run_id(registry: Registry, model_id: str) -> str | None:
    """The latest run of a model, where it ended well."""
    if registry.tables is not None:
        row = registry.tables.latest_run(registry.name, "model_id", model_id)
    else:
        run = _latest_run(registry, model_id)
        row = None if run is None else (str(run.info.run_id), str(run.info.status))
    return row[0] if row is not None and row[1] == "FINISHED" else None


def _open_run(registry: Registry, run: TrainingRun) -> str:
    """The run that an attempt at this model left unfinished, or a new one; one that failed stays.

    It has its parameters and tags.
    """
    from mlflow.entities import Param

    client = registry.client
    latest = _latest_run(registry, run.model_id)
    tags = _tags_of(run)
    if latest is not None and latest.info.status in ("RUNNING", "KILLED"):
        run_id = str(latest.info.run_id)
        if latest.info.status == "KILLED":
            client.update_run(run_id, status="RUNNING")
            client.delete_tag(run_id, _FAILURE)
        for name, value in tags.items():
            if latest.data.tags.get(name) != value:
                client.set_tag(run_id, name, value)
    else:
        created = client.create_run(_experiment_id(registry), run_name=run.model_id, tags=tags)
        run_id = str(created.info.run_id)
    params = {"system": run.system, "seed": run.seed, **run.parameters}
    client.log_batch(
        run_id, params=[Param(name, str(value)[:_PARAM_CHARS]) for name, value in params.items()]
    )
    return run_id


def _tags_of(run: TrainingRun) -> dict[str, str]:
    rule = {"init_from": run.init_from} if run.init_from else {}
    return {
        "model_id": run.model_id,
        "model": run.name or run.system,
        "dataset_id": run.dataset_id,
        "as_of": run.as_of,
        "snapshots": json.dumps(dict(run.snapshots), sort_keys=True),
        "config_digest": run.config_digest,
        "code_version": run.code_version,
        "seed": str(run.seed),
        **_descent(run),
        **rule,
        **run.facts,
    }


def _descent(run: TrainingRun) -> dict[str, str]:
    """Tags that tell of the model before it."""
    tags = {"continued_from": run.continued_from, "made_anew_after": run.made_anew_after}
    return {name: model_id for name, model_id in tags.items() if model_id}


def _latest_run(registry: Registry, model_id: str) -> Run | None:
    experiment = registry.client.get_experiment_by_name(registry.name)
    if experiment is None:
        return None
    latest: list[Run] = registry.client.search_runs(
        [experiment.experiment_id],
        f"tags.model_id = '{model_id}'",
        order_by=["attributes.start_time DESC"],
        max_results=1,
    )
    return latest[0] if latest else None


def _experiment_id(registry: Registry) -> str:
    client = registry.client
    experiment = client.get_experiment_by_name(registry.name)
    if experiment is not None:
        return str(experiment.experiment_id)
    # A server knows no folder of this machine, and none of the others that use it.
    location = None if registry.at_server else registry.artifacts.absolute().as_uri()
    return str(client.create_experiment(registry.name, location))


# What a fit runs on: recorded beside the model, and no part of it.


def machine_facts(system: Model, device: str, processes: int) -> dict[str, str]:
    """The chip's name, threads, processes and PyTorch's version.

    Args:
        system: what is fitted.
        device: cpu, cuda or auto.
        processes: that train together.

    Raises:
        HourglassError: there is no such device here.
    """
    import torch

    from training.trainer.device import device_of

    if not isinstance(system, GradientTrained):
        return {"device": "cpu"}
    torch_device = device_of(device)
    return {
        "device": torch.cuda.get_device_name(torch_device)
        if torch_device.type == "cuda"
        else "cpu",
        "threads": str(torch.get_num_threads()),
        "processes": str(processes),
        "torch": torch.__version__,
    }
