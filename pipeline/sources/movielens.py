"""MovieLens ratings in the ``.inter`` format: TSV whose header names types (``rating:float``)."""

from __future__ import annotations

from pipeline.settings.settings import ColumnSettings, SourceSettings
from pipeline.sources.delimited import DelimitedSource

NAME = "movielens"
PATTERN = "**/*.inter*"


def source(settings: SourceSettings, pattern: str) -> DelimitedSource:
    """Ratings: the event's value is the rating.  Films and people are metadata (``.item``)."""
    columns = ColumnSettings(
        event_time="timestamp", user_id="user_id", item_id="item_id", value="rating"
    )
    return DelimitedSource(
        NAME,
        pattern,
        columns,
        delimiter="\t",
        quote=None,
        typed_header=True,
        default_event_type="rating",
        event_types=settings.event_types,
    )
