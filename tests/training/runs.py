"""What is recorded of a fit, for the tests of its record."""

from __future__ import annotations

from judging import write_artefact

from training.registry.mlflow_registry import Registry
from training.registry.mlflow_run import TrainingRun, log_training


def training(model_id: str) -> TrainingRun:
    return TrainingRun(
        model_id=model_id,
        system="hrnn",
        parameters={"units": 8, "note": "x" * 7000},
        metrics={"loss": 1.5, "gap": float("nan")},
        dataset_id="base",
        as_of="2016-03-14T13",
        snapshots={"events": 42},
        config_digest="d" * 16,
        code_version="0.1.0",
        seed=7,
    )


def register(registry: Registry, *model_ids: str) -> None:
    for model_id in model_ids:
        write_artefact(registry.models, model_id)
        log_training(registry, training(model_id))
