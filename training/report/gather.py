"""Puts the model part of the report together; nothing that is damaged keeps it from being made."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from pipeline.errors import HourglassError
from pipeline.hours import Hour, HourRange, parse_duration_h
from pipeline.report.format import Light
from pipeline.settings.settings import Settings
from training.deployment.champion_history import Tenure, tenures
from training.deployment.monitor_record import Watched
from training.evaluation.evaluate import Evaluation
from training.evaluation.leaderboard import leaderboard_rows, note
from training.registry.champion_card import verify_card
from training.registry.mlflow_registry import LiveModel, Registry, aliased
from training.registry.model_card import read_card, verify_file
from training.registry.record_chain import chain_problem
from training.report import traffic_lights
from training.report.champion import live_now, lost_records, marks, served
from training.report.curves import growth, metric_curves
from training.report.decisions import decided, tally
from training.report.files import decisions, evaluations, judged_hours, watched
from training.report.model_values import Curves, Decided, Live, ModelHealth
from training.report.replay_picture import replay_picture
from training.report.slices import slice_table

SHOWN_DECISIONS = 20
# Fewer would make a chart of a few wide steps.
_LEAST_HOURS = 12


def model_health(
    settings: Settings, registry: Registry, hours: HourRange, at: datetime, page: Path
) -> tuple[ModelHealth, list[Light]]:
    """The model part of the report, and its lights.

    Args:
        settings: tell where things lie, and what the limits are.
        registry: says who is live.
        hours: what the report is about.
        at: when it is made.
        page: where it will lie.
    """
    decisions_folder = settings.path("decisions")
    records, damaged = decisions(decisions_folder, hours, SHOWN_DECISIONS)
    watch, damaged_watch = watched(settings.path("watch"), hours)
    judged, damaged_evaluations = evaluations(settings.path("evaluations"), hours)
    found: list[Decided] = []
    verdicts: dict[str, Any] | None = None  # the last decision that came to compare slices
    for record in records:
        try:
            found.append(decided(record))
        except HourglassError as error:
            damaged.append(str(error))
            continue
        if verdicts is None and record.content.get("slices"):
            verdicts = record.content
    gate = settings.gate
    failure: str | None = None
    history: list[Tenure] = []
    live: Live | None = None
    try:
        champion, before = aliased(registry)
        history = tenures(registry, decisions_folder)
        if champion is not None:
            live = live_now(champion, before, history, decisions_folder, hours.stop, at)
            damaged = [*_untrusted(registry, champion), *damaged]
    except HourglassError as error:
        failure = str(error)
    drawn = _drawn(hours, [one.hour for one in found], judged, watch)
    times = served(history, drawn)
    damaged = [*lost_records(history), *damaged, *damaged_watch, *damaged_evaluations]
    curves = metric_curves(judged, watch, gate.metric, gate.floor, drawn)
    last = judged[-1] if judged else None
    within = [one for one in found if str(hours.first) <= one.hour < str(hours.stop)]
    names = tuple(str(hour) for hour in drawn)
    line = str(verdicts["line"]) if verdicts else settings.candidates[0]
    health = ModelHealth(
        live=live,
        decisions=found[:SHOWN_DECISIONS],
        older_decisions=max(0, len(found) - SHOWN_DECISIONS),
        tally=tally(within),
        curves=Curves(
            f"{gate.metric.upper()}@{settings.evaluation.k}",
            settings.evaluation.confidence,
            names,
            curves,
            marks(times, len(drawn)),
        ),
        growth=growth(found, drawn),
        hours=names,
        slices=slice_table(last, line, gate.floor, gate.metric, gate.min_slice_users, verdicts)
        if last
        else None,
        served=times,
        damaged=damaged,
        replay=replay_picture(settings.path("replay"), page),
        leaderboard=[
            {column: value for column, value in row.items() if column != "model_id"}
            for row in leaderboard_rows(last)
        ]
        if last
        else [],
        leaderboard_note=note(last) if last else "",
    )
    max_age_h = parse_duration_h(settings.retrain.max_age)
    lights = [
        traffic_lights.live_light(live, failure, bool(found or judged)),
        traffic_lights.age_light(live, max_age_h, len(hours), found, hours),
        traffic_lights.floor_light(watch, live, hours.stop),
        traffic_lights.decision_light(found),
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


def _drawn(
    hours: HourRange,
    decided_hours: Sequence[str],
    judged: Sequence[Evaluation],
    watch: Sequence[Watched],
) -> HourRange:
    """The hours of the report from the first on in which a model was judged, some at least."""
    firsts = [
        *(Hour.parse(hour) for hour in decided_hours),
        *(judged_hours(one).first for one in judged),
        *(one.first for one in watch),
    ]
    within = [hour for hour in firsts if hour in hours]
    begun = min(within, default=hours.first)
    return HourRange(max(hours.first, min(begun, hours.stop - _LEAST_HOURS)), hours.stop)
