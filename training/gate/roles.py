"""What a model is in a comparison: the candidate, the champion, or one of the baselines.

Records call a baseline a ``floor``, as they always did.  Where ``gate.baseline`` lists several,
each has its name behind that: ``floor stan``.
"""

from __future__ import annotations

from collections.abc import Iterable

CANDIDATE = "candidate"
CHAMPION = "champion"
FLOOR = "floor"


def baseline_labels(names: Iterable[str]) -> dict[str, str]:
    """What records call each baseline, by its name; in an order that no list of them changes."""
    ordered = sorted(names)
    return {name: FLOOR if len(ordered) == 1 else f"{FLOOR} {name}" for name in ordered}


def baselines_text(names: Iterable[str]) -> str:
    """All baselines as one text of a key; that of one is its name."""
    return ", ".join(sorted(names))


def role_of(label: str) -> str:
    """The role of whom records call so."""
    return label.partition(" ")[0]


def role_word(role: str) -> str:
    """What people call a role, which the records call as they always did."""
    return "baseline" if role == FLOOR else role
