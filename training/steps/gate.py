"""The gate on the candidates of an hour, and the verdict that follows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.errors import HourglassError
from pipeline.hours import HourRange
from pipeline.quality.verdicts import quality_passed
from pipeline.workspace import CommandContext
from training.gate.decision_file import read_decision
from training.gate.judged_hours import note_judged
from training.gate.reasons import OF_NO_CANDIDATE
from training.registry.mlflow_registry import registry_of
from training.steps.hour_data import HourData
from training.steps.notices import notify_blocked
from training.steps.result import StepResult

if TYPE_CHECKING:
    from rich.table import Table

    from training.gate.gate import Decision

SKIPPED = "skipped"


@dataclass(frozen=True)
class Verdict:
    """What became of the candidates of an hour; ``path`` is the decision to act on, if any."""

    outcome: str  # promote, hold, block, or skipped
    sentence: str
    path: Path | None
    candidate: str | None = None
    decisions: tuple[tuple[Decision, Path], ...] = field(default=(), repr=False)

    @property
    def blocks(self) -> bool:
        """Whether a candidate is blocked and none goes live."""
        outcomes = {self.outcome, *(str(decision.outcome) for decision, _ in self.decisions)}
        return "block" in outcomes and not self.promotes

    @property
    def told_outcome(self) -> str:
        """What people are told first: a block of any candidate, where none goes live."""
        return "block" if self.blocks else self.outcome

    @property
    def promotes(self) -> bool:
        """Whether a candidate is to go live."""
        return self.outcome == "promote"


def run_gate(
    ctx: CommandContext, data: HourData, late: Sequence[str] | None = None
) -> StepResult[Verdict]:
    """Run the gate on every configured candidate, and note that the hours are judged.

    ``late`` is as of `training.steps.judge_candidates.judge_candidates`.

    Raises:
        HourglassError: what the gate needs is missing; then nothing can be promoted.
    """
    from pipeline.dataset.validate import dataset_verdict
    from training.fit.retrain_signals import recorded_retrain_decision
    from training.steps.judge_candidates import ensure_champion, hours_judged
    from training.steps.judge_candidates import judge_candidates as run
    from training.steps.retrain import is_skipped

    settings, registry = ctx.settings, registry_of(ctx)
    test_set, at = data.evaluated_set, ctx.now_iso()
    ensure_champion(settings, registry, data.folder, at, test_set.manifest.dataset_id)
    worth = recorded_retrain_decision(settings, data.folder.name)
    first = test_set.manifest.window_start
    if worth is not None and is_skipped(settings, worth) and late is None:
        sentence = f"nothing was trained: {worth.sentence}"
        note_judged(settings, first, SKIPPED, sentence)
        return _result_of(Verdict(SKIPPED, sentence, None))
    learned = data.learned.manifest
    hours = HourRange(learned.window_start, learned.as_of)
    passed = quality_passed(ctx.lake, hours, hours_judged(test_set), data.judging_state)
    if dataset_verdict(data.folder)[0] == "critical":
        passed = False
    with ctx.status("deciding"):
        decisions = tuple(run(settings, registry, data.learned, test_set, passed, at, late))
    verdict = verdict_of(decisions)
    if any(_says_something(decision) for decision, _ in decisions):
        note_judged(settings, first, verdict.outcome, verdict.sentence)
    # Of an hour that is judged late nothing waits to go live.
    if verdict.blocks and late is None:
        notify_blocked(ctx, hours_judged(test_set).stop - 1, verdict)
    return _result_of(verdict)


def verdict_of(decisions: Sequence[tuple[Decision, Path]]) -> Verdict:
    """What decisions, the one to act on last, come to."""
    chosen, path = decisions[-1]
    candidate = chosen.evidence.candidate.model_id
    verdict = Verdict(str(chosen.outcome), "", path, candidate, tuple(decisions))
    return replace(verdict, sentence=_decisions_sentence(verdict))


def _says_something(decision: Decision) -> bool:
    """Whether a decision is about its candidate, not blocked for what can be mended around it."""
    return str(decision.outcome) != "block" or not OF_NO_CANDIDATE.issuperset(decision.reasons)


def _decisions_sentence(verdict: Verdict) -> str:
    """What was decided on each candidate, the chosen one first, to stand after the verdict.

    The outcome is told of those alone on whom another one was reached.
    """
    sentences = []
    for decision, _ in reversed(verdict.decisions):
        sentence = decision.sentence.rstrip(".")
        name, outcome = decision.evidence.name, str(decision.outcome)
        if outcome != verdict.told_outcome:
            name += f", {outcome}"
        elif sentence.startswith(f"{decision.evidence.candidate.model_id} "):
            sentences.append(sentence)
            continue
        sentences.append(f"{name}: {sentence}")
    return "; ".join(sentences)


def _result_of(verdict: Verdict) -> StepResult[Verdict]:
    from training.deployment.approval import approval_facts
    from training.deployment.approval_question import question_about

    asks: dict[str, Any] = (
        approval_facts(verdict.path) if verdict.path else {"needs_approval": False}
    )
    if verdict.path and asks["needs_approval"]:
        asks["question"] = question_about(read_decision(verdict.path))
    facts = {
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
    return StepResult(
        verdict,
        f"{verdict.told_outcome}: {verdict.sentence}",
        facts,
        f"{verdict.told_outcome}: {verdict.sentence}\n{verdict.path or ''}",
        lambda: [_table(decision) for decision, _ in verdict.decisions],
    )


def _table(decision: Decision) -> Table:
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


def refuse_blocked(verdict: Verdict) -> None:
    """Let a verdict pass that blocks nothing, or promotes in spite of another that is blocked.

    Raises:
        HourglassError: a candidate is blocked, and none goes live.
    """
    if verdict.blocks:
        raise HourglassError(f"blocked: {verdict.sentence}")
