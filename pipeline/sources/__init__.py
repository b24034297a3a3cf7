"""Every format of raw logs, by name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from pipeline.errors import UsageError
from pipeline.hours import Hour
from pipeline.settings.source import SourceSettings
from pipeline.sources import access_log
from pipeline.sources.base import Ignored, Parsed, ParsedEvent, Parser, Record, Refusal, Source
from pipeline.sources.delimited import GENERIC, DelimitedSource
from pipeline.sources.field_rules import field_rules_of
from pipeline.sources.json_lines import JsonLinesSource
from pipeline.sources.known_logs import KNOWN_LOGS
from pipeline.sources.tables.source import FORMATS, TableSource

__all__ = [
    "SOURCE_NAMES",
    "Ignored",
    "Parsed",
    "ParsedEvent",
    "Parser",
    "Record",
    "Refusal",
    "Source",
    "source_for",
]


def _delimited(settings: SourceSettings, pattern: str) -> Source:
    return DelimitedSource(
        GENERIC,
        pattern,
        settings.columns,
        delimiter=settings.delimiter,
        quote=settings.quote,
        has_header=settings.header,
        field_names=settings.field_names,
        time_unit=settings.time_unit,
        epoch=Hour.parse(settings.epoch),
        default_event_type=settings.default_event_type,
        event_types=settings.event_types,
        field_rules=field_rules_of(settings),
        quoted_newlines=settings.quoted_newlines,
    )


def _json_lines(settings: SourceSettings, pattern: str) -> JsonLinesSource:
    return JsonLinesSource(
        "json_lines",
        pattern,
        settings.columns,
        time_unit=settings.time_unit,
        epoch=Hour.parse(settings.epoch),
        default_event_type=settings.default_event_type,
        event_types=settings.event_types,
        field_rules=field_rules_of(settings),
        explode=settings.explode,
    )


def _table(settings: SourceSettings, pattern: str) -> Source:
    records = replace(_json_lines(settings, pattern), explode=None)
    return TableSource(settings.name, pattern, records, settings.name, settings.explode)


_DESCRIPTION = (
    "columns",
    "default_event_type",
    "delimiter",
    "epoch",
    "explode",
    "field_names",
    "header",
    "quote",
    "quoted_newlines",
    "time_format",
    "time_unit",
    "timezone",
)
_DELIMITED_HAS_NONE = ("explode",)
_JSON_HAS_NONE = ("delimiter", "field_names", "header", "quote", "quoted_newlines")
_TABLES_HAVE_NONE = (*_JSON_HAS_NONE, "encoding")
# They describe nothing themselves: their settings do.
_GENERIC = frozenset({GENERIC, "json_lines", *FORMATS})

# name -> how it is built, its default pattern, the settings that it fixes itself
_SOURCES: dict[str, tuple[Callable[[SourceSettings, str], Source], str, tuple[str, ...]]] = {
    GENERIC: (_delimited, "**/*", _DELIMITED_HAS_NONE),
    "json_lines": (_json_lines, "**/*", _JSON_HAS_NONE),
    **dict.fromkeys(FORMATS, (_table, "**/*", _TABLES_HAVE_NONE)),
    access_log.NAME: (access_log.source, access_log.PATTERN, _DESCRIPTION),
    **{name: (log.source, log.pattern, _DESCRIPTION) for name, log in KNOWN_LOGS.items()},
}
_MAY_BE_SET = {access_log.NAME: {"header", "timezone"}} | {
    name: {"epoch"} for name, log in KNOWN_LOGS.items() if log.epoch is not None
}

SOURCE_NAMES: tuple[str, ...] = tuple(sorted(_SOURCES))


def source_for(settings: SourceSettings) -> Source:
    """The format that the settings name, with its file pattern settled.

    Raises:
        UsageError: no such format, or a setting describes a format that describes itself.
    """
    if settings.name not in _SOURCES:
        raise UsageError(
            f"source.name = {settings.name!r} is not a source: use one of {', '.join(SOURCE_NAMES)}"
        )
    build, own_pattern, fixed = _SOURCES[settings.name]
    for key in sorted(set(fixed) - _MAY_BE_SET.get(settings.name, set())):
        if getattr(settings, key) != SourceSettings.model_fields[key].get_default():
            raise UsageError(
                f"source.{key} is set, but source {settings.name!r} fixes it: remove the setting"
                + ("" if settings.name in _GENERIC else ", or name the source 'delimited'")
            )
    if (
        settings.time_format
        and settings.time_unit != SourceSettings.model_fields["time_unit"].default
    ):
        raise UsageError("source.time_format and source.time_unit are both set: remove one of them")
    if settings.timezone is not None and _times_are_numbers(settings):
        raise UsageError(
            "source.timezone is of times written as text, and these are numbers: remove it, or set "
            "source.time_unit to iso8601, or source.time_format"
        )
    default_pattern = SourceSettings.model_fields["pattern"].get_default()
    pattern = own_pattern if settings.pattern == default_pattern else settings.pattern
    return build(settings, pattern)


def _times_are_numbers(settings: SourceSettings) -> bool:
    if settings.name == access_log.NAME:
        return settings.header
    # A table's own timestamps need neither unit nor format.
    return (
        settings.name not in FORMATS
        and not settings.time_format
        and settings.time_unit != "iso8601"
    )
