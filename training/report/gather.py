"""Puts the model part of the report together; nothing that is damaged keeps it from being made."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from pipeline.errors import HourglassError
from pipeline.hours import Hour, HourRange, parse_duration_h
from pipeline.report.format import StatusLight
from pipeline.settings.settings import Settings
from training.deployment.champion_history import ChampionPeriod, champion_periods
from training.evaluation.evaluate import Evaluation
from training.registry.champion_card import verify_card
from training.registry.mlflow_registry import LiveModel, Registry, aliased
from training.registry.model_card import read_card, verify_file
from training.registry.record_chain import MONITOR_FOLDER, chain_problem
from training.report import traffic_lights
from training.report.baselines import BaselineHours, best_by_hour
from training.report.champion import (
    CurrentChampion,
    ServedPeriod,
    current_champion,
    lost_records,
    served_periods,
)
from training.report.curves import Curve, Growth, growth, metric_curves
from training.report.decisions import DecisionRow, decided, tally
from training.report.files import decisions, evaluations, judged_hours, monitored
from training.report.replay_picture import ReplayPicture, replay_picture
from training.report.slices import Slices, slice_table

SHOWN_DECISIONS = 20
# Fewer would make a chart of a few wide steps.
_LEAST_HOURS = 12


@dataclass(frozen=True)
class ModelHealth:
    """Everything about models, over the ``hours`` that are drawn.

    ``confidence`` is that of the intervals; ``damaged`` names what could not be read, one sentence
    each.
    """

    live: CurrentChampion | None = None
    decisions: Sequence[DecisionRow] = ()
    older_decisions: int = 0
    tally: Mapping[str, int] | None = None
    metric: str = ""
    confidence: float = 0.0
    hours: tuple[str, ...] = ()
    curves: Sequence[Curve] = ()
    baselines: Sequence[BaselineHours] = ()
    growth: Sequence[Growth] = ()
    served: Sequence[ServedPeriod] = ()
    slices: Slices | None = None
    damaged: Sequence[str] = ()
    replay: ReplayPicture | None = None
    last: Evaluation | None = None


def model_health(
    settings: Settings, registry: Registry, hours: HourRange, at: datetime, page: Path
) -> tuple[ModelHealth, list[StatusLight]]:
    """The model part of the report, and its lights.

    Args:
        settings: tell where things lie, and what the limits are.
        registry: says who is live.
        hours: what the report is about.
        at: when it is made.
        page: where it will lie.
    """
    gate, folder = settings.gate, settings.path("decisions")
    records, damaged = decisions(folder, hours, SHOWN_DECISIONS)
    monitor_results, damaged_results = monitored(settings.path(MONITOR_FOLDER), hours)
    judged, damaged_evaluations = evaluations(settings.path("evaluations"), hours)
    last = judged[-1] if judged else None
    decided_on: list[DecisionRow] = []
    verdicts: dict[str, Any] | None = None  # the last decision that came to compare slices
    for record in records:
        try:
            decided_on.append(decided(record))
        except HourglassError as error:
            damaged.append(str(error))
            continue
        if verdicts is None and record.content.get("slices"):
            verdicts = record.content
    failure: str | None = None
    periods: list[ChampionPeriod] = []
    live: CurrentChampion | None = None
    try:
        champion, before = aliased(registry)
        periods = champion_periods(registry, folder)
        if champion is not None:
            live = current_champion(champion, before, periods, folder, hours.stop, at)
            damaged = [*_untrusted(registry, champion), *damaged]
    except HourglassError as error:
        failure = str(error)
    damaged = [*lost_records(periods), *damaged, *damaged_results, *damaged_evaluations]
    drawn = _drawn(
        hours,
        (
            *(decision.hour for decision in decided_on),
            *(judged_hours(evaluation).first for evaluation in judged),
            *(result.first for result in monitor_results),
        ),
    )
    candidate = str(verdicts["line"]) if verdicts else settings.candidates[0]
    curves = metric_curves(judged, monitor_results, gate.metric, gate.baselines, drawn)
    health = ModelHealth(
        live=live,
        decisions=decided_on[:SHOWN_DECISIONS],
        older_decisions=max(0, len(decided_on) - SHOWN_DECISIONS),
        tally=tally(decision for decision in decided_on if decision.hour in hours),
        metric=f"{gate.metric.upper()}@{settings.evaluation.k}",
        confidence=settings.evaluation.confidence,
        hours=tuple(map(str, drawn)),
        curves=curves,
        baselines=best_by_hour(curves),
        growth=growth(decided_on, drawn),
        served=served_periods(periods, drawn),
        slices=slice_table(
            last, candidate, gate.baselines, gate.metric, gate.min_slice_users, verdicts
        )
        if last
        else None,
        damaged=damaged,
        replay=replay_picture(settings.path("replay"), page),
        last=last,
    )
    max_age_h = parse_duration_h(settings.retrain.max_age)
    lights = [
        traffic_lights.champion_light(live, failure, bool(decided_on or judged)),
        traffic_lights.age_light(live, max_age_h, len(hours), decided_on, hours),
        traffic_lights.baseline_light(monitor_results, live, hours.stop),
        traffic_lights.decision_light(decided_on),
        traffic_lights.evaluation_light(last, hours.stop, max_age_h),
    ]
    if damaged:
        lights.append(traffic_lights.records_light(damaged))
    return health, lights


def _untrusted(registry: Registry, live: LiveModel) -> list[str]:
    """What to say of a live model whose files are not those that were recorded, and of records."""
    sentences = []
    try:
        verify_card(live)
        recorded = {} if live.card_sha256 is None else read_card(live.folder).files
        for name, sha256 in recorded.items():
            verify_file(live.folder / name, sha256)
    except HourglassError as error:
        sentences.append(str(error).replace(f"{live.folder}", f"models/{live.model_id}"))
    broken = chain_problem(registry)
    if broken is not None:
        sentences.append(broken.replace(f"{registry.records}", "decisions"))
    return sentences


def _drawn(hours: HourRange, judged: Iterable[Hour]) -> HourRange:
    """The hours of the report from the first on in which a model was judged, some at least."""
    begun = min((hour for hour in judged if hour in hours), default=hours.first)
    return HourRange(max(hours.first, min(begun, hours.stop - _LEAST_HOURS)), hours.stop)
