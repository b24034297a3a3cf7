"""The model that was live is judged, and replaced where it must be."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.hours import HourRange
from pipeline.quality.verdicts import quality_passed
from pipeline.workspace import CommandContext
from training.deployment.champion_history import champion_during, tenures
from training.registry.candidates import candidates
from training.registry.mlflow_registry import registry_of
from training.steps.evaluate import frozen_part

if TYPE_CHECKING:
    from training.deployment.monitor_record import Watched


@dataclass(frozen=True)
class Said:
    """What the watch says of a data set's hours; nothing is found where nothing was live yet."""

    sentence: str
    found: Watched | None = None
    record: Path | None = None


def watched(space: CommandContext, dataset: Path) -> Said:
    """Judge the model that was live during the hours that judge a data set's candidates.

    Raises:
        HourglassError: nothing was evaluated on those hours, or a model that must be replaced
            cannot be.
    """
    from pipeline.dataset.manifest import read_manifest
    from training.data.reader import read_dataset
    from training.deployment.monitor import Watch
    from training.evaluation.evaluate import standing

    settings, registry = space.settings, registry_of(space)
    hours = space.horizon_from(read_manifest(dataset).as_of)
    tenure = champion_during(tenures(registry, registry.records), hours.first)
    if tenure is None:
        return Said(f"nothing was live during {hours}: there is nothing to watch yet")
    test_set = frozen_part(space, dataset)
    judge = Watch(
        settings=settings,
        registry=registry,
        evaluation=standing(settings, dataset, test_set),
        hours=hours,
        user_ids=read_dataset(test_set).histories.user_ids,
        floor_id=candidates(settings, dataset.name).get(settings.gate.floor),
        quality_passed=quality_passed(space.lake, HourRange(hours.first, hours.first), hours),
        at=space.clock.isoformat(timespec="seconds"),
    )
    result, record = judge(tenure)
    return Said(result.sentence, result, record)
