"""Records that are none of our business, and web logs whose noise is ignored."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import UsageError
from pipeline.settings.settings import load_settings
from pipeline.settings.source import SourceSettings
from pipeline.sources import Ignored, ParsedEvent, Refusal, source_for
from pipeline.sources.access_log import client_of
from pipeline.sources.base import HeaderError

COLUMNS = {"event_time": "ts", "user_id": "user", "item_id": "article", "event_type": "type"}
BOT = "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)"
PERSON = "Mozilla/5.0 (Windows NT 10.0; Win64; x64; rv:126.0) Gecko/20100101 Firefox/126.0"


def answer(record: dict[str, Any], *rules: dict[str, Any], **settings: Any) -> Any:
    """What a record becomes, as JSON and as CSV, which must agree."""
    common = {"columns": COLUMNS, "ignore": rules, "time_unit": "s", **settings}
    as_json = source_for(SourceSettings(name="json_lines", **common)).parser(None, "f")
    as_csv = source_for(SourceSettings(name="delimited", quote="'", **common))
    from_json = as_json(json.dumps(record))
    line = ",".join(f"'{text}'" for text in record.values())
    assert as_csv.parser(",".join(record), "f")(line) == from_json
    return from_json


def record(**fields: str) -> dict[str, str]:
    return {"ts": "7", "user": "u", "article": "a", "type": "view", "ua": PERSON, **fields}


@pytest.mark.parametrize(
    ("rule", "ignored", "counted"),
    [
        pytest.param({"event_types": ["ping", "push"]}, {"type": " push "}, {}, id="types"),
        pytest.param({"event_types": ["view"]}, {"type": ""}, {"type": "buy"}, id="default type"),
        pytest.param({"column": "user", "equals": ["x", 7]}, {"user": "7"}, {}, id="equals"),
        pytest.param({"column": "user", "matches": "^test_"}, {"user": "test_1"}, {}, id="matches"),
        pytest.param({"column": "article", "present": False}, {"article": " "}, {}, id="absent"),
        pytest.param({"column": "ua", "present": True}, {}, {"ua": "-"}, id="present"),
        pytest.param({"column": "ua", "robots": True}, {"ua": BOT}, {}, id="robots"),
        pytest.param(
            {"event_types": ["view"], "column": "user", "equals": ["u"]},
            {},
            {"user": "v"},
            id="type and column",
        ),
        pytest.param(
            {"column": "user", "equals": ["u"], "also": [{"column": "ua", "matches": "Win"}]},
            {},
            {"ua": "X"},
            id="two columns",
        ),
    ],
)
def test_rules(rule: dict[str, Any], ignored: dict[str, str], counted: dict[str, str]) -> None:
    named = {"name": "noise", **rule}
    assert answer(record(**ignored), named, nothing=["-"]) == Ignored("noise")
    others = answer(record(**counted), named, nothing=["-"])
    assert isinstance(others, ParsedEvent)
    assert others.user_id == counted.get("user", "u")


def test_the_first_rule_that_fits_counts_and_is_called_by_its_conditions() -> None:
    rules = (
        {"column": "article", "present": False},
        {"column": "user", "equals": ["u", "v"], "also": [{"column": "ua", "robots": True}]},
        {"event_types": ["view"]},
    )
    assert answer(record(article=""), *rules) == Ignored("article is absent")
    robots = answer(record(ua=BOT), *rules)
    assert robots == Ignored("user is u or v, ua is a robot's")
    assert answer(record(), *rules) == Ignored("event_type is view")


def test_what_cannot_be_read_at_all_is_refused_and_never_ignored() -> None:
    rule = {"column": "type", "matches": ""}
    settings = SourceSettings(name="json_lines", columns=COLUMNS, ignore=[rule])  # type: ignore[arg-type]
    parse = source_for(settings).parser(None, "f")
    assert parse("{") == Refusal("not valid JSON")
    assert parse("{}") == Ignored("type matches ")


def test_a_list_is_there_and_has_no_text() -> None:
    def parsed(rule: dict[str, Any]) -> Any:
        settings = SourceSettings(name="json_lines", columns=COLUMNS, ignore=[rule])  # type: ignore[arg-type]
        fields = {"ts": 7, "user": "u", "article": "a", "tags": ["x"]}
        return source_for(settings).parser(None, "f")(json.dumps(fields))

    assert isinstance(parsed({"column": "tags", "present": True}), Ignored)
    for kept in ({"present": False}, {"equals": ["x"]}, {"matches": "x"}, {"robots": True}):
        assert isinstance(parsed({"column": "tags", **kept}), ParsedEvent)


TEXT = st.text(st.sampled_from("ab-1 "), max_size=3)
CONDITION = st.fixed_dictionaries(
    {"column": st.sampled_from(["user", "article", "ua"])},
    optional={
        "equals": st.lists(TEXT.map(str.strip), min_size=1, max_size=2),
        "matches": st.sampled_from(["^a", "b$", "", "1|-"]),
        "present": st.booleans(),
    },
).filter(lambda condition: len(condition) > 1)


def holds(condition: dict[str, Any], text: str) -> bool:
    return (
        text in condition.get("equals", [text])
        and re.search(condition.get("matches", ""), text) is not None
        and condition.get("present", text not in ("", "-")) == (text not in ("", "-"))
    )


@given(st.lists(CONDITION, min_size=1, max_size=3), TEXT, TEXT, TEXT)
def test_all_conditions_of_any_rule(
    conditions: list[dict[str, Any]], user: str, article: str, ua: str
) -> None:
    fields = record(user=user, article=article, ua=ua)
    first, *also = conditions
    result = answer(fields, {**first, "also": also}, nothing=["-"])
    expected = all(holds(each, fields[each["column"]].strip()) for each in conditions)
    assert isinstance(result, Ignored) == expected


@pytest.mark.parametrize(
    "rule",
    [
        pytest.param({}, id="empty"),
        pytest.param({"name": "x"}, id="a name alone"),
        pytest.param({"column": "user"}, id="a column alone"),
        pytest.param({"equals": ["x"]}, id="no column"),
        pytest.param({"column": "user", "equals": []}, id="no text"),
        pytest.param({"event_types": ["a"], "also": [{"column": "user"}]}, id="also says nothing"),
        pytest.param({"column": "user", "matches": "("}, id="no expression"),
        pytest.param({"column": "user", "equal": ["x"]}, id="misspelt"),
    ],
)
def test_a_rule_that_says_nothing_is_refused(rule: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        load_settings(None, {"source": {"ignore": [rule]}})


def test_a_column_that_is_not_there_is_named() -> None:
    rule = {"column": "agent", "robots": True}
    settings = SourceSettings(name="delimited", columns=COLUMNS, ignore=[rule])  # type: ignore[arg-type]
    with pytest.raises(HeaderError, match=r"no column 'agent'.*source.ignore names it"):
        source_for(settings).parser("ts,user,article,type", "f")
    web = SourceSettings(name="access_log", header=False, ignore=[rule])  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="a web log has server, host, time, request"):
        source_for(web).parser(None, "f")


HEAD = '203.0.113.5 - - [28/Nov/2025:10:00:01 +0000] "{}" {} 512 "http://shop/" "{}"'
NOISE = (
    {"name": "timeouts", "column": "request", "equals": ["-"]},
    {"name": "TLS", "column": "request", "matches": r"^\\x16\\x03"},
    {"name": "errors", "column": "response", "matches": "^[45]"},
    {"name": "pictures", "column": "url", "matches": r"\.png$"},
    {"name": "checks", "event_types": ["HEAD"]},
    {"name": "robots", "column": "user_agent", "robots": True},
    {"name": "inside", "column": "referer", "matches": "intranet"},
    {"name": "monitor", "column": "host", "equals": ["10.0.0.1"]},
)


@pytest.mark.parametrize(
    ("line", "rule"),
    [
        pytest.param(HEAD.format("-", 408, "-"), "timeouts", id="timeout"),
        pytest.param(HEAD.format(r"\x16\x03\x01\x00", 400, "-"), "TLS", id="TLS probe"),
        pytest.param(HEAD.format("GET /x HTTP/1.1", 404, PERSON), "errors", id="status"),
        pytest.param(HEAD.format("GET /a.png HTTP/1.1", 200, PERSON), "pictures", id="url"),
        pytest.param(HEAD.format("HEAD / HTTP/1.1", 200, PERSON), "checks", id="method"),
        pytest.param(HEAD.format("GET / HTTP/1.1", 200, BOT), "robots", id="robot"),
        pytest.param(
            HEAD.format("GET / HTTP/1.1", 200, PERSON).replace("shop", "intranet"),
            "inside",
            id="referer",
        ),
        pytest.param(
            "s:80 " + HEAD.format("GET / HTTP/1.1", 200, "x").replace("203.0.113.5", "10.0.0.1"),
            "monitor",
            id="host",
        ),
        pytest.param(HEAD.format("GET / HTTP/1.1", 200, PERSON), None, id="a visit"),
    ],
)
def test_noise_of_a_web_server(line: str, rule: str | None) -> None:
    settings = SourceSettings(name="access_log", header=False, ignore=NOISE)  # type: ignore[arg-type]
    result = source_for(settings).parser(None, "f")(line)
    assert result == Ignored(rule) if rule else isinstance(result, ParsedEvent)


@pytest.mark.parametrize(
    ("head", "client"),
    [
        ("h.com - -", "h.com"),
        ("::1 - bob smith", "::1"),
        ("2001:db8::443 - bob smith", "2001:db8::443"),
        ("shop.example:443 203.0.113.5 - -", "203.0.113.5"),
        ("shop.example:443 h.com - -", "h.com"),
        ("[2001:db8::1]:55555 - -", "2001:db8::1"),
        ("shop.example:443 [2001:db8::1] - -", "2001:db8::1"),
        ("-, [2001:db8::1]:1 - -", "2001:db8::1"),
        ("[h.com]:80 - -", "[h.com]:80"),
        ("[::1]:443 2001:db8::5 - -", "2001:db8::5"),
        ("shop.example 203.0.113.5 - -", "203.0.113.5"),
        ("- 203.0.113.5 - -", "203.0.113.5"),
        ("shop.example:443 203.0.113.5, 198.51.100.7 - -", "203.0.113.5"),
        ("198.51.100.1, 203.0.113.9 - -", "198.51.100.1"),
        ("198.51.100.1,203.0.113.9 - -", "198.51.100.1"),
        ("unknown, 203.0.113.9 - -", "203.0.113.9"),
        ("-, 203.0.113.9 - -", "203.0.113.9"),
        ("203.0.113.5:51234 - -", "203.0.113.5"),
        ("[2001:db8::9]:443 - -", "2001:db8::9"),
        ("[2001:db8::9] - -", "2001:db8::9"),
        ("shop.example 203.0.113.5:51234 - -", "203.0.113.5"),
        ("shop.example:443 [2001:db8::9]:51234 - -", "2001:db8::9"),
        ("- - -", ""),
        ("unknown - -", ""),
        ("shop.example:443 - - -", ""),
    ],
)
def test_who_asked_the_web_server(head: str, client: str) -> None:
    assert client_of(head) == client
    parse = source_for(SourceSettings(name="access_log", header=False)).parser(None, "f")
    event = parse(f'{head} [28/Nov/2025:10:00:01 +0000] "GET /p HTTP/1.1" 200 512')
    if client:
        assert isinstance(event, ParsedEvent)
        assert event.user_id == client
    else:
        assert event == Refusal("no user_id")


@pytest.mark.parametrize(
    ("head", "context"),
    [
        ("shop.example:443 203.0.113.5 - -", {"response": "200", "server": "shop.example"}),
        ("blog.example 203.0.113.5 - -", {"response": "200", "server": "blog.example"}),
        ("[::1]:443 203.0.113.5 - -", {"response": "200", "server": "[::1]"}),
        ("- 203.0.113.5 - -", {"response": "200"}),
        ("203.0.113.5 - -", {"response": "200"}),
    ],
)
def test_which_server_was_asked_is_context(head: str, context: dict[str, str]) -> None:
    rule = {"name": "blog", "column": "server", "equals": ["blog.example"]}
    line = f'{head} [28/Nov/2025:10:00:01 +0000] "GET / HTTP/1.1" 200 512'
    settings = SourceSettings(name="access_log", header=False)
    event = source_for(settings).parser(None, "f")(line)
    assert isinstance(event, ParsedEvent)
    assert event.context == context
    ruled = SourceSettings(name="access_log", header=False, ignore=[rule])  # type: ignore[arg-type]
    is_ignored = source_for(ruled).parser(None, "f")(line) == Ignored("blog")
    assert is_ignored == (context.get("server") == "blog.example")
