"""Whether a candidate harms a part of the users and items that is large enough to tell.

Reason codes are stable; sentences are for people and may change.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from training.gate.evidence import CheckResult, Evidence, held, passed
from training.gate.past_looks import ALL
from training.gate.roles import CHAMPION
from training.gate.sequential_test import (
    Range,
    Sums,
    contrast,
    first_informative_look,
    log_evidence,
    scale_of,
    total,
)

# A slice in which the champion finds next to nothing may lose this share of the overall figure's
# margin: no finite sample shows that a fraction of nothing is not lost.
_NEXT_TO_NOTHING = 0.1


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
    people = evidence.user_sums(CHAMPION) or whole
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


def _listed(names: list[str], figures: dict[str, dict[str, Any]]) -> str:
    """The worst three slices with their differences."""
    worst = sorted(names, key=lambda name: figures[name]["excess_over_tolerated"]["lower"])[:3]
    worst_texts = [
        f"{name} ({figures[name]['difference']['mean']:+.4f} from {figures[name]['champion']:.4f})"
        for name in worst
    ]
    more = len(names) - len(worst)
    return ", ".join(worst_texts) + (f" and {more} more" if more > 0 else "")
