"""``hourglass approve``: a person agrees to a promotion, or does not."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pipeline.workspace import Workspace
from training.options import decision_file


def approve(
    context: typer.Context,
    by: Annotated[str, typer.Option(help="who answers; kept in the record")],
    decision: Annotated[
        Path | None,
        typer.Option(
            help="decision file, or its name in the work folder; default: what waits for it"
        ),
    ] = None,
    reject: Annotated[bool, typer.Option("--reject", help="the answer is no")] = False,
    why: Annotated[str, typer.Option(help="kept in the record")] = "",
    at: Annotated[str | None, typer.Option(help="when it was said, ISO 8601; default: now")] = None,
) -> None:
    """Approve what the gate decided to promote, or reject it; `promote` then obeys."""
    from training.approval import approve as run
    from training.approval import instant
    from training.decision import latest_decision
    from training.supersession import waiting

    space: Workspace = context.obj
    folder = space.settings.path("decisions")
    said_at = instant(at) if at else space.clock
    if decision is not None:
        file = decision_file(folder, decision)
    else:
        file = waiting(folder, said_at) or latest_decision(folder)
    answer = run(file, by, said_at, reject=reject, why=why)
    verb = "approved" if answer.approved else "rejected"
    then = f"\nto carry it out: hourglass promote --decision {file}" if answer.approved else ""
    space.say(
        f"{file.name} is {verb} by {answer.by}; {answer.record}{then}",
        {
            "approved": answer.approved,
            "by": answer.by,
            "decision": file,
            "record": answer.record,
        },
    )
