"""Lines of each format, good and bad, and what becomes of them."""

import json
import math
import pickle
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import HourglassError, UsageError
from pipeline.settings.source import ColumnSettings, SourceSettings
from pipeline.sources import (
    SOURCE_NAMES,
    Ignored,
    Parsed,
    ParsedEvent,
    Parser,
    Refusal,
    source_for,
)
from pipeline.sources.base import HeaderError, events_of

HEADERS = {
    "access_log": "host\tlogname\ttime\tmethod\turl\tresponse\tbytes",
    "delimited": "event_time,user_id,item_id",
    "deskdrop": "timestamp,eventType,contentId,personId,sessionId,userAgent,userRegion,userCountry",
    "movielens": "user_id:token\titem_id:token\trating:float\ttimestamp:float",
    "wikipedia": "u,i,ts,label",
    "yoochoose": "SessionId\tItemId\tTime",
}


NOT_STORABLE = "a text holds a NUL or half a surrogate pair"

# Pieces of good lines, so that fuzzed lines get past the first checks.
SCRAPS = (
    "1",
    "-5",
    "1e9",
    '"',
    "'",
    ",",
    "\t",
    ",",
    "\t",
    "}",
    "\\u0000",
    "\r",
    "NaN",
    " ",
    "9" * 5000,
)
SCRAPS += ("2015-01-01T00:00:00Z", "[01/Jul/1995:00:00:01 -0400]", '{"id":', '{"ts":"')


def parser(name: str, header_line: str | None = None, **settings: Any) -> Parser:
    source = source_for(SourceSettings(name=name, **settings))
    return source.parser(header_line or HEADERS.get(name), "some/file")


def us(text: str) -> int:
    return round(datetime.fromisoformat(text).timestamp()) * 1_000_000


class TestFormats:
    def test_wikipedia_counts_from_its_epoch(self) -> None:
        assert parser("wikipedia")("1,8228,36,0") == ParsedEvent(
            us("2018-04-01T00:00:36Z"), "1", "8228", "edit", None, None, {"state_label": "0"}, None
        )
        moved = parser("wikipedia", epoch="2020-01-01T00")("1,8228,36.5,0")
        assert moved.event_time_us == us("2020-01-01T00:00:36Z") + 500_000

    def test_deskdrop_keeps_its_own_session_as_context(self) -> None:
        line = '1465412560,VIEW,-349,-884,362,"Mozilla/5.0 (KHTML, like ""Gecko"")",NY,US'
        assert parser("deskdrop")(line) == ParsedEvent(
            us("2016-06-08T19:02:40Z"),
            "-884",
            "-349",
            "VIEW",
            None,
            None,
            {
                "site_session": "362",
                "user_agent": 'Mozilla/5.0 (KHTML, like "Gecko")',
                "region": "NY",
                "country": "US",
            },
            None,
        )

    def test_deskdrop_ids_stay_exact(self) -> None:
        event = parser("deskdrop")("1,VIEW,-9223372036854775807,9007199254740993,1,,,")
        assert (event.item_id, event.user_id) == ("-9223372036854775807", "9007199254740993")
        assert event.context == {"site_session": "1"}

    def test_yoochoose_sessions_stand_for_users(self) -> None:
        event = parser("yoochoose")("3\t214716935\t1396437466.94")
        assert event.event_time_us == 1_396_437_466_940_000
        assert (event.user_id, event.given_session, event.event_type) == ("3", "3", "click")

    def test_movielens_ratings_are_values(self) -> None:
        event = parser("movielens")("196\t242\t3.5\t881250949")
        assert (event.value, event.event_type) == (3.5, "rating")
        assert event.event_time_us == 881_250_949_000_000

    def test_taobao_has_no_header(self) -> None:
        assert parser("taobao")("999477,77460,3607361,cart,1511848951") == ParsedEvent(
            1_511_848_951_000_000,
            "999477",
            "77460",
            "cart",
            None,
            None,
            {"category": "3607361"},
            None,
        )

    def test_gharchive_takes_actor_repository_and_key(self) -> None:
        record = {
            "id": "2489368070",
            "type": "PushEvent",
            "actor": {"id": 9152315, "login": "d"},
            "repo": {"id": 28635890, "name": "d/bot"},
            "org": {"login": "acme"},
            "payload": {"commits": [{"message": "\ud83d\ude00"}]},
            "created_at": "2015-01-01T00:00:00Z",
        }
        assert parser("gharchive")(json.dumps(record)) == ParsedEvent(
            us("2015-01-01T00:00:00Z"),
            "9152315",
            "28635890",
            "PushEvent",
            None,
            None,
            {"repo": "d/bot", "org": "acme"},
            "2489368070",
        )

    def test_simulator(self) -> None:
        line = (
            '{"id":"1","ts":"2026-01-05T13:00:00.000001Z","user":"u","item":"n","type":"like",'
            '"device":"phone","place":"front","rank":21}'
        )
        event = parser("simulator")(line)
        assert event.event_time_us == us("2026-01-05T13:00:00Z") + 1
        assert event.context == {"device": "phone", "place": "front", "rank": "21"}
        assert event.event_key == "1"

    def test_access_log_as_tsv_with_trailing_tabs(self) -> None:
        event = parser("access_log")("199.72.81.55\t-\t804571201\tGET\t/apollo/\t200\t6245\t\t")
        assert event == ParsedEvent(
            804_571_201_000_000,
            "199.72.81.55",
            "/apollo/",
            "GET",
            6245.0,
            None,
            {"response": "200"},
            None,
        )

    def test_access_log_in_common_and_combined_format(self) -> None:
        parse = parser("access_log", header=False)
        common = 'h.com - - [01/Jul/1995:00:00:01 -0400] "GET /a?b=%20 HTTP/1.0" 200 6245'
        event = parse(common)
        assert event.event_time_us == us("1995-07-01T04:00:01Z")
        assert (event.user_id, event.item_id, event.value) == ("h.com", "/a?b=%20", 6245.0)
        combined = (
            '::1 - bob smith [10/Oct/2000:13:55:36 +0530] "POST /x HTTP/1.1" 304 - "-" "A \\"B\\""'
        )
        event = parse(combined)
        assert event.event_time_us == us("2000-10-10T08:25:36Z")
        assert (event.event_type, event.value, event.context) == ("POST", None, {"response": "304"})


class TestRefusals:
    @pytest.mark.parametrize(
        ("name", "line", "reason"),
        [
            ("wikipedia", "1,2,3", "3 fields where 4 were expected"),
            ("wikipedia", "1,2,3,0,5", "5 fields where 4 were expected"),
            ("wikipedia", ",2,3,0", "no user_id"),
            ("wikipedia", "1,  ,3,0", "no item_id"),
            ("wikipedia", "1,2,,0", "no event_time"),
            ("wikipedia", "1,2,NaN,0", "event_time is not a number"),
            ("wikipedia", "1,2,1_0,0", "event_time is not a number"),
            ("wikipedia", "1,2,\u0661,0", "event_time is not a number"),
            ("wikipedia", "1,2,99999999999999,0", "event_time is outside the years 1 to 9999"),
            pytest.param(
                "wikipedia", f"1,2,{'9' * 5000},0", "event_time is not a number", id="long"
            ),
            ("wikipedia", "1,2,9e9999,0", "event_time is outside the years 1 to 9999"),
            ("deskdrop", '1,V,2,3,4,"Mozilla,,', "a quote is not closed or is out of place"),
            ("deskdrop", '1,V,2,3,4,"Mozilla"x,,', "a quote is not closed or is out of place"),
            ("gharchive", "{", "not valid JSON"),
            ("gharchive", "[" * 100_000, "not valid JSON"),
            ("gharchive", '{"id": nan}', "not valid JSON"),
            ("gharchive", '{"actor": {"id": NaN}, "id": Infinity}', "no user_id"),
            ("gharchive", "[1]", "not a JSON object"),
            ("gharchive", "{}", "no user_id"),
            ("gharchive", '{"actor": 3}', "no user_id"),
            ("gharchive", '{"actor": {"id": [1]}}', "user_id is a list or an object"),
            (
                "gharchive",
                '{"actor": {"id": "\\ud800"}}',
                "a text holds a NUL or half a surrogate pair",
            ),
            (
                "gharchive",
                '{"actor": {"id": "\\u0000"}}',
                "a text holds a NUL or half a surrogate pair",
            ),
            (
                "gharchive",
                '{"actor": {"id": 1}, "repo": {"id": 1}, "created_at": "2015-02-30"}',
                "event_time is not an ISO 8601 time",
            ),
        ],
    )
    def test_bad_lines(self, name: str, line: str, reason: str) -> None:
        assert parser(name)(line) == Refusal(reason)

    @pytest.mark.parametrize(
        ("line", "reason"),
        [
            ("hello", "not a Common Log Format line"),
            ('h - - [01/Jul/1995:00:00:01] "" 400 -', "its request is not a method and a URL"),
            ('h - - [31/Jun/1995:00:00:01] "GET / HTTP/1.0" 200 1', "event_time is not a Common"),
        ],
    )
    def test_bad_access_log_lines(self, line: str, reason: str) -> None:
        assert parser("access_log", header=False)(line).reason.startswith(reason)

    def test_a_file_without_a_readable_header_is_refused_line_by_line(self) -> None:
        parse = source_for(SourceSettings(name="wikipedia")).parser(None, "f")
        assert parse("1,2,3,0") == Refusal("the file has no header line that can be read")

    def test_a_missing_column_names_file_column_and_columns(self) -> None:
        source = source_for(SourceSettings(name="wikipedia"))
        with pytest.raises(
            HourglassError, match=r"day1\.csv: no column 'ts' among its columns: u, i, t"
        ):
            source.parser("u,i,t", "day1.csv")
        with pytest.raises(HourglassError, match="2 columns called 'u'"):
            source.parser("u,u,i,ts,label", "day1.csv")

    def test_a_missing_column_names_the_setting_or_the_format_that_wants_it(self) -> None:
        known = source_for(SourceSettings(name="wikipedia"))
        with pytest.raises(HeaderError) as caught:
            known.parser("u,i,t", "day1.csv")
        assert str(caught.value).endswith(
            "; in a log of the format wikipedia it holds the event_time: to read a log with other "
            "columns, set source.name to delimited and name them in source.columns"
        )
        assert caught.value.reason == "the file's header has no column 'ts'"
        assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)  # noqa: S301
        columns = ColumnSettings(context={"page": "where"})
        own = source_for(SourceSettings(name="delimited", columns=columns))
        with pytest.raises(HeaderError, match=r"source\.columns\.context\.page says which column"):
            own.parser("event_time,user_id,item_id", "day1.csv")
        bare = SourceSettings(name="delimited", header=False, field_names=("event_time", "user_id"))
        with pytest.raises(HeaderError, match=r"source\.field_names how the columns are called"):
            source_for(bare).parser(None, "day1.csv")

    def test_unknown_event_types_are_refused_where_types_are_known(self) -> None:
        parse = parser("taobao", event_types=("pv", "buy"))
        assert parse("1,2,3,pv,4").event_type == "pv"
        refused = Refusal("event_type is not one of the known types", event_type="fav")
        assert parse("1,2,3,fav,4") == refused

    @pytest.mark.parametrize(
        ("first_line", "remedy"),
        [
            pytest.param(
                '203.0.113.9 - - [17/May/2025:10:05:03 +0000] "GET /a HTTP/1.1" 200 20 "-" "x y"',
                r"set source\.header: false",
                id="combined",
            ),
            pytest.param(
                'h - - [17/May/2025:10:05:03 +0000] "GET /a HTTP/1.0" 404 - "\t"',
                r"set source\.header: false",
                id="combined, with a tab",
            ),
            pytest.param("who\twhen\twhat", "set source.name to delimited", id="another header"),
        ],
    )
    def test_a_web_servers_own_log_leads_to_the_setting_that_reads_it(
        self, first_line: str, remedy: str
    ) -> None:
        with pytest.raises(HeaderError, match=remedy):
            source_for(SourceSettings(name="access_log")).parser(first_line, "access.log")
        if "header" in remedy:
            own = source_for(SourceSettings(name="access_log", header=False))
            assert isinstance(own.parser(None, "access.log")(first_line), ParsedEvent)


class TestGenericFormats:
    def test_delimited_with_mapped_columns(self) -> None:
        columns = ColumnSettings(
            event_time="when",
            user_id="who",
            item_id="what",
            event_type="how",
            value="price",
            event_key="key",
            given_session="visit",
            context={"page": "where"},
        )
        parse = parser(
            "delimited",
            "visit;where;key;price;how;what;who;when",
            columns=columns,
            delimiter=";",
            quote="'",
            time_unit="ms",
        )
        assert parse("v1;home;k;9.5;;'a;b';bob;1700000000123.4567") == ParsedEvent(
            1_700_000_000_123_456, "bob", "a;b", "view", 9.5, "v1", {"page": "home"}, "k"
        )

    def test_delimited_without_header(self) -> None:
        parse = parser("delimited", header=False, field_names=("item_id", "user_id", "event_time"))
        assert parse("i,u,7").item_id == "i"
        with pytest.raises(UsageError, match=r"name its columns in source\.field_names"):
            parser("delimited", header=False)

    def test_json_lines_with_dotted_paths_and_dotted_keys(self) -> None:
        columns = ColumnSettings(
            event_time="at.ms", user_id="user.id", item_id="item", context={"vip": "user.vip"}
        )
        parse = parser("json_lines", columns=columns, time_unit="ms")
        nested = parse('{"at": {"ms": 1.5}, "user": {"id": 7, "vip": true}, "item": "x"}')
        assert nested == ParsedEvent(1500, "7", "x", "view", None, None, {"vip": "true"}, None)
        assert parse('{"at.ms": 2, "user.id": "8", "item": 12345678901234567890}').item_id == (
            "12345678901234567890"
        )

    def test_json_times_keep_their_microseconds(self) -> None:
        columns = ColumnSettings(event_time="t", user_id="u", item_id="i")
        parse = parser("json_lines", columns=columns)
        event = parse('{"t": 1700000000.123457, "u": 1, "i": 2}')
        assert event.event_time_us == 1_700_000_000_123_457


class TestAnyLine:
    @pytest.mark.parametrize("name", SOURCE_NAMES)
    def test_sources_travel_to_workers(self, name: str) -> None:
        source = source_for(SourceSettings(name=name))
        assert pickle.loads(pickle.dumps(source)) == source  # noqa: S301 - our own bytes

    @pytest.mark.parametrize("name", [*SOURCE_NAMES, "common_log"])
    @given(data=st.data())
    def test_no_line_raises(self, name: str, data: st.DataObject) -> None:
        parse = parser("access_log", header=False) if name == "common_log" else parser(name)
        scraps = st.sampled_from(SCRAPS)
        line = "".join(data.draw(st.lists(scraps | st.text(max_size=4), max_size=14)))
        check_result(parse(line))

    @given(
        record=st.recursive(
            st.none() | st.booleans() | st.floats() | st.integers() | st.text(),
            lambda inner: (
                st.lists(inner, max_size=3)
                | st.dictionaries(
                    st.sampled_from(["id", "actor", "repo", "type", "created_at", "name", "org"]),
                    inner,
                )
            ),
            max_leaves=12,
        )
    )
    def test_no_json_raises(self, record: object) -> None:
        check_result(parser("gharchive")(json.dumps(record)))


def check_result(result: Parsed) -> None:
    for event in events_of(result):
        check_event(event)


def check_event(result: ParsedEvent | Refusal | Ignored) -> None:
    if isinstance(result, Ignored):
        assert result.rule
        return
    if isinstance(result, Refusal):
        assert result.reason
        return
    assert isinstance(result, ParsedEvent)
    assert isinstance(result.event_time_us, int)
    assert result.user_id.strip() and result.item_id.strip() and result.event_type
    assert result.value is None or math.isfinite(result.value)
    datetime.fromtimestamp(result.event_time_us // 1_000_000, tz=UTC)
