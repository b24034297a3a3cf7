"""Models are fitted on a data set whose hours may be learned from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING

from pipeline.hours import HourRange
from pipeline.quality.verdicts import refuse_learning_from
from pipeline.workspace import CommandContext
from training.registry.mlflow_registry import registry_of
from training.steps.hour_data import HourData
from training.steps.result import StepResult

if TYPE_CHECKING:
    from training.fit.model_configs import ModelConfig
    from training.fit.train import Trained, TrainOptions


def train_step(
    ctx: CommandContext, data: HourData, models: Sequence[ModelConfig], options: TrainOptions
) -> list[StepResult[Trained]]:
    """Train, and show how it goes; empty in all processes but the first.

    Raises:
        HourglassError: the data set, or an hour that it learned from, is not to be trusted; or as
            `training.fit.train.train`.
    """
    from pipeline.dataset.validate import refuse_critical_dataset
    from training.fit.progress_display import display
    from training.fit.train import train as run
    from training.trainer.distributed import joined_group

    with joined_group() as processes:
        # The others would say the same, and wait for the first.
        if processes.is_main:
            refuse_critical_dataset(data.folder)
            hours = HourRange(data.manifest.history_start, data.manifest.as_of)
            refuse_learning_from(ctx.lake, hours)
        registry = registry_of(ctx) if processes.is_main else None
        with display(ctx.step_table, silent=not processes.is_main) as watcher:
            trained = run(ctx.settings, registry, data.learned, models, options, watcher)
    return list(map(trained_model, trained))


def trained_model(done: Trained) -> StepResult[Trained]:
    """How a model is told that was fitted, or was there already."""
    figures = ", ".join(f"{name} {value:.4g}" for name, value in done.metrics.items())
    origin = f", {done.descent}" if done.descent else ""
    origin += "" if done.is_new else ", was there already"
    text = f"{done.name}: {done.model_id}, version {done.version}{origin}"
    return StepResult(done, done.name, asdict(done), f"{text} ({figures})" if figures else text)
