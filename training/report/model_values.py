"""What the report says about models, as plain values.

An hour's *place* is its distance in hours from the first hour of the report; what was judged from
hour H on over ``h`` hours stands at the middle of them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from pipeline.report.format import Interval

Role = Literal["live", "floor", "candidate"]
Turn = Literal["bootstrap", "promotion", "rollback", "watch", "unknown"]


@dataclass(frozen=True)
class Live:
    """The model that is live, since when and why; ``age_h`` runs from ``as_of`` to the report.

    ``previous`` is what a rollback would return to; ``rollback`` and ``show`` are commands.
    """

    name: str
    model_id: str
    version: str
    since: str | None
    since_hour: str | None
    reason: str
    sentence: str
    record: str | None
    as_of: str | None
    age_h: float | None
    behind_h: float | None  # from as_of to the end of the report's hours
    previous: str | None
    rollback: str | None
    show: str | None


@dataclass(frozen=True)
class CheckFound:
    """One check of a decision; ``numbers`` are names and figures, nested ones by dotted names."""

    name: str
    outcome: str
    reason: str
    sentence: str
    numbers: tuple[tuple[str, object], ...]


@dataclass(frozen=True)
class Decided:
    """One decision of the gate on one line.

    Over all its looks: ``gain`` is the difference to the champion with its interval, ``lower`` its
    sequential lower limit, which must be above 0, ``odds`` the evidence for a gain and ``needed``
    that which proves one; None where the gate did not come to compare.  ``targets`` and ``users``
    are of all looks, or of the hour where a file knows no looks.
    """

    hour: str
    line: str
    model_id: str
    champion: str | None
    outcome: str
    reasons: tuple[str, ...]
    sentence: str
    metric: str
    gain: Interval | None
    lower: float | None
    odds: float | None
    needed: float | None
    looks: int | None
    targets: int | None
    users: int | None
    checks: tuple[CheckFound, ...]
    file: str
    why: str = ""  # the reasons in words


@dataclass(frozen=True)
class Curve:
    """A metric by place: ``at``, ``value``, ``low``, ``high`` (P,); a row of NaN is a gap."""

    name: str
    role: Role
    at: NDArray[np.float64]
    value: NDArray[np.float64]
    low: NDArray[np.float64]
    high: NDArray[np.float64]

    @property
    def judged(self) -> int:
        """Number of judged points."""
        return int(np.isfinite(self.value).sum())

    @property
    def last(self) -> Interval:
        """The last judged figure; there is one."""
        place = np.flatnonzero(np.isfinite(self.value))[-1]
        return Interval(*(float(part[place]) for part in (self.value, self.low, self.high)))

    @property
    def mean(self) -> float:
        """Mean of the judged hours, each counting the same."""
        return float(np.nanmean(self.value))


@dataclass(frozen=True)
class Mark:
    """A change of the live model at a place."""

    at: float
    turn: Turn


@dataclass(frozen=True)
class Curves:
    """The metric of every line over the hours of the report, and when the live model changed."""

    metric: str
    confidence: float
    hours: tuple[str, ...]
    curves: tuple[Curve, ...]
    marks: tuple[Mark, ...]


@dataclass(frozen=True)
class Growth:
    """Odds of one line by place, (P,), and those that prove a gain; a row of NaN is a gap."""

    line: str
    at: NDArray[np.float64]
    odds: NDArray[np.float64]
    needed: NDArray[np.float64]


@dataclass(frozen=True)
class SliceFigures:
    """One slice of the last evaluation: a figure for each of the columns; small ones are grey.

    ``gain`` and ``verdict`` are those of the last decision, over all its looks.
    """

    name: str
    targets: int
    users: int
    figures: tuple[Interval | None, ...]
    small: bool
    gain: Interval | None = None
    verdict: str | None = None


@dataclass(frozen=True)
class Slices:
    """The last evaluation by slice: what the columns are, and when it was."""

    hours: str
    metric: str
    columns: tuple[str, ...]
    rows: tuple[SliceFigures, ...]
    min_users: int
    decided: str | None = None  # line and hour of the decision that gains and verdicts are of


@dataclass(frozen=True)
class Served:
    """A time that one model was live, by places in the report; ``stop`` is None while it is.

    Places are None where no hour of the log is known for it.
    """

    name: str
    model_id: str
    version: str
    turn: Turn
    since: str | None
    hour: str | None
    sentence: str
    record: str | None
    start: float | None
    stop: float | None


@dataclass(frozen=True)
class Picture:
    """The picture of the newest replay: where it lies beside the report, and its run."""

    run: str
    href: str
    data: str | None  # an address that holds the picture, where it is light enough


@dataclass(frozen=True)
class ModelHealth:
    """Everything about models; ``damaged`` names what could not be read, one sentence each."""

    live: Live | None = None
    decisions: Sequence[Decided] = ()
    older_decisions: int = 0
    tally: Mapping[str, int] | None = None
    curves: Curves | None = None
    growth: Sequence[Growth] = ()
    hours: tuple[str, ...] = ()
    slices: Slices | None = None
    served: Sequence[Served] = ()
    damaged: Sequence[str] = ()
    replay: Picture | None = None
    leaderboard: Sequence[Mapping[str, object]] = ()  # column names -> text or intervals
    leaderboard_note: str = ""

    @property
    def placed(self) -> bool:
        """Whether the hours of a change are known, so that there is something to draw."""
        return any(one.start is not None for one in self.served)
