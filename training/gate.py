"""Promote, hold or block: whether a candidate may replace the champion.

A decision is a pure function of immutable evidence.  Each check says promote (nothing against
it), hold (not proven), or block (something is wrong); the worst outcome is the decision's.  A
further check is one more function in :data:`COMPARISONS`.  The gate fails closed: whatever is
missing, mismatched or raises, blocks.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from training import checks
from training.evidence import Check, CheckResult, Evidence, Outcome
from training.soundness import one_line

_SEVERITY = {Outcome.PROMOTE: 0, Outcome.HOLD: 1, Outcome.BLOCK: 2}

# Where one of these blocks, there is nothing that could be compared.
PRECONDITIONS: tuple[Check, ...] = (
    checks.thresholds,
    checks.artefact,
    checks.time_boundary,
    checks.data_quality,
    checks.same_questions,
)
COMPARISONS: tuple[Check, ...] = (
    checks.sample_size,
    checks.beats_floor,
    checks.beats_champion,
)


@dataclass(frozen=True)
class Decision:
    """The worst outcome of the checks, the reasons for it, and everything they used."""

    outcome: Outcome
    reasons: tuple[str, ...]
    sentence: str
    checks: tuple[CheckResult, ...]
    evidence: Evidence


def decide(
    evidence: Evidence,
    preconditions: Sequence[Check] = PRECONDITIONS,
    comparisons: Sequence[Check] = COMPARISONS,
) -> Decision:
    """Run the checks and take the worst outcome.

    Comparisons run only where no precondition blocks.  A check that raises blocks with the reason
    ``check_failed``; no comparison at all blocks with ``no_checks``.  Never raises.
    """
    results = [_run(check, evidence) for check in preconditions]
    if not any(result.outcome is Outcome.BLOCK for result in results):
        results += [_run(check, evidence) for check in comparisons]
        if not comparisons:
            results.append(_blocked("decide", "no_checks", "No comparison was asked for"))
    worst = max((result.outcome for result in results), key=_SEVERITY.__getitem__)
    # Of a promotion, the comparisons are the reasons; that nothing is broken is not one.
    telling = results[len(preconditions) :] if worst is Outcome.PROMOTE else results
    because = [result for result in telling if result.outcome is worst]
    return Decision(
        outcome=worst,
        reasons=tuple(result.reason for result in because),
        sentence="; ".join(result.sentence.rstrip(".") for result in because) + ".",
        checks=tuple(results),
        evidence=evidence,
    )


def _run(check: Check, evidence: Evidence) -> CheckResult:
    try:
        return check(evidence)
    except Exception as error:  # an unforeseen error must block, not escape
        name = getattr(check, "__name__", repr(check))
        return _blocked(name, "check_failed", f"the check {name} failed: {one_line(error)}")


def _blocked(name: str, reason: str, sentence: str) -> CheckResult:
    return CheckResult(name, Outcome.BLOCK, reason, sentence, {})
