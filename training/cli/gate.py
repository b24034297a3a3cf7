"""``hourglass gate``: what people and Airflow are told of a decision."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pipeline.errors import UsageError
from pipeline.workspace import CommandContext
from training.cli.options import DataSet, decision_file
from training.fit.model_lines import judged_dataset
from training.steps.gate import Verdict, refuse_blocked, run_gate

if TYPE_CHECKING:
    from training.gate.gate import Decision


def gate(context: typer.Context, dataset: DataSet = "last") -> None:
    """Decide whether a candidate goes live; exit 1 when one is blocked and none is promoted."""
    ctx: CommandContext = context.obj
    verdict = run_gate(ctx, judged_dataset(ctx, dataset))
    if not ctx.as_json:
        for decision, _ in verdict.decisions:
            ctx.console.print(_table(decision))
    ctx.print_result(
        f"{verdict.outcome}: {verdict.sentence}\n{verdict.path or ''}", _facts(verdict)
    )
    refuse_blocked(verdict)


def _facts(verdict: Verdict) -> dict[str, Any]:
    from training.deployment.approval import approval_facts

    asks = approval_facts(verdict.path) if verdict.path else {"needs_approval": False}
    return {
        "outcome": verdict.outcome,
        "sentence": verdict.sentence,
        "candidate": verdict.candidate,
        "decision": verdict.path,
        **asks,
        "decisions": [
            {
                "candidate": decision.evidence.candidate.model_id,
                "line": decision.evidence.name,
                "outcome": str(decision.outcome),
                "reasons": decision.reasons,
                "decision": path,
            }
            for decision, path in verdict.decisions
        ],
    }


def _table(decision: Decision) -> Any:  # noqa: ANN401 - a table of rich, imported when needed
    from rich.table import Table

    from training.gate.reasons import check_text, reason_text

    candidate = decision.evidence.candidate.model_id
    table = Table(title=f"{decision.evidence.name}: {candidate}", title_justify="left")
    for column in ("check", "outcome"):
        table.add_column(column, no_wrap=True)
    table.add_column("reason")
    for check in decision.checks:
        passed = "passed" if check.outcome == "promote" else str(check.outcome)
        table.add_row(check_text(check.name), passed, reason_text(check.reason))
    return table


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
