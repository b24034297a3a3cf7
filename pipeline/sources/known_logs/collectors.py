"""What collectors of events write: the simulator's log, and what companies collect with."""

from __future__ import annotations

from pipeline.settings.source import ColumnSettings
from pipeline.sources.json_lines import JsonLinesSource
from pipeline.sources.known_logs.known_log import KnownLog
from pipeline.sources.known_logs.snowplow import SNOWPLOW_COLUMNS

# Where the export of Google Analytics 4 has what; of parameters it keeps a list of pairs.
_GA4_COLUMNS = ColumnSettings(
    event_time="event_timestamp",
    user_id="user_pseudo_id",
    item_id="items.item_id",
    event_type="event_name",
    value="items.price",
    given_session="event_params[ga_session_id].value.int_value",
    context={
        "device": "device.category",
        "country": "geo.country",
        "page": "event_params[page_location].value.string_value",
        "title": "event_params[page_title].value.string_value",
    },
)

COLLECTORS = {
    # What ``hourglass simulate`` writes: a file holds what arrived in its folder's hour.
    "simulator": KnownLog(
        "What hourglass simulate writes.",
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
    # Articles of Google Analytics 4: the export to BigQuery, written as Parquet, a record for each
    # element of ``items``; microseconds.  An event without items, such as a page view, has none.
    "ga4": KnownLog(
        "An article in an event of Google Analytics 4 (export from BigQuery as Parquet).",
        "**/*.parquet",
        _GA4_COLUMNS,
        options={"time_unit": "us"},
        table="parquet",
        explode="items",
    ),
    # The same, exported as JSON: whole numbers are texts there, and what is null is left out.
    "ga4_json": KnownLog(
        "An article in an event of Google Analytics 4 (export from BigQuery as JSON lines).",
        "**/*.json*",
        _GA4_COLUMNS,
        JsonLinesSource,
        {"time_unit": "us"},
        explode="items",
    ),
    # What the method Live.getLastVisitsDetails answers in JSON, a visit a line.  Actions have no
    # key of their own: theirs is the visit's with their number in it.
    "matomo": KnownLog(
        "An action in a visit, as Matomo's Live.getLastVisitsDetails tells it (JSON lines).",
        "**/*.json*",
        ColumnSettings(
            event_time="actionDetails.timestamp",
            user_id="visitorId",
            item_id="actionDetails.url",
            event_type="actionDetails.type",
            value="actionDetails.timeSpent",
            event_key="idVisit",
            given_session="idVisit",
            context={
                "site": "idSite",
                "title": "actionDetails.pageTitle",
                "device": "deviceType",
                "country": "countryCode",
            },
        ),
        JsonLinesSource,
        {"time_unit": "s", "default_event_type": "action"},
        explode="actionDetails",
    ),
    # The table of actions of Matomo's database, as CSV below a header.  Pages are the numbers of
    # ``log_action``; NULL, however it is written, is for ``source.nothing`` to say.
    "matomo_actions": KnownLog(
        "An action in the database of Matomo (log_link_visit_action as CSV with a header).",
        "**/*log_link_visit_action*.csv*",
        ColumnSettings(
            event_time="server_time",
            user_id="idvisitor",
            item_id="idaction_url",
            event_key="idlink_va",
            given_session="idvisit",
            context={"site": "idsite", "title": "idaction_name"},
        ),
        options={"time_unit": "iso8601", "default_event_type": "action"},
    ),
    # Enriched events of Snowplow: TSV without a header.  The item is the page's path; of the type
    # ``page_ping`` are those that only say that a page is still open.
    "snowplow": KnownLog(
        "An event that Snowplow has enriched, on a page (TSV of 131 columns).",
        "**/*",
        ColumnSettings(
            event_time="derived_tstamp",
            user_id="domain_userid",
            item_id="page_urlpath",
            event_type="event_name",
            event_key="event_id",
            given_session="domain_sessionid",
            context={"app": "app_id", "device": "dvce_type", "country": "geo_country"},
        ),
        options={
            "delimiter": "\t",
            "quote": None,
            "has_header": False,
            "field_names": SNOWPLOW_COLUMNS,
            "time_unit": "iso8601",
        },
    ),
    # Calls of Segment and RudderStack as they store them: JSON lines.  The item is the product of
    # their events of shops; pages and screens have none.  What servers call knows people alone.
    "segment": KnownLog(
        "An event on a product, as Segment and RudderStack store it (JSON lines).",
        "**/*",
        ColumnSettings(
            event_time="timestamp",
            user_id="anonymousId",
            user_fallback="userId",
            item_id="properties.product_id",
            event_type="event",
            value="properties.price",
            event_key="messageId",
            context={"person": "userId", "call": "type", "page": "context.page.path"},
        ),
        JsonLinesSource,
    ),
    # A batch export of PostHog to files of JSON lines.
    "posthog": KnownLog(
        "An event on a page, as PostHog exports it (JSON lines).",
        "**/*.jsonl*",
        ColumnSettings(
            event_time="timestamp",
            user_id="distinct_id",
            item_id="properties.$pathname",
            event_type="event",
            event_key="uuid",
            given_session="properties.$session_id",
            context={"device": "properties.$device_type"},
        ),
        JsonLinesSource,
    ),
}
