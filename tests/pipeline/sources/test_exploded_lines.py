"""JSON lines of which each element of a list is a record: what rows of a table would become."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pipeline.settings.source import ColumnSettings, SourceSettings
from pipeline.sources import Ignored, ParsedEvent, Record, Refusal, source_for
from pipeline.sources.base import Parsed
from pipeline.sources.tables.source import TableSource

NOW_US = 1_457_962_200_000_000
COLUMNS = {
    "event_time": "at",
    "user_id": "who.id",
    "item_id": "cart.items.sku",
    "value": "cart.items.price",
    "event_key": "order",
    "context": {"device": "who.device", "tag": "cart.items.tag"},
}


def settings(name: str = "json_lines", **chosen: Any) -> SourceSettings:
    columns = ColumnSettings(**{**COLUMNS, **chosen.pop("columns", {})})
    chosen = {"explode": "cart.items", "time_unit": "us", **chosen}
    return SourceSettings(name=name, columns=columns, **chosen)


def parse(line: str, **chosen: Any) -> Parsed:
    return source_for(settings(**chosen)).parser(None, "log")(line)


def records(line: str, **chosen: Any) -> list[Record]:
    parsed = parse(line, **chosen)
    assert isinstance(parsed, list)
    return parsed


def line(items: str, more: str = "") -> str:
    return (
        f'{{"at": {NOW_US}, "who": {{"id": 7.0, "device": "phone"}}, "order": "o", '
        f'"cart": {{"items": {items}, "total": 9.50}}{more}}}'
    )


def event(item: str, nth: int, value: float | None = None, **context: str) -> ParsedEvent:
    context = {"device": "phone", **context}
    return ParsedEvent(NOW_US, "7", item, "view", value, None, context, f"o#{nth}")


def test_a_refused_element_of_a_line_with_nan_is_kept_as_json_has_it() -> None:
    text = line(
        '[{"sku": "a", "price": NaN}, {"sku": NaN, "price": 1.50}]', ', "say": "NaN \\" NaN"'
    )
    first, second = records(text)
    assert first.event == event("a", 0)
    assert second.event == Refusal("no item_id")
    assert '"items":{"sku": null, "price": 1.50}' in second.text
    assert json.loads(second.text)["say"] == 'NaN " NaN'
    assert records(line('[{"sku": "a", "price": -Infinity}]'))[0].event == event("a", 0)._replace(
        dropped=("value is not a finite number",)
    )


def test_each_element_is_a_record_beside_the_fields_of_its_line() -> None:
    first, second = records(line('[{"sku": "a", "price": 1.50, "tag": "new"}, {"sku": 2}]'))
    assert first.event == event("a", 0, 1.5, tag="new")
    assert second.event == event("2", 1)


def test_a_list_without_elements_is_one_record_without_an_element() -> None:
    by_order = {"columns": {"item_id": "order"}}
    for items in ("[]", "null", "[null]"):
        (record,) = records(line(items))
        assert record.event == Refusal("no item_id")
        (record,) = records(line(items), **by_order)
        assert record.event == event("o", 0)
        assert parse(record.text, **by_order) == record.event
    (record,) = records(f'{{"at": {NOW_US}, "who": {{"id": 7}}, "order": "o"}}', **by_order)
    assert record.event == event("o", 0)._replace(context={})


def test_what_is_no_list_is_refused_whole() -> None:
    for items in ('{"sku": "a"}', '"a"', "1", "false", "0"):
        assert parse(line(items)) == Refusal("cart.items is not a list")
    assert parse('{"at":') == Refusal("not valid JSON")
    assert parse("[]") == Refusal("not a JSON object")


def test_a_key_from_within_the_list_is_taken_as_it_is() -> None:
    within = {"columns": {"event_key": "cart.items.sku"}}
    first, second = records(line('[{"sku": "a"}, {"sku": "b"}]'), **within)
    assert [first.event.event_key, second.event.event_key] == ["a", "b"]


@pytest.mark.parametrize("key", [("order", "cart.items.sku"), ("cart.items.sku", "order")])
def test_a_key_of_which_a_part_is_from_within_is_not_numbered(
    tmp_path: Path, key: tuple[str, str]
) -> None:
    """In whatever order its columns are named, and whichever way round it is delivered."""
    within = {"columns": {"event_key": key}}
    items = [{"sku": "a"}, {"sku": "b"}]
    parts = ({"order": "o", "cart.items.sku": item["sku"]} for item in items)
    expected = {"|".join(part[name] for name in key) for part in parts}
    for order in (items, items[::-1]):
        of_line = {record.event.event_key for record in records(line(json.dumps(order)), **within)}
        assert of_line == expected
        row = {"at": NOW_US, "who": {"id": "7"}, "order": "o", "cart": {"items": order}}
        path = tmp_path / "rows.parquet"
        pq.write_table(pa.Table.from_pylist([row], SCHEMA), path)
        table = source_for(settings("parquet", **within))
        assert isinstance(table, TableSource)
        with table.opened(path, "log", None, 65536) as reading:
            of_rows = list(map(reading.line_parser(), reading.lines()))
        assert {event.event_key for event in of_rows} == expected


def test_quarantine_keeps_a_record_as_a_line_of_its_own() -> None:
    first, second = records(line('[{"sku": "", "price": 1.50}, {"sku": null, "n": 1e2}]'))
    assert first.event == second.event == Refusal("no item_id")
    # What is not on the way to the list is as the line writes it.
    assert first.text == (
        f'{{"at":{NOW_US},"who":{{"id": 7.0, "device": "phone"}},"order":"o",'
        '"cart":{"items":{"sku": "", "price": 1.50},"total":9.50},"cart.items[]":0}'
    )
    assert json.loads(second.text)["cart.items[]"] == 1
    assert parse(first.text) == parse(second.text) == Refusal("no item_id")


def test_a_list_whose_own_name_has_dots_comes_first() -> None:
    text = f'{{"at": {NOW_US}, "who": {{"id": 7}}, "cart.items": [{{"sku": "a"}}], "cart": 1}}'
    (record,) = records(text)
    assert record.event.item_id == "a"
    assert parse(record.text) == record.event


def test_what_only_python_reads_is_kept_as_its_number() -> None:
    # A key that is half a surrogate pair.
    text = line('[{"sku": ""}]', ', "\\ud800": 1')
    (record,) = records(text)
    assert record.event == Refusal("no item_id")
    assert json.loads(record.text)["cart.items[]"] == 0


def test_rules_see_the_element() -> None:
    ignore = ({"name": "gifts", "column": "cart.items.tag", "equals": ("gift",)},)
    first, second = records(line('[{"sku": "a", "tag": "gift"}, {"sku": "b"}]'), ignore=ignore)
    assert first.event == Ignored("gifts")
    assert second.event == event("b", 1)


def test_the_rules_that_a_file_is_read_by_name_the_list() -> None:
    assert source_for(settings()).rules()["explode"] == "cart.items"
    assert "explode" not in source_for(settings(explode=None)).rules()


TEXT = st.text(st.sampled_from('aé"\\\n ,'), max_size=3)
ITEM = st.fixed_dictionaries(
    {"sku": TEXT | st.none(), "price": st.sampled_from([None, 1.5, 2.0]), "tag": TEXT | st.none()}
)
ROW = st.fixed_dictionaries(
    {
        "at": st.just(NOW_US),
        "who": st.fixed_dictionaries({"id": TEXT, "device": TEXT | st.none()}) | st.none(),
        "order": TEXT | st.none(),
        "cart": st.fixed_dictionaries({"items": st.lists(ITEM | st.none(), max_size=3) | st.none()})
        | st.none(),
    }
)
SCHEMA = pa.schema(
    {
        "at": pa.int64(),
        "who": pa.struct({"id": pa.string(), "device": pa.string()}),
        "order": pa.string(),
        "cart": pa.struct(
            {
                "items": pa.list_(
                    pa.struct({"sku": pa.string(), "price": pa.float64(), "tag": pa.string()})
                )
            }
        ),
    }
)


@given(rows=st.lists(ROW, max_size=4))
@example(rows=[{"at": NOW_US, "who": None, "order": None, "cart": None}])
def test_lines_become_what_rows_that_say_the_same_do(
    tmp_path_factory: pytest.TempPathFactory, rows: list[dict[str, Any]]
) -> None:
    path = tmp_path_factory.getbasetemp() / "rows.parquet"
    pq.write_table(pa.Table.from_pylist(rows, SCHEMA), path)
    table = source_for(settings("parquet"))
    assert isinstance(table, TableSource)
    with table.opened(path, "log", None, 65536) as reading:
        of_rows = list(map(reading.line_parser(), reading.lines()))
    of_lines = [record for row in rows for record in records(json.dumps(row))]
    assert [record.event for record in of_lines] == of_rows
    assert [parse(record.text) for record in of_lines] == of_rows
    for row in rows:
        texts = [record.text for record in records(json.dumps(row))]
        assert len(set(texts)) == len(texts)
