"""What collectors of events write: the simulator's log, and what companies collect with."""

from __future__ import annotations

from pipeline.settings.settings import ColumnSettings
from pipeline.sources.json_lines import JsonLinesSource
from pipeline.sources.known_logs.known_log import KnownLog
from pipeline.sources.known_logs.snowplow import SNOWPLOW_COLUMNS

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
        ColumnSettings(
            event_time="event_timestamp",
            user_id="user_pseudo_id",
            item_id="items.item_id",
            event_type="event_name",
            value="items.price",
            context={"device": "device.category", "country": "geo.country"},
        ),
        options={"time_unit": "us"},
        table="parquet",
        explode="items",
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
    # their events of shops; pages and screens have none.
    "segment": KnownLog(
        "An event on a product, as Segment and RudderStack store it (JSON lines).",
        "**/*",
        ColumnSettings(
            event_time="timestamp",
            user_id="anonymousId",
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
