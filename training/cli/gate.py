"""``hourglass gate``: what people and Airflow are told of a decision."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pipeline.errors import UsageError
from pipeline.workspace import CommandContext
from training.cli.options import DataSet, decision_file
from training.fit.model_lines import judged_dataset
from training.steps.gate import refuse_blocked, run_gate
from training.steps.hour_data import HourData
from training.steps.result import print_result


def gate(context: typer.Context, dataset: DataSet = "last") -> None:
    """Decide whether a candidate goes live; exit 1 when one is blocked and none is promoted."""
    ctx: CommandContext = context.obj
    verdict = run_gate(ctx, HourData(ctx, judged_dataset(ctx, dataset)))
    print_result(ctx, verdict)
    refuse_blocked(verdict.value)


# ``hourglass approve``: a person agrees to a promotion, or does not.


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
    at: Annotated[
        str | None,
        typer.Option(
            help="when it was said in Airflow, ISO 8601, with --proof; default: the time of this "
            "command"
        ),
    ] = None,
    proof: Annotated[
        str | None,
        typer.Option(help="of Airflow's answer, made there with the key in HOURGLASS_RECORD_KEY"),
    ] = None,
) -> None:
    """Approve what the gate decided to promote, or reject it; `promote` then obeys."""
    from training.deployment.answer_proof import is_proven
    from training.deployment.approval import approve as run
    from training.deployment.approval import instant
    from training.deployment.superseded import waiting
    from training.gate.decision_file import latest_decision
    from training.registry.mlflow_registry import registry_of
    from training.registry.record_chain import record_key

    ctx: CommandContext = context.obj
    folder = ctx.settings.path("decisions")
    said_at = instant(at) if at else ctx.clock
    if decision is not None:
        file = decision_file(folder, decision)
    else:
        file = waiting(folder, said_at) or latest_decision(folder)
    if at and not is_proven(record_key(), proof, file.name, not reject, by, at):
        raise UsageError(
            f"--at {at}: nothing proves that {by} answered {file.name} then (--proof of Airflow's "
            "task, with the same HOURGLASS_RECORD_KEY here and there): leave --at out, and the "
            "answer counts from now"
        )
    answer = run(registry_of(ctx), file, by, said_at, reject=reject, why=why, proven=at is not None)
    verb = "approved" if answer.approved else "rejected"
    then = f"\nto carry it out: hourglass promote --decision {file}" if answer.approved else ""
    ctx.print_result(
        f"{file.name} is {verb} by {answer.by}; {answer.record}{then}",
        {
            "approved": answer.approved,
            "by": answer.by,
            "decision": file,
            "record": answer.record,
        },
    )
