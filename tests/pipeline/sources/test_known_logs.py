"""A sample of each log that is known by name, made by us in its shape, and what it becomes."""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.settings.source import SourceSettings
from pipeline.sources import ParsedEvent, Refusal, source_for
from pipeline.sources.known_logs import KNOWN_LOGS
from pipeline.sources.known_logs.snowplow import SNOWPLOW_COLUMNS
from pipeline.sources.tables.source import TableSource


class Sample(NamedTuple):
    """A file's name, its header if any and a line, and what becomes of that."""

    file: str
    lines: tuple[str, ...]
    event: ParsedEvent
    bad_line: str = ""
    reason: str = ""


def us(text: str) -> int:
    return round(datetime.fromisoformat(text).timestamp() * 1_000) * 1_000


def event(  # an event without what most logs lack
    time: str,
    user: str,
    item: str,
    kind: str,
    value: float | None = None,
    session: str | None = None,
    key: str | None = None,
    **context: str,
) -> ParsedEvent:
    return ParsedEvent(us(time), user, item, kind, value, session, context, key)


def snowplow(**fields: str) -> str:
    assert fields.keys() <= set(SNOWPLOW_COLUMNS)
    return "\t".join(fields.get(name, "") for name in SNOWPLOW_COLUMNS)


SEGMENT = {
    "messageId": "ajs-1",
    "type": "track",
    "event": "Product Viewed",
    "anonymousId": "a-7",
    "userId": "person@shop.example",
    "timestamp": "2024-03-05T10:15:30.123Z",
    "sentAt": "2024-03-05T10:15:31.000Z",
    "receivedAt": "2024-03-05T10:15:32.000Z",
    "properties": {"product_id": "507", "price": 18.99, "name": "Mug"},
    "context": {"page": {"path": "/mugs"}, "library": {"name": "analytics.js"}},
}
POSTHOG = {
    "uuid": "018e-1",
    "event": "$pageview",
    "timestamp": "2024-03-05T10:15:30.123000+00:00",
    "distinct_id": "d-7",
    "properties": {
        "$pathname": "/mugs",
        "$session_id": "s-1",
        "$device_type": "Mobile",
        "$feature_flags": ["a"],
    },
}
ADRESSA = {
    "eventId": 730213061,
    "time": 1_483_225_202,
    "userId": "cx:i8i85z7",
    "id": "6d0a5d0c",
    "title": "En tittel",
    "activeTime": 23,
    "deviceType": "Mobile",
    "os": "iOS",
    "region": "trondelag",
    "keywords": ["a", "b"],
    "sessionStart": False,
    "sessionStop": True,
}

SAMPLES = {
    "retailrocket": Sample(
        "events.csv",
        (
            "timestamp,visitorid,event,itemid,transactionid",
            "1433221332117,257597,transaction,355908,4000",
        ),
        event(
            "2015-06-02T05:02:12.117Z",
            "257597",
            "355908",
            "transaction",
            transaction="4000",
        ),
        "1433221332117,257597,view,,",
        "no item_id",
    ),
    "trivago": Sample(
        "train.csv",
        (
            "user_id,session_id,timestamp,step,action_type,reference,platform,city,device,"
            "current_filters,impressions,prices",
            '0RL8,aff3,1541037460,2,clickout item,109038,AU,"Sydney, Australia",mobile,,'
            "3400|109038,95|66",
        ),
        event(
            "2018-11-01T01:57:40Z",
            "0RL8",
            "109038",
            "clickout item",
            session="aff3",
            step="2",
            platform="AU",
            city="Sydney, Australia",
            device="mobile",
        ),
        "0RL8,aff3,1541037460,2",
        "4 fields where 12 were expected",
    ),
    "tianchi_mobile": Sample(
        "tianchi_mobile_recommend_train_user.csv",
        (
            "user_id,item_id,behavior_type,user_geohash,item_category,time",
            "98047837,232431562,1,95q6d6a,4245,2014-12-06 02",
        ),
        event(
            "2014-12-06T02:00:00Z",
            "98047837",
            "232431562",
            "1",
            category="4245",
            place="95q6d6a",
        ),
        "98047837,232431562,1,,4245,soon",
        "event_time is not an ISO 8601 time",
    ),
    "movielens_dat": Sample(
        "ml-1m/ratings.dat",
        ("1::1193::5::978300760",),
        event("2000-12-31T22:12:40Z", "1", "1193", "rating", 5.0),
        "1::1193:5::978300760",
        "3 fields where 4 were expected",
    ),
    "movielens_csv": Sample(
        "ml-25m/ratings.csv",
        ("userId,movieId,rating,timestamp", "1,296,4.5,1147880044"),
        event("2006-05-17T15:34:04Z", "1", "296", "rating", 4.5),
        "1,296,good,1147880044",
        "value is not a finite number",
    ),
    "amazon_reviews": Sample(
        "reviews_Books_5.json.gz",
        (
            json.dumps(
                {
                    "reviewerID": "A2SU",
                    "asin": "0000013714",
                    "helpful": [2, 3],
                    "overall": 5.0,
                    "unixReviewTime": 1_252_800_000,
                }
            ),
        ),
        event("2009-09-13T00:00:00Z", "A2SU", "0000013714", "review", 5.0),
        '{"asin": "1"}',
        "no user_id",
    ),
    "amazon_reviews_2023": Sample(
        "Books.jsonl.gz",
        (
            json.dumps(
                {
                    "rating": 4.0,
                    "asin": "B01",
                    "parent_asin": "B00",
                    "user_id": "AE7",
                    "timestamp": 1_588_687_728_923,
                }
            ),
        ),
        event("2020-05-05T14:08:48.923Z", "AE7", "B00", "review", 4.0, variant="B01"),
        '{"user_id": "AE7"}',
        "no item_id",
    ),
    "reddit": Sample(
        "reddit_data.csv",
        ("username,subreddit,utc", "kabanossi,photoshopbattles,1482748278.0"),
        event("2016-12-26T10:31:18Z", "kabanossi", "photoshopbattles", "comment"),
        "kabanossi,,1482748278.0",
        "no item_id",
    ),
    "lastfm_1k": Sample(
        "lastfm-dataset-1K/userid-timestamp-artid-artname-traid-traname.tsv",
        ('user_000001\t2009-05-04T23:08:57Z\t\tDeep "Dish\t\tSet Im Famous',),
        event("2009-05-04T23:08:57Z", "user_000001", 'Deep "Dish', "listen", song="Set Im Famous"),
        "user_000001\t2009-05-04T23:08:57Z",
        "2 fields where 6 were expected",
    ),
    "adressa": Sample(
        "20170101",
        (json.dumps(ADRESSA),),
        event(
            "2016-12-31T23:00:02Z",
            "cx:i8i85z7",
            "6d0a5d0c",
            "view",
            23.0,
            key="730213061",
            device="Mobile",
            os="iOS",
            region="trondelag",
        ),
        json.dumps({**ADRESSA, "id": None}),
        "no item_id",
    ),
    "outbrain": Sample(
        "page_views_sample.csv",
        (
            "uuid,document_id,timestamp,platform,geo_location,traffic_source",
            "1fd5,120,31905835,1,RS,2",
        ),
        event(
            "2016-06-14T12:51:45.835Z", "1fd5", "120", "view", platform="1", place="RS", source="2"
        ),
        "1fd5,120,,1,RS,2",
        "no event_time",
    ),
    "snowplow": Sample(
        "enriched/part-00000",
        (
            snowplow(
                app_id="shop",
                derived_tstamp="2024-03-05 10:15:30.123",
                domain_userid="d-7",
                domain_sessionid="s-1",
                page_urlpath="/mugs",
                page_title='5" mug',
                event_name="page_view",
                event_id="e-1",
                dvce_type="Mobile",
                geo_country="DE",
            ),
        ),
        event(
            "2024-03-05T10:15:30.123Z",
            "d-7",
            "/mugs",
            "page_view",
            session="s-1",
            key="e-1",
            app="shop",
            device="Mobile",
            country="DE",
        ),
        "shop\tweb",
        "2 fields where 131 were expected",
    ),
    "segment": Sample(
        "segment-logs/1.gz",
        (json.dumps(SEGMENT),),
        event(
            "2024-03-05T10:15:30.123Z",
            "a-7",
            "507",
            "Product Viewed",
            18.99,
            key="ajs-1",
            person="person@shop.example",
            call="track",
            page="/mugs",
        ),
        json.dumps({**SEGMENT, "type": "page", "properties": {}}),
        "no item_id",
    ),
    "posthog": Sample(
        "export.jsonl.gz",
        (json.dumps(POSTHOG),),
        event(
            "2024-03-05T10:15:30.123Z",
            "d-7",
            "/mugs",
            "$pageview",
            session="s-1",
            key="018e-1",
            device="Mobile",
        ),
        json.dumps({**POSTHOG, "distinct_id": ""}),
        "no user_id",
    ),
}


@pytest.mark.parametrize(("name", "sample"), SAMPLES.items(), ids=SAMPLES)
def test_a_line_of_the_log_is_an_event(name: str, sample: Sample, tmp_path: Path) -> None:
    source = source_for(SourceSettings(name=name))
    path = tmp_path / sample.file
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    assert list(tmp_path.glob(source.pattern)) == [path] or source.pattern == "**/*"
    *header, line = sample.lines
    parse = source.parser(header[0] if header else None, sample.file)
    strict = source_for(SourceSettings(name=name, bad_values="refuse"))
    parse_strictly = strict.parser(header[0] if header else None, sample.file)
    assert source.has_header == bool(header)
    assert parse(line) == sample.event
    assert parse_strictly(sample.bad_line) == Refusal(sample.reason)


def read(name: str, table: pa.Table, tmp_path: Path) -> list[Any]:
    path = tmp_path / "log.parquet"
    pq.write_table(table, path)
    source = source_for(SourceSettings(name=name))
    assert isinstance(source, TableSource)
    with source.opened(path, "log.parquet", None, 65536) as reading:
        return list(map(reading.line_parser(), reading.lines()))


def test_clicked_articles_of_ebnerd_are_events(tmp_path: Path) -> None:
    table = pa.table(
        {
            "impression_id": pa.array([48401, 48402], pa.uint32()),
            "article_id": pa.array([None, 9001], pa.int32()),
            "impression_time": pa.array([datetime(2023, 5, 21, 21, 6, 50)] * 2, pa.timestamp("us")),
            "read_time": pa.array([21.0, 7.0], pa.float32()),
            "device_type": pa.array([2, 1], pa.int8()),
            "article_ids_inview": [[9003, 9004, 9005], [9003]],
            "article_ids_clicked": [[9003, 9005], []],
            "user_id": pa.array([22779, 150224], pa.uint32()),
            "session_id": pa.array([21, 298], pa.uint32()),
        }
    )
    time = "2023-05-21T21:06:50Z"
    assert read("ebnerd", table, tmp_path) == [
        event(time, "22779", "9003", "click", session="21", key="48401#0", device="2"),
        event(time, "22779", "9005", "click", session="21", key="48401#1", device="2"),
        Refusal("no item_id"),
    ]


def test_articles_of_google_analytics_are_events(tmp_path: Path) -> None:
    params = [
        {"key": "page_title", "value": {"string_value": "Mugs", "int_value": None}},
        {"key": "ga_session_id", "value": {"string_value": None, "int_value": 1_709_633_700}},
    ]
    items = [{"item_id": "507", "item_name": "Mug", "price": 18.99}, {"item_id": "508"}]
    table = pa.table(
        {
            "event_date": ["20240305"] * 2,
            "event_timestamp": [1_709_633_730_123_000] * 2,
            "event_name": ["view_item_list", "page_view"],
            "event_params": [params, []],
            "user_pseudo_id": ["1.2"] * 2,
            "device": [{"category": "mobile", "language": "de"}] * 2,
            "geo": [{"country": "Germany"}] * 2,
            "items": pa.array([items, []]),
        }
    )
    time, session = "2024-03-05T10:15:30.123Z", "1709633700"
    where = {"device": "mobile", "country": "Germany", "title": "Mugs"}
    assert read("ga4", table, tmp_path) == [
        event(time, "1.2", "507", "view_item_list", 18.99, session, **where),
        event(time, "1.2", "508", "view_item_list", session=session, **where),
        Refusal("no item_id"),
    ]


def test_every_known_log_has_a_sample() -> None:
    elsewhere = {"ebnerd", "ga4"}  # files of columns, above
    # In test_formats.py, and read whole in test_real_logs.py.
    first = {"deskdrop", "gharchive", "movielens", "simulator", "taobao", "wikipedia", "yoochoose"}
    elsewhere |= {  # test_known_logs_taken_in.py
        *("diginetica", "diginetica_purchases", "foursquare_global", "foursquare_tsmc2014"),
        *("ga4_json", "matomo", "matomo_actions", "mind", "mind_history", "netflix", "plista"),
    }
    assert SAMPLES.keys() | elsewhere | first == KNOWN_LOGS.keys()
    assert all(log.about.endswith(".") for log in KNOWN_LOGS.values())


def test_segment_knows_people_where_a_server_sends_no_anonymous_id() -> None:
    of_server = {name: value for name, value in SEGMENT.items() if name != "anonymousId"}
    parse = source_for(SourceSettings(name="segment")).parser(None, "segment-logs/1.gz")
    result = parse(json.dumps(of_server))
    assert isinstance(result, ParsedEvent)
    assert result.user_id == "person@shop.example"
