"""Evaluate and gate: every candidate, the floor and the champion on the same frozen events."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from pipeline.errors import HourglassError
from pipeline.hours import HourRange
from pipeline.settings import Settings
from training.alignment import positions, translate_popularity
from training.artefact import LoadedModel, load_model
from training.candidates import candidates
from training.decision import contestant, write_decision
from training.evaluate import rank_targets, slice_masks
from training.evidence import Evidence
from training.gate import Decision, decide
from training.promotion import install_first
from training.ranks import Ranks, SummaryRow, ranks_path, read_ranks, summary, write_ranks
from training.reader import DataSet, read_dataset
from training.registry import LiveModel, Registry, champion, log_evaluation
from training.soundness import examine, one_line
from training.systems.base import FollowsTrends

BOOTSTRAP_SEED = 0


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


def evaluate(
    settings: Settings,
    registry: Registry,
    dataset: Path,
    frozen: Path,
    report: Callable[[str, int, int], None],
) -> Evaluation:
    """Rank the targets of the frozen part by every candidate and by the champion.

    One model that fails does not keep the others from being judged.

    Raises:
        HourglassError: the frozen part is damaged, or every model failed.
        UsageError: nothing was trained on the data set.
    """
    part = read_dataset(frozen)
    models = candidates(settings, dataset.name)
    names = {model_id: name for name, model_id in models.items()}
    live = champion(registry)
    if live is not None and live.model_id not in names:
        names[live.model_id] = "champion"
    evaluations = settings.path("evaluations")
    ranked: dict[str, Ranks] = {}
    failures: dict[str, str] = {}
    folder = evaluations / part.manifest.dataset_id
    for stale in (_index(folder), *folder.glob("*.parquet")):
        # Ranks of an earlier state of a model, or of another rule, must not stand in for these.
        stale.unlink(missing_ok=True)
    for model_id, name in names.items():
        try:
            model = fresh(load_model(settings.path("models") / model_id), part)
            ranks = rank_targets(
                model.system,
                part,
                settings.evaluation,
                model_id=model_id,
                item_ids=model.item_ids,
                progress=lambda done, total, name=name: report(name, done, total),  # type: ignore[misc]
            )
        except Exception as error:  # whatever fails in one model must not spare the others
            failures[model_id] = f"{name}: {one_line(error)}"
            continue
        write_ranks(ranks, evaluations)
        ranked[model_id] = ranks
    if not ranked:
        raise HourglassError(f"no model could be evaluated: {next(iter(failures.values()))}")
    rows = summarise(settings, part, ranked)
    _index(folder).write_text(json.dumps({"names": names, "failures": failures}), encoding="utf-8")
    for model_id in ranked:
        log_evaluation(
            registry,
            model_id,
            part.manifest.as_of,
            {
                f"{row.metric}_at_{row.k}": row.mean
                for row in rows
                if row.model_id == model_id and row.slice_name == "all"
            },
        )
    first = next(iter(ranked.values()))
    return Evaluation(
        part.manifest.dataset_id,
        str(part.manifest.window_start),
        first.n_targets,
        part.manifest.left_out_events or 0,
        names,
        rows,
        failures,
    )


def standing(settings: Settings, dataset: Path, frozen: Path) -> Evaluation:
    """The figures of an evaluation that was made before, from its stored ranks.

    Raises:
        HourglassError: there is none.
    """
    part = read_dataset(frozen)
    folder = settings.path("evaluations") / part.manifest.dataset_id
    try:
        made = json.loads(_index(folder).read_text("utf-8"))
        ranked = {
            model_id: read_ranks(ranks_path(folder.parent, folder.name, model_id))
            for model_id in made["names"]
            if model_id not in made["failures"]
        }
    except OSError as error:
        raise HourglassError(
            f"data set {dataset.name} was not evaluated on {part.manifest.dataset_id} "
            "yet: run `hourglass evaluate`"
        ) from error
    rows = summarise(settings, part, ranked)
    return Evaluation(
        part.manifest.dataset_id,
        str(part.manifest.window_start),
        next(iter(ranked.values())).n_targets,
        part.manifest.left_out_events or 0,
        made["names"],
        rows,
        made["failures"],
    )


def _index(folder: Path) -> Path:
    """What an evaluation was of: names and failures by model id."""
    return folder / "evaluation.json"


def summarise(settings: Settings, part: DataSet, ranked: dict[str, Ranks]) -> list[SummaryRow]:
    """Metrics with intervals, over all targets and by slice."""
    first = next(iter(ranked.values()))
    if not first.n_targets:
        return []
    return summary(ranked, settings.evaluation, BOOTSTRAP_SEED, slice_masks(part, first))


def fresh(model: LoadedModel, part: DataSet) -> LoadedModel:
    """Give a model that follows trends the hourly popularity of a part, as serving does.

    The part's hours reach to its end; a system uses only those before the hour of a request.
    """
    if isinstance(model.system, FollowsTrends):
        columns = positions(part.item_ids, model.item_ids)
        model.system.refresh(translate_popularity(part.popularity, columns), part.manifest.as_of)
    return model


def ensure_champion(settings: Settings, registry: Registry, dataset: Path, at: str) -> LiveModel:
    """Something is always live: before the first promotion it is the floor.

    Raises:
        HourglassError: the floor was not trained on the data set.
    """
    live = champion(registry)
    if live is not None:
        return live
    models = candidates(settings, dataset.name)
    if settings.gate.floor not in models:
        raise HourglassError(
            f"the floor {settings.gate.floor!r} was not trained on data set {dataset.name}: "
            f"run `hourglass train --dataset {dataset.name} --model {settings.gate.floor}`"
        )
    return install_first(registry, models[settings.gate.floor], settings.path("decisions"), at)


def gate(
    settings: Settings,
    registry: Registry,
    dataset: Path,
    frozen: Path,
    quality_passed: bool | None,
    at: str,
) -> tuple[Decision, Path]:
    """Decide on the configured candidate, and write the decision down.

    Raises:
        HourglassError: the candidate or the floor was not trained, or cannot even be read; then
            there is no decision, and nothing can be promoted.
    """
    part = read_dataset(frozen)
    models = candidates(settings, dataset.name)
    for role, name in (("candidate", settings.candidate), ("floor", settings.gate.floor)):
        if name not in models:
            raise HourglassError(
                f"the {role} {name!r} was not trained on data set {dataset.name}: "
                f"run `hourglass train --dataset {dataset.name} --model {name}`"
            )
    evaluations, frozen_id = settings.path("evaluations"), part.manifest.dataset_id
    live = champion(registry)

    def enter(model_id: str) -> LoadedModel:
        return load_model(settings.path("models") / model_id)

    candidate = models[settings.candidate]
    evidence = Evidence(
        frozen_id=frozen_id,
        start=part.manifest.window_start,
        candidate=contestant(enter(candidate).card, evaluations, frozen_id),
        champion=contestant(enter(live.model_id).card, evaluations, frozen_id) if live else None,
        floor=contestant(enter(models[settings.gate.floor]).card, evaluations, frozen_id),
        soundness=examine(
            settings.path("models") / candidate,
            part,
            settings.evaluation,
            lambda folder: fresh(load_model(folder), part),
            seed=BOOTSTRAP_SEED,
        ),
        quality_passed=quality_passed,
        rule=settings.evaluation,
        gate=settings.gate,
        seed=BOOTSTRAP_SEED,
    )
    decision = decide(evidence)
    return decision, write_decision(decision, settings.path("decisions"), at)


def hours_judged(part: DataSet) -> HourRange:
    """The hours whose events are the targets of a frozen part."""
    return HourRange(part.manifest.window_start, part.manifest.as_of)
