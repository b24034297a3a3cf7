"""Parquet and ORC: rows become what lines of JSON that say the same would become."""

from __future__ import annotations

import io
import json
import math
import time
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.orc
import pyarrow.parquet
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import UsageError
from pipeline.settings.source import ColumnSettings, SourceSettings
from pipeline.sources import ParsedEvent, Refusal, source_for
from pipeline.sources.base import HeaderError
from pipeline.sources.lines import UnreadableFileError
from pipeline.sources.tables import files
from pipeline.sources.tables.files import ROWS_PER_BATCH, OrcFile, ParquetFile
from pipeline.sources.tables.source import TableSource

WRITE: dict[str, Callable[[pa.Table, io.BytesIO], None]] = {
    "parquet": pa.parquet.write_table,
    "orc": pa.orc.write_table,
}
formats = pytest.mark.parametrize("name", list(WRITE))
NOW = datetime(2016, 3, 14, 13, 30, 0, 500_000)
NOW_US = 1_457_962_200_500_000
PLAIN = {"event_time": [NOW], "user_id": ["u"], "item_id": ["i"]}


def content_of(name: str, table: pa.Table, **options: Any) -> bytes:
    content = io.BytesIO()
    WRITE[name](table, content, **options)
    return content.getvalue()


def table_source(name: str, columns: dict[str, Any] | None = None, **chosen: Any) -> TableSource:
    source = source_for(
        SourceSettings(name=name, columns=ColumnSettings(**columns or {}), **chosen)
    )
    assert isinstance(source, TableSource)
    return source


Read = list[tuple[int, ParsedEvent | Refusal, str]]


@pytest.fixture
def read(tmp_path: Path) -> Callable[..., Read]:
    """Number, outcome and text of each record; a text that is read again must say the same."""

    def read(source: TableSource, content: bytes, max_chars: int = 65536) -> Read:
        path = tmp_path / "log"
        path.write_bytes(content)
        read_again = source.parser(None, "log")
        records = []
        with source.opened(path, "log", None, max_chars) as table:
            parse = table.line_parser()
            for line in table.lines():
                event = Refusal(line.reason) if line.reason else parse(line)
                if isinstance(event, ParsedEvent):
                    assert read_again(line.text) == event
                records.append((line.number, event, line.text))
        return records

    return read


@formats
def test_a_row_is_an_event_and_a_refused_one_is_kept_as_json(
    read: Callable[..., Read], name: str
) -> None:
    table = pa.table(
        {
            "at": [NOW, None, NOW],
            "who": pa.array([7, 8, None]),
            "what": ["i", "j", "k"],
            "price": [Decimal("9.95"), None, Decimal("1.00")],
            "seen": [True, False, None],
            "more": [{"device": "phone"}, None, {"device": None}],
            "tags": [["a", "b"], [], None],
        }
    )
    source = table_source(
        name,
        {
            "event_time": "at",
            "user_id": "who",
            "item_id": "what",
            "value": "price",
            "context": {"seen": "seen", "device": "more.device", "tags": "tags"},
        },
    )
    first, second, third = read(source, content_of(name, table))
    event = ParsedEvent(
        NOW_US,
        "7",
        "i",
        "view",
        9.95,
        None,
        {"seen": "true", "device": "phone"},
        None,
        ("context tags is a list or an object",),
    )
    assert first[:2] == (1, event)
    assert second[:2] == (2, Refusal("no event_time"))
    assert third[:2] == (3, Refusal("no user_id"))
    assert json.loads(third[2]) == {
        "at": "2016-03-14T13:30:00.500000",
        "who": None,
        "what": "k",
        "price": "1",
        "seen": None,
        "more": {"device": None},
        "tags": None,
    }


TIMES = {
    "seconds": (pa.timestamp("s"), 1_457_962_200, 1_457_962_200_000_000),
    "nanoseconds": (pa.timestamp("ns"), NOW_US * 1000 + 999, NOW_US),
    "nanoseconds before 1970": (pa.timestamp("ns"), -1, -1),
    "a zone": (pa.timestamp("us", "Europe/Berlin"), NOW_US, NOW_US),
    "a day": (pa.date32(), 16_874, 1_457_913_600_000_000),
    "whole numbers": (pa.int64(), 1_457_962_200, 1_457_962_200_000_000),
    "numbers": (pa.float64(), 1_457_962_200.5, NOW_US),
    "text": (pa.string(), "1457962200.5", NOW_US),
}


@pytest.mark.parametrize(("kind", "value", "time_us"), TIMES.values(), ids=TIMES)
def test_a_timestamp_is_the_time_whatever_the_unit_is(
    read: Callable[..., Read], kind: pa.DataType, value: Any, time_us: int
) -> None:
    table = pa.table({"event_time": pa.array([value], kind), "user_id": ["u"], "item_id": ["i"]})
    for unit in ("s", "ms"):
        ((_, event, _),) = read(
            table_source("parquet", time_unit=unit), content_of("parquet", table)
        )
        is_typed = pa.types.is_temporal(kind)
        if unit == "s" or is_typed:
            assert isinstance(event, ParsedEvent)
            assert event.event_time_us == time_us
        else:
            assert event != Refusal("no event_time")
            assert isinstance(event, ParsedEvent)
            assert event.event_time_us < time_us


@pytest.mark.parametrize(
    ("kind", "value"),
    [(pa.timestamp("s"), 2**48), (pa.timestamp("us"), -(2**62)), (pa.date32(), 2**31 - 1)],
    ids=["seconds", "microseconds", "days"],
)
def test_a_timestamp_may_be_no_time_at_all(
    read: Callable[..., Read], kind: pa.DataType, value: int
) -> None:
    table = pa.table({**PLAIN, "event_time": pa.array([value], kind)})
    ((_, event, text),) = read(table_source("parquet"), content_of("parquet", table))
    assert event == Refusal("event_time is outside the years 1 to 9999")
    assert json.loads(text)["user_id"] == "u"


#: Columns of types that mean the same: the value, and the texts of two users.
USERS = {
    "strings": pa.array(["7", "é"]),
    "large strings": pa.array(["7", "é"], pa.large_string()),
    "string views": pa.array(["7", "é"], pa.string_view()),
    "bytes": pa.array([b"7", "é".encode()]),
    "a dictionary": pa.array(["7", "é"]).dictionary_encode(),
}
NUMBERS = {
    "small": pa.array([7, 9], pa.uint8()),
    "floats": pa.array([7.0, 9.0]),
    "decimals": pa.array([Decimal("7.00"), Decimal("9.00")]),
    "dictionary": pa.array([7, 9]).dictionary_encode(),
}


@pytest.mark.parametrize("users", USERS.values(), ids=USERS)
def test_texts_of_every_type_are_one_user(read: Callable[..., Read], users: pa.Array) -> None:
    table = pa.table({"event_time": [NOW] * 2, "user_id": users, "item_id": ["i"] * 2})
    records = read(table_source("parquet"), content_of("parquet", table))
    assert [event.user_id for _, event, _ in records] == ["7", "é"]


@pytest.mark.parametrize("users", NUMBERS.values(), ids=NUMBERS)
def test_numbers_of_every_type_are_one_user(read: Callable[..., Read], users: pa.Array) -> None:
    table = pa.table({"event_time": [NOW] * 2, "user_id": users, "item_id": ["i"] * 2})
    records = read(table_source("parquet"), content_of("parquet", table))
    assert [event.user_id for _, event, _ in records] == ["7", "9"]


def test_bytes_that_are_no_text_refuse_their_row_alone(read: Callable[..., Read]) -> None:
    bad = pa.Array.from_buffers(pa.string(), 3, pa.array([b"u", b"\xff", b"v"]).buffers())
    for users in (bad, pa.array([b"u", b"\xff", b"v"])):
        table = pa.table({**{k: v * 3 for k, v in PLAIN.items()}, "user_id": users})
        records = read(table_source("parquet"), content_of("parquet", table))
        assert [isinstance(event, ParsedEvent) for _, event, _ in records] == [True, False, True]
        assert records[1][1] == Refusal("not valid utf-8")
        assert json.loads(records[1][2])["user_id"] == "\\xff"


def test_a_text_with_a_nul_and_a_long_one_refuse_their_row(read: Callable[..., Read]) -> None:
    users = ["a\0b", "x" * 101, "x" * 98]
    table = pa.table({**{k: v * 3 for k, v in PLAIN.items()}, "user_id": users})
    records = read(table_source("parquet"), content_of("parquet", table), 100)
    assert [event for _, event, _ in records[:2]] == [
        Refusal("a text holds a NUL or half a surrogate pair"),
        Refusal("longer than 100 characters"),
    ]
    assert isinstance(records[2][1], ParsedEvent)
    assert len(records[1][2]) == 100


def test_of_a_row_with_much_besides_only_what_is_needed_is_kept(
    read: Callable[..., Read],
) -> None:
    table = pa.table({**PLAIN, "payload": ["x" * 500]})
    ((_, event, text),) = read(table_source("parquet"), content_of("parquet", table), 100)
    assert isinstance(event, ParsedEvent)
    assert json.loads(text) == {
        "event_time": "2016-03-14T13:30:00.500000",
        "user_id": "u",
        "item_id": "i",
    }


@formats
def test_a_list_where_a_text_should_be_is_refused(read: Callable[..., Read], name: str) -> None:
    table = pa.table({**{k: v * 2 for k, v in PLAIN.items()}, "user_id": [["u"], None]})
    assert [event for _, event, _ in read(table_source(name), content_of(name, table))] == [
        Refusal("user_id is a list or an object"),
        Refusal("no user_id"),
    ]


@formats
def test_paths_lead_through_structs_and_maps_and_names_with_dots(
    read: Callable[..., Read], name: str
) -> None:
    table = pa.table(
        {
            "event_time": [NOW],
            "user_id": pa.array([{"id": {"text": "u"}}]),
            "item.id": ["i"],
            "facts": pa.array(
                [[("device", "phone"), ("device", "tablet")]], pa.map_(pa.string(), pa.string())
            ),
        }
    )
    columns = {
        "user_id": "user_id.id.text",
        "item_id": "item.id",
        "context": {"device": "facts.device", "country": "facts.country"},
    }
    ((_, event, _),) = read(table_source(name, columns), content_of(name, table))
    assert isinstance(event, ParsedEvent)
    assert (event.user_id, event.item_id) == ("u", "i")
    assert event.context == {"device": "tablet"}


LISTS = pa.table(
    {
        "event_time": [NOW] * 4,
        "user_id": ["u", "v", "w", "x"],
        "order": ["o1", "o2", "o3", None],
        "cart": pa.array(
            [
                {"items": [{"id": 1, "price": 2.5}, {"id": 2, "price": None}]},
                {"items": []},
                None,
                {"items": [None, {"id": 3, "price": 1.0}]},
            ]
        ),
        "ids": [["1", "2"], [], None, [None, "3"]],
    }
)
EXPLODED = {
    "structs": ("cart.items", {"item_id": "cart.items.id", "value": "cart.items.price"}),
    "texts": ("ids", {"item_id": "ids"}),
}


@formats
@pytest.mark.parametrize(("path", "columns"), EXPLODED.values(), ids=EXPLODED)
def test_each_element_of_a_list_is_a_record_of_its_row(
    read: Callable[..., Read], name: str, path: str, columns: dict[str, str]
) -> None:
    source = table_source(name, {**columns, "event_key": "order"}, explode=path)
    records = read(source, content_of(name, LISTS))
    assert [(number, getattr(event, "item_id", event)) for number, event, _ in records] == [
        (1, "1"),
        (1, "2"),
        (2, Refusal("no item_id")),
        (3, Refusal("no item_id")),
        (4, Refusal("no item_id")),
        (4, "3"),
    ]
    keys = [event.event_key for _, event, _ in records if isinstance(event, ParsedEvent)]
    assert keys == ["o1#0", "o1#1", None]
    # No two records of a row have the same text, so that quarantine tells them apart.
    assert len({text for _, _, text in records}) == len(records)
    assert json.loads(records[1][2])[f"{path}[]"] == 1


def test_a_key_within_the_elements_is_left_as_it_is(read: Callable[..., Read]) -> None:
    columns = {"item_id": "cart.items.id", "event_key": "cart.items.id"}
    source = table_source("parquet", columns, explode="cart.items")
    events = [event for _, event, _ in read(source, content_of("parquet", LISTS))]
    assert [e.event_key for e in events if isinstance(e, ParsedEvent)] == ["1", "2", "3"]


def test_a_file_that_lacks_a_column_is_named_with_those_that_it_has(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    path.write_bytes(content_of("parquet", LISTS))
    for columns, chosen, sentence in (
        ({"user_id": "who"}, {}, "no column 'who' among its columns: event_time, user_id, order"),
        ({"item_id": "cart.items.id"}, {}, "no column 'cart.items.id' among"),
        ({"item_id": "order"}, {"explode": "cart"}, "no list 'cart' among"),
        ({"item_id": "order"}, {"explode": "carts"}, "no list 'carts' among"),
        ({"item_id": "ids.id"}, {"explode": "ids"}, "no column 'ids.id' among"),
    ):
        with pytest.raises(HeaderError, match=sentence):
            table_source("parquet", columns, **chosen).check_columns(path, "a.parquet", None)


@formats
def test_what_is_no_such_file_is_named(tmp_path: Path, name: str) -> None:
    good = content_of(name, pa.table(PLAIN))
    kind = {"parquet": "Parquet", "orc": "ORC"}[name]
    other = {"parquet": "orc", "orc": "parquet"}[name]
    path = tmp_path / "log"
    for content, reason in (
        (b"event_time,user_id\n", f"is no {kind}"),
        (b"", f"is empty, and no {kind}"),
        (good[: len(good) // 2], None),
        (pa.compress(good, "zstd", asbytes=True), f"is packed by zstd, and no {kind}: unpack it"),
        (content_of(other, pa.table(PLAIN)), f"not {kind}"),
        (b"PK\x05\x06" + bytes(18), "is a zip archive: unpack it"),
        (good[:8] + b"\xff" * (len(good) - 12) + good[-4:], f"is no whole {kind} file"),
    ):
        path.write_bytes(content)
        with (
            pytest.raises(UnreadableFileError) as caught,
            table_source(name).opened(path, "log", None, 100),
        ):
            pass
        assert caught.value.reason.endswith(reason or "")


@formats
def test_rows_before_damage_come_as_ever(read: Callable[..., Read], name: str) -> None:
    rows = 24_000
    table = pa.table(
        {
            "event_time": [NOW] * rows,
            "user_id": [f"user {n * 7919 % 9973}" for n in range(rows)],
            "item_id": [str(n) for n in range(rows)],
        }
    )
    options: dict[str, dict[str, Any]] = {
        "parquet": {"row_group_size": 8_000, "write_page_checksum": True},
        "orc": {"compression": "zlib", "stripe_size": 40_000, "batch_size": 512},
    }
    content = bytearray(content_of(name, table, **options[name]))
    if name == "orc":
        stripes = pa.orc.ORCFile(io.BytesIO(content))
        whole = stripes.read_stripe(0).num_rows
        assert whole > ROWS_PER_BATCH
        assert whole % ROWS_PER_BATCH
    else:
        whole = 16_000
    at = len(content) * 3 // 4
    content[at : at + 64] = b"\xff" * 64
    *records, (number, refusal, text) = read(table_source(name), bytes(content))
    kind = {"parquet": "Parquet", "orc": "ORC"}[name]
    assert refusal == Refusal(f"{kind} file is damaged after row {number - 1}")
    assert (number, text) == (len(records) + 1, "")
    assert [event.item_id for _, event, _ in records] == [str(n) for n in range(len(records))]
    assert whole <= len(records) < rows
    # Nor do fewer come, or more, to a reader who takes his time: Arrow reads ahead of him.
    table_file = {"parquet": ParquetFile, "orc": OrcFile}[name](io.BytesIO(content))
    slowly = 0
    with pytest.raises(Exception, match=r".") as damage:
        for _, batch in table_file.batches():
            slowly += batch.num_rows
            time.sleep(0.05)
    assert damage.type in (OSError, pa.ArrowInvalid)
    assert slowly == len(records)


def test_refused_rows_are_those_of_their_own_numbers(
    read: Callable[..., Read], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "ROWS_PER_BATCH", 7)
    users = [None if n % 5 == 0 else "u" for n in range(100)]
    table = pa.table(
        {"event_time": [NOW] * 100, "user_id": users, "item_id": [str(n) for n in range(100)]}
    )
    for name, options in (("parquet", {"row_group_size": 30}), ("orc", {})):
        records = read(table_source(name), content_of(name, table, **options))
        assert [number for number, _, _ in records] == list(range(1, 101))
        assert [json.loads(text)["item_id"] for _, _, text in records] == table[
            "item_id"
        ].to_pylist()


#: Types, values of them, and what JSON has for a value, slowly and plainly.
VALUES: dict[str, tuple[pa.DataType, st.SearchStrategy[Any], Callable[[Any], Any]]] = {
    "text": (pa.string(), st.text(st.sampled_from('aé ,\n\0"\\'), max_size=3), str),
    "bytes": (pa.binary(), st.sampled_from([b"", b"a", "é".encode()]), bytes.decode),
    "integer": (pa.int64(), st.integers(-(2**63), 2**63 - 1), int),
    "boolean": (pa.bool_(), st.booleans(), bool),
    "float": (
        pa.float64(),
        st.floats(allow_infinity=False) | st.sampled_from([0.0, -0.0, 3.0, 2.0**53, 2.0**60]),
        lambda x: None if math.isnan(x) else int(x) if x % 1 == 0 and abs(x) <= 2**53 else x,
    ),
    "decimal": (
        pa.decimal128(9, 2),
        st.integers(-99999, 99999).map(lambda cents: Decimal(cents) / 100),
        lambda x: f"{x:f}".rstrip("0").rstrip(".") if "." in f"{x:f}" else f"{x:f}",
    ),
    "day": (pa.date32(), st.dates(date(1, 1, 1)), date.isoformat),
    "dictionary": (pa.dictionary(pa.int32(), pa.string()), st.sampled_from(["a", "b"]), str),
    "list": (pa.list_(pa.int64()), st.lists(st.integers(0, 3), max_size=2), list),
    "nothing": (pa.null(), st.none(), str),
}
TIME_VALUES: dict[str, tuple[pa.DataType, st.SearchStrategy[Any]]] = {
    "us": (pa.timestamp("us"), st.datetimes()),
    "zone": (pa.timestamp("us", "UTC"), st.datetimes(timezones=st.just(UTC))),
    "day": (pa.date32(), st.dates()),
}
FIELDS = ("user_id", "item_id", "event_type", "value", "event_key", "given_session", "context.c")


@st.composite
def tables(draw: st.DrawFn) -> tuple[pa.Table, list[dict[str, Any]]]:
    """A table, and its rows as JSON has them."""
    rows = draw(st.integers(0, 6))
    time_kind, times = TIME_VALUES[draw(st.sampled_from(sorted(TIME_VALUES)))]
    columns = {"event_time": pa.array([draw(times | st.none()) for _ in range(rows)], time_kind)}
    plain: list[dict[str, Any]] = [
        {"event_time": value and value.isoformat()} for value in columns["event_time"].to_pylist()
    ]
    for field in FIELDS:
        kind, values, to_plain = VALUES[draw(st.sampled_from(sorted(VALUES)))]
        column = [draw(values | st.none()) for _ in range(rows)]
        columns[field] = pa.array(column, kind)
        for row, value in zip(plain, column, strict=True):
            row[field] = None if value is None else to_plain(value)
    return pa.table(columns), plain


@given(tables())
def test_a_row_becomes_what_a_line_of_json_would(
    tmp_path_factory: pytest.TempPathFactory, drawn: tuple[pa.Table, list[dict[str, Any]]]
) -> None:
    table, plain = drawn
    columns = {name: name for name in ("event_type", "value", "event_key", "given_session")} | {
        "context": {"c": "context.c"}
    }
    parse_line = source_for(
        SourceSettings(name="json_lines", columns=ColumnSettings(**columns), time_unit="iso8601")
    ).parser(None, "oracle")
    expected = [parse_line(json.dumps(row)) for row in plain]
    path = tmp_path_factory.getbasetemp() / "any.parquet"
    path.write_bytes(content_of("parquet", table, row_group_size=4))
    source = table_source("parquet", columns, time_unit="ms")
    with source.opened(path, "any", None, 65536) as reading:
        parse = reading.line_parser()
        lines = list(reading.lines())
        assert [line.reason for line in lines] == [None] * len(lines)
        assert [parse(line) for line in lines] == expected
        assert [parse_line(line.text) for line in lines] == expected
        batches = list(reading.text_batches())
    assert [row + 1 for batch in batches for row in batch.row] == [line.number for line in lines]
    for batch in batches:
        assert batch.texts.schema.names == ["event_time", *FIELDS]
        assert batch.texts.schema.types == [pa.int64(), *[pa.string()] * len(FIELDS)]
        assert all(column.null_count == 0 for column in batch.texts.columns[1:])


@given(st.lists(st.none() | st.lists(st.none() | st.integers(0, 9), max_size=3), max_size=8))
def test_elements_are_those_of_a_plain_loop(lists: list[list[int | None] | None]) -> None:
    from pipeline.sources.tables.paths import explode

    expected = [
        (element, row, nth)
        for row, elements in enumerate(lists)
        for nth, element in enumerate(elements or [None])
    ]
    for kind in (pa.list_(pa.int64()), pa.large_list(pa.int64()), pa.list_view(pa.int64())):
        padded = pa.array([[1, 2, 3], *lists, [4]], kind)
        exploded = explode(padded.slice(1, len(lists)))
        assert (
            list(
                zip(
                    exploded.elements.to_pylist(),
                    exploded.row.tolist(),
                    exploded.nth.tolist(),
                    strict=True,
                )
            )
            == expected
        )


def test_settings_of_text_are_none_of_a_table() -> None:
    with pytest.raises(UsageError, match=r"source\.delimiter is set, but source 'parquet'"):
        table_source("parquet", delimiter=";")
    with pytest.raises(UsageError, match=r"source\.explode is set, but source 'delimited'"):
        source_for(SourceSettings(name="delimited", explode="items"))


def test_what_decides_how_rows_are_read_is_in_the_rules() -> None:
    plain = table_source("parquet").rules()
    assert plain == {
        "format": "parquet",
        "columns": {},
        "time_unit": "s",
        "trim": True,
        "bad_values": "drop",
    }
    assert table_source("orc").rules() == {**plain, "format": "orc"}
    assert table_source("parquet", explode="ids").rules() == {**plain, "explode": "ids"}


def test_hours_are_told_by_folders() -> None:
    source = table_source("parquet")
    hour = source.arrival_hour("2016-03-14T13/part-0.parquet")
    assert hour is not None
    assert hour.start == datetime(2016, 3, 14, 13, tzinfo=UTC)
    assert hour.start + timedelta(hours=1) == hour.end
