"""Lines: configured models by their names, of which there is a fit for each data set."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from heapq import merge
from pathlib import Path
from typing import Any

from pipeline.dataset.by_time import (
    dataset_folder,
    datasets_by_time,
    gone_by_time,
    note_forgotten,
)
from pipeline.dataset.manifest import MANIFEST_NAME, read_manifest
from pipeline.errors import HourglassError, UsageError, suggest
from pipeline.hours import Hour
from pipeline.sealed_json import dated_records, read_record
from pipeline.settings.settings import Settings
from pipeline.workspace import CommandContext
from training.fit.model_check import check_models, facts_of
from training.fit.model_configs import chosen
from training.gate.reasons import OF_NO_CANDIDATE
from training.registry.candidates import trained_on
from training.registry.model_card import read_card


def latest_model_of(settings: Settings, name: str, before: Hour) -> str | None:
    """Id of the line's model of the latest time before an hour; None where there is none.

    Models of that hour itself do not count, so that training the hour again goes on from the same
    model as the first time.  Neither do those whose artefact is gone or damaged, nor those that the
    gate blocked: what is wrong with a model would live on in those that go on from it.
    """
    decisions = settings.path("decisions")
    latest: tuple[Hour, str] | None = None
    for hour, dataset in _newest_first(settings):
        # No model is of a later time than a data set that it stands for.
        if latest is not None and hour and hour < str(latest[0]):
            break
        fit = _fit(settings, name, dataset)
        if fit is None or fit[0] >= before or (latest is not None and fit <= latest):
            continue
        if not _blocked(decisions, *fit):
            latest = fit
    return None if latest is None else latest[1]


def _newest_first(settings: Settings) -> Iterator[tuple[str, str]]:
    """Hour and name of data sets that models may have learned from, also of those that are gone.

    Those that are there but damaged, of which nobody knows the hour, come first, with an empty one.
    """
    shards = settings.path("shards")
    there = datasets_by_time(shards, damaged_come_last=True)
    note_forgotten(shards, lambda: _forgotten(settings, there))
    yield from ((hour, name) for hour, name in there if not hour)
    dated = [(hour, name) for hour, name in there if hour]
    yield from merge(dated, gone_by_time(shards), reverse=True)


def _forgotten(settings: Settings, there: Iterable[tuple[str, str]]) -> Iterator[tuple[str, str]]:
    """Data sets that went before there were notes; their hours are those of their models."""
    noted = {name for _, name in [*there, *gone_by_time(settings.path("shards"))]}
    for dataset in sorted(set(_datasets(settings)) - noted):
        fits = [_fit(settings, name, dataset) for name in trained_on(settings, dataset) or {}]
        hours = [fit[0] for fit in fits if fit is not None]
        if hours:
            yield str(max(hours)), dataset


def fit_times_of(settings: Settings, name: str) -> list[Hour]:
    """The times of a line's fits whose artefacts are there."""
    fits = (_fit(settings, name, dataset) for dataset in _datasets(settings))
    return [fit[0] for fit in fits if fit is not None]


def _datasets(settings: Settings) -> list[str]:
    """Names of the data sets on which something was trained."""
    return [path.stem for path in settings.path("candidates").glob("*.json")]


def _fit(settings: Settings, name: str, dataset: str) -> tuple[Hour, str] | None:
    """Time and id of a line's fit on a data set; None where its card cannot be read."""
    model_id = (trained_on(settings, dataset) or {}).get(name)
    if model_id is None:
        return None
    try:
        return read_card(settings.path("models") / model_id).as_of, model_id
    except HourglassError:
        return None


def check_candidates(settings: Settings) -> None:
    """Every line can be resolved and fitted, and baselines and candidates are among them.

    Raises:
        UsageError: naming the first that is not.
    """
    check_models(settings, facts_of(settings))
    _refuse_unknown(settings, "gate.baseline", settings.gate.baselines)
    check_candidate_names(settings)


def check_candidate_names(settings: Settings) -> None:
    """The candidates are among the configured models.

    Raises:
        UsageError: naming the first that is not.
    """
    _refuse_unknown(settings, "candidate", settings.candidates)


def _refuse_unknown(settings: Settings, role: str, wanted: Sequence[str]) -> None:
    names = [model.name for model in chosen(settings, [], None)]
    for name in wanted:
        if name not in names:
            raise UsageError(
                f"{role}: no entry of models is called {name!r}{suggest(name, names)}: use one of "
                f"{', '.join(names)}"
            )


def judged_dataset(ctx: CommandContext, text: str) -> Path:
    """A data set by its id; ``last`` is the latest that has all baselines to judge against.

    A refit leaves a data set of the hour to come, on which nothing else was trained yet.

    Raises:
        UsageError: there is no such data set.
        HourglassError: one that may be the latest cannot be read.
    """
    settings = ctx.settings
    shards = settings.path("shards")
    if text == "last":
        by_time = datasets_by_time(shards, damaged_come_last=True)
        damaged = [(hour, name) for hour, name in by_time if not hour]
        # Of what is damaged nobody knows that it is not the latest.
        for hour, name in [*damaged, *by_time]:
            models = trained_on(settings, name) or {}
            has_baselines = models.keys() >= set(settings.gate.baselines)
            if has_baselines and (shards / name / MANIFEST_NAME).is_file():
                if not hour:
                    read_manifest(shards / name)
                return shards / name
    return dataset_folder(shards, text)


def _blocked(decisions: Path, as_of: Hour, model_id: str) -> bool:
    """Whether the latest decision about a model blocks it; one that cannot be read does.

    Nobody judges a model on hours before its own.
    """
    verdicts: list[tuple[str, bool]] = []
    for hour, path in dated_records(decisions, as_of):
        if not path.name.startswith(f"{hour}-{model_id}-"):
            continue
        try:
            content = read_record(path).content
            verdicts.append((str(content.get("made_at")), _is_unsound(content)))
        except (HourglassError, KeyError, TypeError):
            return True
    return max(verdicts)[1] if verdicts else False


def _is_unsound(content: dict[str, Any]) -> bool:
    """Whether a decision blocks its candidate for something that lies in the candidate."""
    reasons = content.get("reasons", [])
    about_others = bool(reasons) and OF_NO_CANDIDATE.issuperset(reasons)
    return content["outcome"] == "block" and not about_others
