"""A known log as settings of the format that it is of: what there is to begin with."""

from __future__ import annotations

from typing import Any

from pipeline.settings.source import SourceSettings
from pipeline.sources.delimited import GENERIC, DelimitedSource
from pipeline.sources.known_logs.known_log import KnownLog

JSON_LINES = "json_lines"
# What a reader is given, by the setting that says the same.
_KEYS = {
    "delimiter": "delimiter",
    "quote": "quote",
    "has_header": "header",
    "field_names": "field_names",
    "time_unit": "time_unit",
    "default_event_type": "default_event_type",
}
_GH_ARCHIVE_HOURS = ["%Y-%m-%d-%H.json"]


def generic_format(log: KnownLog) -> str | None:
    """The format by which settings can read such files; None where only the log's name does."""
    if log.table is not None:
        return log.table
    if log.rewriting is not None or len(log.options.get("delimiter", ",")) > 1:
        return None
    return GENERIC if log.reader is DelimitedSource else JSON_LINES


def section_of(log: KnownLog) -> dict[str, Any] | None:
    """The settings section ``source`` that reads the log's files as its name does.

    Without ``path``, and only what differs from the defaults.  None where no settings do: lines
    that are read as others, or a header whose names have types.
    """
    name = generic_format(log)
    if name is None or log.options.get("typed_header"):
        return None
    settings: dict[str, Any] = {_KEYS[key]: log.options[key] for key in _KEYS & log.options.keys()}
    if name != GENERIC:
        # Readers of JSON take times for ISO 8601, settings for seconds.
        settings = {"time_unit": "iso8601"} | settings
    section = SourceSettings(
        name=name,
        pattern=log.pattern,
        columns=log.columns,
        explode=log.explode,
        time_format=log.time_format or (),
        ignore=log.ignore,
        **({"epoch": log.epoch} if log.epoch else {}),
        **({"arrival": _GH_ARCHIVE_HOURS} if "file_hour" in log.options else {}),
        **settings,
    )
    content = section.model_dump(mode="json", exclude_defaults=True)
    columns = {field: getattr(log.columns, field) for field in ("event_time", "user_id", "item_id")}
    # Also where they are called by default as they are here: every log needs them.
    content["columns"] = {**columns, **content.get("columns", {})}
    return {key: content[key] for key in SourceSettings.model_fields if key in content}
