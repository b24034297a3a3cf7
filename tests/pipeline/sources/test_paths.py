"""One value of a list of pairs, by its key: the same in JSON lines, Parquet, ORC and Avro."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import fastavro
import pyarrow as pa
import pyarrow.orc
import pyarrow.parquet
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pipeline.settings.source import ColumnSettings, SourceSettings
from pipeline.sources import ParsedEvent, Refusal, source_for
from pipeline.sources.base import HeaderError
from pipeline.sources.paths import parts_of
from pipeline.sources.tables.source import TableSource

NOW_US = 1_457_962_200_000_000
PAIRS = pa.list_(
    pa.struct(
        {
            "key": pa.string(),
            "value": pa.struct({"string_value": pa.string(), "int_value": pa.int64()}),
        }
    )
)
SCHEMA = pa.schema({"at": pa.int64(), "user": pa.string(), "item": pa.string(), "params": PAIRS})
AVRO = {
    "type": "record",
    "name": "Row",
    "fields": [
        {"name": "at", "type": "long"},
        {"name": "user", "type": "string"},
        {"name": "item", "type": "string"},
        {
            "name": "params",
            "type": {
                "type": "array",
                "items": {
                    "type": "record",
                    "name": "Pair",
                    "fields": [
                        {"name": "key", "type": "string"},
                        {
                            "name": "value",
                            "type": {
                                "type": "record",
                                "name": "Value",
                                "fields": [
                                    {"name": "string_value", "type": ["null", "string"]},
                                    {"name": "int_value", "type": ["null", "long"]},
                                ],
                            },
                        },
                    ],
                },
            },
        },
    ],
}
COLUMNS = {
    "event_time": "at",
    "user_id": "user",
    "item_id": "item",
    "given_session": "params[session].value.int_value",
    "context": {"page": "params[page].value.string_value"},
}
FORMATS = ("json_lines", "parquet", "orc", "avro")


def settings(name: str, **columns: Any) -> SourceSettings:
    return SourceSettings(
        name=name, columns=ColumnSettings(**{**COLUMNS, **columns}), time_unit="us"
    )


def outcomes(name: str, rows: list[dict[str, Any]], folder: Path, **columns: Any) -> list[Any]:
    """What becomes of rows, written in a format."""
    source = source_for(settings(name, **columns))
    if name == "json_lines":
        parse = source.parser(None, "log")
        return [parse(json.dumps(row)) for row in rows]
    assert isinstance(source, TableSource)
    path = folder / f"rows.{name}"
    content = io.BytesIO()
    if name == "avro":
        fastavro.writer(content, fastavro.parse_schema(AVRO), rows)
    else:
        write = {"parquet": pa.parquet.write_table, "orc": pa.orc.write_table}[name]
        write(pa.Table.from_pylist(rows, SCHEMA), content)
    path.write_bytes(content.getvalue())
    with source.opened(path, "log", None, 65536) as reading:
        read_again = source.parser(None, "log")
        lines = list(reading.lines())
        events = list(map(reading.line_parser(), lines))
        assert [read_again(line.text) for line in lines] == events
    return events


def row(*pairs: tuple[str, str | None, int | None]) -> dict[str, Any]:
    params = [
        {"key": key, "value": {"string_value": text, "int_value": number}}
        for key, text, number in pairs
    ]
    return {"at": NOW_US, "user": "u", "item": "i", "params": params}


def event(session: str | None, **context: str) -> ParsedEvent:
    return ParsedEvent(NOW_US, "u", "i", "view", None, session, context, None)


@pytest.mark.parametrize("name", FORMATS)
def test_the_pair_with_the_key_is_read(name: str, tmp_path: Path) -> None:
    rows = [
        row(("page", "/mugs", None), ("session", None, 17)),
        row(("session", None, 18), ("other", "x", 1)),
        row(),
        row(("page", None, 3)),
        row(("session", None, 1), ("session", None, 2)),
    ]
    assert outcomes(name, rows, tmp_path) == [
        event("17", page="/mugs"),
        event("18"),
        event(None),
        event(None),
        event("2"),
    ]


def slow_reference(params: list[dict[str, Any]], key: str, field: str) -> str:
    values = [pair["value"][field] for pair in params if pair["key"] == key]
    return "" if not values or values[-1] is None else str(values[-1])


ANY_PAIR = st.tuples(
    st.sampled_from(["page", "session", "x", ""]),
    st.sampled_from([None, "a", "b "]),
    st.none() | st.integers(0, 5),
)


@given(rows=st.lists(st.lists(ANY_PAIR, max_size=4).map(lambda pairs: row(*pairs)), max_size=5))
@example(rows=[row(), row(("page", "a", None)), row()])
def test_all_formats_read_what_a_plain_loop_finds(
    tmp_path_factory: pytest.TempPathFactory, rows: list[dict[str, Any]]
) -> None:
    expected = []
    for each in rows:
        page = slow_reference(each["params"], "page", "string_value")
        session = slow_reference(each["params"], "session", "int_value")
        expected.append(event(session or None, **({"page": page} if page else {})))
    for name in FORMATS:
        assert outcomes(name, rows, tmp_path_factory.getbasetemp()) == expected


def test_brackets_are_a_key_of_objects_and_maps_too(tmp_path: Path) -> None:
    columns = {"given_session": "tags[a.b]", "context": {"plain": "tags.c", "none": "tags[d].e"}}
    rows = [{"at": NOW_US, "user": "u", "item": "i", "tags": {"a.b": "s", "c": "x"}}]
    source = source_for(settings("json_lines", **columns))
    assert source.parser(None, "log")(json.dumps(rows[0])) == event("s", plain="x")
    kind = pa.map_(pa.string(), pa.string())
    table = pa.table(
        {
            **{name: [rows[0][name]] for name in ("at", "user", "item")},
            "tags": pa.array([[("a.b", "s"), ("c", "x")]], kind),
        }
    )
    pa.parquet.write_table(table, tmp_path / "log")
    by_map = source_for(settings("parquet", **{**columns, "context": {"plain": "tags.c"}}))
    assert isinstance(by_map, TableSource)
    with by_map.opened(tmp_path / "log", "log", None, 65536) as reading:
        assert list(map(reading.line_parser(), reading.lines())) == [event("s", plain="x")]


def test_a_name_that_has_brackets_itself_comes_first(tmp_path: Path) -> None:
    columns = {"given_session": "params[session]", "context": {"deep": "more.a[b].c"}}
    record = {
        "at": NOW_US,
        "user": "u",
        "item": "i",
        "params[session]": "own",
        "params": [{"key": "session"}],
        "more": {"a[b]": {"c": "own too"}, "a": [{"key": "b", "c": "pair"}]},
    }
    parse = source_for(settings("json_lines", **columns)).parser(None, "log")
    assert parse(json.dumps(record)) == event("own", deep="own too")
    source = source_for(settings("parquet", **columns))
    assert isinstance(source, TableSource)
    pa.parquet.write_table(pa.Table.from_pylist([record]), tmp_path / "log")
    with source.opened(tmp_path / "log", "log", None, 65536) as reading:
        assert list(map(reading.line_parser(), reading.lines())) == [event("own", deep="own too")]


@pytest.mark.parametrize("name", ["parquet", "orc"])
def test_a_list_that_has_no_keys_is_no_such_column(name: str, tmp_path: Path) -> None:
    with pytest.raises(HeaderError, match=r"no column 'item\[x\]'"):
        outcomes(name, [row()], tmp_path, given_session="item[x]")


def test_what_is_no_list_of_pairs_has_nothing() -> None:
    parse = source_for(settings("json_lines")).parser(None, "log")
    for params in ("7", '"page"', "null", "[1, [], null, {}]", '[{"key": ["page"]}]', "true"):
        text = f'{{"at": {NOW_US}, "user": "u", "item": "i", "params": {params}}}'
        assert parse(text) == event(None)
    pair = '[{"key": "session", "value": {"int_value": {}}}]'
    text = f'{{"at": {NOW_US}, "user": "u", "item": "i", "params": {pair}}}'
    dropped = ("given_session is a list or an object",)
    assert parse(text) == event(None)._replace(dropped=dropped)
    strict = SourceSettings(
        name="json_lines",
        columns=ColumnSettings(**COLUMNS),
        time_unit="us",
        bad_values="refuse",
    )
    assert source_for(strict).parser(None, "log")(text) == Refusal(dropped[0])


def test_paths_whose_brackets_make_no_sense_are_of_names_alone() -> None:
    for path in ("a[", "a]", "[b]", "a[].b", "a[b]c", "a[[b]]", "a..b[c]"):
        assert [(text, keys) for text, _, keys in parts_of(path)] == [
            (name, ()) for name in path.split(".")
        ]
    assert parts_of("[].a[b.c][d].e") == [
        ("[]", "[]", ()),
        ("a[b.c][d]", "a", ("b.c", "d")),
        ("e", "e", ()),
    ]
