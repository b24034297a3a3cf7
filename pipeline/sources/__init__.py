"""Every format of raw logs, by name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from pipeline.errors import UsageError
from pipeline.hours import Hour
from pipeline.settings.source import SourceSettings
from pipeline.sources import access_log
from pipeline.sources.base import Ignored, Parsed, ParsedEvent, Parser, Record, Refusal, Source
from pipeline.sources.delimited import GENERIC, DelimitedSource
from pipeline.sources.field_rules import field_rules_of
from pipeline.sources.json_lines import JsonLinesSource
from pipeline.sources.known_logs import KNOWN_LOGS
from pipeline.sources.known_logs.as_settings import generic_format, section_of
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
    "source_section",
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
    "decimal",
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
_JSON_HAS_NONE = ("decimal", "delimiter", "field_names", "header", "quote", "quoted_newlines")
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
        raise UsageError(_unknown(settings.name))
    build, own_pattern, fixed = _SOURCES[settings.name]
    for key in sorted(set(fixed) - _MAY_BE_SET.get(settings.name, set())):
        if getattr(settings, key) != SourceSettings.model_fields[key].get_default():
            raise UsageError(
                f"source.{key} is set, but source {settings.name!r} fixes it: remove the setting"
                f"{_or_name_another(settings.name)}"
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


def _or_name_another(name: str) -> str:
    """What else may be done where a source fixes a setting."""
    if name in _GENERIC:
        return ""
    log = KNOWN_LOGS.get(name)
    generic = None if log is None else generic_format(log)
    if log is None or generic is None:
        return "; nothing else reads such files"
    other = f", or name the source {generic!r}"
    if section_of(log) is None:
        return other
    return f"{other}: hourglass source --name {name} prints the settings to begin with"


def source_section(name: str) -> dict[str, Any]:
    """The settings section ``source``, without ``path``, that says what a known log's name says.

    Raises:
        UsageError: there is no such source, or no other settings read its files.
    """
    if name not in _SOURCES:
        raise UsageError(_unknown(name))
    if name in _GENERIC:
        raise UsageError(f"source {name!r} has no settings of its own: yours say how it is read")
    log = KNOWN_LOGS.get(name)
    section = None if log is None else section_of(log)
    if section is not None:
        return section
    reason = "nothing else reads such files"
    if log is not None and log.options.get("typed_header"):
        reason = "the names in its header have types (rating:float)"
    raise UsageError(f"no settings say what source {name!r} does: {reason}")


def _unknown(name: str) -> str:
    return f"source.name = {name!r} is not a source: use one of {', '.join(SOURCE_NAMES)}"


def _times_are_numbers(settings: SourceSettings) -> bool:
    if settings.name == access_log.NAME:
        return settings.header
    # A table's own timestamps need neither unit nor format.
    return (
        settings.name not in FORMATS
        and not settings.time_format
        and settings.time_unit != "iso8601"
    )
