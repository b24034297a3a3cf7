"""``hourglass judge``: the hours that ended unjudged before a data set's own."""

from __future__ import annotations

from typing import Annotated

import typer

from pipeline.workspace import CommandContext
from training.cli.options import DataSet


def judge(
    context: typer.Context,
    dataset: DataSet = "last",
    plan: Annotated[bool, typer.Option("--plan", help="only show what would be judged")] = False,
) -> None:
    """Judge, in order, every filled hour before a data set's own that nobody judged yet.

    By the models of their time: nothing is trained for them but the baseline, and nothing promoted.
    """
    from pipeline.dataset.manifest import read_manifest
    from training.steps.catch_up import (
        CaughtUp,
        beyond_sentence,
        catch_up,
        refuse_left_out,
        unjudged_hours,
    )

    ctx: CommandContext = context.obj
    folder = ctx.dataset(dataset)
    newest = read_manifest(folder).as_of
    done: CaughtUp | None = None
    if plan:
        unjudged = unjudged_hours(ctx, newest)
    else:
        done = catch_up(ctx, newest, lambda line: ctx.console.print(line, markup=False))
        unjudged = done.waiting
    judged = done.judged if done else ()
    hours = [hour for hour, *_ in judged] if done else list(unjudged.hours)
    named = ", ".join(str(hour) for hour in hours)
    sentences = [f"{'judged' if done else 'to be judged'}: {named}"] if named else []
    sentences += [text for text in (beyond_sentence(unjudged.beyond),) if text]
    if not (done and done.failed):
        sentences.append(
            f"{newest} is next" if unjudged.due else f"{newest} was judged already: nothing to do"
        )
    ctx.print_result(
        "; ".join(sentences),
        {
            "dataset_id": folder.name,
            "due": unjudged.due,
            "waiting": [str(hour) for hour in unjudged.hours],
            "judged": [
                {"hour": str(hour), "outcome": outcome, "sentence": sentence}
                for hour, outcome, sentence in judged
            ],
            "beyond": [str(hour) for hour in unjudged.beyond],
        },
    )
    if done is not None:
        refuse_left_out(done)
