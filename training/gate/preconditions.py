"""Preconditions of the gate: is there anything that may be compared at all?

Reason codes are stable; sentences are for people and may change.
"""

from __future__ import annotations

import math

from pipeline.errors import HourglassError
from pipeline.text.wording import counted
from training.gate.evidence import (
    CheckResult,
    Contestant,
    Evidence,
    blocked,
    held,
    passed,
    ranks_of,
)
from training.gate.roles import CANDIDATE, CHAMPION, role_of, role_word
from training.metrics.metrics import METRICS
from training.metrics.ranks import check_same_targets, rule_key


def thresholds(evidence: Evidence) -> CheckResult:
    """Every setting the other checks use is there and is a number (or a known metric)."""
    gate, rule = evidence.gate, evidence.rule
    names = (
        "confidence",
        "min_users",
        "min_targets",
        "max_block_drop",
        "hour_swing",
        "day_swing",
        "slice_margin",
        "min_slice_users",
    )
    wanted = {f"gate.{name}": getattr(gate, name, None) for name in names} | {
        f"evaluation.{name}": getattr(rule, name, None) for name in ("k", "bootstrap_samples")
    }
    for name, value in wanted.items():
        if not isinstance(value, int | float) or not math.isfinite(value):
            return blocked(
                "thresholds", "missing_threshold", f"{name} is {value!r}: set it to a number"
            )
    if getattr(gate, "metric", None) not in METRICS:
        return blocked("thresholds", "missing_threshold", "gate.metric is not a known metric")
    return passed("thresholds", "thresholds_set", "Every threshold is set.")


def artefact(evidence: Evidence) -> CheckResult:
    """The candidate's files were examined and nothing was found."""
    report = evidence.artefact_report
    if report is None or report.model_id != evidence.candidate.model_id:
        return blocked(
            "artefact",
            "soundness_unknown",
            f"{evidence.candidate.model_id} was not examined: run hourglass gate again",
        )
    if report.defects:
        first = report.defects[0]
        return blocked("artefact", first.code, first.sentence, probes=report.probes)
    return passed(
        "artefact", "artefact_sound", "The artefact loads and scores.", probes=report.probes
    )


def time_boundary(evidence: Evidence) -> CheckResult:
    """No model learned from the events it is judged on (P6), and the candidate is of its time."""
    name, candidate = "time_boundary", evidence.candidate
    ages = {label: str(contestant.as_of) for label, contestant in evidence.contestants.items()}
    numbers = {"start": str(evidence.start), "as_of": ages}
    for label, contestant in evidence.contestants.items():
        if contestant.as_of <= evidence.start:
            continue
        role = role_of(label)
        sentence = (
            f"{contestant.model_id} was trained up to {contestant.as_of}, after the test "
            f"events begin at {evidence.start}: judge it on later events"
        )
        if role == CANDIDATE:
            return blocked(name, "trained_on_the_future", sentence, **numbers)
        return held(name, f"{role}_trained_on_the_future", sentence, **numbers)
    base = None if evidence.late else evidence.base_dataset_id
    if base is not None and candidate.dataset_id != base:
        return blocked(
            name,
            "stale_artefact",
            f"{candidate.model_id} was trained on data set {candidate.dataset_id} as of "
            f"{candidate.as_of}, not on {base}: train it again",
            **numbers,
        )
    if base is not None and candidate.as_of != evidence.start:
        return blocked(
            name,
            "card_contradicts_data",
            f"the card of {candidate.model_id} says {candidate.as_of}, its data set {base} is as "
            f"of {evidence.start}: train it again",
            **numbers,
        )
    return passed(name, "trained_on_the_past", "All learned from the past.", **numbers)


def data_quality(evidence: Evidence) -> CheckResult:
    """The hours behind the comparison passed validation."""
    if evidence.quality_passed is None:
        hours = evidence.hours
        return blocked(
            "data_quality",
            "data_quality_unknown",
            "The hours were not validated: run hourglass validate --from "
            f"{hours.first} --to {hours.stop}",
        )
    if not evidence.quality_passed:
        return blocked(
            "data_quality",
            "data_quality_failed",
            "A critical expectation failed in these hours: see the Data Docs",
        )
    return passed("data_quality", "data_quality_passed", "The hours passed validation.")


def same_questions(evidence: Evidence) -> CheckResult:
    """Every contestant answered the same targets of this frozen part."""
    name = "same_questions"
    for label, contestant in evidence.contestants.items():
        if defect := _of_its_ranks(evidence, role_of(label), contestant):
            return blocked(name, *defect)
    try:
        check_same_targets(
            {label: ranks_of(contestant) for label, contestant in evidence.contestants.items()}
        )
    except HourglassError as error:
        return blocked(name, "different_targets", str(error))
    return passed(name, "same_targets", "All answered the same targets.")


def _of_its_ranks(evidence: Evidence, role: str, contestant: Contestant) -> tuple[str, str] | None:
    """Reason and sentence of what is wrong with the ranks of one contestant."""
    ranks, rule = contestant.ranks, rule_key(evidence.rule)
    if ranks is None or contestant.ranks_sha256 is None:
        if role == CHAMPION and contestant.version != evidence.ranked_champion:
            return (
                "baseline_changed",
                f"version {contestant.version} went live after version "
                f"{evidence.ranked_champion or 'none'} was ranked: run hourglass evaluate",
            )
        why = contestant.failure or "run hourglass evaluate"
        return "missing_ranks", f"the {role_word(role)} {contestant.model_id} has no ranks: {why}"
    if ranks.model_id != contestant.model_id:
        return (
            "ranks_of_another_model",
            f"the ranks of {contestant.model_id} were made by {ranks.model_id}",
        )
    if ranks.frozen_id != evidence.frozen_id or ranks.rule != rule:
        return (
            "different_targets",
            f"the ranks of {contestant.model_id} are of {ranks.frozen_id} ({ranks.rule}), not of "
            f"{evidence.frozen_id} ({rule})",
        )
    if ranks.n_targets and int(ranks.rank.min()) < 1:
        return "bad_ranks", f"a rank of {contestant.model_id} is below 1"
    return None


def unchanged(evidence: Evidence) -> CheckResult:
    """The models are, file by file, those that were ranked."""
    name = "unchanged"
    for label, contestant in evidence.contestants.items():
        role = role_of(label)
        code = "artefact_changed" if role == CANDIDATE else "baseline_changed"
        if contestant.changed is not None:
            return blocked(name, code, contestant.changed)
        if contestant.ranks is not None and contestant.ranks.card_sha256 != contestant.card_sha256:
            return blocked(
                name,
                code,
                f"the {role_word(role)} {contestant.model_id} changed after it was ranked: run "
                "hourglass evaluate",
            )
    return passed(name, "nothing_changed", "The models are those that were ranked.")


def judged_late(evidence: Evidence) -> CheckResult:
    """An hour that is judged after later ones have ended adds its look; they promote."""
    if evidence.late:
        return held(
            "judged_late",
            "hour_was_caught_up",
            f"{evidence.hours} is judged late, by a fit as of {evidence.candidate.as_of}: what was "
            "seen counts, and the newest hour decides",
        )
    return passed("judged_late", "judged_in_time", "This is the newest hour.")


def earlier_evidence(evidence: Evidence) -> CheckResult:
    """What was seen before can be read, and none of its events is counted twice."""
    name = "earlier_evidence"
    try:
        looks = evidence.looks
    except HourglassError as error:
        return blocked(name, "earlier_evidence_damaged", str(error))
    before = [look for look in looks[:-1] if look.hours.stop > evidence.start]
    if before:
        return held(
            name,
            "overlaps_an_earlier_look",
            f"these events were looked at from {before[-1].hours.first} on already: the next look "
            f"that counts begins at {before[-1].hours.stop}",
        )
    first = evidence.first_of_hour(evidence.look.key)
    if first is not None and first.candidate != evidence.candidate.model_id:
        return held(
            name,
            "hour_was_judged_with_another_fit",
            f"{first.candidate} was judged on this hour first ({first.file}): its look counts, and "
            f"that of no other fit of {evidence.name}",
        )
    return passed(
        name,
        "earlier_evidence_whole",
        f"{counted(len(looks) - 1, 'earlier look')}.",
        looks=len(looks) - 1,
    )
