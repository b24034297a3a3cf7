"""Whether a model is what it is said to be: a refit of a candidate that was proven better."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from pipeline.dataset.manifest import read_manifest
from pipeline.errors import HourglassError
from pipeline.hours import Hour
from training.deployment.champion import loadable
from training.gate.artefact_checks import Soundness
from training.gate.decision_file import DecisionRecord
from training.registry.champion_record import ModelRef
from training.registry.mlflow_registry import Registry, model_ref, named_errors, registered_version
from training.registry.model_card import ModelCard, read_card

_RULE = "init_from"  # tag of a run: what its line goes on from
_SHARDS = "shards"


def checked_refit(
    registry: Registry,
    decision: DecisionRecord,
    refit: str,
    until: Hour,
    examine: Callable[[Path], Soundness] | None = None,
) -> ModelRef:
    """The refit of a decision's candidate, which differs from it in what it learned from alone.

    Args:
        registry: holds both.
        decision: on the candidate.
        refit: model id.
        until: the end of the judged hours.
        examine: probes its folder; None: that it loads and holds finite numbers is enough.

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
    if examine is not None:
        found = examine(registry.models / refit)
        if not found.sound:
            raise HourglassError(f"{found.defects[0].sentence}: promote {judged.model_id} itself")
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
    # A line's first fit begins anew, whatever its rule; none does so after that.
    if judged.continued_from is not None and card.continued_from is None:
        return f"it began anew, while {judged.model_id} went on from {judged.continued_from}"
    return None


def _rule(registry: Registry, version: str) -> str | None:
    """By which rule a version's line goes on from another model; None where nobody recorded it."""
    with named_errors(f"read the run of version {version} of {registry.name}"):
        run_id = registry.client.get_model_version(registry.name, version).run_id
        if not run_id:
            return None
        rule: str | None = registry.client.get_run(run_id).data.tags.get(_RULE)
        return rule
