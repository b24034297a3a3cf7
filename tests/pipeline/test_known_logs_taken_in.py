"""Logs that are known by name, from a sample of their shape to the tables: all values are ours.

Where a sample has several records of a line, or lines that are no records, its comment says which
become what.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

import pytest
from landing_place import Place

from pipeline.lake.tables import EVENTS, QUARANTINE, SOURCE_FILES
from pipeline.settings.source import SourceSettings
from pipeline.sources import source_for
from pipeline.sources.base import Refusal, events_of
from pipeline.spark.compute import Compute

CLOCK = datetime(2026, 1, 1, tzinfo=UTC)


class Event(NamedTuple):
    """What an event says; its key is told apart from those that its content makes."""

    time: str
    user: str
    item: str
    kind: str
    value: float | None = None
    session: str | None = None
    key: str | None = None
    context: dict[str, str] = {}  # noqa: RUF012 - none of the tests changes it


class Sample(NamedTuple):
    """A file, what becomes of it, and how many of its records are ignored."""

    file: str
    text: str
    events: list[Event]
    refused: list[tuple[int, str]] = []  # noqa: RUF012 - line and reason
    ignored: int = 0
    encoding: str = "utf-8"


# Views of 13:00:01 and 21:05:58; of the first N2 was clicked, of the second N5 and N6.
MIND = (
    "1\tU13\t11/11/2019 1:00:01 PM\tN7 N8\tN1-0 N2-1 N3-0\n"
    "2\tU14\t11/12/2019 9:05:58 PM\t\tN5-1 N6-1\n"
    "3\tU15\t11/12/2019 9:05:58 PM\tN9\tN5 N6-0\n"
)
GA4 = {
    "event_date": "20240305",
    "event_timestamp": "1709633730123000",
    "event_name": "view_item_list",
    "event_params": [
        {"key": "ga_session_id", "value": {"int_value": "1709633700"}},
        {"key": "page_location", "value": {"string_value": "https://shop.example/mugs"}},
        {"key": "page_title", "value": {"string_value": "Mugs"}},
        {"key": "ga_session_number", "value": {"int_value": "3"}},
    ],
    "user_pseudo_id": "1.2",
    "device": {"category": "mobile", "language": "de"},
    "geo": {"country": "Germany"},
    "items": [
        {"item_id": "507", "item_name": "Mug", "price": 18.99, "quantity": "1"},
        {"item_id": "508", "item_name": "Pot"},
    ],
}
GA4_WHERE = {
    "device": "mobile",
    "country": "Germany",
    "page": "https://shop.example/mugs",
    "title": "Mugs",
}
MATOMO_VISIT = {
    "idSite": "1",
    "idVisit": "331",
    "visitorId": "c1d2e3f4a5b6c7d8",
    "userId": None,
    "deviceType": "Desktop",
    "countryCode": "de",
    "serverTimestamp": 1_709_633_790,
    "actionDetails": [
        {
            "type": "action",
            "url": "https://shop.example/mugs",
            "pageTitle": "Mugs",
            "timestamp": 1_709_633_730,
            "timeSpent": 60,
            "customVariables": [],
        },
        {"type": "outlink", "url": "https://other.example/", "timestamp": 1_709_633_790},
    ],
}
PLISTA = {
    "recs": None,
    "event_type": "impression",
    "context": {
        "simple": {"4": 312613, "6": 952253, "25": 190087230, "27": 694, "57": 2994684640},
        "lists": {"8": [18841, 18842], "11": [1201425]},
        "clusters": {"3": {"255": 1}},
    },
    "timestamp": 1_404_165_725_110,
}
# The venue's name has a letter of latin-1.
TSMC = (
    "470\t49bb\t4bf5\tCafé\t40.71\t-74.00\t-240\tTue Apr 03 18:00:09 +0000 2012\n"
    "470\t49bc\t4bf6\tBar\t40.72\t-74.01\t-240\tTue Apr 03 18:00 2012\n"
)


def diginetica(item: str, time: str, session: str = "1", account: str = "NA") -> Event:
    return Event(time, session, item, "view", session=session, context={"account": account})


SAMPLES: dict[str, Sample] = {
    "mind": Sample(
        "MINDsmall_train/behaviors.tsv",
        MIND,
        [
            Event("2019-11-11T13:00:01", "U13", "N2", "click"),
            Event("2019-11-12T21:05:58", "U14", "N5", "click"),
            Event("2019-11-12T21:05:58", "U14", "N6", "click"),
        ],
        [(3, "an impression does not say whether it was clicked")],
        ignored=3,
    ),
    "mind_history": Sample(
        "MINDsmall_train/behaviors.tsv",
        MIND,
        [
            Event("2019-11-11T13:00:01", "U13", "N7", "earlier click", key="U13|0|N7"),
            Event("2019-11-11T13:00:01", "U13", "N8", "earlier click", key="U13|1|N8"),
            Event("2019-11-12T21:05:58", "U15", "N9", "earlier click", key="U15|0|N9"),
        ],
    ),
    "diginetica": Sample(
        "train-item-views.csv",
        "sessionId;userId;itemId;timeframe;eventdate\n"
        "1;NA;81766;526309;2016-05-09\n"
        "2;7;31331;0;2016-05-09\n"
        "2;7;31331;soon;2016-05-09\n"
        "2;7;31331;;2016-05-09\n"
        "2;7;31331;5;2016-13-09\n"
        "2;7;31331\n",
        [
            diginetica("81766", "2016-05-09T00:08:46.309"),
            diginetica("31331", "2016-05-09T00:00:00", "2", "7"),
        ],
        [
            (4, "event_time is not a number"),
            (5, "no event_time"),
            (6, "event_time is not a number"),
            (7, "3 fields where 5 were expected"),
        ],
    ),
    "diginetica_purchases": Sample(
        "train-purchases.csv",
        "sessionId;userId;timeframe;eventdate;ordernumber;itemId\n150;18278;17100868;2016-05-06;16421;25911\n",
        [
            Event(
                "2016-05-06T04:45:00.868",
                "150",
                "25911",
                "purchase",
                session="150",
                context={"account": "18278", "order": "16421"},
            )
        ],
    ),
    "netflix": Sample(
        "combined_data_1.txt",
        # Two films; the second's name is damaged, so that whose its rating is nobody knows.
        "1:\n1488844,3,2005-09-06\n822109,x,2005-05-13\nbad\n885013,4,2005-10-19\n2:\n"
        "2059652,4,2005-09-05\n3\0:\n1666394,3,2005-04-19\n4:\n7,1,2005-04-20\n",
        [
            Event("2005-09-06T00:00:00", "1488844", "1", "rating", 3.0),
            Event("2005-05-13T00:00:00", "822109", "1", "rating"),
            Event("2005-09-05T00:00:00", "2059652", "2", "rating", 4.0),
            Event("2005-04-20T00:00:00", "7", "4", "rating", 1.0),
        ],
        [
            (4, "the film is not known: no line before says it, or one that cannot be read"),
            (5, "the film is not known: no line before says it, or one that cannot be read"),
            (8, "holds a NUL byte"),
            (9, "the film is not known: no line before says it, or one that cannot be read"),
        ],
    ),
    "plista": Sample(
        "impressions-2014-07-01.log",
        json.dumps(PLISTA) + "\n" + json.dumps({**PLISTA, "context": {"simple": {"57": 1}}}) + "\n",
        [
            Event(
                "2014-06-30T22:02:05.110",
                "2994684640",
                "190087230",
                "impression",
                context={"publisher": "694", "browser": "312613", "system": "952253"},
            )
        ],
        [(2, "no item_id")],
    ),
    "matomo": Sample(
        "visits.jsonl",
        json.dumps(MATOMO_VISIT) + "\n" + json.dumps({**MATOMO_VISIT, "actionDetails": []}) + "\n",
        [
            Event(
                "2024-03-05T10:15:30",
                "c1d2e3f4a5b6c7d8",
                "https://shop.example/mugs",
                "action",
                60.0,
                "331",
                "331#0",
                {"site": "1", "title": "Mugs", "device": "Desktop", "country": "de"},
            ),
            Event(
                "2024-03-05T10:16:30",
                "c1d2e3f4a5b6c7d8",
                "https://other.example/",
                "outlink",
                None,
                "331",
                "331#1",
                {"site": "1", "device": "Desktop", "country": "de"},
            ),
        ],
        [(2, "no item_id")],
    ),
    "matomo_actions": Sample(
        "matomo_log_link_visit_action.csv",
        "idlink_va,idsite,idvisitor,idvisit,idaction_url,idaction_name,server_time,time_spent_ref_action\n"
        "9001,1,c1d2e3f4a5b6c7d8,331,17,18,2024-03-05 10:15:30,0\n"
        "9002,1,c1d2e3f4a5b6c7d8,331,,18,2024-03-05 10:15:31,0\n",
        [
            Event(
                "2024-03-05T10:15:30",
                "c1d2e3f4a5b6c7d8",
                "17",
                "action",
                session="331",
                key="9001",
                context={"site": "1", "title": "18"},
            )
        ],
        [(3, "no item_id")],
    ),
    "foursquare_tsmc2014": Sample(
        "dataset_TSMC2014_NYC.txt",
        TSMC,
        [
            Event(
                "2012-04-03T18:00:09",
                "470",
                "49bb",
                "check-in",
                context={"category": "Café", "offset_min": "-240"},
            )
        ],
        [(2, "event_time is not in source.time_format")],
        encoding="latin-1",
    ),
    "foursquare_global": Sample(
        "dataset_TIST2015_Checkins.txt",
        "50756\t4f5e\tTue Apr 03 18:00:06 +0000 2012\t240\n"
        "50756\t4f5e\tTue Apr 03 18:00:06 +0000 2012\n",
        [Event("2012-04-03T18:00:06", "50756", "4f5e", "check-in", context={"offset_min": "240"})],
        [(2, "3 fields where 4 were expected")],
    ),
    "ga4_json": Sample(
        "events_20240305-000000000000.json",
        json.dumps(GA4) + "\n" + json.dumps({**GA4, "event_name": "page_view", "items": []}) + "\n",
        [
            Event(
                "2024-03-05T10:15:30.123",
                "1.2",
                "507",
                "view_item_list",
                18.99,
                "1709633700",
                context=GA4_WHERE,
            ),
            Event(
                "2024-03-05T10:15:30.123",
                "1.2",
                "508",
                "view_item_list",
                session="1709633700",
                context=GA4_WHERE,
            ),
        ],
        [(2, "no item_id")],
    ),
}


@pytest.fixture
def place(tmp_path: Path, compute: Compute) -> Place:
    return Place(tmp_path, compute)


def take_in(place: Place, name: str, sample: Sample) -> None:
    """A sample as a file of the landing zone, ingested."""
    path = place.landing / sample.file
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(sample.text.encode(sample.encoding))
    source = SourceSettings(name=name, path=place.landing, encoding=sample.encoding)
    place.settings = place.settings.model_copy(update={"source": source})
    place.ingest(clock=CLOCK)


def events(place: Place) -> list[Event]:
    rows = sorted(
        place.rows(EVENTS), key=lambda row: (row["line"], row["event_time"], row["item_id"])
    )
    has_keys = source_for(place.settings.source).has_keys
    return [
        Event(
            row["event_time"]
            .replace(tzinfo=None)
            .isoformat(timespec="milliseconds" if row["event_time"].microsecond else "seconds"),
            row["user_id"],
            row["item_id"],
            row["event_type"],
            row["value"],
            row["given_session"],
            row["event_key"] if has_keys else None,
            dict(row["context"]),
        )
        for row in rows
    ]


@pytest.mark.parametrize(("name", "sample"), SAMPLES.items(), ids=SAMPLES)
def test_a_sample_becomes_its_events(place: Place, name: str, sample: Sample) -> None:
    take_in(place, name, sample)
    assert events(place) == sample.events
    refused = sorted((row["line"], row["reason"]) for row in place.rows(QUARANTINE))
    assert refused == sample.refused
    (account,) = place.rows(SOURCE_FILES)
    counted = len(sample.events) + len(sample.refused) + sample.ignored
    assert (account["records"], account["ignored"]) == (counted, sample.ignored)


@pytest.mark.parametrize(("name", "sample"), SAMPLES.items(), ids=SAMPLES)
def test_what_is_refused_reads_again_as_what_it_is(place: Place, name: str, sample: Sample) -> None:
    take_in(place, name, sample)
    source = source_for(place.settings.source)
    header = sample.text.split("\n")[0] if source.has_header else None
    for row in place.rows(QUARANTINE):
        parsed = source.parser(header, sample.file)(row["raw"])
        if "NUL" not in row["reason"]:
            (outcome,) = (
                [record.event for record in parsed] if isinstance(parsed, list) else [parsed]
            )
            assert outcome.reason == row["reason"]


@pytest.mark.parametrize("digits", [16, 20, 5000])
def test_a_number_of_any_length_costs_its_record_alone(digits: int) -> None:
    source = source_for(SourceSettings(name="diginetica"))
    parse = source.parser("sessionId;userId;itemId;timeframe;eventdate", "train-item-views.csv")
    (event,) = events_of(parse(f"2;7;31331;{'9' * digits};2016-05-09"))
    assert isinstance(event, Refusal)
