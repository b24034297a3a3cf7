"""``hourglass gate``: what people and Airflow are told of a decision."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import typer

from pipeline.workspace import Workspace
from training.cli.options import DataSet
from training.fit.model_lines import judged_dataset
from training.steps.gate import Verdict, decide, refuse_blocked

if TYPE_CHECKING:
    from training.gate.gate import Decision


def gate(context: typer.Context, dataset: DataSet = "last") -> None:
    """Decide whether a candidate goes live; exit 1 when one is blocked and none is promoted."""
    space: Workspace = context.obj
    verdict = decide(space, judged_dataset(space, dataset))
    if not space.as_json:
        for decision, _ in verdict.decisions:
            space.console.print(_table(decision))
    space.say(f"{verdict.outcome}: {verdict.sentence}\n{verdict.path or ''}", _facts(verdict))
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
                "candidate": one.evidence.candidate.model_id,
                "line": one.evidence.line,
                "outcome": str(one.outcome),
                "reasons": one.reasons,
                "decision": path,
            }
            for one, path in verdict.decisions
        ],
    }


def _table(decision: Decision) -> Any:  # noqa: ANN401 - a table of rich, imported when needed
    from rich.table import Table

    from training.gate.reasons import check_text, reason_text

    candidate = decision.evidence.candidate.model_id
    table = Table(title=f"{decision.evidence.line}: {candidate}", title_justify="left")
    for column in ("check", "outcome"):
        table.add_column(column, no_wrap=True)
    table.add_column("reason")
    for check in decision.checks:
        passed = "passed" if check.outcome == "promote" else str(check.outcome)
        table.add_row(check_text(check.name), passed, reason_text(check.reason))
    return table
