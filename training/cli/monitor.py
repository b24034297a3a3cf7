"""``hourglass monitor``: judge the model that was live, and roll it back where it must be."""

from __future__ import annotations

import sys
from dataclasses import asdict

import typer

from pipeline.workspace import CommandContext
from training.cli.options import DataSet
from training.fit.model_lines import judged_dataset
from training.steps.monitor import monitor_champion


def monitor(context: typer.Context, dataset: DataSet = "last") -> None:
    """Judge the model that was live during the hours after the data set's time.

    Surely below the baseline, or unable to score, it is replaced by the previous one or by the
    baseline.
    """
    ctx: CommandContext = context.obj
    step = monitor_champion(ctx, judged_dataset(ctx, dataset))
    result = step.result
    if result is None:
        ctx.print_result(step.sentence, {"outcome": None, "sentence": step.sentence})
        return
    ctx.print_result(
        f"{result.outcome}: {step.sentence}\n{step.record}",
        {
            "outcome": str(result.outcome),
            "reason": result.reason,
            "sentence": step.sentence,
            "model_id": result.model.model_id,
            "replaced_by": result.replaced_by,
            "numbers": asdict(result.numbers) if result.numbers else None,
            "record": step.record,
        },
    )


def watch(context: typer.Context, dataset: DataSet = "last") -> None:
    """The former name of `monitor`."""
    print("hourglass watch is now called hourglass monitor", file=sys.stderr)
    monitor(context, dataset)
