"""Everybody is ranked on the events that judge a data set's models."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pipeline.text.wording import counted
from pipeline.workspace import CommandContext, progress_bar
from training.registry.mlflow_registry import registry_of
from training.steps.hour_data import HourData
from training.steps.result import StepResult

if TYPE_CHECKING:
    from training.evaluation.evaluate import Evaluation


def evaluate_step(ctx: CommandContext, data: HourData) -> StepResult[Evaluation]:
    """Evaluate with a progress bar."""
    from training.evaluation.evaluate import evaluate as run

    test_set = data.test_set
    with progress_bar(ctx, "evaluating") as show:

        def report(name: str, done: int, total: int) -> None:
            text = f"evaluating {name}: {done:,} of {counted(total, 'event')}"
            show(text, done / max(1, total))

        evaluation = run(ctx.settings, registry_of(ctx), data.learned, test_set, report)
    for sentence in evaluation.failures.values():
        ctx.console.print(f"failed: {sentence}", markup=False)
    return _leaderboard(evaluation)


def leaderboard_step(ctx: CommandContext, data: HourData) -> StepResult[Evaluation]:
    """What an evaluation of before came to."""
    from training.evaluation.evaluate import load_evaluation

    return _leaderboard(load_evaluation(ctx.settings, data.folder, data.evaluated_folder))


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
