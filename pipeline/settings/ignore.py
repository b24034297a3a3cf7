"""Which records are none of our business: ``source.ignore``."""

from __future__ import annotations

import re
from typing import Annotated, Self

from pydantic import BeforeValidator, Field, field_validator, model_validator

from pipeline.settings.section import Section


def _as_text(value: object) -> object:
    """408 is written without quotes, and meant as the text that a record holds."""
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


class IgnoreCondition(Section):
    """What a column (or dotted path) holds; of several keys all must hold."""

    column: str | None = Field(
        None,
        description="the column, or the dotted path in JSON lines; of web logs server, host, time, "
        "request, method, url, response, bytes, referer or user_agent",
    )
    equals: tuple[Annotated[str, BeforeValidator(_as_text)], ...] = Field(
        (), description="the column holds one of these texts"
    )
    matches: str | None = Field(
        None, description="a regular expression (Python's) fits anywhere in the column's text"
    )
    present: bool | None = Field(
        None, description="true: the column holds something; false: nothing, see source.nothing"
    )
    robots: bool = Field(
        False, description="the column holds the user agent of a robot on a public list"
    )

    @field_validator("matches")
    @classmethod
    def _expression(cls, text: str | None) -> str | None:
        if text is not None:
            try:
                re.compile(text)
            except re.error as error:
                raise ValueError(f"is no regular expression: {error}") from error
        return text

    @property
    def is_empty(self) -> bool:
        """Whether it says nothing of what the column holds."""
        return not (self.equals or self.robots or (self.matches, self.present) != (None, None))

    @property
    def words(self) -> str:
        """What it says, for people."""
        texts = [
            *([f"is {' or '.join(self.equals)}"] if self.equals else []),
            *([f"matches {self.matches}"] if self.matches is not None else []),
            *(
                [{True: "is there", False: "is absent"}[self.present]]
                if self.present in (True, False)
                else []
            ),
            *(["is a robot's"] if self.robots else []),
        ]
        return f"{self.column} {' and '.join(texts)}"


class IgnoreRule(IgnoreCondition):
    """Records to leave out: those of some types, or of which all conditions hold."""

    name: str = Field("", description="what the summary calls them; default: the conditions")
    event_types: tuple[str, ...] = Field((), description="the event's type is one of these")
    also: tuple[IgnoreCondition, ...] = Field(
        (), description="conditions on other columns that must hold too"
    )

    @model_validator(mode="after")
    def _says_something(self) -> Self:
        conditions: tuple[IgnoreCondition, ...] = (self, *self.also)
        for condition in conditions:
            if (condition.column is None) != condition.is_empty:
                raise ValueError(
                    "a condition needs a column and what it holds: equals, matches, present or "
                    "robots"
                )
        if self.column is None and not self.event_types:
            raise ValueError("a rule needs a column and what it holds, or event_types")
        if any(condition.column is None for condition in self.also):
            raise ValueError("each condition in also needs a column")
        return self

    @property
    def conditions(self) -> tuple[IgnoreCondition, ...]:
        """Those on columns."""
        return (*([] if self.column is None else [self]), *self.also)

    @property
    def label(self) -> str:
        """What the summary calls the records."""
        types = [f"event_type is {' or '.join(self.event_types)}"] if self.event_types else []
        return self.name or ", ".join([*types, *(each.words for each in self.conditions)])
