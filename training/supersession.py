"""Whether a decision still stands: a newer one about the same line takes its place."""

from __future__ import annotations

import re

from pipeline.errors import HourglassError
from training.decision import DecisionRecord
from training.record import Record, read_record

_DECISION = re.compile(r"(\d{4}-\d{2}-\d{2}T\d{2})-.+-[0-9a-f]{12}\.json")


def refuse_superseded(decision: DecisionRecord) -> None:
    """Refuse a decision after which another one was made about the same line.

    Raises:
        HourglassError: there is a newer one beside it, or one that cannot be read.
    """
    own = decision.record
    line = _line(own)
    for path in sorted(own.path.parent.glob("[0-9]*.json")):
        match = _DECISION.fullmatch(path.name)
        if not match or match[1] < str(decision.as_of) or path.name == own.path.name:
            continue
        other = read_record(path)
        if _line(other) == line and _made(other) > _made(own):
            raise HourglassError(
                f"{own.path.name} is out of date: {path.name} was decided about {line} later; "
                "promote by that one, or run hourglass gate again"
            )


def _line(record: Record) -> str:
    """What a decision is about; before decisions named it, the candidate's system."""
    return str(record.content.get("line") or record.content["candidate"]["system"])


def _made(record: Record) -> tuple[str, str]:
    """Later hours are newer; of one hour, what was decided later.  ISO times sort as text."""
    return str(record.content["as_of"]), str(record.content.get("made_at") or "")
