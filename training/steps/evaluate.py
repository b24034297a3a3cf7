"""Everybody is ranked on the events that judge a data set's models."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.text.wording import counted
from pipeline.workspace import CommandContext, bar
from training.registry.mlflow_registry import registry_of

if TYPE_CHECKING:
    from training.evaluation.evaluate import Evaluation


def frozen_part(space: CommandContext, dataset: Path) -> Path:
    """The events that judge a data set's models, frozen on first use."""
    from pipeline.dataset.build import freeze_test_set, held_out
    from pipeline.dataset.manifest import read_manifest

    hours = space.horizon_from(read_manifest(dataset).as_of)
    before = held_out(space.lake, space.settings, dataset, hours)
    if before is not None:
        return before
    with space.status(f"freezing the events of {hours}"):
        return freeze_test_set(space.compute, space.lake, space.settings, dataset, hours)


def evaluate_all(space: CommandContext, dataset: Path) -> Evaluation:
    """Evaluate with a progress bar."""
    from training.evaluation.evaluate import evaluate as run

    test_set = frozen_part(space, dataset)
    with bar(space, "evaluating") as (advance, describe):

        def report(name: str, done: int, total: int) -> None:
            describe(f"evaluating {name}: {done:,} of {counted(total, 'event')}")
            advance(done / max(1, total))

        evaluation = run(space.settings, registry_of(space), dataset, test_set, report)
    for sentence in evaluation.failures.values():
        space.console.print(f"failed: {sentence}", markup=False)
    return evaluation


def show_leaderboard(space: CommandContext, found: Evaluation) -> None:
    """Print the table of an evaluation."""
    from training.evaluation.leaderboard import leaderboard_rows, render

    if space.as_json:
        space.say("", {"frozen_id": found.frozen_id, "rows": leaderboard_rows(found)})
    else:
        space.console.print(render(found))
