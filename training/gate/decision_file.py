"""Decision files: what the gate decided, on what, written once and never changed.

Decisions lie at ``<work>/decisions/<as_of>-<candidate model_id>-<12 hex>.json``.  Each holds the
sums of its own look and names the earlier decisions whose looks it counted, so every number in it
can be computed again from files alone.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pipeline.errors import HourglassError
from pipeline.hours import Hour, parse_duration_h
from pipeline.sealed_json import (
    FORMAT,
    Record,
    changed_ns,
    dated_records,
    read_record,
    write_record,
)
from pipeline.settings.section import keys_as_before
from training.data.reader import sha256_of
from training.gate.artefact_checks import Card
from training.gate.evidence import Contestant, Evidence, Outcome
from training.gate.gate import Decision
from training.gate.roles import CANDIDATE, CHAMPION, FLOOR
from training.gate.user_sums import write_user_sums
from training.metrics.ranks import ranks_path, read_ranks
from training.registry.model_card import CARD_NAME

__all__ = [
    "FORMAT",
    "DecisionRecord",
    "Record",
    "contestant",
    "decision_content",
    "decision_of",
    "latest_decision",
    "read_decision",
    "read_record",
    "write_decision",
    "write_record",
]

_PREFERENCE = {Outcome.PROMOTE: 2, Outcome.HOLD: 1, Outcome.BLOCK: 0}


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
    champion_version: str | None
    line: str
    end: Hour  # after those whose events judged the candidate


def contestant(
    card: Card,
    evaluations: Path,
    frozen_id: str,
    *,
    models: Path | None = None,
    version: str | None = None,
    champion_record: str | None = None,
    failure: str | None = None,
    definition: str = "",
) -> Contestant:
    """A model together with its ranks on a frozen part; no ranks where they cannot be read.

    The gate blocks on missing ranks, so an unreadable file must not end in an exception here.

    Args:
        card: of the model.
        evaluations: where ranks lie.
        frozen_id: of the frozen part.
        models: where the card's file lies; None: what is there now is not compared.
        version: of the registry, where the model is live.
        champion_record: what made it live.
        failure: why it has no ranks, where that is known.
        definition: digest of what its line is made of.
    """
    path = ranks_path(evaluations, frozen_id, card.model_id)
    try:
        ranks, digest = read_ranks(path), sha256_of(path)
    except HourglassError:
        ranks, digest = None, None
    file = models / card.model_id / CARD_NAME if models else None
    return Contestant(
        model_id=card.model_id,
        system=card.system,
        dataset_id=card.dataset_id,
        as_of=Hour.parse(str(card.as_of)),
        ranks=ranks,
        ranks_sha256=digest,
        card_sha256=sha256_of(file) if file and file.is_file() else None,
        version=version,
        champion_record=champion_record,
        failure=failure,
        definition=definition,
    )


def decision_content(
    decision: Decision, made_at: str | None = None, users: tuple[str, str] | None = None
) -> dict[str, Any]:
    """Everything a decision used and found, as JSON values; NaN becomes null.

    Args:
        decision: from the gate.
        made_at: the time to record, if any; the same evidence without it gives the same file.
        users: name and SHA-256 of the file of what each user added, if there is one.
    """
    evidence = decision.evidence
    numbers = {check.name: check.numbers for check in decision.checks}
    content: dict[str, Any] = {
        "format": FORMAT,
        "kind": "decision",
        "as_of": str(evidence.start),
        "line": evidence.name,
        "evaluation_id": evidence.frozen_id,
        "outcome": decision.outcome.value,
        "reasons": decision.reasons,
        "sentence": decision.sentence,
        "checks": [asdict(check) for check in decision.checks],
        "champion": None,
        **_contestants_json(evidence),
        "ranked_champion": evidence.ranked_champion,
        "look": decision.looks[-1].content(users) if decision.looks else None,
        "earlier_looks": [
            {"first": str(look.hours.first), "file": look.file, "sha256": look.sha256}
            for look in decision.looks[:-1]
        ],
        "sequential": None,
        "slices": numbers.get("harms_no_slice", {}).get("slices", {}),
        "lines_sharing_the_risk": evidence.n_candidates,
        "soundness": asdict(evidence.artefact_report) if evidence.artefact_report else None,
        "quality_passed": evidence.quality_passed,
        "evaluation_settings": evidence.rule.model_dump(
            mode="json", exclude=keys_as_before(evidence.rule)
        ),
        "gate_settings": evidence.gate.model_dump(
            mode="json", exclude=keys_as_before(evidence.gate)
        ),
        "seed": evidence.seed,
    }
    if evidence.gate.guards:
        content["shown"] = evidence.shown
    if decision.proof is not None:
        against = "beats_champion" if evidence.champion else "beats_floor"
        fixed = numbers.get(against, {}).get("fixed_sample")
        content["sequential"] = {**asdict(decision.proof), "difference": fixed}
    if made_at is not None:
        content["made_at"] = made_at
    return content


def _contestants_json(evidence: Evidence) -> dict[str, Any]:
    """By role; several baselines stand in ``floors`` by their names, a single one is ``floor``."""
    baselines = {name: _contestant_json(each) for name, each in evidence.baselines.items()}
    floors = (
        {"floors": baselines} if len(baselines) > 1 else {FLOOR: next(iter(baselines.values()))}
    )
    champion = {CHAMPION: _contestant_json(evidence.champion)} if evidence.champion else {}
    return {CANDIDATE: _contestant_json(evidence.candidate), **floors, **champion}


def _contestant_json(contestant: Contestant) -> dict[str, Any]:
    return {
        "model_id": contestant.model_id,
        "system": contestant.system,
        "version": contestant.version,
        "live_record": contestant.champion_record,
        "dataset_id": contestant.dataset_id,
        "as_of": str(contestant.as_of),
        "card_sha256": contestant.card_sha256,
        "ranks_sha256": contestant.ranks_sha256,
        "n_targets": contestant.ranks.n_targets if contestant.ranks else None,
        "n_users": contestant.ranks.n_users if contestant.ranks else None,
    }


def write_decision(decision: Decision, folder: Path, made_at: str | None = None) -> Path:
    """Write a decision file; writing the same decision again changes nothing.

    Raises:
        HourglassError: a file of that name holds something else.
    """
    prefix = f"{decision.evidence.start}-{decision.evidence.candidate.model_id}"
    people = decision.looks[-1].user_sums if decision.looks else None
    users = write_user_sums(people, folder, prefix) if people is not None else None
    return write_record(folder, prefix, decision_content(decision, made_at, users))


def read_decision(path: Path) -> DecisionRecord:
    """Read and verify a decision file.

    Raises:
        HourglassError: as :func:`read_record`, or the record is not a decision, or it lies under
            another model's or hour's name.
    """
    return decision_of(read_record(path))


def decision_of(record: Record) -> DecisionRecord:
    """What a record that was read decided.

    Raises:
        HourglassError: as :func:`read_decision`.
    """
    path, content = record.path, record.content
    if content.get("kind") != "decision":
        raise HourglassError(f"{path}: a {content.get('kind')} record, not a decision")
    try:
        champion = content["champion"] or {}
        as_of = Hour.parse(content["as_of"])
        decision = DecisionRecord(
            record=record,
            outcome=Outcome(content["outcome"]),
            reasons=tuple(content["reasons"]),
            sentence=content["sentence"],
            as_of=as_of,
            candidate_id=content["candidate"]["model_id"],
            candidate_card_sha256=(content["soundness"] or {}).get("card_sha256"),
            champion_id=champion.get("model_id"),
            champion_version=champion.get("version"),
            line=content.get("line", ""),
            end=as_of + parse_duration_h(content["evaluation_settings"]["horizon"]),
        )
    except (KeyError, TypeError, ValueError, AttributeError, HourglassError) as error:
        raise HourglassError(f"{path}: not a whole decision: run hourglass gate") from error
    if not path.name.startswith(f"{decision.as_of}-{decision.candidate_id}-"):
        raise HourglassError(
            f"{path}: renamed, it is about {decision.candidate_id}: rename it back"
        )
    return decision


def latest_decision(folder: Path) -> Path:
    """The decision to act on: about the latest hour, and of those made last the chosen one.

    Of several candidates judged together that is the promoted one, if any.

    Raises:
        HourglassError: there is none, or one about that hour was changed.
    """
    ranked = []
    last: Hour | None = None
    for hour, path in dated_records(folder, newest_first=True):
        last = last or hour
        if hour != last:
            break
        record = read_record(path)
        if record.content.get("kind") != "decision":
            continue
        liking = _PREFERENCE[decision_of(record).outcome]
        made_at = str(record.content.get("made_at") or "")
        ranked.append((made_at, liking if made_at else 0, changed_ns(record.path), path.name))
    if not ranked:
        raise HourglassError(f"{folder}: no decision yet: run hourglass gate")
    return folder / max(ranked)[3]
