"""Public logs whose format is known by name: a table of what their files are and how they read."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pipeline.hours import Hour
from pipeline.settings.settings import ColumnSettings, SourceSettings
from pipeline.sources.delimited import DelimitedSource
from pipeline.sources.field_rules import field_rules_of
from pipeline.sources.json_lines import JsonLinesSource

# The log of Wikipedia counts seconds from its own start.  Another choice shifts every hour alike
# and changes no interval.
WIKIPEDIA_EPOCH = "2018-04-01T00"


@dataclass(frozen=True)
class KnownLog:
    """Which files are the log's, what their columns are, and what else the reader is given."""

    pattern: str
    columns: ColumnSettings
    reader: type[DelimitedSource | JsonLinesSource] = DelimitedSource
    options: Mapping[str, Any] = field(default_factory=dict)
    epoch: str | None = None  # its own, which ``source.epoch`` may replace

    def source(self, settings: SourceSettings, pattern: str) -> DelimitedSource | JsonLinesSource:
        """The log's reader under the name that the settings give it."""
        options = dict(self.options)
        if self.epoch is not None:
            default = SourceSettings.model_fields["epoch"].default
            options["epoch"] = Hour.parse(
                self.epoch if settings.epoch == default else settings.epoch
            )
        return self.reader(
            settings.name,
            pattern,
            self.columns,
            event_types=settings.event_types,
            field_rules=field_rules_of(settings),
            **options,
        )


KNOWN_LOGS = {
    # Reading on a company's article site (CI&T Deskdrop).  Identities are signed 64-bit numbers,
    # as text.  The log's own ``sessionId`` does not follow the rule of silence, so it is kept as
    # context and never separates sessions.
    "deskdrop": KnownLog(
        "**/users_interactions*.csv*",
        ColumnSettings(
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
        ),
    ),
    # Public GitHub events as GH Archive stores them since 2015: an hour a file, JSON lines, keyed
    # by their own id.  The payload is left out.
    "gharchive": KnownLog(
        "**/*.json*",
        ColumnSettings(
            event_time="created_at",
            user_id="actor.id",
            item_id="repo.id",
            event_type="type",
            event_key="id",
            context={"repo": "repo.name", "org": "org.login"},
        ),
        JsonLinesSource,
        {"file_hour": re.compile(r"(\d{4}-\d{2}-\d{2})-(\d{1,2})\.json[^/]*$")},
    ),
    # MovieLens ratings in the ``.inter`` format: TSV whose header names types (``rating:float``).
    # Films and people are metadata (``.item``).
    "movielens": KnownLog(
        "**/*.inter*",
        ColumnSettings(
            event_time="timestamp", user_id="user_id", item_id="item_id", value="rating"
        ),
        options={
            "delimiter": "\t",
            "quote": None,
            "typed_header": True,
            "default_event_type": "rating",
        },
    ),
    # What ``hourglass simulate`` writes: a file holds what arrived in its folder's hour.
    "simulator": KnownLog(
        "**/events-*.jsonl.gz",
        ColumnSettings(
            event_time="ts",
            user_id="user",
            item_id="item",
            event_type="type",
            value="load_s",
            event_key="id",
            context={"device": "device", "place": "place", "rank": "rank"},
        ),
        JsonLinesSource,
    ),
    # Shop behaviour of Taobao users (pv, fav, cart, buy): CSV without a header, Unix seconds.
    "taobao": KnownLog(
        "**/*.csv*",
        ColumnSettings(
            event_time="time",
            user_id="user",
            item_id="item",
            event_type="behaviour",
            context={"category": "category"},
        ),
        options={
            "quote": None,
            "has_header": False,
            "field_names": ("user", "item", "category", "behaviour", "time"),
        },
    ),
    # Page edits as published with JODIE: CSV ``u,i,ts,label``; 1 is a user who was then banned.
    "wikipedia": KnownLog(
        "**/*.csv*",
        ColumnSettings(event_time="ts", user_id="u", item_id="i", context={"state_label": "label"}),
        options={"default_event_type": "edit"},
        epoch=WIKIPEDIA_EPOCH,
    ),
    # Shop clicks of the RecSys Challenge 2015: TSV ``SessionId ItemId Time``, seconds with
    # fractions.  The log knows no users: each session is a user of its own, and the session too.
    "yoochoose": KnownLog(
        "**/*.txt*",
        ColumnSettings(
            event_time="Time", user_id="SessionId", item_id="ItemId", given_session="SessionId"
        ),
        options={"delimiter": "\t", "quote": None, "default_event_type": "click"},
    ),
}
