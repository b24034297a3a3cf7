"""Critical hours that people let pass, and why."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from pipeline.hours import Hour, HourRange
from pipeline.lake.lake import Lake
from pipeline.lake.tables import FAILED_EXPECTATIONS
from pipeline.quality.verdict_log import kind_of
from pipeline.quality.verdicts import Kind, Steps, standing_verdicts


@dataclass(frozen=True)
class Accepted:
    """What an hour had broken when somebody let it pass, and the reason given."""

    reason: str
    expectations: frozenset[str]


@dataclass(frozen=True)
class LetPass:
    """What people have accepted: now, for a range, and before, as far as it still holds."""

    reason: str | None
    hours: HourRange
    before: Mapping[tuple[Kind, Hour], Accepted]

    def reason_for(self, kind: Kind, hour: Hour, critical: set[str]) -> str | None:
        """Why a critical hour passes, if it does."""
        if self.reason and hour in self.hours:
            return self.reason
        kept = self.before.get((kind, hour))
        return kept.reason if kept and critical <= kept.expectations else None


def accepted_before(
    lake: Lake, steps: Steps, hours: HourRange
) -> dict[tuple[Kind, Hour], Accepted]:
    """What was accepted of hours that have not changed since."""
    kinds: tuple[Kind, ...] = ("events", "sessions")
    holding = {
        (kind, hour)
        for kind in kinds
        for hour, verdict in standing_verdicts(steps, kind, hours).items()
        if verdict == "accepted"
    }
    if not holding:
        return {}
    found: dict[tuple[Kind, Hour], Accepted] = {}
    columns = ("hour", "suite", "expectation", "accepted")
    for row in lake.arrow(FAILED_EXPECTATIONS, hours, columns=columns).to_pylist():
        key = kind_of(row["suite"]), Hour.of(row["hour"])
        if row["accepted"] is None or key not in holding:
            continue
        names = found[key].expectations if key in found else frozenset()
        found[key] = Accepted(row["accepted"], names | {row["expectation"]})
    return found
