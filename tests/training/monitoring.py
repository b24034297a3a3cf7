"""An hour of the monitor in the tests: who was live, how well each model did, what was found."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from judging import ranks_of
from numpy.typing import NDArray

from pipeline.hours import Hour, HourRange
from pipeline.settings.settings import Settings
from training.deployment.champion_history import champion_during, champion_periods
from training.deployment.monitor import ChampionMonitor
from training.deployment.monitor_record import MonitorResult, read_monitor_result
from training.evaluation.evaluate import Evaluation
from training.metrics.ranks import write_ranks
from training.registry.mlflow_registry import Registry

FLOOR, BEFORE, LIVE = "recent-a", "hrnn-b", "hrnn-c"
HOUR = Hour.parse("2016-03-14T15")  # the first in which hrnn-c is live
N_USERS = 200


def skill(share: float, seed: int = 0) -> NDArray[np.int64]:
    """Ranks of two targets for each user, so many of which a model puts first."""
    rng = np.random.default_rng(seed)
    return np.where(rng.random(2 * N_USERS) < share, 1, 400)


def monitored(
    settings: Settings,
    registry: Registry,
    ranks: dict[str, NDArray[np.int64]],
    hour: Hour = HOUR,
    **changes: Any,
) -> MonitorResult:
    """Judge an hour on which models were evaluated with these ranks."""
    frozen_id = f"frozen-{hour}"
    user = changes.pop("user", np.repeat(np.arange(N_USERS), 2))
    for model_id, rank in ranks.items():
        stored = ranks_of(
            model_id, rank, user[: rank.size], frozen_id=frozen_id, rule=settings.evaluation
        )
        write_ranks(stored, settings.path("evaluations"))
    failures = changes.pop("failures", {})
    names = {model_id: model_id for model_id in [*ranks, *failures]}
    found = Evaluation(frozen_id, str(hour), 2 * N_USERS, 0, names, [], failures)
    judge = ChampionMonitor(
        settings=settings,
        registry=registry,
        evaluation=found,
        hours=HourRange(hour, hour + changes.pop("horizon", 1)),
        user_ids=np.array([f"user-{row}" for row in range(N_USERS)], dtype=object),
        baseline_ids={"my_recent": "recent-z"},
        quality_passed=True,
        at=f"{hour + 1}:02:00",
    )
    tenure = champion_during(champion_periods(registry, registry.records), hour)
    assert tenure is not None
    result, path = replace(judge, **changes)(tenure)
    assert read_monitor_result(path) == result
    assert path.name.startswith(f"{hour}-{tenure.model_id}-")
    return result


def told(result: MonitorResult) -> tuple[str, str]:
    return result.outcome.value, result.reason
