"""What texts mean: nothing, ids, bad values, fallbacks, keys of several columns."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import UsageError
from pipeline.ingest.reading_rules import reading_digest
from pipeline.settings.settings import Settings, load_settings
from pipeline.settings.source import ColumnSettings, SourceSettings
from pipeline.settings.tables import IngestSettings
from pipeline.sources import ParsedEvent, Refusal, source_for
from pipeline.sources.fields import number_text

HEADER = "ts;user;item;type;price;id;session;device"
COLUMNS = {
    "event_time": "ts",
    "user_id": "user",
    "item_id": "item",
    "event_type": "type",
    "value": "price",
    "event_key": "id",
    "given_session": "session",
    "context": {"device": "device"},
}
NOTHING = ("NULL", "\\N", "NaN", "(not set)")
BAD_VALUE = "value is not a finite number"


def of_csv(
    line: str, header: str = HEADER, columns: dict[str, Any] | None = None, **rules: Any
) -> Any:
    settings = SourceSettings(
        name="delimited",
        delimiter=";",
        columns=ColumnSettings(**{**COLUMNS, **(columns or {})}),
        **rules,
    )
    return source_for(settings).parser(header, "f")(line)


def of_json(record: str, columns: dict[str, Any] | None = None, **rules: Any) -> Any:
    settings = SourceSettings(
        name="json_lines", columns=ColumnSettings(**{**COLUMNS, **(columns or {})}), **rules
    )
    return source_for(settings).parser(None, "f")(record)


@pytest.mark.parametrize("text", [*NOTHING, " NULL ", "  "])
@pytest.mark.parametrize(
    ("field", "answer"),
    [
        ("user", Refusal("no user_id")),
        ("item", Refusal("no item_id")),
        ("ts", Refusal("no event_time")),
        ("type", {"event_type": "view"}),
        ("price", {"value": None}),
        ("id", {"event_key": None}),
        ("session", {"given_session": None}),
        ("device", {"context": {}}),
    ],
)
def test_a_text_that_means_nothing_is_as_good_as_none(text: str, field: str, answer: Any) -> None:
    record = {"ts": "7", "user": "u", "item": "i", "type": "buy", "price": "1"}
    record |= {"id": "k", "session": "s", "device": "d"}
    if field == "device" and not text.strip():
        # White space of context is a text like any other.
        text = ""
    event = of_csv(";".join({**record, field: text}.values()), nothing=NOTHING)
    if isinstance(answer, Refusal):
        assert event == answer
    else:
        whole = of_csv(";".join(record.values()), nothing=NOTHING)
        assert event == whole._replace(**answer)
    # Without the setting each of them is a text, as it was.
    if text in NOTHING and field in ("user", "item"):
        assert isinstance(of_csv(";".join({**record, field: text}.values())), ParsedEvent)


def test_ids_are_trimmed_unless_told() -> None:
    line = "7; u2 ;\tp1;view ;1; k; s;d"
    assert of_csv(line)[1:8] == ("u2", "p1", "view", 1.0, "s", {"device": "d"}, "k")
    exact = of_csv(line, trim=False)
    assert exact[1:8] == (" u2 ", "\tp1", "view ", 1.0, " s", {"device": "d"}, " k")


@pytest.mark.parametrize(
    ("user", "text"),
    [
        ("12345", "12345"),
        ("12345.0", "12345"),
        ("1.2345e4", "12345"),
        ('"12345"', "12345"),
        ('" 12345"', "12345"),
        ('"12345.0"', "12345.0"),
        ("-0.0", "0"),
        ("1.50", "1.5"),
        ("9007199254740993.0", "9007199254740993"),
        ("1e999", "1e999"),
        ("true", "true"),
    ],
)
def test_a_number_of_json_is_one_id_however_it_is_written(user: str, text: str) -> None:
    record = f'{{"ts": 7, "user": {user}, "item": {user}, "id": {user}, "session": {user}}}'
    event = of_json(record)
    assert (event.user_id, event.item_id) == (text, text)
    assert (event.event_key, event.given_session) == (text, text)


@given(
    number=st.decimals(-(10**12), 10**12, places=4),
    shift=st.integers(-9, 9),
)
def test_equal_numbers_are_one_id_and_others_are_not(number: Decimal, shift: int) -> None:
    scaled = f"{number.scaleb(-shift):f}e{shift}"
    assert number_text(f"{number:f}") == number_text(scaled)
    assert Decimal(number_text(scaled)) == number


@pytest.mark.parametrize("price", ["12,50", "inf", "1e999", "dear"])
def test_a_bad_value_costs_itself_or_the_record(price: str) -> None:
    line = f"7;u;i;buy;{price};k;s;d"
    event = of_csv(line)
    assert event == of_csv("7;u;i;buy;;k;s;d")._replace(dropped=(BAD_VALUE,))
    assert of_csv(line, bad_values="refuse") == Refusal(BAD_VALUE)


def test_bad_optional_fields_of_json_are_dropped_each_with_its_reason() -> None:
    record = {"ts": 7, "user": "u", "item": "i", "price": [1], "session": {}, "device": ["d"]}
    event = of_json(json.dumps(record))
    assert event[:8] == (7_000_000, "u", "i", "view", None, None, {}, None)
    assert event.dropped == (
        "value is a list or an object",
        "given_session is a list or an object",
        "context device is a list or an object",
    )
    refused = of_json(json.dumps(record), bad_values="refuse")
    assert refused == Refusal("value is a list or an object")
    # What happened, and which record it is, are never guessed.
    for field, name in {"type": "event_type", "id": "event_key", "user": "user_id"}.items():
        answer = of_json(json.dumps({"ts": 7, "user": "u", "item": "i", field: ["x"]}))
        assert answer == Refusal(f"{name} is a list or an object")


FALLBACKS = {"event_time_fallback": "server_ts", "user_fallback": "anonymous"}
FALLBACK_HEADER = HEADER + ";server_ts;anonymous"


@pytest.mark.parametrize(
    ("user", "anonymous", "rules", "expected"),
    [
        pytest.param("u", "a", {}, "u", id="known"),
        pytest.param("", " a ", {}, "a", id="anonymous"),
        pytest.param("  ", "a", {}, "a", id="white space"),
        pytest.param("NULL", "a", {"nothing": ("NULL",)}, "a", id="a text of nothing"),
        pytest.param("", "", {}, "no user_id", id="nobody"),
        pytest.param("", "NULL", {"nothing": ("NULL",)}, "no user_id", id="nobody by its text"),
    ],
)
def test_an_anonymous_id_stands_for_a_user_that_is_absent(
    user: str, anonymous: str, rules: dict[str, Any], expected: str
) -> None:
    event = of_csv(f"7;{user};i;;;;;;8;{anonymous}", FALLBACK_HEADER, FALLBACKS, **rules)
    assert (event.reason if isinstance(event, Refusal) else event.user_id) == expected


@pytest.mark.parametrize(
    ("time", "fallback", "bad_values", "expected", "dropped"),
    [
        pytest.param("7", "8", "drop", 7, (), id="its own"),
        pytest.param("", "8", "drop", 8, (), id="absent"),
        pytest.param("", "8", "refuse", 8, (), id="absent, refuse"),
        pytest.param("x", "8", "drop", 8, ("event_time is not a number",), id="bad"),
        pytest.param("x", "8", "refuse", "event_time is not a number", (), id="bad, refuse"),
        pytest.param("x", "y", "drop", "event_time is not a number", (), id="both bad"),
        pytest.param("", "y", "drop", "event_time_fallback is not a number", (), id="bad fallback"),
        pytest.param("", "", "drop", "no event_time", (), id="none"),
    ],
)
def test_a_second_column_tells_the_time(
    time: str, fallback: str, bad_values: str, expected: Any, dropped: tuple[str, ...]
) -> None:
    line = f"{time};u;i;;;;;;{fallback};"
    event = of_csv(line, FALLBACK_HEADER, FALLBACKS, bad_values=bad_values)
    if isinstance(expected, str):
        assert event == Refusal(expected)
    else:
        assert (event.event_time_us, event.dropped) == (expected * 1_000_000, dropped)


CLOCKS = {"sent_time": "sent", "received_time": "received", "event_time_fallback": "received"}


@pytest.mark.parametrize(
    ("time", "sent", "received", "expected", "dropped"),
    [
        # The device's clock is 100 s behind: what it did 3 s before it sent was at 197.
        pytest.param("97", "100", "200", 197, (), id="behind"),
        pytest.param("97.5", "100", "90", 87.5, (), id="ahead"),
        pytest.param("97", "", "200", 97, (), id="not sent"),
        pytest.param("97", "100", "", 97, (), id="not received"),
        pytest.param("97", "x", "200", 97, ("sent_time is not a number",), id="bad"),
        pytest.param("", "100", "200", 200, (), id="the fallback is the server's own time"),
    ],
)
def test_a_clock_is_corrected_by_when_a_record_was_sent_and_received(
    time: str, sent: str, received: str, expected: float, dropped: tuple[str, ...]
) -> None:
    event = of_csv(f"{time};u;i;;;;;;{sent};{received}", HEADER + ";sent;received", CLOCKS)
    assert (event.event_time_us, event.dropped) == (expected * 1_000_000, dropped)


def test_a_bad_clock_refuses_the_record_where_told_so() -> None:
    line, header = "97;u;i;;;;;;x;200", HEADER + ";sent;received"
    assert of_csv(line, header, CLOCKS, bad_values="refuse") == Refusal("sent_time is not a number")
    far = of_csv("253402300799;u;i;;;;;;10;11", header, CLOCKS)
    assert far == Refusal("event_time is outside the years 1 to 9999")


def test_a_clock_needs_both_times() -> None:
    with pytest.raises(UsageError, match="set both"):
        load_settings(None, {"source": {"columns": {"sent_time": "sent"}}})


PART = st.text(st.sampled_from("a|\\ "), max_size=4)


@given(st.tuples(PART, PART, PART), st.tuples(PART, PART, PART))
def test_a_key_of_several_columns_is_one_text_for_each(
    first: tuple[str, ...], second: tuple[str, ...]
) -> None:
    def key(parts: tuple[str, ...]) -> str | None:
        record = {"ts": 7, "user": "u", "item": "i", **dict(zip("xyz", parts, strict=True))}
        event = of_json(json.dumps(record), {"event_key": ["x", "y", "z"]}, trim=False)
        result: str | None = event.event_key
        return result

    assert (key(first) is None) == ("" in first)
    if key(first) is not None:
        assert (key(first) == key(second)) == (first == second)


def test_a_key_of_several_columns_in_csv_and_of_one() -> None:
    header = "ts;user;item;order;pos"
    columns = dict.fromkeys(("event_type", "value", "given_session")) | {"context": {}}
    line = "7;u;i; 12 ;3"
    assert of_csv(line, header, columns | {"event_key": ["order", "pos"]}).event_key == "12|3"
    assert of_csv(line, header, columns | {"event_key": ["order"]}).event_key == "12"
    with pytest.raises(ValueError, match="at least one"):
        ColumnSettings(event_key=())


def test_null_without_quotes_is_told() -> None:
    with pytest.raises(UsageError, match='write "NULL"'):
        load_settings(None, {"source": {"nothing": [None]}})


def test_settings_that_say_what_earlier_versions_did_have_the_digests_of_then() -> None:
    as_before = {"trim": False, "bad_values": "refuse"}
    columns = ColumnSettings(user_id="user", event_key="id")
    source = SourceSettings(name="delimited", path="landing", columns=columns, **as_before)  # type: ignore[arg-type]
    ingest = IngestSettings(equal_records="duplicates")
    assert Settings(source=source, ingest=ingest).digest("source", "ingest") == "ed42c7f7be4ef052"
    digests = {"delimited": "e11337064185ba25", "json_lines": "1ad6b3a43884e62e"}
    for name, digest in digests.items():
        source = SourceSettings(name=name, **as_before)  # type: ignore[arg-type]
        settings = Settings(source=source, ingest=ingest)
        assert reading_digest(settings, source_for(source)) == digest


@pytest.mark.parametrize(
    "changed",
    [
        pytest.param({"trim": False}, id="trim"),
        pytest.param({"bad_values": "refuse"}, id="bad values"),
        pytest.param({"nothing": ["-"]}, id="nothing"),
        pytest.param({"time_unit": "ns"}, id="unit"),
        pytest.param({"time_format": "%Y-%m-%d"}, id="format"),
        pytest.param({"time_unit": "iso8601", "timezone": "Asia/Tokyo"}, id="zone"),
        pytest.param({"ignore": [{"event_types": ["ping"]}]}, id="ignore"),
        pytest.param({"ignore": [{"column": "ua", "robots": True}]}, id="robots"),
        pytest.param({"columns": {"user_fallback": "a"}}, id="user fallback"),
        pytest.param({"columns": {"event_key": ["a", "b"]}}, id="several keys"),
        pytest.param({"columns": {"sent_time": "a", "received_time": "b"}}, id="clocks"),
    ],
)
def test_each_rule_makes_another_reading(changed: dict[str, Any]) -> None:
    def digest(**settings: Any) -> str:
        loaded = load_settings(None, {"source": {"name": "delimited", **settings}})
        return reading_digest(loaded, source_for(loaded.source))

    assert digest(**changed) != digest()
    assert digest(**changed) == digest(**changed)


def test_a_rule_of_another_name_is_the_same_reading() -> None:
    def digest(name: str) -> str:
        rule = {"name": name, "event_types": ["ping"]}
        loaded = load_settings(None, {"source": {"name": "delimited", "ignore": [rule]}})
        return reading_digest(loaded, source_for(loaded.source))

    assert digest("a") == digest("b")


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("12,5", 12.5),
        ("12", 12.0),
        ("-0,5", -0.5),
        (" 7,25 ", 7.25),
        ("1,5e3", 1500.0),
        (",5", 0.5),
        # A point may part thousands or be a fraction's: nobody can know.
        ("12.5", None),
        ("1.234", None),
        ("1.234,5", None),
        ("1,234,5", None),
        (",", None),
    ],
)
def test_a_decimal_comma(text: str, value: float | None) -> None:
    event = of_csv(f"7;u;i;;{text};;;", decimal=",")
    assert event.value == value
    assert event.dropped == (() if value is not None else (BAD_VALUE,))
    if value is None:
        refused = of_csv(f"7;u;i;;{text};;;", decimal=",", bad_values="refuse")
        assert refused == Refusal(BAD_VALUE)


@pytest.mark.parametrize(
    ("unit", "text", "time_us"),
    [
        ("s", "1457960400,25", 1_457_960_400_250_000),
        ("ms", "7,5", 7500),
        ("d", "0,5", 43_200_000_000),
        ("s", "1457960400.25", None),
        ("s", "1,5,0", None),
        ("iso8601", "2016-03-14T13:00:00.25", 1_457_960_400_250_000),
    ],
)
def test_times_that_are_numbers_have_it_too(unit: str, text: str, time_us: int | None) -> None:
    event = of_csv(f"{text};u;i;;;;;", decimal=",", time_unit=unit)
    assert event == Refusal("event_time is not a number") or event.event_time_us == time_us
    assert isinstance(event, Refusal) == (time_us is None)


def test_a_decimal_comma_needs_another_delimiter_or_quotes() -> None:
    complaint = "decimal ',' is delimiter too, and without quote nothing tells them apart"
    with pytest.raises(UsageError, match=complaint):
        load_settings(None, {"source": {"name": "delimited", "decimal": ",", "quote": None}})
    settings = SourceSettings(
        name="delimited", decimal=",", columns=ColumnSettings(value="price", event_time="ts")
    )
    event: Any = source_for(settings).parser("ts,user_id,item_id,price", "f")('"7,5",u,i,"9,95"')
    assert (event.event_time_us, event.value) == (7_500_000, 9.95)


@pytest.mark.parametrize("name", ["json_lines", "parquet", "access_log", "movielens"])
def test_only_delimited_logs_have_a_decimal(name: str) -> None:
    with pytest.raises(UsageError, match=r"source\.decimal is set, but source"):
        source_for(SourceSettings(name=name, decimal=","))


def test_a_decimal_point_leaves_all_digests_as_they_were() -> None:
    def digests(**rules: Any) -> tuple[str, str]:
        settings = Settings(source=SourceSettings(name="delimited", delimiter=";", **rules))
        return settings.digest("source"), reading_digest(settings, source_for(settings.source))

    assert digests(decimal=".") == digests()
    assert not set(digests(decimal=",")) & set(digests())
