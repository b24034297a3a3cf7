"""The checks of the gate: each looks at the evidence and says promote, hold or block.

Reason codes are stable; sentences are for people and may change.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import HourglassError
from training.bootstrap import Interval, intervals, paired_difference
from training.evidence import CheckResult, Contestant, Evidence, Outcome
from training.metrics import METRICS, target_values
from training.ranks import Ranks, check_same_targets, rule_key

_FEWEST_USERS = 2  # one user has no interval


def _passed(name: str, reason: str, sentence: str, **numbers: object) -> CheckResult:
    return CheckResult(name, Outcome.PROMOTE, reason, sentence, numbers)


def _held(name: str, reason: str, sentence: str, **numbers: object) -> CheckResult:
    return CheckResult(name, Outcome.HOLD, reason, sentence, numbers)


def _blocked(name: str, reason: str, sentence: str, **numbers: object) -> CheckResult:
    return CheckResult(name, Outcome.BLOCK, reason, sentence, numbers)


def thresholds(evidence: Evidence) -> CheckResult:
    """Every setting the other checks use is there and is a number (or a known metric)."""
    gate, rule = evidence.gate, evidence.rule
    wanted = {
        "gate.confidence": getattr(gate, "confidence", None),
        "gate.min_users": getattr(gate, "min_users", None),
        "gate.min_targets": getattr(gate, "min_targets", None),
        "gate.max_block_drop": getattr(gate, "max_block_drop", None),
        "evaluation.k": getattr(rule, "k", None),
        "evaluation.bootstrap_samples": getattr(rule, "bootstrap_samples", None),
    }
    for name, value in wanted.items():
        if not isinstance(value, int | float) or not math.isfinite(value):
            return _blocked(
                "thresholds", "missing_threshold", f"{name} is {value!r}: set it to a number"
            )
    if getattr(gate, "metric", None) not in METRICS:
        return _blocked("thresholds", "missing_threshold", "gate.metric is not a known metric")
    return _passed("thresholds", "thresholds_set", "Every threshold is set.")


def artefact(evidence: Evidence) -> CheckResult:
    """The candidate's files were examined and nothing was found."""
    found = evidence.soundness
    if found is None or found.model_id != evidence.candidate.model_id:
        return _blocked(
            "artefact",
            "soundness_unknown",
            f"{evidence.candidate.model_id} was not examined: run hourglass gate again",
        )
    if found.defects:
        first = found.defects[0]
        return _blocked("artefact", first.code, first.sentence, probes=found.probes)
    return _passed(
        "artefact", "artefact_sound", "The artefact loads and scores.", probes=found.probes
    )


def time_boundary(evidence: Evidence) -> CheckResult:
    """No model learned from the events it is judged on (P6)."""
    ages = {role: str(one.as_of) for role, one in evidence.contestants.items()}
    numbers = {"start": str(evidence.start), "as_of": ages}
    for role, one in evidence.contestants.items():
        if one.as_of <= evidence.start:
            continue
        sentence = (
            f"{one.model_id} was trained up to {one.as_of}, after the test events begin at "
            f"{evidence.start}: judge it on later events"
        )
        if role == "candidate":
            return _blocked("time_boundary", "trained_on_the_future", sentence, **numbers)
        return _held("time_boundary", f"{role}_trained_on_the_future", sentence, **numbers)
    return _passed("time_boundary", "trained_on_the_past", "All learned from the past.", **numbers)


def data_quality(evidence: Evidence) -> CheckResult:
    """The hours behind the comparison passed validation."""
    if evidence.quality_passed is None:
        return _blocked(
            "data_quality",
            "data_quality_unknown",
            "The hours were not validated: run hourglass validate",
        )
    if not evidence.quality_passed:
        return _blocked(
            "data_quality",
            "data_quality_failed",
            "A critical expectation failed in these hours: see the Data Docs",
        )
    return _passed("data_quality", "data_quality_passed", "The hours passed validation.")


def same_questions(evidence: Evidence) -> CheckResult:
    """Every contestant answered the same targets of this frozen part."""
    name = "same_questions"
    ranks: dict[str, Ranks] = {}
    for role, one in evidence.contestants.items():
        if one.ranks is None or one.ranks_sha256 is None:
            return _blocked(
                name,
                "missing_ranks",
                f"the {role} {one.model_id} has no ranks: run hourglass evaluate",
            )
        if one.ranks.model_id != one.model_id:
            return _blocked(
                name,
                "ranks_of_another_model",
                f"the ranks of {one.model_id} were made by {one.ranks.model_id}",
            )
        if one.ranks.frozen_id != evidence.frozen_id or one.ranks.rule != rule_key(evidence.rule):
            return _blocked(
                name,
                "different_targets",
                f"the ranks of {one.model_id} are of {one.ranks.frozen_id} "
                f"({one.ranks.rule}), not of {evidence.frozen_id} ({rule_key(evidence.rule)})",
            )
        if one.ranks.n_targets and int(one.ranks.rank.min()) < 1:
            return _blocked(name, "bad_ranks", f"a rank of {one.model_id} is below 1")
        ranks[role] = one.ranks
    try:
        check_same_targets(ranks)
    except HourglassError as error:
        return _blocked(name, "different_targets", str(error))
    return _passed(name, "same_targets", "All answered the same targets.")


def sample_size(evidence: Evidence) -> CheckResult:
    """There is enough to decide on."""
    ranks = _ranks(evidence.candidate)
    numbers = {
        "n_users": ranks.n_users,
        "n_targets": ranks.n_targets,
        "min_users": max(evidence.gate.min_users, _FEWEST_USERS),
        "min_targets": evidence.gate.min_targets,
    }
    if numbers["n_users"] < numbers["min_users"]:
        return _held(
            "sample_size",
            "too_few_users",
            f"{numbers['n_users']} users, fewer than {numbers['min_users']}",
            **numbers,
        )
    if numbers["n_targets"] < numbers["min_targets"]:
        return _held(
            "sample_size",
            "too_few_targets",
            f"{numbers['n_targets']} targets, fewer than {numbers['min_targets']}",
            **numbers,
        )
    return _passed("sample_size", "enough_data", "There are enough users and targets.", **numbers)


def beats_floor(evidence: Evidence) -> CheckResult:
    """The candidate is surely better than the floor, whatever the champion is."""
    if _ranks(evidence.candidate).n_targets == 0:
        return _held("beats_floor", "no_targets", "There is no target to compare on.")
    numbers, gain = _compare(evidence, evidence.floor)
    label = f"{evidence.candidate.model_id} against the floor {evidence.floor.model_id}"
    if gain.lower > 0:
        return _passed("beats_floor", "better_than_floor", _say(label, numbers), **numbers)
    return _held("beats_floor", "not_better_than_floor", _say(label, numbers), **numbers)


def beats_champion(evidence: Evidence) -> CheckResult:
    """The candidate is surely better than what is live; surely much worse blocks."""
    name, champion = "beats_champion", evidence.champion
    if champion is None:
        return _passed(name, "no_champion", "Nothing is live yet.")
    if champion.model_id == evidence.candidate.model_id:
        return _held(name, "same_model", f"{champion.model_id} is the champion already")
    if _ranks(evidence.candidate).n_targets == 0:
        return _held(name, "no_targets", "There is no target to compare on.")
    numbers, gain = _compare(evidence, champion)
    label = f"{evidence.candidate.model_id} against the champion {champion.model_id}"
    # "Worse by more than a share d" is a contrast of means, candidate - (1 - d) champion < 0, so
    # the uncertainty of the champion's own figure is counted too.
    tolerated = (1.0 - evidence.gate.max_block_drop) * _values(evidence, champion)
    drop = _paired(evidence, _values(evidence, evidence.candidate), tolerated)
    numbers["max_block_drop"] = evidence.gate.max_block_drop
    numbers["excess_over_tolerated"] = _as_dict(drop)
    if gain.lower > 0:
        return _passed(name, "better_than_champion", _say(label, numbers), **numbers)
    if drop.upper < 0:
        return _blocked(name, "worse_than_champion", _say(label, numbers), **numbers)
    return _held(name, "not_better_than_champion", _say(label, numbers), **numbers)


def _ranks(contestant: Contestant) -> Ranks:
    if contestant.ranks is None:
        raise HourglassError(f"{contestant.model_id} has no ranks: run hourglass evaluate")
    return contestant.ranks


def _values(evidence: Evidence, contestant: Contestant) -> NDArray[np.float64]:
    return target_values(evidence.gate.metric, _ranks(contestant).rank, evidence.rule.k)


def _paired(evidence: Evidence, one: NDArray[np.float64], other: NDArray[np.float64]) -> Interval:
    return paired_difference(
        one,
        other,
        _ranks(evidence.candidate).user,
        samples=evidence.rule.bootstrap_samples,
        confidence=evidence.gate.confidence,
        seed=evidence.seed,
    )


def _compare(evidence: Evidence, other: Contestant) -> tuple[dict[str, Any], Interval]:
    """Both figures, their paired difference and its interval, as numbers for the decision."""
    values = np.stack([_values(evidence, evidence.candidate), _values(evidence, other)], axis=1)
    mine, theirs = intervals(
        values,
        _ranks(evidence.candidate).user,
        samples=evidence.rule.bootstrap_samples,
        confidence=evidence.gate.confidence,
        seed=evidence.seed,
    )
    gain = _paired(evidence, values[:, 0], values[:, 1])
    numbers: dict[str, Any] = {
        "metric": f"{evidence.gate.metric}@{evidence.rule.k}",
        "confidence": evidence.gate.confidence,
        "candidate": _as_dict(mine),
        "other": _as_dict(theirs),
        "difference": _as_dict(gain),
    }
    return numbers, gain


def _as_dict(interval: Interval) -> dict[str, float]:
    return {"mean": interval.mean, "lower": interval.lower, "upper": interval.upper}


def _say(label: str, numbers: dict[str, Any]) -> str:
    gain = numbers["difference"]
    return (
        f"{label}: {numbers['metric']} {numbers['candidate']['mean']:.4f} against "
        f"{numbers['other']['mean']:.4f}, difference {gain['mean']:+.4f} "
        f"[{gain['lower']:+.4f}, {gain['upper']:+.4f}]"
    )
