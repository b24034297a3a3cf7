"""``hourglass anchor``: a person begins to sign the chain of records, or accepts a broken one."""

from __future__ import annotations

from typing import Annotated

import typer

from pipeline.workspace import CommandContext


def anchor(
    context: typer.Context,
    by: Annotated[str, typer.Option(help="who says so; kept in the chain")],
    why: Annotated[str, typer.Option(help="kept in the chain")],
) -> None:
    """Take the records as they are from here on: after a loss, or to begin to sign them.

    Only where records are lost for good: whatever was decided in them is undone by this.  Decisions
    from before are promoted no more.
    """
    from training.deployment.champion import changing
    from training.registry.mlflow_registry import registry_of
    from training.registry.record_chain import anchor as run

    ctx: CommandContext = context.obj
    registry = registry_of(ctx)
    with changing(registry.records, "accepting the records"):
        sentence = run(registry, by, why, ctx.now_iso())
    ctx.print_result(sentence, {"sentence": sentence, "by": by, "why": why})
