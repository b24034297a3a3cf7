"""Going back to an earlier model: by hand, or because the live one was found wanting."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pipeline.errors import HourglassError
from pipeline.hours import Hour
from training.deployment.champion import changing, loadable, make_live, without
from training.registry.champion_record import ChampionChange, ModelRef, Reason
from training.registry.mlflow_registry import (
    LiveModel,
    Registry,
    champion,
    model_ref,
    rollback_targets,
)
from training.registry.record_chain import Chain, verified_chain


@dataclass(frozen=True)
class Rollback:
    """A model that was taken back, the one that is live instead, and the record of it."""

    left: LiveModel
    champion: LiveModel
    record: Path


def roll_back_by_hand(
    registry: Registry, records: Path, reason: str, at: str | None = None
) -> Rollback:
    """Go back to the previous model, by hand; again, and it goes back one further.

    The decision that had made the left model live cannot promote it again; one about a later hour
    can.

    Args:
        registry: holds both models.
        records: folder for the record, ``<work>/decisions``.
        reason: why, in words, for the record.
        at: the time to record, if any.

    Raises:
        HourglassError: nothing is live, there is no previous model, or its artefact is gone or
            damaged; or a record is missing or was changed.
    """
    with changing(records, "rolling back"):
        chain = verified_chain(registry)
        live = champion(registry)
        if live is None:
            raise HourglassError("nothing is live: run hourglass promote first")
        behind = rollback_targets(registry, live)
        if not behind:
            raise HourglassError(
                f"{live.model_id} (version {live.version}) has no previous model to go back to: "
                "promote another model instead"
            )
        return _go_back(registry, chain, live, behind, "rolled_back_by_hand", reason, at, None)


def roll_back(
    registry: Registry,
    records: Path,
    left: LiveModel,
    stack: tuple[ModelRef, ...],
    reason: Reason,
    sentence: str,
    at: str | None = None,
    as_of: Hour | None = None,
) -> Rollback:
    """Replace the live model by the first of ``stack``; the rest is what lies behind that one.

    Args:
        registry: holds the models.
        records: folder for the record, ``<work>/decisions``.
        left: the model that was found wanting.
        stack: what to go back to, nearest first.
        reason: code of why.
        sentence: why, in words.
        at: the time to record, if any.
        as_of: the hour from which the other one serves.

    Raises:
        HourglassError: another model is live by now, or the artefact to go back to is gone or
            damaged; or a record is missing or was changed.
    """
    with changing(records, f"taking {left.model_id} back"):
        chain = verified_chain(registry)
        live = champion(registry)
        if live is None or live.version != left.version:
            raise HourglassError(
                f"{left.model_id} is not live any more: "
                f"{live.model_id if live else 'nothing'} is, and stays"
            )
        return _go_back(registry, chain, live, stack, reason, sentence, at, as_of)


def _go_back(
    registry: Registry,
    chain: Chain,
    live: LiveModel,
    stack: tuple[ModelRef, ...],
    reason: Reason,
    sentence: str,
    at: str | None,
    as_of: Hour | None,
) -> Rollback:
    target = loadable(registry, stack[0].model_id)
    left = model_ref(registry, live.version)
    event = ChampionChange(
        kind="rollback",
        champion=target,
        before=left,
        stack=without([model for model in stack[1:] if model != left], target),
        after=live.champion_record,
        reason=reason,
        sentence=sentence,
        at=at,
        as_of=as_of,
    )
    new, record = make_live(registry, chain, event)
    return Rollback(left=live, champion=new, record=record)
