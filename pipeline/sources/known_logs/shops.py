"""Public logs of shops and of travel."""

from __future__ import annotations

from typing import Any

from pipeline.settings.source import ColumnSettings
from pipeline.sources.known_logs.known_log import KnownLog
from pipeline.sources.known_logs.rewriting import DIGINETICA_TIMES, TIME

# Who has no account is NA; sessions are users of their own then, as they are of yoochoose.
_DIGINETICA: dict[str, Any] = {
    "delimiter": ";",
    "quote": None,
    "time_unit": "ms",
}
_FOURSQUARE_TIME = "%a %b %d %H:%M:%S %z %Y"

SHOPS = {
    # Shop behaviour of Taobao users (pv, fav, cart, buy): CSV without a header, Unix seconds.
    "taobao": KnownLog(
        "A user of a shop looks at, marks or buys an article (UserBehavior.csv of Taobao).",
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
    # Shop clicks of the RecSys Challenge 2015: TSV ``SessionId ItemId Time``, seconds with
    # fractions.  The log knows no users: each session is a user of its own, and the session too.
    "yoochoose": KnownLog(
        "A click in a shop, of the RecSys Challenge 2015.",
        "**/*.txt*",
        ColumnSettings(
            event_time="Time", user_id="SessionId", item_id="ItemId", given_session="SessionId"
        ),
        options={"delimiter": "\t", "quote": None, "default_event_type": "click"},
    ),
    # The shop of RetailRocket (Kaggle): ``events.csv`` with a header, milliseconds.
    "retailrocket": KnownLog(
        "A visitor of a shop looks at, puts in the cart or buys an article (RetailRocket).",
        "**/events*.csv*",
        ColumnSettings(
            event_time="timestamp",
            user_id="visitorid",
            item_id="itemid",
            event_type="event",
            context={"transaction": "transactionid"},
        ),
        options={"time_unit": "ms"},
    ),
    # Times are hours of China without a zone: all are read as UTC, which changes no interval.
    "tianchi_mobile": KnownLog(
        "A user of the Taobao app looks at, marks, puts in the cart or buys (1 to 4; Tianchi).",
        "**/tianchi_mobile_recommend_train_user*.csv*",
        ColumnSettings(
            event_time="time",
            user_id="user_id",
            item_id="item_id",
            event_type="behavior_type",
            context={"category": "item_category", "place": "user_geohash"},
        ),
        options={"time_unit": "iso8601"},
    ),
    # Searches for hotels of the RecSys Challenge 2019: what an action is on is a hotel, or the text
    # of a search or filter; ``source.event_types`` and ``dataset.event_types`` choose actions.
    "trivago": KnownLog(
        "An action in a session of a search for hotels, of the RecSys Challenge 2019 (trivago).",
        "**/train*.csv*",
        ColumnSettings(
            event_time="timestamp",
            user_id="user_id",
            item_id="reference",
            event_type="action_type",
            given_session="session_id",
            context={"step": "step", "platform": "platform", "city": "city", "device": "device"},
        ),
    ),
    # The CIKM Cup 2016: CSV with semicolons below a header, the day of a session and milliseconds
    # from its start.  A time is counted from that day's midnight: times within a session are true,
    # the hour of the day is not.  Most users are unknown (NA), so that a session stands for one.
    "diginetica": KnownLog(
        "An article is looked at in a shop, of the CIKM Cup 2016 (train-item-views.csv).",
        "**/*item-views*.csv*",
        ColumnSettings(
            event_time=TIME,
            user_id="sessionId",
            item_id="itemId",
            given_session="sessionId",
            context={"account": "userId"},
        ),
        options=_DIGINETICA,
        rewriting=DIGINETICA_TIMES,
    ),
    "diginetica_purchases": KnownLog(
        "An article is bought in a shop, of the CIKM Cup 2016 (train-purchases.csv).",
        "**/*purchases*.csv*",
        ColumnSettings(
            event_time=TIME,
            user_id="sessionId",
            item_id="itemId",
            given_session="sessionId",
            context={"account": "userId", "order": "ordernumber"},
        ),
        options=_DIGINETICA | {"default_event_type": "purchase"},
        rewriting=DIGINETICA_TIMES,
    ),
    # Check-ins in New York and Tokyo: TSV without a header, in latin-1, times of UTC; the offset
    # is that of the place, in minutes.
    "foursquare_tsmc2014": KnownLog(
        "A check-in of Foursquare in New York or Tokyo (dataset_TSMC2014; encoding: latin-1).",
        "**/dataset_TSMC2014_*.txt*",
        ColumnSettings(
            event_time="time",
            user_id="user",
            item_id="venue",
            context={"category": "category_name", "offset_min": "offset"},
        ),
        options={
            "delimiter": "\t",
            "quote": None,
            "has_header": False,
            "field_names": (
                "user",
                "venue",
                "category",
                "category_name",
                "latitude",
                "longitude",
                "offset",
                "time",
            ),
            "default_event_type": "check-in",
        },
        time_format=_FOURSQUARE_TIME,
    ),
    # Check-ins of the whole world, whose venues lie in a file of their own.
    "foursquare_global": KnownLog(
        "A check-in of Foursquare anywhere (dataset_TIST2015_Checkins.txt and its kin).",
        "**/*[Cc]heckins*.txt*",
        ColumnSettings(
            event_time="time", user_id="user", item_id="venue", context={"offset_min": "offset"}
        ),
        options={
            "delimiter": "\t",
            "quote": None,
            "has_header": False,
            "field_names": ("user", "venue", "time", "offset"),
            "default_event_type": "check-in",
        },
        time_format=_FOURSQUARE_TIME,
    ),
}
