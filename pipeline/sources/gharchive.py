"""Public GitHub events as GH Archive stores them since 2015: an hour a file, JSON lines."""

from __future__ import annotations

import re

from pipeline.settings.settings import ColumnSettings, SourceSettings
from pipeline.sources.json_lines import JsonLinesSource

NAME = "gharchive"
PATTERN = "**/*.json*"
_FILE_HOUR = re.compile(r"(\d{4}-\d{2}-\d{2})-(\d{1,2})\.json[^/]*$")


def source(settings: SourceSettings, pattern: str) -> JsonLinesSource:
    """Events of an actor on a repository, keyed by their own id; the payload is left out."""
    columns = ColumnSettings(
        event_time="created_at",
        user_id="actor.id",
        item_id="repo.id",
        event_type="type",
        event_key="id",
        context={"repo": "repo.name", "org": "org.login"},
    )
    return JsonLinesSource(
        NAME, pattern, columns, event_types=settings.event_types, file_hour=_FILE_HOUR
    )
