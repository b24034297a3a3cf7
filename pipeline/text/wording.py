"""Numbers of things in sentences."""

from __future__ import annotations


def counted(n: int, thing: str) -> str:
    """``1 hour``, ``2 hours``; of several words the last is the thing."""
    return f"{n:,} {thing}{'' if n == 1 else 's'}"


def verb(n: int, singular: str, plural: str) -> str:
    """``is`` or ``are``, by how many there are."""
    return singular if n == 1 else plural
