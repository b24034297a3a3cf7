"""The model that was live is judged, and replaced where it must be."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

from pipeline.hours import HourRange
from pipeline.quality.verdicts import quality_passed
from pipeline.workspace import CommandContext
from training.deployment.champion_history import champion_during, champion_periods
from training.registry.candidates import candidates
from training.registry.mlflow_registry import registry_of
from training.steps.hour_data import HourData
from training.steps.notices import notify_rolled_back
from training.steps.result import StepResult

if TYPE_CHECKING:
    from training.deployment.monitor_record import MonitorResult


def monitor_champion(ctx: CommandContext, data: HourData) -> StepResult[MonitorResult | None]:
    """Judge the model that was live during the hours that judge a data set's candidates.

    Raises:
        HourglassError: nothing was evaluated on those hours, or a model that must be replaced
            cannot be.
    """
    from training.deployment.monitor import ChampionMonitor
    from training.evaluation.evaluate import load_evaluation

    settings, registry = ctx.settings, registry_of(ctx)
    hours = ctx.horizon_from(data.manifest.as_of)
    tenure = champion_during(champion_periods(registry, registry.records, hours.first), hours.first)
    if tenure is None:
        sentence = f"nothing was live during {hours}: there is nothing to monitor yet"
        return StepResult(None, sentence, {"outcome": None, "sentence": sentence})
    test_set = data.evaluated_set
    judge = ChampionMonitor(
        settings=settings,
        registry=registry,
        evaluation=load_evaluation(settings, data.folder, test_set.folder),
        hours=hours,
        user_ids=test_set.histories.user_ids,
        baseline_ids={
            name: model_id
            for name, model_id in candidates(settings, data.folder.name).items()
            if name in settings.gate.baselines
        },
        quality_passed=quality_passed(
            ctx.lake,
            HourRange(hours.first, hours.first),
            hours,
            data.judging_state,
        ),
        at=ctx.clock.isoformat(timespec="seconds"),
    )
    result, record = judge(tenure)
    if result.replaced_by is not None:
        notify_rolled_back(ctx, result)
    facts = {
        "outcome": str(result.outcome),
        "reason": result.reason,
        "sentence": result.sentence,
        "model_id": result.model.model_id,
        "replaced_by": result.replaced_by,
        "numbers": asdict(result.numbers) if result.numbers else None,
        "record": record,
    }
    if result.baselines is not None:
        facts["baselines"] = {name: asdict(each) for name, each in result.baselines.items()}
    text = f"{result.outcome}: {result.sentence}\n{record}"
    return StepResult(result, result.sentence, facts, text)
