"""Kinds of values that several sections have."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, Field

from pipeline.errors import HourglassError
from pipeline.hours import parse_duration_h
from pipeline.settings.time_text import check_formats

YEAR_H = 366 * 24
ALL_HOURS = "all"


def _duration(text: str) -> str:
    try:
        parse_duration_h(text)
    except HourglassError as error:
        raise ValueError(str(error)) from error
    return text


def _text_of_nothing(value: object) -> object:
    if value is None:
        raise ValueError('without quotes YAML takes this for no text at all: write "NULL"')
    return value


def list_of_texts(value: object) -> object:
    """Refuse a text where a list is meant (for pydantic, before its own checks)."""
    if isinstance(value, str):
        raise ValueError(f"write a list: [{value}]")
    return value


def named_once(value: str | tuple[str, ...]) -> tuple[str, ...]:
    """One or several names of models.

    Raises:
        ValueError: there is none, or one stands twice.
    """
    names = (value,) if isinstance(value, str) else value
    if not names or "" in names or len(set(names)) < len(names):
        raise ValueError("name at least one model, each once")
    return names


Duration = Annotated[str, AfterValidator(_duration)]
Fraction = Annotated[float, Field(ge=0, le=1)]
TimeUnit = Literal["d", "h", "min", "s", "ms", "us", "ns", "iso8601"]
EventType = Annotated[str, Field(min_length=1)]
NothingText = Annotated[str, BeforeValidator(_text_of_nothing)]
TimeFormats = Annotated[str | tuple[str, ...], AfterValidator(check_formats)]
# Names travel into SQL joined by U+001F.
ContextName = Annotated[str, Field(min_length=1, pattern=r"^[^\x1f]+$")]
