"""Who is live, since when and why, and who was before."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Literal

from pipeline.errors import HourglassError
from pipeline.hours import HOUR_S, Hour, HourRange
from pipeline.sealed_json import read_record
from training.deployment.champion_history import ChampionPeriod
from training.registry.champion_record import read_event
from training.registry.mlflow_registry import LiveModel
from training.registry.model_card import read_card

Turn = Literal["bootstrap", "promotion", "rollback", "monitor", "unknown"]
_TURNS: dict[str, Turn] = {
    "bootstrap": "bootstrap",
    "promoted": "promotion",
    "rolled_back_by_hand": "rollback",
    "unknown": "unknown",
}


@dataclass(frozen=True)
class CurrentChampion:
    """The model that is live, and how it became so.

    ``as_of`` is None where its artefact cannot be read; ``age_h`` runs from there to the report,
    ``behind_h`` to the end of the report's hours.  ``previous`` is the model that a rollback would
    return to; ``show`` a command that shows every number behind the change.
    """

    period: ChampionPeriod
    as_of: Hour | None
    age_h: float | None
    behind_h: float | None
    previous: str | None
    show: str | None

    @property
    def rollback(self) -> str | None:
        """The command that returns to the previous model."""
        return "hourglass rollback --reason 'why'" if self.previous else None


def current_champion(
    live: LiveModel,
    before: LiveModel | None,
    periods: Sequence[ChampionPeriod],
    decisions: Path,
    end: Hour,
    at: datetime,
) -> CurrentChampion:
    """The live model as the report shows it.

    Args:
        live: what the registry says.
        before: what a rollback would return to.
        periods: in order; the last is that of the live model, where its record can be read.
        decisions: folder of the records.
        end: first hour after those of the report.
        at: when the report is made.
    """
    lost = ChampionPeriod(
        *(live.model_id, live.version, live.model_id),
        since_at=None,
        since_hour=None,
        until_at=None,
        until_hour=None,
        reason="unknown",
        sentence="The record of how it became live is missing.",
        record=None,
    )
    period = next((each for each in reversed(periods) if each.version == live.version), lost)
    try:
        as_of: Hour | None = read_card(live.folder).as_of
    except HourglassError:
        as_of = None
    file = str(decisions / _decision_of(period.record)) if period.record else None
    return CurrentChampion(
        period,
        as_of,
        age_h=(at - as_of.start).total_seconds() / HOUR_S if as_of else None,
        behind_h=float(end.index - as_of.index) if as_of else None,
        previous=before.model_id if before else None,
        show=f"python -m json.tool {shlex.quote(file)}" if file else None,
    )


def lost_records(periods: Sequence[ChampionPeriod]) -> list[str]:
    """What to say where the history ends at a record that is lost or damaged.

    A history that begins with a model from before there were records is whole.
    """
    if not periods or periods[0].record is not None:
        return []
    if len(periods) == 1:
        return [periods[0].sentence]
    after = read_event(periods[1].record).after if periods[1].record else None
    if after is None:
        return []
    return [
        f"decisions/{after}: the record is lost or was changed, and what was live before it is not "
        "known: put it back from a copy"
    ]


def _decision_of(record: Path) -> str:
    """File name of the decision behind a record; that of the record itself where none is."""
    try:
        decision = read_record(record).content.get("decision")
    except HourglassError:
        decision = None
    return str(decision or record.name)


@dataclass(frozen=True)
class ServedPeriod:
    """A time that one model was live, by hours from the first of the report.

    ``start`` is None where no hour of the log is known for it, ``stop`` also while it is live.
    """

    period: ChampionPeriod
    start: float | None
    stop: float | None

    @property
    def turn(self) -> Turn:
        """What kind of change began it; the monitor has several reasons of its own."""
        return _TURNS.get(self.period.reason, "monitor")


def served_periods(periods: Sequence[ChampionPeriod], hours: HourRange) -> tuple[ServedPeriod, ...]:
    """Every time that a model was live, the newest first.

    A change without an hour of the log, such as one by hand, stands at the hour of its clock where
    the report's hours hold that; else its place is not known.
    """
    return tuple(
        ServedPeriod(
            period,
            _position(period.since_hour, period.since_at, hours),
            _position(period.until_hour, period.until_at, hours),
        )
        for period in reversed(periods)
    )


def _position(hour: Hour | None, at: str | None, hours: HourRange) -> float | None:
    if hour is not None:
        return float(hour.index - hours.first.index)
    try:
        instant = datetime.fromisoformat(at or "")
        elapsed_h = (instant - hours.first.start).total_seconds() / HOUR_S
    except (ValueError, TypeError):  # no time, or one without its zone
        return None
    return elapsed_h if 0 <= elapsed_h <= len(hours) else None
