"""Avro: rows of every type become what rows of Parquet would."""

from __future__ import annotations

import io
import json
import sys
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

import fastavro
import pyarrow as pa
import pytest

from pipeline.errors import UsageError
from pipeline.settings.source import ColumnSettings, SourceSettings
from pipeline.sources import ParsedEvent, Refusal, source_for
from pipeline.sources.lines import UnreadableFileError
from pipeline.sources.tables.avro import AvroFile
from pipeline.sources.tables.source import TableSource

NOW = datetime(2016, 3, 14, 13, 30, tzinfo=UTC)
UUID_TEXT = "25138019-bea4-4f50-b2de-1e097f2ad5eb"
ITEM = {"type": "record", "name": "shop.Item", "fields": [{"name": "id", "type": "long"}]}


def logical(of: str, name: str, **more: Any) -> dict[str, Any]:
    return {"type": of, "logicalType": name, **more}


#: By name: a type, a value of it, and what JSON has for the value.
TYPES: dict[str, tuple[Any, Any, Any]] = {
    "nothing": ("null", None, None),
    "boolean": ("boolean", True, True),
    "int": ("int", 7, 7),
    "long": (["null", "long"], 2**53 + 1, 2**53 + 1),
    "double": ("double", 1.5, 1.5),
    "bytes": ("bytes", b"a", "a"),
    "enum": ({"type": "enum", "name": "E", "symbols": ["view", "buy"]}, "buy", "buy"),
    "fixed": ({"type": "fixed", "name": "F", "size": 2}, b"ab", "ab"),
    "uuid": (logical("string", "uuid"), UUID(UUID_TEXT), UUID_TEXT),
    "decimal": (logical("bytes", "decimal", precision=9, scale=2), Decimal("9.50"), "9.5"),
    "long decimal": (
        logical("bytes", "decimal", precision=60, scale=0),
        Decimal(10) ** 50,
        "1" + "0" * 50,
    ),
    "day": (logical("int", "date"), date(2016, 3, 14), "2016-03-14"),
    "ms": (logical("long", "timestamp-millis"), NOW, "2016-03-14T13:30:00Z"),
    "local": (
        logical("long", "local-timestamp-micros"),
        datetime(2016, 3, 14),
        "2016-03-14T00:00:00",
    ),
    "ns": (logical("long", "timestamp-nanos"), 1_500, "1970-01-01T00:00:00.000001Z"),
    "array": ({"type": "array", "items": "int"}, [1, 2], [1, 2]),
    "map": ({"type": "map", "values": ["null", "int"]}, {"a": 1, "b": None}, {"a": 1, "b": None}),
    "record": (ITEM, {"id": 3}, {"id": 3}),
    "record by name": (["null", "shop.Item"], {"id": 4}, {"id": 4}),
    "text or number": (["string", "int"], 5, "5"),
    "recursive": (
        {
            "type": "record",
            "name": "Node",
            "fields": [{"name": "below", "type": ["null", "Node"]}],
        },
        {"below": {"below": None}},
        {"below": '{"below": null}'},
    ),
}


def content_of(fields: dict[str, Any], rows: list[dict[str, Any]], **options: Any) -> bytes:
    schema = {
        "type": "record",
        "name": "Row",
        "fields": [{"name": name, "type": kind} for name, kind in fields.items()],
    }
    content = io.BytesIO()
    fastavro.writer(content, fastavro.parse_schema(schema), rows, **options)
    return content.getvalue()


PLAIN = {
    "event_time": logical("long", "timestamp-micros"),
    "user_id": ["null", "string"],
    "item_id": "string",
}


def read(tmp_path: Path, content: bytes, **chosen: Any) -> list[tuple[int, Any, str]]:
    path = tmp_path / "log"
    path.write_bytes(content)
    source = source_for(SourceSettings(name="avro", **chosen))
    assert isinstance(source, TableSource)
    with source.opened(path, "log", None, 65536) as table:
        parse = table.line_parser()
        return [
            (line.number, Refusal(line.reason) if line.reason else parse(line), line.text)
            for line in table.lines()
        ]


def test_values_of_every_type_are_those_of_json(tmp_path: Path) -> None:
    names = {f"column_{at}": name for at, name in enumerate(TYPES)}
    row = {column: TYPES[name][1] for column, name in names.items()}
    fields = {column: TYPES[name][0] for column, name in names.items()}
    now_us = round(NOW.timestamp()) * 1_000_000
    content = content_of(
        {**PLAIN, **fields}, [{"event_time": now_us, "user_id": None, "item_id": "i", **row}]
    )
    ((number, refusal, text),) = read(tmp_path, content)
    assert (number, refusal) == (1, Refusal("no user_id"))
    plain = json.loads(text)
    assert {name: plain[column] for column, name in names.items()} == {
        name: json_value for name, (_, _, json_value) in TYPES.items()
    }
    assert plain["event_time"] == "2016-03-14T13:30:00Z"


@pytest.mark.parametrize("codec", ["null", "deflate", "bzip2", "xz"])
def test_rows_are_events_in_order_however_they_are_packed(tmp_path: Path, codec: str) -> None:
    rows = [{"event_time": NOW, "user_id": f"u{n}", "item_id": "é"} for n in range(8_000)]
    rows[6_000]["user_id"] = None
    events = read(tmp_path, content_of(PLAIN, rows, codec=codec))
    assert [number for number, _, _ in events] == list(range(1, 8_001))
    assert events[7_999][1] == ParsedEvent(
        round(NOW.timestamp()) * 1_000_000, "u7999", "é", "view", None, None, {}, None
    )
    assert events[6_000][1] == Refusal("no user_id")
    assert json.loads(events[6_000][2])["item_id"] == "é"


def test_elements_of_an_array_are_records(tmp_path: Path) -> None:
    content = content_of(
        {**PLAIN, "items": {"type": "array", "items": ITEM}},
        [{"event_time": NOW, "user_id": "u", "item_id": "", "items": [{"id": 1}, {"id": 2}]}],
    )
    columns = ColumnSettings(item_id="items.id")
    events = read(tmp_path, content, columns=columns, explode="items")
    assert [(number, event.item_id) for number, event, _ in events] == [(1, "1"), (1, "2")]


def test_bytes_that_are_no_text_refuse_their_row_alone(tmp_path: Path) -> None:
    rows = [{"event_time": NOW, "user_id": user, "item_id": "i"} for user in ("abcd", "u")]
    content = content_of(PLAIN, rows).replace(b"abcd", b"ab\xff\xfe")
    events = read(tmp_path, content)
    assert events[0][1] == Refusal("not valid utf-8")
    assert json.loads(events[0][2])["user_id"] == "ab\\xff\\xfe"
    assert events[1][1].user_id == "u"


def test_rows_before_a_cut_come_as_ever(tmp_path: Path) -> None:
    rows = [{"event_time": NOW, "user_id": f"u{n}", "item_id": "i"} for n in range(15_000)]
    content = content_of(PLAIN, rows)
    *events, (number, refusal, _) = read(tmp_path, content[: len(content) // 2])
    # A block of the library has 16 kB: all before the one that is cut are read.
    assert 6_500 < len(events) < 7_800
    assert number == len(events) + 1
    assert refusal == Refusal(f"Avro file is damaged after row {len(events)}")


@pytest.mark.parametrize(
    ("kind", "numbers"),
    [
        ({"type": "long", "logicalType": "timestamp-micros"}, (1 << 60, -(1 << 62))),
        ({"type": "long", "logicalType": "timestamp-millis"}, (1 << 62, -(1 << 60))),
        ({"type": "long", "logicalType": "local-timestamp-micros"}, (1 << 60, -(1 << 62))),
        ({"type": "int", "logicalType": "date"}, (1 << 30, -(1 << 30))),
    ],
    ids=lambda value: value["logicalType"] if isinstance(value, dict) else "",
)
def test_a_time_that_no_calendar_has_refuses_its_row_alone(
    tmp_path: Path, kind: dict[str, str], numbers: tuple[int, ...]
) -> None:
    good = {"long": 0, "int": 1}[kind["type"]]
    rows = [{"event_time": n, "user_id": "u", "item_id": "i"} for n in (*numbers, good)]
    *refused, (number, event, _) = read(tmp_path, content_of({**PLAIN, "event_time": kind}, rows))
    outside = Refusal("event_time is outside the years 1 to 9999")
    assert [refusal for _, refusal, _ in refused] == [outside] * len(numbers)
    assert (number, event.user_id) == (3, "u")


def test_a_file_whose_head_is_cut_is_named(tmp_path: Path) -> None:
    for content in (content_of(PLAIN, [])[:30], b"Obj\x01"):
        with pytest.raises(UnreadableFileError, match="is no whole Avro file"):
            read(tmp_path, content)


def test_a_missing_package_is_no_fault_of_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "fastavro", None)
    with pytest.raises(UsageError, match="source 'avro' needs the package fastavro"):
        read(tmp_path, content_of(PLAIN, []))


def test_the_schema_is_arrows() -> None:
    content = content_of(PLAIN, [])
    assert AvroFile(io.BytesIO(content)).schema == pa.schema(
        {"event_time": pa.timestamp("us", "UTC"), "user_id": pa.binary(), "item_id": pa.binary()}
    )
