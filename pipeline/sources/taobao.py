"""Shop behaviour of Taobao users: CSV without a header, Unix seconds."""

from __future__ import annotations

from pipeline.settings.settings import ColumnSettings, SourceSettings
from pipeline.sources.delimited import DelimitedSource

NAME = "taobao"
PATTERN = "**/*.csv*"


def source(settings: SourceSettings, pattern: str) -> DelimitedSource:
    """Behaviours pv, fav, cart and buy of a user on an item; its category is context."""
    columns = ColumnSettings(
        event_time="time",
        user_id="user",
        item_id="item",
        event_type="behaviour",
        context={"category": "category"},
    )
    return DelimitedSource(
        NAME,
        pattern,
        columns,
        quote=None,
        has_header=False,
        field_names=("user", "item", "category", "behaviour", "time"),
        event_types=settings.event_types,
    )
