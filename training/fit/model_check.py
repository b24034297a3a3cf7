"""Whether models can be fitted at all, by the settings alone: before anything is trained.

The same checks are made again when a model is fitted; here all models are checked before the first
of them costs minutes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from pipeline.errors import UsageError
from pipeline.hours import parse_duration_h
from pipeline.settings.settings import Settings
from training.fit.model_configs import ModelConfig, agreeing, resolve
from training.models import build


@runtime_checkable
class NeedsPopularity(Protocol):
    """Parameters that ask for hourly popularity of so many hours."""

    def require_popularity_window(self, hours: int) -> None: ...  # noqa: D102


@runtime_checkable
class NeedsEventTypes(Protocol):
    """Parameters that name types of events."""

    def require_event_types(self, event_types: Sequence[str]) -> None: ...  # noqa: D102


@dataclass(frozen=True)
class Facts:
    """What is known of the data set that will be learned from; None and no types: nothing yet."""

    popularity_window_h: int | None = None
    event_types: Sequence[str] = ()


def facts_of(settings: Settings) -> Facts:
    """Of a data set that is made by these settings."""
    rules = settings.dataset
    return Facts(parse_duration_h(rules.popularity_window), rules.event_types)


def check_models(settings: Settings, facts: Facts) -> None:
    """Check every model that the settings list.

    Raises:
        UsageError: naming the first that could not be fitted, and the parameter.
    """
    for model in settings.models:
        with naming(f"model {model.name!r}"):
            check_model(agreeing(resolve(model), settings.evaluation.repeats == "keep"), facts)


def check_model(model: ModelConfig, facts: Facts) -> None:
    """Refuse parameters that the model's system does not take, or cannot be fitted with.

    Raises:
        UsageError: naming the parameter.
    """
    parameters = getattr(build(model.system, model.parameters), "parameters", None)
    if isinstance(parameters, NeedsPopularity) and facts.popularity_window_h is not None:
        parameters.require_popularity_window(facts.popularity_window_h)
    if isinstance(parameters, NeedsEventTypes) and facts.event_types:
        parameters.require_event_types(facts.event_types)


@contextmanager
def naming(what: str) -> Iterator[None]:
    """Begin the sentence of a refusal with the model or arm that it is about."""
    try:
        yield
    except UsageError as error:
        sentence = str(error)
        raise UsageError(
            sentence if sentence.startswith(what) else f"{what}: {sentence}"
        ) from error
