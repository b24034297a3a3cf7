"""Retraining of one hour as the commands and the loop share it: look, train, refit."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.dataset.manifest import read_manifest
from pipeline.quality.results import refuse_critical
from pipeline.settings.settings import Settings
from pipeline.workspace import CommandContext
from training.deployment.decision_check import verified_decision
from training.fit.model_configs import chosen, configured
from training.fit.progress_display import display
from training.fit.refit import refit, wants_refit
from training.fit.retrain_policy import RetrainDecision, should_retrain
from training.fit.retrain_signals import record_retrain_decision, signals_at
from training.registry.mlflow_registry import Registry

if TYPE_CHECKING:
    from training.fit.model_configs import ModelConfig
    from training.fit.train import Trained
    from training.gate.decision_file import DecisionRecord


def retrain_decision(ctx: CommandContext, registry: Registry, dataset: Path) -> RetrainDecision:
    """Whether retraining on a data set is worth it; what was found is kept."""
    as_of = read_manifest(dataset).as_of
    signs = signals_at(ctx.settings, ctx.lake, registry, as_of)
    worth = should_retrain(signs, ctx.settings.retrain)
    record_retrain_decision(ctx.settings, dataset.name, worth)
    return worth


def is_skipped(settings: Settings, decision: RetrainDecision | None) -> bool:
    """Whether the settings let an hour pass of which that was found."""
    return settings.retrain.skip and decision is not None and not decision.retrain


def models_to_train(settings: Settings, decision: RetrainDecision | None) -> list[ModelConfig]:
    """All configured lines or, of an hour that is skipped, the baseline alone.

    The baseline costs nothing to fit, and the live model is watched against it every hour.
    """
    if is_skipped(settings, decision):
        return [configured(settings, settings.gate.baseline)]
    return chosen(settings, [], None)


def refit_step(ctx: CommandContext, registry: Registry, decision: DecisionRecord) -> Trained | None:
    """The refit of a decision's candidate; None where none is wanted.

    Raises:
        HourglassError: as `pipeline.dataset.build.freeze`, `training.fit.refit.refit`, or the data
            set or the decision is not to be trusted.
    """
    from pipeline.dataset.freeze import freeze_and_validate

    if not wants_refit(ctx.settings, decision):
        return None
    verified_decision(registry, decision.record.path, f"refitting {decision.candidate_id}")
    dataset, outcome = freeze_and_validate(ctx, ctx.settings, decision.end)
    refuse_critical([outcome])
    with display() as watcher:
        return refit(ctx.settings, registry, decision, dataset, watcher)
