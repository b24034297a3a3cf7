"""The model that was live is judged, and replaced where it must be."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.hours import HourRange
from pipeline.quality.verdicts import quality_passed
from pipeline.workspace import CommandContext
from training.deployment.champion_history import champion_during, champion_periods
from training.registry.candidates import candidates
from training.registry.mlflow_registry import registry_of
from training.steps.evaluate import ensure_test_set

if TYPE_CHECKING:
    from training.deployment.monitor_record import MonitorResult


@dataclass(frozen=True)
class MonitorStepResult:
    """What the watch says of a data set's hours; nothing is found where nothing was live yet."""

    sentence: str
    result: MonitorResult | None = None
    record: Path | None = None


def monitor_champion(ctx: CommandContext, dataset: Path) -> MonitorStepResult:
    """Judge the model that was live during the hours that judge a data set's candidates.

    Raises:
        HourglassError: nothing was evaluated on those hours, or a model that must be replaced
            cannot be.
    """
    from pipeline.dataset.manifest import read_manifest
    from training.data.reader import read_dataset
    from training.deployment.monitor import ChampionMonitor
    from training.evaluation.evaluate import load_evaluation

    settings, registry = ctx.settings, registry_of(ctx)
    hours = ctx.horizon_from(read_manifest(dataset).as_of)
    tenure = champion_during(champion_periods(registry, registry.records), hours.first)
    if tenure is None:
        return MonitorStepResult(f"nothing was live during {hours}: there is nothing to watch yet")
    test_set = ensure_test_set(ctx, dataset)
    judge = ChampionMonitor(
        settings=settings,
        registry=registry,
        evaluation=load_evaluation(settings, dataset, test_set),
        hours=hours,
        user_ids=read_dataset(test_set).histories.user_ids,
        baseline_id=candidates(settings, dataset.name).get(settings.gate.baseline),
        quality_passed=quality_passed(ctx.lake, HourRange(hours.first, hours.first), hours),
        at=ctx.clock.isoformat(timespec="seconds"),
    )
    result, record = judge(tenure)
    return MonitorStepResult(result.sentence, result, record)
