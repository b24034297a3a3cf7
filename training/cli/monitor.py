"""``hourglass monitor``: judge the model that was live, and roll it back where it must be."""

from __future__ import annotations

import sys

import typer

from pipeline.workspace import CommandContext
from training.cli.options import DataSet
from training.fit.model_lines import judged_dataset
from training.steps.monitor import monitor_champion
from training.steps.result import print_result


def monitor(context: typer.Context, dataset: DataSet = "last") -> None:
    """Judge the model that was live during the hours after the data set's time.

    Surely below the baseline, or unable to score, it is replaced by the previous one or by the
    baseline.
    """
    ctx: CommandContext = context.obj
    print_result(ctx, monitor_champion(ctx, judged_dataset(ctx, dataset)))


def watch(context: typer.Context, dataset: DataSet = "last") -> None:
    """The former name of `monitor`."""
    print("hourglass watch is now called hourglass monitor", file=sys.stderr)
    monitor(context, dataset)
