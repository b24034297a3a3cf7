"""Lines: configured models by their names, of which there is a fit for each data set."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pipeline.errors import HourglassError, UsageError
from pipeline.hours import Hour
from pipeline.settings.settings import Settings
from pipeline.workspace import CommandContext
from training.fit.model_check import check_models, facts_of
from training.fit.model_configs import chosen
from training.gate.reasons import OF_NO_CANDIDATE
from training.registry.model_card import read_card


def latest_model_of(settings: Settings, name: str, before: Hour) -> str | None:
    """Id of the line's model of the latest time before an hour; None where there is none.

    Models of that hour itself do not count, so that training the hour again goes on from the same
    model as the first time.  Neither do those whose artefact is gone or damaged, nor those that the
    gate blocked: what is wrong with a model would live on in those that go on from it.
    """
    earlier = [(as_of, model_id) for as_of, model_id in _fits(settings, name) if as_of < before]
    decisions = settings.path("decisions")
    return next(
        (
            candidate
            for _, candidate in sorted(earlier, reverse=True)
            if not _blocked(decisions, candidate)
        ),
        None,
    )


def fit_times_of(settings: Settings, name: str) -> list[Hour]:
    """The times of a line's fits whose artefacts are there."""
    return [as_of for as_of, _ in _fits(settings, name)]


def _fits(settings: Settings, name: str) -> list[tuple[Hour, str]]:
    """Time and id of each fit of a line whose card can be read."""
    fits: list[tuple[Hour, str]] = []
    for path in sorted(settings.path("candidates").glob("*.json")):
        model_id = json.loads(path.read_text("utf-8")).get(name)
        if model_id is None:
            continue
        try:
            fits.append((read_card(settings.path("models") / model_id).as_of, model_id))
        except HourglassError:
            continue
    return fits


def check_candidates(settings: Settings) -> None:
    """Every line can be resolved and fitted, and baseline and candidates are among them.

    Raises:
        UsageError: naming the first that is not.
    """
    check_models(settings, facts_of(settings))
    names = [model.name for model in chosen(settings, [], None)]
    for role, name in (("gate.baseline", settings.gate.baseline), *_candidates(settings)):
        if name not in names:
            raise UsageError(f"{role}: no line is called {name!r}: use one of {', '.join(names)}")


def _candidates(settings: Settings) -> list[tuple[str, str]]:
    return [("candidate", name) for name in settings.candidates]


def judged_dataset(ctx: CommandContext, text: str) -> Path:
    """A data set by its id; ``last`` is the latest of which there is a baseline to judge against.

    A refit leaves a data set of the hour to come, on which nothing else was trained yet.

    Raises:
        UsageError: there is no such data set.
    """
    if text == "last":
        datasets: list[tuple[str, Path]] = []
        for path in ctx.settings.path("candidates").glob("*.json"):
            manifest = ctx.settings.path("shards") / path.stem / "manifest.json"
            if ctx.settings.gate.baseline in json.loads(path.read_text("utf-8")) and (
                manifest.is_file()
            ):
                as_of = str(json.loads(manifest.read_text("utf-8"))["as_of"])
                datasets.append((as_of, manifest.parent))
        if datasets:
            return max(datasets)[1]
    return ctx.dataset(text)


def _blocked(decisions: Path, model_id: str) -> bool:
    """Whether the latest decision about a model blocks it; one that cannot be read does."""
    verdicts: list[tuple[str, bool]] = []
    for path in decisions.glob(f"[0-9]*-{model_id}-*.json"):
        try:
            content = json.loads(path.read_text("utf-8"))
            verdicts.append((str(content.get("made_at")), _is_unsound(content)))
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return True
    return max(verdicts)[1] if verdicts else False


def _is_unsound(content: dict[str, Any]) -> bool:
    """Whether a decision blocks its candidate for something that lies in the candidate."""
    reasons = content.get("reasons", [])
    about_others = bool(reasons) and OF_NO_CANDIDATE.issuperset(reasons)
    return content["outcome"] == "block" and not about_others
