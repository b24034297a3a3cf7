"""A person's answer to a decision: written once, beside it, and never changed."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from pipeline.errors import HourglassError, UsageError
from pipeline.hours import parse_duration_h
from pipeline.sealed_json import (
    FORMAT,
    dated_records,
    read_record,
    where_filed,
    write_record,
)
from training.deployment.champion import changing
from training.deployment.decision_check import chain_of_decision
from training.gate.decision_file import DecisionRecord, read_decision
from training.gate.evidence import Outcome
from training.registry.mlflow_registry import Registry, champion, champion_changes
from training.registry.record_chain import Chain, link_record, refuse_unlinked


@dataclass(frozen=True)
class Answer:
    """What a person said to a decision, and when."""

    approved: bool
    by: str
    why: str
    at: str
    record: Path


def approve(
    registry: Registry,
    decision_file: Path,
    by: str,
    at: datetime,
    *,
    reject: bool = False,
    why: str = "",
    proven: bool = False,
) -> Answer:
    """Record a person's answer; the same answer of the same person again changes nothing.

    Args:
        registry: holds the head of the chain of records.
        decision_file: written by the gate.
        by: who answers.
        at: when: the time of the command, or that of an answer elsewhere that was proven.
        reject: the answer is no.
        why: in words, if there is anything to say.
        proven: whether ``at`` is of an answer elsewhere, with a proof:
        `training.deployment.answer_proof`.

    Raises:
        HourglassError: the decision is none to promote, it was rejected before, an approval comes
            too late, the answer is older than a record that it contradicts, nobody is named, or a
            record is missing or was changed.
    """
    if not by.strip():
        raise HourglassError("an answer needs a name: pass --by")
    decision = read_decision(decision_file)
    if decision.outcome is not Outcome.PROMOTE:
        raise HourglassError(
            f"{decision.record.path.name} says {decision.outcome}: there is nothing to approve"
        )
    with changing(registry.records, f"answering {decision.record.path.name}"):
        chain = chain_of_decision(registry, decision)
        refuse_unlinked(chain, registry.records, decision_file, decision.record.sha256)
        return _recorded(registry, chain, decision, by, at, reject, why, proven)


def _recorded(
    registry: Registry,
    chain: Chain,
    decision: DecisionRecord,
    by: str,
    at: datetime,
    reject: bool,
    why: str,
    proven: bool,
) -> Answer:
    name = decision.record.path.name
    for answer in answers(decision):
        if (answer.approved, answer.by) == (not reject, by):
            return answer
    if not reject:
        _refuse_rejected(decision)
    if not reject and at > deadline(decision):
        raise HourglassError(
            f"{name} was open for approval until {deadline(decision).isoformat()}: "
            "run hourglass gate again"
        )
    _refuse_older(registry, decision, at, reject)
    content = {
        "format": FORMAT,
        "kind": "approval",
        "decision": name,
        "decision_sha256": decision.record.sha256,
        "approved": not reject,
        "by": by,
        "why": why,
        "at": at.isoformat(timespec="seconds"),
        "at_proven": proven,
    }
    path = write_record(decision.record.folder, _prefix(decision), content)
    link_record(registry, chain, path, "approval")
    return _read(path)


def _refuse_older(registry: Registry, decision: DecisionRecord, at: datetime, reject: bool) -> None:
    """Refuse an answer from before the question, or from before a record that it contradicts."""
    name, now = decision.record.path.name, "answer now, without --at"
    made_at = decision.record.content.get("made_at")
    if made_at is not None and at < instant(made_at):
        raise HourglassError(f"{name} was made at {made_at}, after the answer of {at}: {now}")
    for answer in answers(decision):
        if answer.approved is reject and at < instant(answer.at):
            raise HourglassError(
                f"{answer.by} answered {name} otherwise at {answer.at}, after {at}: {now}"
            )
    live = champion(registry)
    for path, event in champion_changes(registry, live):
        gone = event.before.model_id if event.kind == "rollback" and event.before else None
        if decision.candidate_id not in (event.candidate, gone):
            continue
        if event.at is not None and at < instant(event.at):
            raise HourglassError(
                f"{path.name} was recorded at {event.at}, after the answer of {at} to {name}: {now}"
            )


def answers(decision: DecisionRecord) -> list[Answer]:
    """All answers to a decision, in order of time.

    Raises:
        HourglassError: one of them was changed after it was written.
    """
    folder, pattern = decision.record.folder, f"{_prefix(decision)}-*.json"
    # Wherever the decision lies: it may be filed away after it was read, or put back from a copy.
    # And in this order, so that what is filed away meanwhile is met.
    places = (folder, where_filed(folder / pattern).parent)
    paths = {path.name: path for each in places for path in each.glob(pattern)}
    unsorted = [_read(path) for path in paths.values()]
    return sorted(unsorted, key=lambda answer: (answer.at, answer.record.name))


def deadline(decision: DecisionRecord) -> datetime:
    """Until when a decision may be approved, as the gate's settings of its time say.

    Raises:
        HourglassError: the decision does not say when it was made.
    """
    content = decision.record.content
    if content.get("made_at") is None:
        raise HourglassError(
            f"{decision.record.path.name} does not say when it was made, so it cannot be approved "
            "in time: run hourglass gate again"
        )
    made_at = instant(content["made_at"])
    wait = content["gate_settings"].get("approval_timeout", "0h")
    return made_at + timedelta(hours=parse_duration_h(wait))


def needs_approval(decision: DecisionRecord) -> bool:
    """Whether the settings under which it was made ask for a person."""
    return bool(decision.record.content["gate_settings"].get("approval", False))


def approval_facts(decision_file: Path) -> dict[str, Any]:
    """Whether a decision waits for a person, and until when; for machines that will ask one."""
    decision = read_decision(decision_file)
    if decision.outcome is not Outcome.PROMOTE or not needs_approval(decision):
        return {"needs_approval": False}
    return {"needs_approval": True, "approval_until": deadline(decision).isoformat()}


def refuse_unapproved(decision: DecisionRecord, approval: bool) -> None:
    """Let a decision pass that nobody rejected and, where that is asked for, somebody approved.

    Args:
        decision: to promote.
        approval: whether an approval is asked for, whatever the decision's own settings say.

    Raises:
        HourglassError: it was rejected, nobody approved it, or only too late.
    """
    _refuse_rejected(decision)
    given_answers = answers(decision)
    name = decision.record.path.name
    if not (approval or needs_approval(decision)):
        return
    if not given_answers:
        raise HourglassError(
            f"{name} needs a person's approval: run `hourglass approve --decision {name} "
            f"--by NAME` until {deadline(decision).isoformat()}"
        )
    if instant(given_answers[0].at) > deadline(decision):
        raise HourglassError(
            f"{name} was approved by {given_answers[0].by} at {given_answers[0].at}, after "
            f"{deadline(decision).isoformat()}: run hourglass gate again"
        )


def _refuse_rejected(decision: DecisionRecord) -> None:
    """A no is final for a model and an hour: the same decision made again is the same question."""
    begins = f"{decision.as_of}-{decision.candidate_id}-"
    for _, path in dated_records(decision.record.folder, decision.as_of, decision.as_of + 1):
        if not path.name.startswith(begins):
            continue
        for answer in answers(read_decision(path)):
            if not answer.approved:
                because = f" ({answer.why})" if answer.why else ""
                raise HourglassError(
                    f"{path.name} was rejected by {answer.by}{because}: the champion stays until "
                    "a later hour proves another model better"
                )


def _prefix(decision: DecisionRecord) -> str:
    return f"approval-{decision.record.sha256[:12]}"


def _read(path: Path) -> Answer:
    content = read_record(path).content
    return Answer(content["approved"], content["by"], content["why"], content["at"], path)


def instant(text: str) -> datetime:
    """Read an ISO time; one without a zone is in UTC, as all times here are.

    Raises:
        UsageError: it is none.
    """
    try:
        parsed = datetime.fromisoformat(text)
    except ValueError as error:
        raise UsageError(f"{text!r} is not a time: write it like 2016-03-14T13:02:00") from error
    return parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)
