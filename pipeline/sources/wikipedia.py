"""Page edits on Wikipedia as published with JODIE: CSV ``u,i,ts,label``.

The log counts seconds from its own start.  Its zero is taken as 2018-04-01T00 unless
``source.epoch`` says otherwise; the choice shifts every hour alike and changes no interval.
"""

from __future__ import annotations

from pipeline.hours import Hour
from pipeline.settings.settings import ColumnSettings, SourceSettings
from pipeline.sources.delimited import DelimitedSource

NAME = "wikipedia"
PATTERN = "**/*.csv*"
EPOCH = "2018-04-01T00"


def source(settings: SourceSettings, pattern: str) -> DelimitedSource:
    """Edits: user ``u`` on page ``i``; a label of 1 (the user was then banned) is context."""
    default_epoch = SourceSettings.model_fields["epoch"].default
    epoch = EPOCH if settings.epoch == default_epoch else settings.epoch
    columns = ColumnSettings(
        event_time="ts", user_id="u", item_id="i", context={"state_label": "label"}
    )
    return DelimitedSource(
        NAME,
        pattern,
        columns,
        epoch=Hour.parse(epoch),
        default_event_type="edit",
        event_types=settings.event_types,
    )
