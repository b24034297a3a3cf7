"""Decision files: what the gate decided, on what, written once and never changed.

A record is canonical JSON whose name ends in the beginning of its SHA-256, so that no one can
change it unnoticed.  Decisions lie at
``<work>/decisions/<as_of>-<candidate model_id>-<12 hex>.json``.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import re
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pipeline.errors import HourglassError
from pipeline.hours import Hour
from training.evidence import Contestant, Outcome
from training.gate import Decision
from training.ranks import ranks_path, read_ranks
from training.reader import sha256_of
from training.soundness import Card

FORMAT = 1
_NAME = re.compile(r".+-([0-9a-f]{12})\.json")
_MODE = 0o444


@dataclass(frozen=True)
class Record:
    """A verified record: where it lies, its whole SHA-256, and what it says."""

    path: Path
    sha256: str
    content: dict[str, Any]


@dataclass(frozen=True)
class DecisionRecord:
    """The part of a decision file that promotion acts on."""

    record: Record
    outcome: Outcome
    reasons: tuple[str, ...]
    sentence: str
    as_of: Hour
    candidate_id: str
    candidate_card_sha256: str | None
    champion_id: str | None


def contestant(card: Card, evaluations: Path, frozen_id: str) -> Contestant:
    """A model together with its ranks on a frozen part; no ranks where they cannot be read.

    The gate blocks on missing ranks, so an unreadable file must not end in an exception here.
    """
    path = ranks_path(evaluations, frozen_id, card.model_id)
    try:
        ranks, digest = read_ranks(path), sha256_of(path)
    except HourglassError:
        ranks, digest = None, None
    return Contestant(
        model_id=card.model_id,
        system=card.system,
        dataset_id=card.dataset_id,
        as_of=Hour.parse(str(card.as_of)),
        ranks=ranks,
        ranks_sha256=digest,
    )


def decision_content(decision: Decision, made_at: str | None = None) -> dict[str, Any]:
    """Everything a decision used and found, as JSON values; NaN becomes null.

    Args:
        decision: from the gate.
        made_at: the time to record, if any; the same evidence without it gives the same file.
    """
    evidence = decision.evidence
    people = {
        role: {
            "model_id": one.model_id,
            "system": one.system,
            "dataset_id": one.dataset_id,
            "as_of": str(one.as_of),
            "ranks_sha256": one.ranks_sha256,
            "n_targets": one.ranks.n_targets if one.ranks else None,
            "n_users": one.ranks.n_users if one.ranks else None,
        }
        for role, one in evidence.contestants.items()
    }
    content: dict[str, Any] = {
        "format": FORMAT,
        "kind": "decision",
        "as_of": str(evidence.start),
        "evaluation_id": evidence.frozen_id,
        "outcome": decision.outcome.value,
        "reasons": decision.reasons,
        "sentence": decision.sentence,
        "checks": [asdict(check) for check in decision.checks],
        "champion": None,
        **people,
        "soundness": asdict(evidence.soundness) if evidence.soundness else None,
        "quality_passed": evidence.quality_passed,
        "evaluation_settings": evidence.rule.model_dump(mode="json"),
        "gate_settings": evidence.gate.model_dump(mode="json"),
        "seed": evidence.seed,
    }
    if made_at is not None:
        content["made_at"] = made_at
    return content


def write_decision(decision: Decision, folder: Path, made_at: str | None = None) -> Path:
    """Write a decision file; writing the same decision again changes nothing.

    Raises:
        HourglassError: a file of that name holds something else.
    """
    prefix = f"{decision.evidence.start}-{decision.evidence.candidate.model_id}"
    return write_record(folder, prefix, decision_content(decision, made_at))


def write_record(folder: Path, prefix: str, content: dict[str, Any]) -> Path:
    """Write ``<folder>/<prefix>-<12 hex>.json``, read-only, whole or not at all.

    Raises:
        HourglassError: a file of that name holds something else.
    """
    text = json.dumps(_plain(content), indent=1, sort_keys=True, ensure_ascii=False)
    data = (text + "\n").encode()
    path = folder / f"{prefix}-{hashlib.sha256(data).hexdigest()[:12]}.json"
    folder.mkdir(parents=True, exist_ok=True)
    if path.exists():
        if path.read_bytes() != data:
            raise HourglassError(
                f"{path}: holds something else than its name says: move it away and run again"
            )
        return path
    handle, temporary = tempfile.mkstemp(dir=folder, prefix=".", suffix=".tmp")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).chmod(_MODE)
        # Two writers of one name write the same bytes, since the name is made from them.
        Path(temporary).replace(path)
    finally:
        Path(temporary).unlink(missing_ok=True)
    return path


def read_record(path: Path) -> Record:
    """Read a record and verify it against its name.

    Raises:
        HourglassError: the file is missing, changed, renamed or of another format.
    """
    match = _NAME.fullmatch(path.name)
    if not match:
        raise HourglassError(f"{path}: the name does not end in a checksum: give a decision file")
    try:
        data = path.read_bytes()
    except OSError as error:
        raise HourglassError(
            f"{path}: the decision cannot be read ({error.strerror}): run hourglass gate"
        ) from error
    sha256 = hashlib.sha256(data).hexdigest()
    if not sha256.startswith(match[1]):
        raise HourglassError(
            f"{path}: changed after it was written (checksum {sha256[:12]}): run hourglass gate"
        )
    try:
        content = json.loads(data)
    except ValueError as error:
        raise HourglassError(f"{path}: not JSON: run hourglass gate") from error
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise HourglassError(f"{path}: not a record of format {FORMAT}: run hourglass gate")
    return Record(path=path, sha256=sha256, content=content)


def read_decision(path: Path) -> DecisionRecord:
    """Read and verify a decision file.

    Raises:
        HourglassError: as :func:`read_record`, or the record is not a decision, or it lies under
            another model's or hour's name.
    """
    record = read_record(path)
    content = record.content
    if content.get("kind") != "decision":
        raise HourglassError(f"{path}: a {content.get('kind')} record, not a decision")
    try:
        found = DecisionRecord(
            record=record,
            outcome=Outcome(content["outcome"]),
            reasons=tuple(content["reasons"]),
            sentence=content["sentence"],
            as_of=Hour.parse(content["as_of"]),
            candidate_id=content["candidate"]["model_id"],
            candidate_card_sha256=(content["soundness"] or {}).get("card_sha256"),
            champion_id=(content["champion"] or {}).get("model_id"),
        )
    except (KeyError, TypeError, ValueError, AttributeError, HourglassError) as error:
        raise HourglassError(f"{path}: not a whole decision: run hourglass gate") from error
    if not path.name.startswith(f"{found.as_of}-{found.candidate_id}-"):
        raise HourglassError(f"{path}: renamed, it is about {found.candidate_id}: rename it back")
    return found


def latest_decision(folder: Path) -> Path:
    """The decision about the latest hour; of several, the one written last.

    Raises:
        HourglassError: there is none.
    """
    found = [
        (path.name[:13], path.stat().st_mtime_ns, path.name)
        for path in folder.glob("[0-9]*.json")
        if _NAME.fullmatch(path.name)
    ]
    if not found:
        raise HourglassError(f"{folder}: no decision yet: run hourglass gate")
    return folder / max(found)[2]


def _plain(value: object) -> object:
    """JSON has no NaN or infinity; both mean here that nothing is known."""
    if isinstance(value, dict):
        return {str(key): _plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
