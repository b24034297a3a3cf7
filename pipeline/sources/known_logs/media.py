"""Public logs of reading, writing and listening."""

from __future__ import annotations

import re

from pipeline.settings.ignore import IgnoreRule
from pipeline.settings.source import ColumnSettings
from pipeline.sources.json_lines import JsonLinesSource
from pipeline.sources.known_logs.known_log import KnownLog
from pipeline.sources.known_logs.rewriting import MIND_HISTORY, MIND_IMPRESSIONS

# The log of Wikipedia counts seconds from its own start.  Another choice shifts every hour alike
# and changes no interval.
WIKIPEDIA_EPOCH = "2018-04-01T00"
OUTBRAIN_EPOCH = "2016-06-14T04"
_MIND_TIME = "%m/%d/%Y %I:%M:%S %p"

MEDIA = {
    # Reading on a company's article site (CI&T Deskdrop).  Identities are signed 64-bit numbers,
    # as text.  The log's own ``sessionId`` does not follow the rule of silence, so it is kept as
    # context and never separates sessions.
    "deskdrop": KnownLog(
        "A person opens, likes or comments on an article of a company's site (CI&T Deskdrop).",
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
        "An event of a public repository on GitHub, as GH Archive stores them since 2015.",
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
    # Page edits as published with JODIE: CSV ``u,i,ts,label``; 1 is a user who was then banned.
    "wikipedia": KnownLog(
        "An edit of a page of Wikipedia, as published with JODIE.",
        "**/*.csv*",
        ColumnSettings(event_time="ts", user_id="u", item_id="i", context={"state_label": "label"}),
        options={"default_event_type": "edit"},
        epoch=WIKIPEDIA_EPOCH,
    ),
    # The header of ``reddit_data.csv`` (Kaggle) is ``username,subreddit,utc``.
    "reddit": KnownLog(
        "A user of Reddit writes in a subreddit.",
        "**/*.csv*",
        ColumnSettings(event_time="utc", user_id="username", item_id="subreddit"),
        options={"default_event_type": "comment"},
    ),
    # The songs of a thousand users: TSV without a header.  Identities of songs and artists are
    # often missing, names never: the item is the artist.
    "lastfm_1k": KnownLog(
        "A user of Last.fm hears a song of an artist (Last.fm 1K users).",
        "**/userid-timestamp-artid-artname-traid-traname*.tsv*",
        ColumnSettings(
            event_time="time",
            user_id="user",
            item_id="artist_name",
            context={"song": "song_name"},
        ),
        options={
            "delimiter": "\t",
            "quote": None,
            "has_header": False,
            "field_names": ("user", "time", "artist", "artist_name", "song", "song_name"),
            "time_unit": "iso8601",
            "default_event_type": "listen",
        },
    ),
    # Articles of the newspaper Adresseavisen: JSON lines, seconds; the front page has no ``id``.
    # Their own session is told by its start and stop only.
    "adressa": KnownLog(
        "A reader of a Norwegian newspaper opens an article (Adressa).",
        "**/*",
        ColumnSettings(
            event_time="time",
            user_id="userId",
            item_id="id",
            value="activeTime",
            event_key="eventId",
            context={"device": "deviceType", "os": "os", "region": "region"},
        ),
        JsonLinesSource,
        {"time_unit": "s"},
    ),
    # Clicked articles of each view of the front page of Ekstra Bladet; who clicked on none has no
    # record that is an event.
    "ebnerd": KnownLog(
        "A reader of a Danish newspaper clicks on an article (EB-NeRD, behaviors.parquet).",
        "**/behaviors*.parquet",
        ColumnSettings(
            event_time="impression_time",
            user_id="user_id",
            item_id="article_ids_clicked",
            event_key="impression_id",
            given_session="session_id",
            context={"device": "device_type"},
        ),
        options={"default_event_type": "click"},
        table="parquet",
        explode="article_ids_clicked",
    ),
    # Milliseconds from 1465876799998, two before the hour that they are counted from here.
    "outbrain": KnownLog(
        "A page view on many publishers' sites (Outbrain, page_views.csv).",
        "**/page_views*.csv*",
        ColumnSettings(
            event_time="timestamp",
            user_id="uuid",
            item_id="document_id",
            context={"platform": "platform", "place": "geo_location", "source": "traffic_source"},
        ),
        options={"time_unit": "ms"},
        epoch=OUTBRAIN_EPOCH,
    ),
    # Views of the home page of Microsoft News, each a line without a header: ``N12-1`` in the list
    # of what was shown was clicked, ``N34-0`` was not.  Times name no zone.  Numbers of views begin
    # again in each of the published files, and so are no keys.
    "mind": KnownLog(
        "A reader of Microsoft News clicks on an article (MIND, behaviors.tsv).",
        "**/behaviors*.tsv*",
        ColumnSettings(event_time="time", user_id="user", item_id="news"),
        options={
            "delimiter": "\t",
            "quote": None,
            "has_header": False,
            "field_names": ("impression", "user", "time", "news", "clicked", "nth"),
            "default_event_type": "click",
        },
        time_format=_MIND_TIME,
        ignore=(IgnoreRule(name="shown, not clicked", column="clicked", equals=("0",)),),
        rewriting=MIND_IMPRESSIONS,
    ),
    # What a reader had clicked on before: MIND gives the order and no times.  All are given the
    # time of the view, so sessions of these events mean nothing; the same history stands in
    # every view of a reader, and counts once.
    "mind_history": KnownLog(
        "An earlier click of a reader of Microsoft News, by the time of a later view (MIND).",
        "**/behaviors*.tsv*",
        ColumnSettings(
            event_time="time", user_id="user", item_id="news", event_key=("user", "nth", "news")
        ),
        options={
            "delimiter": "\t",
            "quote": None,
            "has_header": False,
            "field_names": ("impression", "user", "time", "news", "nth"),
            "default_event_type": "earlier click",
        },
        time_format=_MIND_TIME,
        rewriting=MIND_HISTORY,
    ),
    # Messages of the Open Recommendation Platform, JSON lines, milliseconds.  The numbers are its
    # names of inputs: 25 the article, 57 the reader's cookie, 27 the publisher.
    "plista": KnownLog(
        "A reader opens an article of a news site (plista, messages of ORP as JSON lines).",
        "**/*",
        ColumnSettings(
            event_time="timestamp",
            user_id="context.simple.57",
            item_id="context.simple.25",
            event_type="event_type",
            context={
                "publisher": "context.simple.27",
                "browser": "context.simple.4",
                "system": "context.simple.6",
            },
        ),
        JsonLinesSource,
        {"time_unit": "ms", "default_event_type": "impression"},
    ),
}
