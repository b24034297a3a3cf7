"""Carrying out a decision: the candidate that was proven better, or its refit, goes live."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from pipeline.dataset.manifest import read_manifest
from pipeline.errors import HourglassError
from pipeline.hours import Hour
from pipeline.settings.learning import GateSettings
from training.data.reader import sha256_of
from training.deployment.approval import refuse_unapproved
from training.deployment.champion import (
    WAIT_S,
    changing,
    install_first,
    loadable,
    make_live,
    show_previous,
    without,
)
from training.deployment.covers_settings import refuse_uncovered
from training.deployment.decision_check import chain_of_decision, refuse_inconsistent
from training.deployment.rollback import roll_back_by_hand
from training.deployment.superseded import refuse_superseded
from training.gate.artefact_checks import ArtefactReport
from training.gate.decision_file import DecisionRecord, read_decision
from training.gate.evidence import Outcome
from training.registry.champion_record import ChampionChange, ModelRef
from training.registry.mlflow_registry import (
    LiveModel,
    Registry,
    artefact_folder,
    champion,
    champion_changes,
    live_model,
    model_ref,
    registered_version,
    rollback_targets,
    tag_of_run,
)
from training.registry.model_card import CARD_NAME, ModelCard, read_card
from training.registry.model_store import available
from training.registry.record_chain import Chain, refuse_unlinked, verified_chain

__all__ = ["Promotion", "install_first", "promote", "roll_back_by_hand"]
_RULE = "init_from"  # tag of a run: what its line goes on from
_SHARDS = "shards"


@dataclass(frozen=True)
class Promotion:
    """What became of a decision; ``changed`` is False where the champion stayed."""

    changed: bool
    champion: LiveModel | None
    previous: LiveModel | None
    sentence: str


def promote(
    registry: Registry,
    decision_file: Path,
    refit: str | None = None,
    *,
    at: str | None = None,
    gate: GateSettings | None = None,
    check_artefact: Callable[[Path], ArtefactReport] | None = None,
    wait_s: float = WAIT_S,
) -> Promotion:
    """Do what a decision file says; a held one changes nothing.

    Run again after it was cut short, it completes; after it is complete, it changes nothing.

    Args:
        registry: holds the candidate and the champion.
        decision_file: written by the gate.
        refit: a fit of the same line that learned from the judged hours too, to go live in the
            candidate's stead.
        at: the time to record, if any.
        gate: settings of now: the baselines and guards that the decision must have been held to,
            and whether a person must have agreed; a decision made under settings that ask for that
            needs it anyway.  None: its own settings are enough.
        check_artefact: probes the folder of the refit, which no gate has seen; None: it need only
            load.
        wait_s: how long to wait for another process that changes the live model.

    Raises:
        HourglassError: the decision blocks, was changed, lacks an approval, was not held to what
            the settings name by now, was followed by a newer one, was made against another champion
            than the live one, or was rolled back; it does not say what its checks and sums say, or
            is not in the chain of records, or another record of it is missing or was changed; or
            the model is not the artefact it judged, is no refit of it, or cannot be loaded.
    """
    decision = read_decision(decision_file)
    candidate, approval = decision.candidate_id, gate is not None and gate.approval
    if decision.outcome is Outcome.BLOCK:
        raise HourglassError(_kept_back("blocked", decision))
    if decision.outcome is Outcome.HOLD:
        live = champion(registry)
        return Promotion(False, live, _previous(registry, live), _kept_back("held", decision))
    records = registry.records
    with changing(records, f"promoting {candidate}", wait_s):
        chain = chain_of_decision(registry, decision)
        refuse_unlinked(chain, records, decision_file, decision.record.sha256)
        refuse_inconsistent(decision, chain.digests)
        live = champion(registry)
        last = next(champion_changes(registry, live), None)
        done = last is not None and last[1].decision == decision.record.path.name
        if live is not None and (done or live.model_id in (candidate, refit)):
            show_previous(registry, rollback_targets(registry, live))
            sentence = f"{live.model_id} is the champion already."
            return Promotion(False, live, _previous(registry, live), sentence)
        _check_same_champion(decision, live)
        _check_not_undone(registry, decision, champion_changes(registry, live), chain)
        refuse_superseded(decision, approval, at)
        if gate is not None:
            refuse_uncovered(decision, gate)
        refuse_unapproved(decision, approval)
        _check_artefact(registry, decision)
        new = loadable(registry, candidate)
        until = decision.end
        if refit is not None:
            new = checked_refit(registry, decision, refit, until, check_artefact)
        before = model_ref(registry, live.version) if live else None
        behind = [target for target in rollback_targets(registry, live) if target != before]
        sentence = f"{new.model_id} is live: {decision.sentence}"
        if refit is not None:
            sentence = (
                f"{refit}, a refit of {candidate} up to {until}, is live: {decision.sentence}"
            )
        event = ChampionChange(
            kind="promotion",
            champion=new,
            before=before,
            stack=without([*([before] if before else []), *behind], new),
            after=live.champion_record if live else None,
            reason="promoted",
            sentence=sentence,
            at=at,
            as_of=until,
            decision=decision.record.path.name,
            candidate=candidate,
            judged_from=decision.as_of,
        )
        installed, _ = make_live(registry, chain, event)
    return Promotion(True, installed, live, sentence)


def _kept_back(how: str, decision: DecisionRecord) -> str:
    """Why a candidate does not go live; a sentence that names it need not name it twice."""
    if decision.sentence.startswith(f"{decision.candidate_id} "):
        return f"{how}: {decision.sentence}"
    return f"{decision.candidate_id} is {how}: {decision.sentence}"


def _previous(registry: Registry, live: LiveModel | None) -> LiveModel | None:
    behind = rollback_targets(registry, live)
    return live_model(registry, behind[0]) if behind else None


def _check_same_champion(decision: DecisionRecord, live: LiveModel | None) -> None:
    judged = decision.record.content["champion"] or {}
    same = decision.champion_id == (live.model_id if live else None)
    if live is not None and judged.get("version") is not None:
        same = same and str(judged["version"]) == live.version
    if not same:
        raise HourglassError(
            f"{decision.record.path.name} compared {decision.candidate_id} with "
            f"{decision.champion_id or 'no champion'}, but {live.model_id if live else 'nothing'} "
            "is live: run hourglass gate again"
        )


def _check_not_undone(
    registry: Registry,
    decision: DecisionRecord,
    changes: Iterable[tuple[Path, ChampionChange]],
    chain: Chain,
) -> None:
    """A decision is good once; one on the same evidence, made again, is the same decision.

    A change before the verified tail of the chain that took effect by the decision's own hour ends
    the search: those before it judged nothing as late as that.
    """
    later: ChampionChange | None = None
    for path, event in changes:
        if event.decision == decision.record.path.name or (
            later is not None
            and later.kind == "rollback"
            and event.candidate == decision.candidate_id
            and event.judged_from is not None
            and decision.as_of <= event.judged_from
        ):
            raise HourglassError(
                f"{decision.candidate_id} was promoted by {event.decision} and rolled back or "
                "replaced since: gate it on a later hour"
            )
        is_old = f"{path.parent.name}/{path.name}" not in chain.digests
        if is_old and event.as_of is not None and event.as_of <= decision.as_of:
            return
        later = event
    if later is not None and later.after is not None:
        # The one before it is lost: by a person's leave, or the chain says that it is missing.
        verified_chain(registry, naming=[f"{registry.records.name}/{later.after}"])


def _check_artefact(registry: Registry, decision: DecisionRecord) -> None:
    available(registry, decision.candidate_id)
    card = artefact_folder(registry, decision.candidate_id) / CARD_NAME
    if not card.is_file() or sha256_of(card) != decision.candidate_card_sha256:
        raise HourglassError(
            f"{card}: not the artefact that {decision.record.path.name} judged: "
            "run hourglass gate again"
        )


# Whether a model is what it is said to be: a refit of a candidate that was proven better.


def checked_refit(
    registry: Registry,
    decision: DecisionRecord,
    refit: str,
    until: Hour,
    check_artefact: Callable[[Path], ArtefactReport] | None = None,
) -> ModelRef:
    """The refit of a decision's candidate, which differs from it in what it learned from alone.

    Args:
        registry: holds both.
        decision: on the candidate.
        refit: model id.
        until: the end of the judged hours.
        check_artefact: probes its folder; None: that it loads and holds finite numbers is enough.

    Raises:
        HourglassError: it is no refit of the candidate, learned up to another hour, does not load,
            or is not sound.
    """
    new = loadable(registry, refit)
    judged = read_card(registry.models / decision.candidate_id)
    card = read_card(registry.models / refit)
    differing = _differing(registry, decision, judged, card, new)
    if differing:
        raise HourglassError(
            f"{refit} is no refit of {judged.model_id}: {differing}; promote without it"
        )
    data = read_manifest(registry.models.parent / _SHARDS / card.dataset_id)
    for as_of in (card.as_of, data.as_of):
        if as_of != until:
            raise HourglassError(
                f"{refit} learned up to {as_of}, but {judged.model_id} was judged up to {until}: "
                "refit as of that hour, or promote without it"
            )
    if check_artefact is not None:
        report = check_artefact(registry.models / refit)
        if not report.is_sound:
            raise HourglassError(f"{report.defects[0].sentence}: promote {judged.model_id} itself")
    return new


def _differing(
    registry: Registry,
    decision: DecisionRecord,
    judged: ModelCard,
    card: ModelCard,
    new: ModelRef,
) -> str | None:
    if (card.system, card.parameters) != (judged.system, judged.parameters):
        return "system or parameters differ"
    if card.seed != judged.seed:
        return f"its seed is {card.seed}, not {judged.seed}"
    candidate = model_ref(registry, str(registered_version(registry, judged.model_id).version))
    if new.name not in (candidate.name, decision.line):
        return f"it is of the line {new.name}, not of {candidate.name}"
    rules = [_rule(registry, version) for version in (candidate.version, new.version)]
    if None not in rules and rules[0] != rules[1]:
        return f"it was made with init_from {rules[1]}, not {rules[0]}"
    return _other_descent(judged, card)


def _other_descent(judged: ModelCard, card: ModelCard) -> str | None:
    # A line's first fit begins anew, whatever its rule; none does so after that.
    if judged.parent is not None and card.parent is None:
        return f"it began anew, while {judged.model_id} went on from {judged.parent}"
    if card.made_anew_after is not None:
        return f"it was made anew after {card.made_anew_after}: nobody judged its weights"
    if card.continued_from not in (None, judged.model_id, judged.continued_from):
        return (
            f"it went on from {card.continued_from}, neither from {judged.model_id} nor from what "
            "that went on from"
        )
    return None


def _rule(registry: Registry, version: str) -> str | None:
    """By which rule a version's line goes on from another model; None where nobody recorded it."""
    return tag_of_run(registry, version, _RULE)
