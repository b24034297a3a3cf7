"""The signs of `training.fit.retrain_policy`, gathered from the lake and from past evaluations."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

import pyarrow.parquet as pq

from pipeline.errors import HourglassError
from pipeline.files import write_text
from pipeline.hours import Hour, HourRange, parse_duration_h
from pipeline.lake.lake import Lake
from pipeline.lake.tables import ITEM_HOURS
from pipeline.settings.settings import Settings
from training.evaluation.evaluate import evaluations_after, read_evaluation
from training.fit.retrain_policy import (
    LineChoice,
    LineSignals,
    RetrainDecision,
    RetrainSignals,
    metric_drop,
    popularity_shift,
    unseen_share,
)
from training.registry.artefact import VOCABULARY_NAME
from training.registry.champion_card import trusted
from training.registry.mlflow_registry import Registry, champion, model_ref
from training.registry.model_card import read_card, verify_file

SEED = 0
_FOLDER: Final = "retrain"


def signals_at(settings: Settings, lake: Lake, registry: Registry, as_of: Hour) -> RetrainSignals:
    """What speaks for or against a new model at an hour; nothing at or after it is read.

    Of a live model that cannot be read, or that is of a later time, nothing can be told, which
    speaks for a new one; to replace it is the monitor's task.
    """
    live = champion(registry)
    nothing = RetrainSignals(None, None, None, None)
    if live is None:
        return nothing
    try:
        card = read_card(trusted(registry, live).folder)
        verify_file(live.folder / VOCABULARY_NAME, card.files.get(VOCABULARY_NAME))
        vocabulary = vocabulary_of(live.folder)
        name = model_ref(registry, live.version).name
    except HourglassError:
        return nothing
    # By name: of one type there may be a baseline and a candidate.
    if name in settings.gate.baselines or card.as_of > as_of:
        return nothing
    window_h = parse_duration_h(settings.dataset.popularity_window)
    recent = item_events(lake, HourRange(max(card.as_of, as_of - window_h), as_of))
    return RetrainSignals(
        age_h=as_of.index - card.as_of.index,
        unseen_share=unseen_share(recent, vocabulary),
        shift=popularity_shift(
            item_events(lake, HourRange(card.as_of - window_h, card.as_of)),
            item_events(lake, HourRange(as_of - window_h, as_of)),
            SEED,
        ),
        metric_drop=metric_drop(looks_at(settings, live.model_id, HourRange(card.as_of, as_of))),
    )


def item_events(lake: Lake, hours: HourRange) -> dict[str, int]:
    """Events by item in the hours."""
    if not len(hours):
        return {}
    rows = lake.arrow(ITEM_HOURS, hours, columns=("item_id", "events"))
    summed = rows.group_by("item_id").aggregate([("events", "sum")])
    return dict(zip(summed["item_id"].to_pylist(), summed["events_sum"].to_pylist(), strict=True))


def vocabulary_of(model: Path) -> set[str]:
    """Ids of the items that a model knows.

    Raises:
        HourglassError: its file cannot be read.
    """
    try:
        return set(pq.read_table(model / VOCABULARY_NAME)["item_id"].to_pylist())
    except (OSError, ValueError) as error:
        raise HourglassError(
            f"{model / VOCABULARY_NAME}: cannot be read: roll back to the previous model"
        ) from error


def looks_at(settings: Settings, model_id: str, within: HourRange) -> list[tuple[float, int]]:
    """Mean of the gate's metric and number of targets, of each evaluation of a model.

    Args:
        settings: of the work folder.
        model_id: of the model.
        within: from the model's own time, before which it was learning, to where nothing is known
            yet; evaluations that reach out of it are left out.
    """
    looks: list[tuple[Hour, float, int]] = []
    for folder in evaluations_after(settings.path("evaluations"), within.first):
        try:
            evaluation = read_evaluation(folder)
        except (OSError, ValueError, KeyError, TypeError):
            continue
        first = Hour.parse(evaluation.start)
        if first < within.first or first + evaluation.hours > within.stop:
            continue
        looks += [
            (first, row.mean, row.n_targets)
            for row in evaluation.rows
            if (row.model_id, row.metric, row.slice_name) == (model_id, settings.gate.metric, "all")
        ]
    return [(mean, targets) for _, mean, targets in sorted(looks)]


def record_retrain_decision(settings: Settings, dataset_id: str, decision: RetrainDecision) -> Path:
    """Keep what was found for a data set, so that the gate and the report know."""
    content = {
        "retrain": decision.retrain,
        "reasons": decision.reasons,
        "sentence": decision.sentence,
        "choice": decision.choice,
        "signs": asdict(decision.signs),
        "lines": [asdict(line) for line in decision.lines],
    }
    return write_text(_record(settings, dataset_id), json.dumps(content, indent=1) + "\n")


def recorded_retrain_decision(settings: Settings, dataset_id: str) -> RetrainDecision | None:
    """What was found for a data set; None where nobody looked.

    Raises:
        HourglassError: the record is damaged.
    """
    path = _record(settings, dataset_id)
    if not path.is_file():
        return None
    try:
        content = json.loads(path.read_text("utf-8"))
        return RetrainDecision(
            bool(content["retrain"]),
            tuple(content["reasons"]),
            str(content["sentence"]),
            RetrainSignals(**content["signs"]),
            tuple(_line(line) for line in content.get("lines", ())),
        )
    except (ValueError, KeyError, TypeError) as error:
        raise HourglassError(f"{path}: damaged: run `hourglass stale` again") from error


def _line(content: dict[str, Any]) -> LineChoice:
    return LineChoice(
        str(content["name"]), tuple(content["reasons"]), LineSignals(**content["signs"])
    )


def _record(settings: Settings, dataset_id: str) -> Path:
    return settings.path(_FOLDER) / f"{dataset_id}.json"
