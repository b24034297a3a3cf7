"""Guards: what a candidate's lists must show, measured against those of what is live.

A model may gain in rank and show a few items to everybody.  ``gate.guards`` says how much of what
the live model's lists show a candidate's must show at least, on the hour that is judged.

Reason codes are stable; sentences are for people and may change.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from training.gate.evidence import CheckResult, Evidence, blocked, held, passed
from training.gate.roles import CANDIDATE, CHAMPION

N_LISTS = "n_lists"
_WORDS: Mapping[str, str] = {
    "coverage": "coverage of the catalogue",
    "evenness": "evenness of exposure (1 - Gini)",
    "novelty": "novelty in bits",
    "new_items": "share of new items",
    "diversity": "diversity within lists",
}


def within_guards(evidence: Evidence) -> CheckResult:
    """Lists fall below no guard; of fewer lists than ``gate.min_targets`` a low figure holds."""
    name, guards = "within_guards", evidence.gate.guards
    if evidence.champion is None or evidence.same_model:
        return passed(name, "no_champion", "There is no other model to compare lists with.")
    mine, theirs = (evidence.shown.get(role, {}) for role in (CANDIDATE, CHAMPION))
    figures = {
        guard: {
            CANDIDATE: mine.get(guard, math.nan),
            CHAMPION: theirs.get(guard, math.nan),
            "least_share": share,
        }
        for guard, share in sorted(guards.items())
    }
    unknown = [
        guard
        for guard, figure in figures.items()
        if math.isnan(figure[CANDIDATE]) or math.isnan(figure[CHAMPION])
    ]
    if unknown:
        words = ", ".join(_WORDS[guard] for guard in unknown)
        sentence = f"Not measured on this hour: {words}"
        return held(name, "lists_not_measured", sentence, guards=figures)
    below = [
        guard
        for guard, figure in figures.items()
        if figure[CANDIDATE] < figure["least_share"] * figure[CHAMPION]
    ]
    if not below:
        sentence = f"Lists are within {', '.join(_WORDS[guard] for guard in figures)}."
        return passed(name, "no_guard_crossed", sentence, guards=figures)
    n_lists = round(mine.get(N_LISTS, 0))
    texts = "; ".join(_breach(guard, figures[guard]) for guard in below)
    if n_lists < evidence.gate.min_targets:
        sentence = f"{texts}; of {n_lists} lists, which are too few to tell"
        return held(name, "below_guard", sentence, guards=figures, n_lists=n_lists)
    return blocked(name, "below_guard", texts, guards=figures, n_lists=n_lists)


def _breach(guard: str, figure: Mapping[str, float]) -> str:
    mine, theirs, share = figure[CANDIDATE], figure[CHAMPION], figure["least_share"]
    return (
        f"{_WORDS[guard][0].upper()}{_WORDS[guard][1:]} is {mine:.4g} against {theirs:.4g} of the "
        f"live model, below {share:g} of it ({share * theirs:.4g})"
    )
