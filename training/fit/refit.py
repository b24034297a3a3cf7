"""Refit: what was judged as of the start of an hour learns from that hour too, and goes live."""

from __future__ import annotations

from typing import Any

from pipeline.errors import HourglassError
from pipeline.settings.settings import Settings
from training.data.reader import DataSet, sha256_of
from training.fit.model_configs import ModelConfig, agreeing, configured
from training.fit.train import ProgressListener, Trained, TrainOptions, train
from training.gate.decision_file import DecisionRecord
from training.gate.evidence import Outcome
from training.model_types import Continuation
from training.registry.mlflow_registry import Registry
from training.registry.model_card import CARD_NAME, read_card


def wants_refit(settings: Settings, decision: DecisionRecord) -> bool:
    """Whether a decision's model is to learn from the hours that judged it before it goes live."""
    return settings.retrain.refit and decision.outcome is Outcome.PROMOTE


def refit(
    settings: Settings,
    registry: Registry,
    decision: DecisionRecord,
    data: DataSet,
    listener: ProgressListener,
) -> Trained:
    """Fit the decision's line on a data set as of the end of the judged hours.

    A line that is continued goes on, also where it is time to make it anew: a network from nothing
    would go live unjudged, and the next candidate, which is judged, is made anew instead.  In all
    other hours it is the very model that the next hour's training would make of that line, so that
    nothing is fitted twice.

    Args:
        settings: of the work folder.
        registry: keeps the model.
        decision: to promote a candidate.
        data: frozen as of the end of the judged hours.
        listener: is told how it goes.

    Raises:
        HourglassError: the data set is of another time, or the line's parameters have changed
            since the candidate was made, or its card was changed since it was judged.
    """
    folder = settings.path("models") / decision.candidate_id
    card = read_card(folder)
    if sha256_of(folder / CARD_NAME) != decision.candidate_card_sha256:
        raise HourglassError(
            f"{folder / CARD_NAME}: not the artefact that {decision.record.path.name} judged: "
            "run hourglass gate again"
        )
    end = decision.end
    as_of = data.manifest.as_of
    if as_of != end:
        raise HourglassError(
            f"data set {data.folder.name} is as of {as_of}: a refit of {decision.candidate_id} "
            f"learns all up to {end}"
        )
    model = _config_of(settings, decision, card.system, card.parameters)
    options = TrainOptions(
        seed=card.seed, continuation=Continuation.STEP, refit_of=decision.candidate_id
    )
    (trained,) = train(settings, registry, data, [model], options, listener)
    return trained


def _config_of(
    settings: Settings, decision: DecisionRecord, system: str, parameters: dict[str, Any]
) -> ModelConfig:
    if not decision.line:
        raise HourglassError(
            f"{decision.record.path.name} does not name its line: run `hourglass gate` again"
        )
    model = agreeing(configured(settings, decision.line), settings.evaluation.repeats == "keep")
    if (model.system, model.parameters) != (system, parameters):
        raise HourglassError(
            f"{decision.line} is configured in another way by now than {decision.candidate_id} was "
            "made: judge the new one first"
        )
    return model
