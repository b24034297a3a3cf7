"""What the settings say of the texts of fields, whatever the format they come in."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from pipeline.settings.ignore import IgnoreRule
from pipeline.settings.source import SourceSettings
from pipeline.sources.robots import list_version


@dataclass(frozen=True)
class FieldRules:
    """How texts are understood; the defaults are those of a source before it had such rules.

    ``nothing``: texts that mean no value.  ``trim``: whether white space around ids and times, and
    how JSON writes a number that is one, does not count.  ``bad_values``: what an optional field
    costs that cannot be read.  ``time_formats``, ``timezone``: see
    :func:`pipeline.sources.times.time_reader`.  ``ignore``: which records are left out.
    ``decimal``: what stands before the fraction of a number.
    """

    nothing: tuple[str, ...] = ()
    trim: bool = False
    bad_values: Literal["drop", "refuse"] = "refuse"
    time_formats: tuple[str, ...] = ()
    timezone: str | None = None
    ignore: tuple[IgnoreRule, ...] = ()
    decimal: Literal[".", ","] = "."

    @property
    def drops(self) -> bool:
        """Whether a bad optional value costs itself alone."""
        return self.bad_values == "drop"

    @property
    def ignored_by(self) -> list[str]:
        """The columns that rules look at to leave a record out."""
        return sorted(
            {str(condition.column) for rule in self.ignore for condition in rule.conditions}
        )

    def rules(self) -> dict[str, Any]:
        """What decides what a line becomes, ready for JSON; what is at its default is left out."""
        rules: dict[str, Any] = {}
        if self.nothing:
            rules["nothing"] = sorted(set(self.nothing))
        if self.trim:
            rules["trim"] = True
        if self.drops:
            rules["bad_values"] = self.bad_values
        if self.time_formats:
            rules["time_formats"] = list(self.time_formats)
        if self.timezone is not None:
            rules["timezone"] = self.timezone
        if self.decimal != ".":
            rules["decimal"] = self.decimal
        if self.ignore:
            # A rule of another name leaves out the same records.
            rules["ignore"] = [
                rule.model_dump(mode="json", exclude_defaults=True, exclude={"name"})
                for rule in self.ignore
            ]
        if any(condition.robots for rule in self.ignore for condition in rule.conditions):
            rules["robots"] = list_version()
        return rules


#: A source before it had such rules.
NO_RULES = FieldRules()


def field_rules_of(settings: SourceSettings) -> FieldRules:
    """The rules that the settings state."""
    formats = settings.time_format
    return FieldRules(
        tuple(dict.fromkeys(settings.nothing)),
        settings.trim,
        settings.bad_values,
        (formats,) if isinstance(formats, str) else formats,
        settings.timezone,
        settings.ignore,
        settings.decimal,
    )
