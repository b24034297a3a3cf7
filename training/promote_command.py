"""``hourglass promote`` and ``hourglass rollback``: the champion moves."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pipeline.workspace import Workspace

if TYPE_CHECKING:
    from training.promotion import Promotion


def promote(
    context: typer.Context,
    decision: Annotated[
        Path | None, typer.Option(help="decision file; default: the latest one")
    ] = None,
    refit: Annotated[
        str | None,
        typer.Option(help="model id that `hourglass refit` told, to go live in its stead"),
    ] = None,
) -> None:
    """Do what a decision says: move the champion alias, or leave it."""
    from training.decision import latest_decision

    space: Workspace = context.obj
    file = decision or latest_decision(space.settings.path("decisions"))
    done = promoted(space, file, refit)
    live = done.champion.model_id if done.champion else None
    space.say(done.sentence, {"changed": done.changed, "champion": live, "decision": file})


def promoted(space: Workspace, decision: Path, refit: str | None = None) -> Promotion:
    """Carry a decision out under the workspace's settings and clock.

    Raises:
        HourglassError: as `training.promotion.promote`.
    """
    from training.promotion import promote as run
    from training.registry import registry_of

    return run(
        registry_of(space),
        decision,
        refit,
        at=space.said_now(),
        approval=space.settings.gate.approval,
    )


def rollback(
    context: typer.Context,
    reason: Annotated[str, typer.Option(help="kept in the record")] = "by hand",
) -> None:
    """Go back to the previous model."""
    from training.promotion import rollback as run
    from training.registry import registry_of

    space: Workspace = context.obj
    done = run(registry_of(space), space.settings.path("decisions"), reason, space.said_now())
    space.say(
        f"{done.champion.model_id} is live again, {done.left.model_id} is not; {done.record}; "
        "what it recommended stays until `hourglass recommend` replaces it",
        {"champion": done.champion.model_id, "left": done.left.model_id, "record": done.record},
    )
