"""The landing zone that ``hourglass simulate`` fills: ``2026-01-05T13/events-00.jsonl.gz``."""

from __future__ import annotations

from pipeline.settings.settings import ColumnSettings, SourceSettings
from pipeline.sources.json_lines import JsonLinesSource

NAME = "simulator"
PATTERN = "**/events-*.jsonl.gz"


def source(settings: SourceSettings, pattern: str) -> JsonLinesSource:
    """Reads of a simulated news site; a file holds what arrived in its folder's hour."""
    columns = ColumnSettings(
        event_time="ts",
        user_id="user",
        item_id="item",
        event_type="type",
        value="load_s",
        event_key="id",
        context={"device": "device", "place": "place", "rank": "rank"},
    )
    return JsonLinesSource(NAME, pattern, columns, event_types=settings.event_types)
