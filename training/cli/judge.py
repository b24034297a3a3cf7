"""``hourglass judge``: the hours that ended unjudged before a data set's own."""

from __future__ import annotations

from typing import Annotated

import typer

from pipeline.workspace import CommandContext
from training.cli.options import DataSet
from training.steps.result import print_result


def judge(
    context: typer.Context,
    dataset: DataSet = "last",
    plan: Annotated[bool, typer.Option("--plan", help="only show what would be judged")] = False,
) -> None:
    """Judge, in order, every filled hour before a data set's own that nobody judged yet.

    By the models of their time: nothing is trained for them but the baseline, and nothing promoted.
    """
    from pipeline.dataset.by_time import dataset_folder
    from training.steps.catch_up import judge_step, refuse_left_out

    ctx: CommandContext = context.obj
    folder = dataset_folder(ctx.settings.path("shards"), dataset)
    done = judge_step(ctx, folder, plan, lambda line: ctx.console.print(line, markup=False))
    print_result(ctx, done)
    refuse_left_out(done.value)
