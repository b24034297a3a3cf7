"""Everybody is ranked on the events that judge a data set's models."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.text.wording import counted
from pipeline.workspace import CommandContext, progress_bar
from training.registry.mlflow_registry import registry_of
from training.steps.result import StepResult

if TYPE_CHECKING:
    from pipeline.dataset.manifest import Manifest
    from training.data.reader import DataSet
    from training.evaluation.evaluate import Evaluation


@dataclass(frozen=True)
class HourData:
    """A data set and the events that judge its models, each read once a run, when first needed."""

    ctx: CommandContext
    folder: Path

    @cached_property
    def manifest(self) -> Manifest:
        """Of the data set."""
        from pipeline.dataset.manifest import read_manifest

        return read_manifest(self.folder)

    @cached_property
    def learned(self) -> DataSet:
        """What models learn from."""
        from training.data.reader import read_dataset

        return read_dataset(self.folder)

    @cached_property
    def test_folder(self) -> Path:
        """Where the events lie that judge the models, frozen on first use."""
        from pipeline.dataset.build import find_test_set, freeze_test_set

        ctx, hours = self.ctx, self.ctx.horizon_from(self.manifest.as_of)
        before = find_test_set(ctx.lake, ctx.settings, self.folder, hours)
        if before is not None:
            return before
        with ctx.status(f"freezing the events of {hours}"):
            return freeze_test_set(ctx.compute, ctx.lake, ctx.settings, self.folder, hours)

    @cached_property
    def test_set(self) -> DataSet:
        """What judges the models."""
        from training.data.reader import read_dataset

        return read_dataset(self.test_folder)


def evaluate_step(ctx: CommandContext, data: HourData) -> StepResult[Evaluation]:
    """Evaluate with a progress bar."""
    from training.evaluation.evaluate import evaluate as run

    test_set = data.test_set
    with progress_bar(ctx, "evaluating") as (advance, describe):

        def report(name: str, done: int, total: int) -> None:
            describe(f"evaluating {name}: {done:,} of {counted(total, 'event')}")
            advance(done / max(1, total))

        evaluation = run(ctx.settings, registry_of(ctx), data.learned, test_set, report)
    for sentence in evaluation.failures.values():
        ctx.console.print(f"failed: {sentence}", markup=False)
    return _leaderboard(evaluation)


def leaderboard_step(ctx: CommandContext, data: HourData) -> StepResult[Evaluation]:
    """What an evaluation of before came to."""
    from training.evaluation.evaluate import load_evaluation

    return _leaderboard(load_evaluation(ctx.settings, data.folder, data.test_folder))


def _leaderboard(evaluation: Evaluation) -> StepResult[Evaluation]:
    from training.evaluation.leaderboard import (
        leaderboard_rows,
        list_rows,
        render,
        render_lists,
    )

    return StepResult(
        evaluation,
        f"{counted(evaluation.n_targets, 'next event')} from {evaluation.start} on",
        {
            "frozen_id": evaluation.frozen_id,
            "rows": leaderboard_rows(evaluation),
            "lists": list_rows(evaluation),
        },
        text="",
        tables=lambda: [
            table for table in (render(evaluation), render_lists(evaluation)) if table is not None
        ],
    )
