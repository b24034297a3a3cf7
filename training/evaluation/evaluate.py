"""Evaluate: candidates, baselines, champion and previous model on the same frozen events."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from pipeline.dataset.by_time import hours_by_name
from pipeline.dataset.manifest import read_manifest
from pipeline.errors import HourglassError, one_line
from pipeline.files import write_text
from pipeline.hours import Hour, HourRange
from pipeline.sealed_json import json_ready
from pipeline.settings.settings import Settings
from training.data.reader import DataSet, sha256_of
from training.evaluation.lists import ListFigures, ShownLists
from training.evaluation.slices import FirstSeen, slice_masks
from training.metrics.diversity import Audiences
from training.metrics.ranking import rank_targets
from training.metrics.ranks import Ranks, SummaryRow, ranks_path, summary, write_ranks
from training.metrics.vocabulary_alignment import index_of, reencode_popularity
from training.models.parts.base import FollowsTrends
from training.registry.artefact import LoadedModel, load_model
from training.registry.candidates import configured
from training.registry.champion_card import trusted
from training.registry.mlflow_registry import (
    LiveModel,
    Registry,
    champion,
    log_evaluation,
    previous,
)
from training.registry.model_card import CARD_NAME
from training.registry.model_store import available

BOOTSTRAP_SEED = 0
INDEX_NAME = "evaluation.json"


@runtime_checkable
class PredictsValues(Protocol):
    """A system that says which value an event will have; as a ranking it means nothing."""

    def predict(self, *items: Any) -> Any:  # noqa: ANN401 - only that there is one matters
        """The value expected of each asked item."""
        ...


@dataclass(frozen=True)
class Evaluation:
    """Figures of every model on one frozen part; ``failures`` are sentences by model id."""

    frozen_id: str
    start: str
    n_targets: int
    left_out_events: int
    names: dict[str, str]  # model id -> what tables call it
    rows: list[SummaryRow]
    failures: dict[str, str]
    hours: int = 1
    roles: dict[str, list[str]] = field(default_factory=dict)  # candidate, baseline, champion ...
    champion_version: str | None = None  # that was live then
    not_ranked: dict[str, str] = field(default_factory=dict)  # that predict values, by model id
    lists: dict[str, ListFigures] = field(default_factory=dict)  # by model id


def evaluate(
    settings: Settings,
    registry: Registry,
    learned: DataSet,
    test_data: DataSet,
    report: Callable[[str, int, int], None],
) -> Evaluation:
    """Rank the targets of a test set by every configured model and by what is live.

    One model that fails does not keep the others from being judged.

    Raises:
        HourglassError: every model failed.
        UsageError: nothing was trained on the data set.
    """
    names, roles, version, live = _contestants(settings, registry, learned.folder.name)
    evaluations = settings.path("evaluations")
    folder = evaluations / test_data.manifest.dataset_id
    # Ranks of an earlier state of a model, or of another rule, must not stand in for these.  Those
    # of models that take no part any more stay: decisions of that time name them.
    for stale in (
        _index(folder),
        *(ranks_path(evaluations, folder.name, model_id) for model_id in names),
    ):
        stale.unlink(missing_ok=True)
    ranked: dict[str, Ranks] = {}
    failures: dict[str, str] = {}
    not_ranked: dict[str, str] = {}
    in_sample: set[str] = set()
    lists: dict[str, ListFigures] = {}
    is_new = FirstSeen.of(learned).new_items(test_data)
    audiences = Audiences(learned.histories, learned.item_ids.size)
    for model_id, name in names.items():
        try:
            model_dir = available(registry, model_id)
            if model_id in live:
                trusted(registry, live[model_id])
            card_sha256 = (
                sha256_of(model_dir / CARD_NAME) if (model_dir / CARD_NAME).is_file() else None
            )
            model = with_current_popularity(load_model(model_dir), test_data)
            if isinstance(model.model, PredictsValues):
                not_ranked[model_id] = f"{name}: predicts values, it does not rank items"
                continue
            shown = ShownLists(test_data, settings.evaluation, is_new, audiences)
            ranks = rank_targets(
                model.model,
                test_data,
                settings.evaluation,
                model_id=model_id,
                item_ids=model.item_ids,
                progress=lambda done, total, name=name: report(name, done, total),  # type: ignore[misc]
                card_sha256=card_sha256,
                look=shown.look,
            )
        except Exception as error:  # whatever fails in one model must not spare the others
            failures[model_id] = f"{name}: {one_line(error)}"
            continue
        write_ranks(ranks, evaluations)
        ranked[model_id] = ranks
        if model.card.as_of > test_data.manifest.window_start:
            in_sample.add(model_id)
        else:
            lists[model_id] = shown.figures()
    if not ranked:
        why = next(iter((failures | not_ranked).values()), "no model is configured")
        raise HourglassError(f"no model could be evaluated: {why}")
    first = next(iter(ranked.values()))
    # What learned from these very events has no figures on them, only ranks for the gate to refuse.
    honest = {model_id: ranks for model_id, ranks in ranked.items() if model_id not in in_sample}
    evaluation = Evaluation(
        frozen_id=test_data.manifest.dataset_id,
        start=str(test_data.manifest.window_start),
        n_targets=first.n_targets,
        left_out_events=test_data.manifest.left_out_events or 0,
        names=names,
        rows=summarise(settings, test_data, learned, honest),
        failures=failures,
        hours=test_data.manifest.as_of.index - test_data.manifest.window_start.index,
        roles=roles,
        champion_version=version,
        not_ranked=not_ranked,
        lists=lists,
    )
    _write(_index(folder), evaluation)
    for model_id in honest:
        log_evaluation(
            registry,
            model_id,
            test_data.manifest.as_of,
            {
                f"{row.metric}_at_{row.k}": row.mean
                for row in evaluation.rows
                if row.model_id == model_id and row.slice_name == "all"
            },
        )
    return evaluation


def _contestants(
    settings: Settings, registry: Registry, dataset_id: str
) -> tuple[dict[str, str], dict[str, list[str]], str | None, dict[str, LiveModel]]:
    """Names and roles by model id, the version that is live, champion and previous by model id.

    A model may have many roles.
    """
    names: dict[str, str] = {}
    roles: dict[str, list[str]] = {}

    def enter(model_id: str, name: str, role: str) -> None:
        names.setdefault(model_id, name)
        roles.setdefault(model_id, []).append(role)

    for name, model_id in configured(settings, dataset_id).items():
        enter(model_id, name, "floor" if name in settings.gate.baselines else "candidate")
    live, before = champion(registry), previous(registry)
    for role, model in (("champion", live), ("previous", before)):
        if model is not None:
            # A server out of reach must not pass for a live model that cannot score.
            available(registry, model.model_id)
            enter(model.model_id, role, role)
    used = {model.model_id: model for model in (before, live) if model is not None}
    return names, roles, live.version if live else None, used


def load_evaluation(settings: Settings, dataset: Path, test_set: Path) -> Evaluation:
    """The figures of an evaluation that was made before.

    Raises:
        HourglassError: there is none.
    """
    folder = settings.path("evaluations") / test_set.name
    try:
        return read_evaluation(folder)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise HourglassError(
            f"data set {dataset.name} was not evaluated on {test_set.name} "
            "yet: run `hourglass evaluate`"
        ) from error


def read_evaluation(folder: Path) -> Evaluation:
    """What :func:`evaluate` wrote into ``<evaluations>/<frozen_id>/evaluation.json``.

    Raises:
        OSError, ValueError, KeyError, TypeError: it is missing, damaged or of an older format.
    """
    content = json.loads(_index(folder).read_text("utf-8"))
    return Evaluation(
        frozen_id=folder.name,
        start=content["as_of"],
        n_targets=content["n_targets"],
        left_out_events=content["left_out_events"],
        names=content["names"],
        rows=[_row(row) for row in content["rows"]],
        failures=content["failures"],
        hours=content["hours"],
        roles=content["roles"],
        champion_version=content["champion_version"],
        not_ranked=content["not_ranked"],
        # Evaluations of before this was counted have none.
        lists={key: _list_figures(row) for key, row in content.get("lists", {}).items()},
    )


def evaluations_after(evaluations: Path, first: Hour) -> list[Path]:
    """Folders of evaluations whose hours end after one, or that do not tell their hours."""

    def end_of(folder: Path) -> Hour | None:
        try:
            evaluation = read_evaluation(folder)
            return Hour.parse(evaluation.start) + evaluation.hours
        except (OSError, ValueError, KeyError, TypeError, AttributeError, HourglassError):
            return None

    ends = sorted(hours_by_name(evaluations, INDEX_NAME, end_of).items())
    return [evaluations / name for name, end in ends if not end or end > str(first)]


def evaluated_test_sets(settings: Settings, dataset: str, hours: HourRange) -> list[Path]:
    """Folders of the test sets of some hours that a data set was evaluated on, the latest last.

    There are several where events of the hours came late, and it was evaluated again.  Those of
    other rules of sessions and data sets are left out.
    """
    when = {}
    for folder in evaluations_after(settings.path("evaluations"), hours.stop - 1):
        test_set = settings.path("frozen") / folder.name
        try:
            manifest, changed_ns = read_manifest(test_set), _index(folder).stat().st_mtime_ns
        except (OSError, HourglassError):
            continue
        is_of_hours = (manifest.window_start, manifest.as_of) == (hours.first, hours.stop)
        by_rules = manifest.config_digest == settings.digest("dataset", "sessions")
        if manifest.base_dataset_id == dataset and is_of_hours and by_rules:
            when[test_set] = changed_ns
    return sorted(when, key=lambda test_set: when[test_set])


def _row(row: dict[str, Any]) -> SummaryRow:
    values: dict[str, Any] = {k: math.nan if value is None else value for k, value in row.items()}
    return SummaryRow(**values)


def _list_figures(row: dict[str, Any]) -> ListFigures:
    values: dict[str, Any] = {k: math.nan if value is None else value for k, value in row.items()}
    recall = tuple(math.nan if value is None else value for value in row["later_recall"])
    return ListFigures(**{**values, "later_recall": recall})


def _write(path: Path, evaluation: Evaluation) -> None:
    """Whole or not at all; limits that are not known are null."""
    content = {key: value for key, value in asdict(evaluation).items() if key != "frozen_id"}
    content["as_of"] = content.pop("start")
    write_text(path, json.dumps(json_ready(content), indent=1) + "\n")


def _index(folder: Path) -> Path:
    return folder / INDEX_NAME


def summarise(
    settings: Settings, test_set: DataSet, learned: DataSet, ranked: dict[str, Ranks]
) -> list[SummaryRow]:
    """Metrics with intervals, over all targets and by slice."""
    first = next(iter(ranked.values()), None)
    if first is None or not first.n_targets:
        return []
    masks = slice_masks(test_set, first, FirstSeen.of(learned))
    return summary(ranked, settings.evaluation, BOOTSTRAP_SEED, masks)


def with_current_popularity(model: LoadedModel, test_set: DataSet) -> LoadedModel:
    """Give a model that follows trends the hourly popularity of a part, as serving does.

    The part's hours reach to its end; a system uses only those before the hour of a request.
    """
    if isinstance(model.model, FollowsTrends):
        columns = index_of(test_set.item_ids, model.item_ids)
        model.model.refresh(
            reencode_popularity(test_set.popularity, columns), test_set.manifest.as_of
        )
    return model
