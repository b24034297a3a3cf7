"""Shop clicks of the RecSys Challenge 2015, as prepared for session models."""

from __future__ import annotations

from pipeline.settings.settings import ColumnSettings, SourceSettings
from pipeline.sources.delimited import DelimitedSource

NAME = "yoochoose"
PATTERN = "**/*.txt*"


def source(settings: SourceSettings, pattern: str) -> DelimitedSource:
    """TSV ``SessionId ItemId Time``, seconds with fractions.

    The log knows no users: each session is a user of its own, and is given as the session too.
    """
    columns = ColumnSettings(
        event_time="Time", user_id="SessionId", item_id="ItemId", given_session="SessionId"
    )
    return DelimitedSource(
        NAME,
        pattern,
        columns,
        delimiter="\t",
        quote=None,
        default_event_type="click",
        event_types=settings.event_types,
    )
