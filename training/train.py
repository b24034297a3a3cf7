"""Train: fit the configured systems on a frozen data set, keep their artefacts, register them."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.errors import HourglassError, UsageError
from pipeline.settings import ModelSettings, Settings
from pipeline.version import code_version
from training.artefact import load_model, model_id_of, save_model
from training.reader import DataSet, read_dataset
from training.registry import Registry, TrainingRun, log_training
from training.systems import build, parameter_names
from training.systems.base import FitProgress


@dataclass(frozen=True)
class Trained:
    """One fitted system."""

    system: str
    model_id: str
    version: str
    metrics: dict[str, float]


def train(
    settings: Settings,
    registry: Registry,
    dataset: Path,
    systems: Iterable[str],
    seed: int,
    report: Callable[[str, FitProgress], None],
) -> list[Trained]:
    """Fit each system with its configured parameters; the same ingredients give the same model.

    Raises:
        UsageError: a system is not among the configured models.
        HourglassError: the data set is damaged or empty, or a fit does not come to an end.
    """
    data = read_dataset(dataset)
    lineage = json.loads((dataset / "lineage.json").read_text("utf-8"))
    trained = []
    for name in systems:
        model = agreeing(configured(settings, name), settings.evaluation.repeats == "keep")
        trained.append(_train_one(settings, registry, data, lineage, model, seed, report))
        remember(settings, data.manifest.dataset_id, {name: trained[-1].model_id})
    return trained


def _train_one(
    settings: Settings,
    registry: Registry,
    data: DataSet,
    lineage: dict[str, Any],
    model: ModelSettings,
    seed: int,
    report: Callable[[str, FitProgress], None],
) -> Trained:
    models, code = settings.path("models"), code_version()
    dataset_id = data.manifest.dataset_id
    system = build(model.system, model.parameters)
    known = models / model_id_of(model.system, model.parameters, dataset_id, seed, code)
    metrics = _metrics_of(known)
    if metrics is None:
        metrics = system.fit(data, seed, lambda progress: report(model.system, progress))
        save_model(models, system, model.parameters, data, seed, metrics, code)
    model_id = known.name
    version = log_training(
        registry,
        TrainingRun(
            model_id=model_id,
            system=model.system,
            parameters=model.parameters,
            metrics=metrics,
            dataset_id=dataset_id,
            as_of=str(data.manifest.as_of),
            snapshots=lineage,
            config_digest=settings.digest("dataset", "sessions"),
            code_version=code,
            seed=seed,
        ),
    )
    return Trained(model.system, model_id, version, metrics)


def _metrics_of(model: Path) -> dict[str, float] | None:
    """Training metrics of a model that is there and sound: the same would come out again."""
    try:
        card = load_model(model).card
    except HourglassError:
        return None
    return {name: float("nan") if v is None else v for name, v in card.metrics.items()}


def configured(settings: Settings, system: str) -> ModelSettings:
    """The configured model of a system.

    Raises:
        UsageError: there is none.
    """
    for model in settings.models:
        if model.system == system:
            return model
    names = ", ".join(model.system for model in settings.models)
    raise UsageError(f"system {system!r} is not among the configured models: {names}")


def agreeing(model: ModelSettings, repeats: bool) -> ModelSettings:
    """Let a system that can tell repeats from other events learn what it will be judged on."""
    if "repeats" in model.parameters or "repeats" not in parameter_names(model.system):
        return model
    return model.model_copy(update={"parameters": {**model.parameters, "repeats": repeats}})


def candidates(settings: Settings, dataset_id: str) -> dict[str, str]:
    """Model id of each system last trained on a data set.

    Raises:
        UsageError: none was.
    """
    path = _index(settings, dataset_id)
    if not path.is_file():
        raise UsageError(
            f"nothing was trained on data set {dataset_id} yet: "
            f"run `hourglass train --dataset {dataset_id}`"
        )
    found: dict[str, str] = json.loads(path.read_text("utf-8"))
    return found


def remember(settings: Settings, dataset_id: str, models: dict[str, str]) -> None:
    """Note which model of each system is the data set's candidate."""
    path = _index(settings, dataset_id)
    path.parent.mkdir(parents=True, exist_ok=True)
    known = json.loads(path.read_text("utf-8")) if path.is_file() else {}
    unfinished = path.with_suffix(f".{os.getpid()}")
    unfinished.write_text(json.dumps({**known, **models}, indent=1) + "\n", encoding="utf-8")
    unfinished.replace(path)


def _index(settings: Settings, dataset_id: str) -> Path:
    return settings.path("candidates") / f"{dataset_id}.json"
