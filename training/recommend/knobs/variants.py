"""Variants of the knobs that are set side by side: off, as the settings say, and value by value."""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import ValidationError

from pipeline.errors import UsageError, suggest
from pipeline.settings.learning import RecommendSettings
from training.recommend.knobs.tradeoff import Variant

#: Keys of `recommend:` that move lists.
KNOBS = (
    "popularity",
    "popular_hours",
    "freshness",
    "freshness_half_life",
    "max_per_category",
    "category",
    "exploration",
    "exploration_seed",
    "candidates",
)


def variants_of(rules: RecommendSettings, values: Sequence[str]) -> list[Variant]:
    """Without knobs; with those of the settings, if there are any; with each value over these.

    Args:
        rules: of the settings.
        values: like `popularity=-0.5,0.5`.

    Raises:
        UsageError: a key is no knob, a value is refused, or no knob is on in any variant.
    """
    variants = [Variant("off", rules.without_knobs())]
    if rules.has_knobs:
        variants.append(Variant("settings", rules))
    for text in values:
        key, equals, listed = text.partition("=")
        if not equals or not listed:
            raise UsageError(f"--knob {text}: write it like popularity=-0.5,0.5")
        if key not in KNOBS:
            raise UsageError(
                f"--knob {text}: {key!r} is no knob{suggest(key, KNOBS)}: use one of "
                f"{', '.join(KNOBS)}"
            )
        variants += [
            Variant(f"{key} {value}", _with(rules, key, value)) for value in listed.split(",")
        ]
    if not any(variant.rules.has_knobs for variant in variants):
        raise UsageError(
            "no knob is on: set one in `recommend:`, or give values to compare, like "
            "--knob popularity=-0.5,0.5"
        )
    return variants


def _with(rules: RecommendSettings, key: str, value: str) -> RecommendSettings:
    try:
        own = None if value == "null" else value
        return RecommendSettings(**{**rules.model_dump(), key: own})
    except ValidationError as error:
        reason = error.errors()[0]["msg"]
        raise UsageError(f"--knob {key}={value}: {reason}") from error
