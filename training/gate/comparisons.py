"""Comparisons of the gate: is the candidate proven better, and does it harm no part of the users?

Reason codes are stable; sentences are for people and may change.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

import numpy as np

from pipeline.text.wording import counted
from training.gate.evidence import (
    CheckResult,
    Contestant,
    Evidence,
    Outcome,
    blocked,
    held,
    passed,
    ranks_of,
)
from training.gate.past_looks import ALL
from training.gate.roles import CHAMPION, role_of, role_word
from training.gate.sequential_test import (
    Sequential,
    Sums,
    contrast,
    first_informative_look,
    scale_of,
    sequential,
    total,
    variance_by_day,
)
from training.metrics.bootstrap import Interval, intervals, paired_difference

_FEWEST_USERS = 2  # one user has no interval
_DAY_H = 24


def sample_size(evidence: Evidence) -> CheckResult:
    """All looks together are enough to decide on."""
    name = "sample_size"
    # Users and targets are the same whoever is compared.
    baseline, label = next(iter(evidence.floors.items()))
    sums = evidence.user_sums(label) or total(look.baselines[baseline] for look in evidence.looks)
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
    """The candidate is proven better than each baseline, whatever the champion is.

    An intersection-union test (Berger 1982): of a candidate that is no better than one of the
    baselines, the comparison with that one fails but for its own risk, whatever the others say. So
    each is made at the full level, and nothing has to be corrected for their number.
    """
    results = {
        name: _beats(evidence, label, evidence.baselines[name], _against(evidence, name))
        for name, label in evidence.floors.items()
    }
    bar, has_targets = bar_of(evidence), bool(total(_against(evidence, next(iter(results)))).n)
    if len(results) == 1 or not has_targets:
        return results[bar]
    return _beats_each(results, bar, figures_of(evidence))


def bar_of(evidence: Evidence) -> str:
    """Name of the best baseline over all looks; of two as good as each other, the first by name."""
    figures = figures_of(evidence)
    return max(figures, key=lambda name: figures[name])


def figures_of(evidence: Evidence) -> dict[str, float]:
    """The metric of each baseline over all looks, by its name; 0 where there is no target."""
    sums = {name: total(_against(evidence, name)) for name in evidence.floors}
    return {name: of_name.c / of_name.n if of_name.n else 0.0 for name, of_name in sums.items()}


def _against(evidence: Evidence, baseline: str) -> list[Sums]:
    return [look.baselines[baseline] for look in evidence.looks]


def _beats_each(
    results: Mapping[str, CheckResult], bar: str, figures: Mapping[str, float]
) -> CheckResult:
    """What comparisons with several baselines, by their names, come to: the worst of them.

    The numbers are those of the comparison with the bar; ``baselines`` has those of each.
    """
    # The sort is stable: of equal figures the first by name comes first, which is the bar.
    names = sorted(results, key=lambda name: -figures[name])
    unbeaten = [results[name] for name in names if results[name].outcome is not Outcome.PROMOTE]
    # Of "not better" and "not yet proven better" the former counts, whichever baseline it is of.
    worst = min(
        unbeaten,
        key=lambda each: bool(each.numbers["fixed_sample"]["lower"] > 0),
        default=results[bar],
    )
    all_figures = ", ".join(f"{name} {figures[name]:.4f}" for name in names)
    sentence = f"{worst.sentence}; it is the best of {len(names)} ({all_figures}), all beaten"
    if unbeaten:
        sentences = "; ".join(each.sentence[0].lower() + each.sentence[1:] for each in unbeaten)
        beaten = [name for name in names if results[name].outcome is Outcome.PROMOTE]
        others = f"{', '.join(beaten)} beaten" if beaten else "none beaten"
        sentence = (
            f"{sentences[0].upper()}{sentences[1:]}; the bar is {bar} ({all_figures}), {others}"
        )
    of_each = {name: {"reason": each.reason, **each.numbers} for name, each in results.items()}
    numbers = {**results[bar].numbers, "bar": bar, "baselines": of_each}
    return replace(worst, sentence=sentence, numbers=numbers)


def beats_champion(evidence: Evidence) -> CheckResult:
    """The candidate is proven better than what is live; surely much worse blocks."""
    champion = evidence.champion
    if champion is None:
        return passed("beats_champion", "no_champion", "Nothing is live yet.")
    if evidence.same_model:
        return held("beats_champion", "same_model", f"{champion.model_id} is the champion already")
    looks = [look.champion[ALL] for look in evidence.looks]
    return _beats(evidence, CHAMPION, champion, looks, drop=True)


def against_champion(evidence: Evidence) -> Sequential | None:
    """The sequential test against what is live, or against the best baseline where nothing is.

    None where nothing can be compared.
    """
    if evidence.champion:
        label, sums = CHAMPION, [look.champion[ALL] for look in evidence.looks]
    else:
        bar = bar_of(evidence)
        label, sums = evidence.floors[bar], _against(evidence, bar)
    return _sequential(evidence, label, sums) if total(sums).n else None


def _sequential(evidence: Evidence, label: str, looks: Sequence[Sums]) -> Sequential:
    gate = evidence.gate
    days = [look.hours.first.index // _DAY_H for look in evidence.looks]
    return sequential(
        looks,
        alpha=evidence.alpha,
        common_shock=gate.hour_swing,
        scale=scale_of(first_informative_look(looks), gate.min_targets, gate.day_swing),
        user_sums=evidence.user_sums(label),
        by_day=variance_by_day(looks, days, gate.day_swing),
    )


def _beats(
    evidence: Evidence,
    who: str,
    other: Contestant,
    looks: Sequence[Sums],
    *,
    drop: bool = False,
) -> CheckResult:
    """One-sided: held until all looks together prove a gain; ``who`` is as records call them."""
    role, gate = role_of(who), evidence.gate
    name = f"beats_{role}"
    if not total(looks).n:
        return held(name, "no_targets", "There is no target to compare on")
    proof = _sequential(evidence, who, looks)
    sample = evidence.user_sums(who) or total(looks)
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
