"""Whether a decision still stands: a newer one about the same line takes its place.

One that waits for a person must outlast the hours in which he thinks about it, so less voids it:
a newer decision that blocks the line, or a newer promotion that was itself approved.
"""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

from pipeline.errors import HourglassError
from pipeline.sealed_json import Record, dated_records, read_record
from training.deployment.approval import answers, deadline, instant, needs_approval
from training.gate.decision_file import DecisionRecord, decision_of
from training.gate.evidence import Outcome


def refuse_superseded(
    decision: DecisionRecord, approval: bool = False, at: str | None = None
) -> None:
    """Refuse a decision after which another one was made about the same line.

    The same outcome about the same candidate and champion, in the same hour, is the same decision
    made again, and voids nothing.

    Args:
        decision: to promote.
        approval: whether an approval is asked for, whatever the decision's own settings say.
        at: the time; None: before its deadline.

    Raises:
        HourglassError: there is such a one beside it, or one that cannot be read.
    """
    waits = (approval or needs_approval(decision)) and not (
        at is not None and instant(at) > deadline(decision)
    )
    newer = _voided_by(decision, waits)
    if newer is not None:
        raise HourglassError(
            f"{decision.record.path.name} is out of date: {newer.path.name} was decided about "
            f"{_candidate_name(newer)} later; promote by that one, or run hourglass gate again"
        )


def waiting(folder: Path, at: datetime) -> Path | None:
    """The newest decision that a person may still answer; None where there is none.

    Args:
        folder: of the decisions.
        at: the time.

    Raises:
        HourglassError: a decision or an answer was changed.
    """
    candidates: list[tuple[tuple[str, str], Path]] = []
    for _, path in dated_records(folder):
        record = read_record(path)
        if record.content.get("kind") != "decision":
            continue
        decision = decision_of(record)
        if (
            decision.outcome is Outcome.PROMOTE
            and needs_approval(decision)
            and at <= deadline(decision)
            and not answers(decision)
            and _voided_by(decision, waits=True) is None
        ):
            candidates.append((_decided_at(decision.record), path))
    return max(candidates)[1] if candidates else None


def _voided_by(decision: DecisionRecord, waits: bool) -> Record | None:
    """The first newer decision about the same line that takes its place."""
    own = decision.record
    for _, path in dated_records(own.folder, decision.as_of):
        if path.name == own.path.name:
            continue
        other = read_record(path)
        if (
            _candidate_name(other) == _candidate_name(own)
            and _decided_at(other) > _decided_at(own)
            and not _is_same(own, other)
            and (not waits or _voids_waiting(other))
        ):
            return other
    return None


def _voids_waiting(record: Record) -> bool:
    newer = decision_of(record)
    if newer.outcome is Outcome.PROMOTE:
        given_answers = answers(newer)
        return bool(given_answers) and all(answer.approved for answer in given_answers)
    return newer.outcome is Outcome.BLOCK


def _is_same(first: Record, other: Record) -> bool:
    return _finding(first) == _finding(other)


def _finding(record: Record) -> tuple[object, ...]:
    content = record.content
    models = tuple((content[role] or {}).get("model_id") for role in ("candidate", "champion"))
    return content["as_of"], content["outcome"], *models


def _candidate_name(record: Record) -> str:
    """What a decision is about; before decisions named it, the candidate's system."""
    return str(record.content.get("line") or record.content["candidate"]["system"])


def _decided_at(record: Record) -> tuple[str, str]:
    """Later hours are newer; of one hour, what was decided later.  ISO times sort as text."""
    return str(record.content["as_of"]), str(record.content.get("made_at") or "")
