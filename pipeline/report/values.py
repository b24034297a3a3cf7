"""The small values that reports are made of."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple

Colour = Literal["green", "amber", "red", "grey"]


class Interval(NamedTuple):
    """A figure with the ends of its confidence interval; fits a cell of the leaderboard."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Light:
    """A traffic light: what is judged, its colour, and one sentence."""

    name: str
    colour: Colour
    sentence: str


@dataclass(frozen=True)
class Link:
    """Where to go on: an address (relative, http or https), or a command to run."""

    label: str
    href: str | None = None
    command: str | None = None
