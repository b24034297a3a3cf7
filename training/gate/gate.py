"""Promote, hold or block: whether a candidate may replace the champion.

A decision is a pure function of immutable evidence.  Each check says promote (nothing against
it), hold (not proven), or block (something is wrong); the worst outcome is the decision's.  A
further check is one more function in :data:`COMPARISONS`.  The gate fails closed: whatever is
missing, mismatched or raises, blocks.

Each hour adds a look at the configured model's fit of that hour; a promotion needs all looks of
the period together, by a test that may be looked at every hour
(:mod:`training.gate.sequential_test`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from pipeline.errors import one_line
from pipeline.settings.learning import GateSettings
from training.gate import comparisons as compared
from training.gate import preconditions as checks
from training.gate.comparisons import against_champion
from training.gate.evidence import Check, CheckResult, Evidence, Outcome, blocked, held
from training.gate.guards import within_guards
from training.gate.past_looks import Look
from training.gate.sequential_test import Sequential
from training.gate.slice_harm import harms_no_slice

_SEVERITY = {Outcome.PROMOTE: 0, Outcome.HOLD: 1, Outcome.BLOCK: 2}

# Where one of these blocks, there is nothing that could be compared.
PRECONDITIONS: tuple[Check, ...] = (
    checks.thresholds,
    checks.artefact,
    checks.time_boundary,
    checks.data_quality,
    checks.same_questions,
    checks.unchanged,
)
_LAST_PRECONDITION = checks.earlier_evidence.__name__
COMPARISONS: tuple[Check, ...] = (
    compared.sample_size,
    compared.beats_floor,
    compared.beats_champion,
    harms_no_slice,
)


def further_checks(gate: GateSettings) -> tuple[Check, ...]:
    """Comparisons that are made only where the settings ask for them."""
    return (within_guards,) if gate.guards else ()


@dataclass(frozen=True)
class Decision:
    """The worst outcome of the checks, the reasons for it, and everything they used."""

    outcome: Outcome
    reasons: tuple[str, ...]
    sentence: str
    checks: tuple[CheckResult, ...]
    evidence: Evidence
    looks: tuple[Look, ...] = ()  # that were counted together, this one last
    proof: Sequential | None = None  # against what is live, or the best baseline where nothing is

    @property
    def lower(self) -> float:
        """What the candidate is better by at least; minus infinity where nothing is known."""
        is_number = self.proof is not None and self.proof.lower == self.proof.lower
        return self.proof.lower if self.proof and is_number else -math.inf


def decide(
    evidence: Evidence,
    comparisons: Sequence[Check] = COMPARISONS,
) -> Decision:
    """Run the checks and take the worst outcome.

    Comparisons run only where no precondition blocks.  A check that raises blocks with the reason
    ``check_failed``; no comparison at all blocks with ``no_checks``.  Never raises.
    """
    results = [_run(check, evidence) for check in PRECONDITIONS]
    looks: tuple[Look, ...] = ()
    proof = None
    if not _blocks(results):
        # Only what answered the same questions has a look that earlier ones can be added to.
        results.append(_run(checks.earlier_evidence, evidence))
    n_before = len(results)
    if not _blocks(results):
        further = further_checks(evidence.gate)
        results += [_run(check, evidence) for check in (*comparisons, *further)]
        results += [_run(checks.judged_late, evidence)] if evidence.late else []
        if not comparisons:
            results.append(blocked("decide", "no_checks", "No comparison was asked for"))
        # A look that was held before it was compared, as at the same events again, is none; nor is
        # one of the champion at itself, whose zeros would set the scale of all later ones.
        held_before = any(result.outcome is Outcome.HOLD for result in results[:n_before])
        if not held_before and not evidence.same_model:
            looks = evidence.looks
            proof = against_champion(evidence)
    worst, reasons, sentence = verdict(results)
    return Decision(
        outcome=worst,
        reasons=reasons,
        sentence=sentence,
        checks=tuple(results),
        evidence=evidence,
        looks=looks,
        proof=proof,
    )


def verdict(results: Sequence[CheckResult]) -> tuple[Outcome, tuple[str, ...], str]:
    """What checks come to: the worst outcome, the reasons for it, and the sentence about them.

    Of a promotion, the comparisons are the reasons; that nothing is broken is not one.
    """
    worst = max((result.outcome for result in results), key=_SEVERITY.__getitem__)
    names = [result.name for result in results]
    n_before = names.index(_LAST_PRECONDITION) + 1 if _LAST_PRECONDITION in names else 0
    telling = results[n_before:] if worst is Outcome.PROMOTE else results
    because = [result for result in telling if result.outcome is worst]
    return (
        worst,
        tuple(result.reason for result in because),
        "; ".join(result.sentence.rstrip(".") for result in because) + ".",
    )


def choose(decisions: Sequence[Decision]) -> list[Decision]:
    """Of several candidates that would be promoted, hold all but the one that is surest better.

    Returns:
        The decisions, the one to act on last: the promoted one, else the least bad.
    """
    winners = [decision for decision in decisions if decision.outcome is Outcome.PROMOTE]
    best = max(
        winners,
        key=lambda decision: (decision.lower, decision.evidence.candidate.model_id),
        default=None,
    )
    settled = [
        _second_best(decision, best)
        if best is not None and decision in winners and decision is not best
        else decision
        for decision in decisions
    ]
    return sorted(settled, key=lambda decision: -_SEVERITY[decision.outcome])


def _second_best(decision: Decision, best: Decision) -> Decision:
    better = best.evidence.candidate.model_id
    sentence = (
        f"{better} is better: by at least {best.lower:+.4f}, this one by at least "
        f"{decision.lower:+.4f}"
    )
    check = held("choice", "another_is_better", sentence, chosen=better, lower=best.lower)
    return replace(
        decision,
        outcome=Outcome.HOLD,
        reasons=(check.reason,),
        sentence=f"{sentence}.",
        checks=(*decision.checks, check),
    )


def _blocks(results: Sequence[CheckResult]) -> bool:
    return any(result.outcome is Outcome.BLOCK for result in results)


def _run(check: Check, evidence: Evidence) -> CheckResult:
    try:
        return check(evidence)
    except Exception as error:  # an unforeseen error must block, not escape
        name = getattr(check, "__name__", repr(check))
        return blocked(name, "check_failed", f"the check {name} failed: {one_line(error)}")
