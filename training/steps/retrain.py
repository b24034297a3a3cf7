"""Retraining of one hour as the commands and the loop share it: look, train, refit."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.quality.checks.results import refuse_critical
from pipeline.settings.settings import Settings
from pipeline.workspace import CommandContext
from training.deployment.approval import refuse_unapproved
from training.deployment.covers_settings import refuse_uncovered
from training.deployment.decision_check import verified_decision
from training.fit.line_signals import line_signals
from training.fit.model_configs import chosen, configured
from training.fit.progress_display import display
from training.fit.refit import refit, wants_refit
from training.fit.retrain_policy import Choice, RetrainDecision, should_retrain
from training.fit.retrain_signals import record_retrain_decision, signals_at
from training.gate.evidence import Outcome
from training.registry.mlflow_registry import registry_of
from training.steps.hour_data import HourData
from training.steps.result import StepResult

if TYPE_CHECKING:
    from training.fit.model_configs import ModelConfig
    from training.fit.train import Trained

_NEEDS: Mapping[Choice, str] = {
    Choice.NOTHING: "nothing",
    Choice.STEP: "a step",
    Choice.ANEW: "entries made anew",
}


def retrain_step(ctx: CommandContext, data: HourData) -> StepResult[RetrainDecision]:
    """Whether retraining on a data set is worth it, and how; what was found is kept."""
    settings = ctx.settings
    signs = signals_at(settings, ctx.lake, registry_of(ctx), data.manifest.as_of)
    lines = line_signals(settings, ctx.lake, registry_of(ctx), data.manifest.as_of)
    worth = should_retrain(signs, settings.retrain, lines)
    record_retrain_decision(settings, data.folder.name, worth)
    skips = is_skipped(settings, worth)
    what = "skipped" if skips else "all lines are trained"
    if not (skips or worth.retrain):
        what += ", since retrain.skip is off"
    what += f"; the hour needs {_NEEDS[worth.choice]}"
    facts = {
        "dataset_id": data.folder.name,
        "retrain": worth.retrain,
        "skip": skips,
        "reasons": worth.reasons,
        "sentence": worth.sentence,
        "choice": worth.choice,
        "anew": worth.anew,
        "lines": [asdict(line) for line in worth.lines],
        **asdict(worth.signs),
    }
    return StepResult(worth, worth.sentence, facts, f"{worth.sentence}; {what}")


def is_skipped(settings: Settings, decision: RetrainDecision | None) -> bool:
    """Whether the settings let an hour pass of which that was found."""
    return settings.retrain.skip and decision is not None and not decision.retrain


def models_to_train(settings: Settings, decision: RetrainDecision | None) -> list[ModelConfig]:
    """All configured lines or, of an hour that is skipped, the baselines alone.

    They cost little to fit, and the live model is monitored against them every hour.
    """
    if is_skipped(settings, decision):
        return [configured(settings, name) for name in settings.gate.baselines]
    return chosen(settings, [], None)


def refit_step(ctx: CommandContext, decision: Path) -> StepResult[Trained | None]:
    """Let a decision's candidate learn from the judged hours too, where that is wanted.

    Raises:
        HourglassError: as `pipeline.dataset.build.freeze`, `training.fit.refit.refit`, or the data
            set or the decision is not to be trusted, or an approval is missing, or the settings
            ask for more by now than it was held to.
    """
    from pipeline.dataset.freeze import freeze_and_validate
    from training.data.reader import read_dataset

    settings, registry = ctx.settings, registry_of(ctx)
    record = verified_decision(registry, decision, "refitting")
    if record.outcome is Outcome.PROMOTE:
        refuse_uncovered(record, settings.gate)
        refuse_unapproved(record, settings.gate.approval)
    if not wants_refit(settings, record):
        why = "nothing is promoted" if settings.retrain.refit else "retrain.refit is off"
        return StepResult(None, f"no refit: {why}", {"model_id": None, "why": why})
    dataset, outcome = freeze_and_validate(ctx, settings, record.end)
    refuse_critical([outcome])
    with display(ctx.step_table) as watcher:
        done = refit(settings, registry, record, read_dataset(dataset), watcher)
    sentence = f"{done.model_id}, version {done.version}, has learned from the judged hours too"
    return StepResult(done, sentence, {"model_id": done.model_id, "why": None, **asdict(done)})
