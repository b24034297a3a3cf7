"""Models are fitted on a data set whose hours may be learned from."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.hours import HourRange
from pipeline.quality.verdicts import refuse_learning_from
from pipeline.workspace import CommandContext
from training.registry.mlflow_registry import registry_of

if TYPE_CHECKING:
    from training.fit.model_configs import ModelConfig
    from training.fit.train import Trained, TrainOptions


def train_step(
    ctx: CommandContext, dataset: Path, models: Sequence[ModelConfig], options: TrainOptions
) -> list[Trained]:
    """Train, and show how it goes; empty in all processes but the first.

    Raises:
        HourglassError: the data set, or an hour that it learned from, is not to be trusted; or as
            `training.fit.train.train`.
    """
    from pipeline.dataset.manifest import read_manifest
    from pipeline.dataset.validate import refuse_critical_dataset
    from training.fit.progress_display import display
    from training.fit.train import train as run
    from training.trainer.distributed import joined_group

    with joined_group() as processes:
        # The others would say the same, and wait for the first.
        if processes.is_main:
            refuse_critical_dataset(dataset)
            manifest = read_manifest(dataset)
            refuse_learning_from(ctx.lake, HourRange(manifest.history_start, manifest.as_of))
        registry = registry_of(ctx) if processes.is_main else None
        with display(silent=not processes.is_main) as watcher:
            return run(ctx.settings, registry, dataset, models, options, watcher)
