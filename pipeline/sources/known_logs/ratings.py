"""Public logs of ratings and reviews."""

from __future__ import annotations

from pipeline.settings.source import ColumnSettings
from pipeline.sources.json_lines import JsonLinesSource
from pipeline.sources.known_logs.known_log import KnownLog
from pipeline.sources.known_logs.rewriting import NETFLIX_RATINGS

RATINGS = {
    # MovieLens ratings in the ``.inter`` format: TSV whose header names types (``rating:float``).
    # Films and people are metadata (``.item``).
    "movielens": KnownLog(
        "A rating of MovieLens, in the format .inter.",
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
    # Lines of MovieLens 1M and 10M: ``user::film::rating::time``, without a header.
    "movielens_dat": KnownLog(
        "A rating of MovieLens 1M or 10M (ratings.dat).",
        "**/ratings.dat*",
        ColumnSettings(event_time="time", user_id="user", item_id="film", value="rating"),
        options={
            "delimiter": "::",
            "quote": None,
            "has_header": False,
            "field_names": ("user", "film", "rating", "time"),
            "default_event_type": "rating",
        },
    ),
    # MovieLens 20M, 25M, 32M and the latest ones.
    "movielens_csv": KnownLog(
        "A rating of MovieLens 20M and later (ratings.csv).",
        "**/ratings.csv*",
        ColumnSettings(event_time="timestamp", user_id="userId", item_id="movieId", value="rating"),
        options={"default_event_type": "rating"},
    ),
    # JSON lines of 2014 and 2018, seconds; the files of ratings alone are CSV without a header.
    "amazon_reviews": KnownLog(
        "A review on Amazon, as published in 2014 and 2018 (JSON lines).",
        "**/*.json*",
        ColumnSettings(
            event_time="unixReviewTime", user_id="reviewerID", item_id="asin", value="overall"
        ),
        JsonLinesSource,
        {"time_unit": "s", "default_event_type": "review"},
    ),
    # Milliseconds; variants of an article (``asin``) share their parent.
    "amazon_reviews_2023": KnownLog(
        "A review on Amazon, as published in 2023 (JSON lines).",
        "**/*.jsonl*",
        ColumnSettings(
            event_time="timestamp",
            user_id="user_id",
            item_id="parent_asin",
            value="rating",
            context={"variant": "asin"},
        ),
        JsonLinesSource,
        {"time_unit": "ms", "default_event_type": "review"},
    ),
    # ``mv_0000008.txt`` or ``combined_data_1.txt``: below a line ``8:`` the ratings of the film 8,
    # ``user,rating,date``.  Of a rating only the day is known.
    "netflix": KnownLog(
        "A rating of the Netflix Prize (mv_*.txt or combined_data_*.txt).",
        "**/*[va]_[0-9]*.txt*",
        ColumnSettings(event_time="date", user_id="user", item_id="film", value="rating"),
        options={
            "quote": None,
            "has_header": False,
            "field_names": ("film", "user", "rating", "date"),
            "time_unit": "iso8601",
            "default_event_type": "rating",
        },
        rewriting=NETFLIX_RATINGS,
    ),
}
