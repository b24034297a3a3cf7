"""Who is live, since when and why, and who was before."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING

from pipeline.errors import HourglassError
from pipeline.hours import HOUR_S, Hour, HourRange
from pipeline.sealed_json import read_record
from training.gate.reasons import reason_text
from training.registry.champion_record import read_event
from training.registry.mlflow_registry import LiveModel
from training.registry.model_card import read_card
from training.report.model_values import Live, Mark, Served, Turn

if TYPE_CHECKING:
    from pathlib import Path

    from training.deployment.champion_history import Tenure

_TURNS: dict[str, Turn] = {
    "bootstrap": "bootstrap",
    "promoted": "promotion",
    "rolled_back_by_hand": "rollback",
    "unknown": "unknown",
}


def turn_of(reason: str) -> Turn:
    """What kind of change a reason code stands for; the watch has several of its own."""
    return _TURNS.get(reason, "watch")


def live_now(
    live: LiveModel,
    before: LiveModel | None,
    tenures: Sequence[Tenure],
    decisions: Path,
    end: Hour,
    at: datetime,
) -> Live:
    """The live model as the report shows it.

    Args:
        live: what the registry says.
        before: what a rollback would return to.
        tenures: in order; the last is that of the live model, where its record can be read.
        decisions: folder of the records.
        end: first hour after those of the report.
        at: when the report is made.
    """
    tenure = next((one for one in reversed(tenures) if one.version == live.version), None)
    record = tenure.record if tenure else None
    file = _decision_of(record) if record else None
    try:
        as_of: Hour | None = read_card(live.folder).as_of
    except HourglassError:
        as_of = None
    return Live(
        name=tenure.name if tenure else live.model_id,
        model_id=live.model_id,
        version=live.version,
        since=tenure.since_at if tenure else None,
        since_hour=str(tenure.since_hour) if tenure and tenure.since_hour else None,
        reason=reason_text(tenure.reason if tenure else "unknown"),
        sentence=tenure.sentence if tenure else "The record of how it became live is missing.",
        record=record.name if record else None,
        as_of=str(as_of) if as_of else None,
        age_h=(at - as_of.start).total_seconds() / HOUR_S if as_of else None,
        behind_h=float(end.index - as_of.index) if as_of else None,
        previous=before.model_id if before else None,
        rollback="hourglass rollback --reason 'why'" if before else None,
        show=f"python -m json.tool {shlex.quote(str(decisions / file))}" if file else None,
    )


def lost_records(tenures: Sequence[Tenure]) -> list[str]:
    """What to say where the history ends at a record that is lost or damaged.

    A history that begins with a model from before there were records is whole.
    """
    if not tenures or tenures[0].record is not None:
        return []
    if len(tenures) == 1:
        return [tenures[0].sentence]
    after = read_event(tenures[1].record).after if tenures[1].record else None
    if after is None:
        return []
    return [
        f"decisions/{after}: the record is lost or was changed, and what was live before it is not "
        "known: put it back from a copy"
    ]


def _decision_of(record: Path) -> str:
    """File name of the decision behind a record; that of the record itself where none is."""
    try:
        said = read_record(record).content.get("decision")
    except HourglassError:
        said = None
    return str(said or record.name)


# Which model served when, in places of the report's hours.


def served(tenures: Sequence[Tenure], hours: HourRange) -> tuple[Served, ...]:
    """Every time that a model was live, the newest first.

    A change without an hour of the log, such as one by hand, stands at the hour of its clock where
    the report's hours hold that; else its place is not known.
    """
    return tuple(
        Served(
            name=one.name,
            model_id=one.model_id,
            version=one.version,
            turn=turn_of(one.reason),
            since=one.since_at,
            hour=str(one.since_hour) if one.since_hour else None,
            sentence=one.sentence,
            record=one.record.name if one.record else None,
            start=_place(one.since_hour, one.since_at, hours),
            stop=_place(one.until_hour, one.until_at, hours),
        )
        for one in reversed(tenures)
    )


def marks(found: Sequence[Served], n_hours: int) -> tuple[Mark, ...]:
    """The changes that fall into the report's hours, in their order."""
    inside = (one for one in reversed(found) if one.start is not None)
    return tuple(
        Mark(one.start, one.turn)
        for one in inside
        if one.start is not None and 0 <= one.start <= n_hours
    )


def _place(hour: Hour | None, at: str | None, hours: HourRange) -> float | None:
    if hour is not None:
        return float(hour.index - hours.first.index)
    try:
        instant = datetime.fromisoformat(at or "")
        place = (instant - hours.first.start).total_seconds() / HOUR_S
    except (ValueError, TypeError):  # no time, or one without its zone
        return None
    return place if 0 <= place <= len(hours) else None
