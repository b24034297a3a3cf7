"""Moving the champion: by a decision file, by going back, or for the first time.

The champion alias always moves last and alone, so that whatever is cut short leaves a champion
live and can be run again.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.errors import HourglassError
from training.card import CARD_NAME
from training.decision import FORMAT, DecisionRecord, read_decision, write_record
from training.evidence import Outcome
from training.reader import sha256_of
from training.registry import (
    CHAMPION,
    PREVIOUS,
    LiveModel,
    Registry,
    aliased,
    artefact_folder,
    champion,
    named_errors,
    point,
    registered_version,
    tag,
)


@dataclass(frozen=True)
class Promotion:
    """What became of a decision; ``changed`` is False where the aliases stayed as they were."""

    changed: bool
    champion: LiveModel | None
    previous: LiveModel | None
    sentence: str


@dataclass(frozen=True)
class Rollback:
    """A return to the previous model and the record of it."""

    left: LiveModel
    champion: LiveModel
    record: Path


def install_first(
    registry: Registry, model_id: str, records: Path, at: str | None = None
) -> LiveModel:
    """Make a registered model, the floor, the first champion; with a champion, do nothing.

    Args:
        registry: holds the model.
        model_id: of the floor.
        records: folder for the record, ``<work>/decisions``.
        at: the time to record, if any.

    Returns:
        The champion, whichever it is.

    Raises:
        HourglassError: the model was not registered or its artefact is gone.
    """
    live = champion(registry)
    if live is not None:
        return live
    version = str(registered_version(registry, model_id).version)
    artefact_folder(registry, model_id)
    content = {"kind": "bootstrap", "model_id": model_id, "version": version, "at": at}
    _, digest = _write_event(records, f"bootstrap-{model_id}", content)
    with named_errors(f"install {model_id}"):
        tag(registry, version, decision_sha256=digest, installed_by="bootstrap")
        point(registry, CHAMPION, version)
    return LiveModel(model_id, version, registry.models / model_id, digest)


def promote(registry: Registry, decision_file: Path) -> Promotion:
    """Do what a decision file says; a held one changes nothing.

    The champion alias moves last, so that a promotion cut short leaves the old champion live and
    can be run again; run after it is complete, it changes nothing.

    Raises:
        HourglassError: the decision blocks, was changed, was made against another champion than
            the live one, or was rolled back; or the candidate is not the artefact it judged.
    """
    decision = read_decision(decision_file)
    if decision.outcome is Outcome.BLOCK:
        raise HourglassError(f"{decision.candidate_id} is blocked: {decision.sentence}")
    live, before = aliased(registry)
    if decision.outcome is Outcome.HOLD:
        return Promotion(
            False, live, before, f"{decision.candidate_id} is held: {decision.sentence}"
        )
    version = registered_version(registry, decision.candidate_id)
    if live is not None and live.version == str(version.version):
        return Promotion(False, live, before, f"{live.model_id} is the champion already.")
    _check_still_valid(registry, decision, live, version.tags)
    new = LiveModel(
        decision.candidate_id,
        str(version.version),
        registry.models / decision.candidate_id,
        decision.record.sha256,
    )
    with named_errors(f"promote {new.model_id}"):
        tag(
            registry,
            new.version,
            decision_sha256=decision.record.sha256,
            decision_file=decision.record.path.name,
            decision_as_of=str(decision.as_of),
            installed_by="promote",
        )
        if live is not None:
            point(registry, PREVIOUS, live.version)
        point(registry, CHAMPION, new.version)
    return Promotion(True, new, live, f"{new.model_id} is live: {decision.sentence}")


def rollback(registry: Registry, records: Path, reason: str, at: str | None = None) -> Rollback:
    """Go back to the previous model: one pointer moves.

    The decision that had made the left model live cannot promote it again; a later one can.

    Args:
        registry: holds both models.
        records: folder for the record, ``<work>/decisions``.
        reason: why, for the record.
        at: the time to record, if any.

    Raises:
        HourglassError: nothing is live, there is no previous model, or its artefact is gone.
    """
    live, back = aliased(registry)
    if live is None:
        raise HourglassError("nothing is live: run hourglass promote first")
    if back is None:
        raise HourglassError(
            f"{live.model_id} (version {live.version}) has no previous model to go back to: "
            "promote another model instead"
        )
    artefact_folder(registry, back.model_id)
    content = {
        "kind": "rollback",
        "from": {"model_id": live.model_id, "version": live.version},
        "to": {"model_id": back.model_id, "version": back.version},
        "undone_decision_sha256": live.decision_sha256,
        "reason": reason,
        "at": at,
    }
    record, _ = _write_event(records, f"rollback-{live.model_id}", content)
    with named_errors(f"go back to {back.model_id}"):
        tag(
            registry,
            live.version,
            rolled_back_decision=live.decision_sha256 or "",
            rolled_back_file=record.name,
            rolled_back_as_of=_as_of_undone(registry, live),
        )
        point(registry, CHAMPION, back.version)
    return Rollback(left=live, champion=back, record=record)


def _as_of_undone(registry: Registry, live: LiveModel) -> str:
    """The latest hour whose decision on a model was ever rolled back."""
    tags = registered_version(registry, live.model_id).tags
    return max(tags.get("rolled_back_as_of", ""), tags.get("decision_as_of", ""))


def _check_still_valid(
    registry: Registry,
    decision: DecisionRecord,
    live: LiveModel | None,
    tags: Mapping[str, str],
) -> None:
    candidate = decision.candidate_id
    live_id = live.model_id if live else None
    if live_id != decision.champion_id:
        raise HourglassError(
            f"{decision.record.path.name} compared {candidate} with "
            f"{decision.champion_id or 'no champion'}, but {live_id or 'nothing'} is live: "
            "run hourglass gate again"
        )
    undone_as_of = tags.get("rolled_back_as_of", "")
    # ISO hours sort as text.  A decision on the same evidence, made again, is the same decision.
    if tags.get("rolled_back_decision") == decision.record.sha256 or (
        undone_as_of and str(decision.as_of) <= undone_as_of
    ):
        raise HourglassError(
            f"{candidate} was promoted by {decision.record.path.name} and rolled back: "
            "gate it on a later hour"
        )
    card = artefact_folder(registry, candidate) / CARD_NAME
    if not card.is_file() or sha256_of(card) != decision.candidate_card_sha256:
        raise HourglassError(
            f"{card}: not the artefact that {decision.record.path.name} judged: "
            "run hourglass gate again"
        )


def _write_event(records: Path, prefix: str, content: dict[str, Any]) -> tuple[Path, str]:
    path = write_record(records, prefix, {"format": FORMAT, **content})
    return path, sha256_of(path)
