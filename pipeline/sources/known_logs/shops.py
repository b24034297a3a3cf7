"""Public logs of shops and of travel."""

from __future__ import annotations

from pipeline.settings.settings import ColumnSettings
from pipeline.sources.known_logs.known_log import KnownLog

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
}
