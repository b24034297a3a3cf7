"""``hourglass promote`` and ``hourglass rollback``: the champion moves."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pipeline.settings.folders import plain_name
from pipeline.workspace import CommandContext
from training.cli.options import decision_file
from training.steps.promote import promote_step
from training.steps.result import print_result


def promote(
    context: typer.Context,
    decision: Annotated[
        Path | None,
        typer.Option(
            help="decision file; default: the latest; `hourglass approve` names the one it answered"
        ),
    ] = None,
    refit: Annotated[
        str | None,
        typer.Option(help="model id that `hourglass refit` told, to go live in its stead"),
    ] = None,
) -> None:
    """Do what a decision says: move the champion alias, or leave it."""
    from training.gate.decision_file import latest_decision

    ctx: CommandContext = context.obj
    folder = ctx.settings.path("decisions")
    file = decision_file(folder, decision) if decision else latest_decision(folder)
    if refit is not None:
        plain_name("--refit", refit)
    print_result(ctx, promote_step(ctx, file, refit))


def rollback(
    context: typer.Context,
    reason: Annotated[str, typer.Option(help="kept in the record")] = "by hand",
) -> None:
    """Go back to the previous model."""
    from training.deployment.promote import roll_back_by_hand as run
    from training.registry.mlflow_registry import registry_of

    ctx: CommandContext = context.obj
    done = run(registry_of(ctx), ctx.settings.path("decisions"), reason, ctx.now_iso())
    ctx.print_result(
        f"{done.champion.model_id} is live again, {done.left.model_id} is not; {done.record}; "
        "what it recommended stays until `hourglass recommend` replaces it",
        {"champion": done.champion.model_id, "left": done.left.model_id, "record": done.record},
    )
