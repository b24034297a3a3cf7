"""Reading on a company's article site (CI&T Deskdrop): ``users_interactions.csv``."""

from __future__ import annotations

from pipeline.settings.settings import ColumnSettings, SourceSettings
from pipeline.sources.delimited import DelimitedSource

NAME = "deskdrop"
PATTERN = "**/users_interactions*.csv*"


def source(settings: SourceSettings, pattern: str) -> DelimitedSource:
    """Interactions of a person with a content; identities are signed 64-bit numbers, as text.

    The log's own ``sessionId`` does not follow the rule of silence, so it is kept as context
    (``site_session``) and never separates sessions.
    """
    columns = ColumnSettings(
        event_time="timestamp",
        user_id="personId",
        item_id="contentId",
        event_type="eventType",
        context={
            "site_session": "sessionId",
            "user_agent": "userAgent",
            "region": "userRegion",
            "country": "userCountry",
        },
    )
    return DelimitedSource(NAME, pattern, columns, event_types=settings.event_types)
