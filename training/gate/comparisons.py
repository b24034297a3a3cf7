"""Comparisons of the gate: is the candidate proven better, and does it harm no part of the users?

Reason codes are stable; sentences are for people and may change.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

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
from training.gate.past_looks import ALL
from training.gate.reasons import role_word
from training.gate.sequential_test import (
    Range,
    Sequential,
    Sums,
    contrast,
    first_informative_look,
    log_evidence,
    scale_of,
    sequential,
    total,
    variance_by_day,
)
from training.metrics.bootstrap import Interval, intervals, paired_difference

_FEWEST_USERS = 2  # one user has no interval
# A slice in which the champion finds next to nothing may lose this share of the overall figure's
# margin: no finite sample shows that a fraction of nothing is not lost.
_NEXT_TO_NOTHING = 0.1
_DAY_H = 24


def sample_size(evidence: Evidence) -> CheckResult:
    """All looks together are enough to decide on."""
    name = "sample_size"
    sums = evidence.user_sums("floor") or total(look.baseline for look in evidence.looks)
    wanted = {
        "min_users": max(evidence.gate.min_users, _FEWEST_USERS),
        "min_targets": evidence.gate.min_targets,
    }
    numbers = {"n_users": sums.users, "n_targets": round(sums.n), **wanted}
    short = [what for what in ("users", "targets") if numbers[f"n_{what}"] < numbers[f"min_{what}"]]
    if short:
        counts = ", ".join(
            f"{numbers[f'n_{what}']} of at least {numbers[f'min_{what}']}" for what in short
        )
        sentence = f"Too few {' and '.join(short)} yet: {counts}"
        return held(name, f"too_few_{short[0]}", sentence, **numbers)
    return passed(name, "enough_data", "There are enough users and targets.", **numbers)


def beats_floor(evidence: Evidence) -> CheckResult:
    """The candidate is proven better than the baseline, whatever the champion is."""
    looks = [look.baseline for look in evidence.looks]
    return _beats(evidence, "floor", evidence.baseline, looks, drop=False)


def beats_champion(evidence: Evidence) -> CheckResult:
    """The candidate is proven better than what is live; surely much worse blocks."""
    champion = evidence.champion
    if champion is None:
        return passed("beats_champion", "no_champion", "Nothing is live yet.")
    if evidence.same_model:
        return held("beats_champion", "same_model", f"{champion.model_id} is the champion already")
    looks = [look.champion[ALL] for look in evidence.looks]
    return _beats(evidence, "champion", champion, looks, drop=True)


def harms_no_slice(evidence: Evidence) -> CheckResult:
    """No part of the users and items that is large enough to tell surely loses much.

    A slice must show that it does not lose ``gate.slice_margin`` of the champion's figure in it, by
    the test that may be looked at every hour.
    """
    name = "harms_no_slice"
    champion = evidence.champion
    if champion is None or evidence.same_model:
        return passed(name, "no_champion", "There is no other model to lose against.")
    figures = slice_figures(evidence)
    harmed = [key for key, figure in figures.items() if figure["verdict"] == "harmed"]
    unproven = [key for key, figure in figures.items() if figure["verdict"] == "not_shown_harmless"]
    if harmed:
        return held(name, "slice_harmed", f"Worse on {_listed(harmed, figures)}", slices=figures)
    if unproven:
        sentence = f"Not yet shown harmless on {_listed(unproven, figures)}"
        return held(name, "slice_not_shown_harmless", sentence, slices=figures)
    judged = sum(figure["verdict"] == "harmless" for figure in figures.values())
    sentence = f"No harm on {judged} slices, {len(figures) - judged} too small to tell."
    return passed(name, "no_slice_harmed", sentence, slices=figures)


def slice_figures(evidence: Evidence) -> dict[str, dict[str, Any]]:
    """Of every slice, over all looks: sample, figures, difference, what it may lose, verdict."""
    gate, looks = evidence.gate, evidence.looks
    bound = -math.log(1.0 - gate.confidence)
    whole = total(look.champion[ALL] for look in looks)
    # Who belongs to a slice is not kept; users are taken to come back there as they do in all.
    people = evidence.user_sums("champion") or whole
    each_once = people.users / max(1, whole.users)
    bond = max(1.0, people.dd / whole.dd) if whole.dd else 1.0
    names = sorted({name for look in looks for name in look.champion} - {ALL})
    figures: dict[str, dict[str, Any]] = {}
    for name in names:
        parts = [look.champion.get(name, Sums()) for look in looks]
        sums = total(parts)
        theirs = sums.c / sums.n
        least = _NEXT_TO_NOTHING * whole.c / whole.n
        own = theirs >= least
        # The champion's own figure is uncertain too, so its share goes into the contrast.
        weights = {"c": gate.slice_margin} if own else {"n": gate.slice_margin * least}
        excess = contrast(sums, gate.confidence, **weights)
        harmless = _evidence_of_gain(
            evidence, [look_sums.shifted(**weights) for look_sums in parts], bond
        )
        users = round(sums.users * each_once)
        figures[name] = {
            "users": users,
            "targets": round(sums.n),
            "candidate": (sums.c + sums.d) / sums.n,
            "champion": theirs,
            "difference": asdict(contrast(sums, gate.confidence)),
            "tolerated_loss": gate.slice_margin * max(theirs, least),
            "excess_over_tolerated": asdict(excess),
            "statistic": harmless,
            "bound": bound,
            "verdict": "too_small"
            if users < gate.min_slice_users
            else _verdict(sums, excess, shown=harmless >= bound),
        }
    return figures


def _evidence_of_gain(evidence: Evidence, parts: Sequence[Sums], cluster_inflation: float) -> float:
    """How surely the sums of a slice, one a look, are above zero.

    Only users are taken for uncertain, ``cluster_inflation`` >= 1 times as much as if nobody came
    back: an hour's luck may be as large as what a slice may lose, so a test that allows for it
    would hold every model for many hours.
    """
    whole, scale = total(parts), scale_of(first_informative_look(parts), evidence.gate.min_targets)
    return log_evidence(whole.d, cluster_inflation * whole.dd, scale)


def _verdict(sums: Sums, excess: Range, *, shown: bool) -> str:
    # Two models that find nothing at all in a slice differ by exactly nothing.
    if shown or (sums.dd == 0 and excess.mean >= 0):
        return "harmless"
    return "harmed" if excess.upper < 0 else "not_shown_harmless"


def against_champion(evidence: Evidence) -> Sequential | None:
    """The sequential test against what is live, or against the baseline where nothing is.

    None where nothing can be compared.
    """
    role = "champion" if evidence.champion else "floor"
    sums = [look.champion[ALL] if evidence.champion else look.baseline for look in evidence.looks]
    return _sequential(evidence, role, sums) if total(sums).n else None


def _sequential(evidence: Evidence, role: str, looks: Sequence[Sums]) -> Sequential:
    gate = evidence.gate
    days = [look.hours.first.index // _DAY_H for look in evidence.looks]
    return sequential(
        looks,
        alpha=evidence.alpha,
        common_shock=gate.hour_swing,
        scale=scale_of(first_informative_look(looks), gate.min_targets, gate.day_swing),
        user_sums=evidence.user_sums(role),
        by_day=variance_by_day(looks, days, gate.day_swing),
    )


def _beats(
    evidence: Evidence, role: str, other: Contestant, looks: Sequence[Sums], *, drop: bool
) -> CheckResult:
    """One-sided: held until all looks together prove a gain."""
    name, gate = f"beats_{role}", evidence.gate
    if not total(looks).n:
        return held(name, "no_targets", "There is no target to compare on")
    proof = _sequential(evidence, role, looks)
    sample = evidence.user_sums(role) or total(looks)
    # The same limits as an interval of both sides with that confidence, for a single look.
    fixed = contrast(sample, (1.0 + gate.confidence) / 2.0)
    numbers = {
        "metric": f"{gate.metric}@{evidence.rule.k}",
        "confidence": gate.confidence,
        **asdict(proof),
        "fixed_sample": asdict(fixed),
        "this_look": _this_look(evidence, other),
    }
    label = f"the {role_word(role)} {other.model_id}"
    figures = _figures(total(looks), proof, numbers["metric"])
    if drop:
        # "Worse by more than a share d" is a contrast of means, candidate - (1 - d) champion < 0,
        # so the uncertainty of the champion's own figure is counted too.
        worst = contrast(sample, (1.0 + gate.confidence) / 2.0, c=gate.max_block_drop)
        numbers["max_block_drop"] = gate.max_block_drop
        numbers["excess_over_tolerated"] = asdict(worst)
        if worst.upper < 0:
            limits = f"between {fixed.lower:+.4f} and {fixed.upper:+.4f}"
            compared = _compared(total(looks), proof.mean, numbers["metric"])
            sentence = f"Surely worse than {label}: {compared}, {limits}"
            return blocked(name, f"worse_than_{role}", sentence, **numbers)
    if proof.proven and fixed.lower > 0:
        return passed(name, f"better_than_{role}", f"Better than {label}: {figures}", **numbers)
    if fixed.lower > 0:
        sentence = f"Not yet proven better than {label}: {figures}"
        return held(name, f"not_yet_better_than_{role}", sentence, **numbers)
    sentence = f"Not better than {label}: {figures}"
    return held(name, f"not_better_than_{role}", sentence, **numbers)


def _figures(sums: Sums, proof: Sequential, metric: str) -> str:
    looks = counted(proof.looks, "look")
    # Of too few users nothing can be said of how it varies.
    least = "" if math.isnan(proof.lower) else f", at least {proof.lower:+.4f}"
    return (
        f"{_compared(sums, proof.mean, metric)}{least}; {looks}, evidence "
        f"{_odds(proof.statistic)} of the {_odds(proof.bound)} needed"
    )


def _compared(sums: Sums, mean: float, metric: str) -> str:
    theirs = sums.c / sums.n
    share = f" ({mean / theirs:+.1%})" if theirs > 0 else ""
    return f"{metric} {theirs + mean:.4f} against {theirs:.4f}{share}, difference {mean:+.4f}"


def _odds(log_odds: float) -> str:
    if log_odds >= math.log(1e6):
        return "over a million"
    return f"{math.exp(log_odds):.1f}"


def _this_look(evidence: Evidence, other: Contestant) -> dict[str, Any]:
    """Both figures and their paired difference on this look alone, by resampling its users."""
    if evidence.recorded_look is not None:
        return {}  # the sums alone are there; the test needs no more
    user = ranks_of(evidence.candidate).user
    if not user.size:
        return {}
    both = np.stack([evidence.values(evidence.candidate), evidence.values(other)], axis=1)
    rule = evidence.rule
    samples, confidence = rule.bootstrap_samples, evidence.gate.confidence
    mine, theirs = intervals(both, user, samples=samples, confidence=confidence, seed=evidence.seed)
    gain = paired_difference(
        both[:, 0],
        both[:, 1],
        user,
        samples=samples,
        confidence=confidence,
        seed=evidence.seed,
    )
    named: dict[str, Interval] = {"candidate": mine, "other": theirs, "difference": gain}
    return {key: asdict(interval) for key, interval in named.items()}


def _listed(names: list[str], figures: dict[str, dict[str, Any]]) -> str:
    """The worst three slices with their differences."""
    worst = sorted(names, key=lambda name: figures[name]["excess_over_tolerated"]["lower"])[:3]
    worst_texts = [
        f"{name} ({figures[name]['difference']['mean']:+.4f} from {figures[name]['champion']:.4f})"
        for name in worst
    ]
    more = len(names) - len(worst)
    return ", ".join(worst_texts) + (f" and {more} more" if more > 0 else "")
