"""Columns that stand only in the names of folders, as Hive writes them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.orc
import pyarrow.parquet
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.hours import Hour
from pipeline.ingest.columns.batches import file_batches
from pipeline.ingest.parse import PARSED, Bounds, batch_of, file_rows
from pipeline.settings.source import ColumnSettings, SourceSettings
from pipeline.settings.tables import IngestSettings
from pipeline.sources import ParsedEvent, Source, source_for
from pipeline.sources.base import HeaderError, folder_columns

HOUR = Hour.parse("2024-01-05T13")
NOW_US = HOUR.index * 3_600_000_000
BOUNDS = Bounds(NOW_US + 3_600_000_000)
FOLDERS = "landing/country=de/device=phone%2Fold/part-0"
COLUMNS = ColumnSettings(
    event_time="at", user_id="user", item_id="item", context={"in": "country", "on": "device"}
)


def rows_both_ways(path: Path, name: str, source: Source) -> list[dict[str, Any]]:
    """The rows of a file, which are the same read as lines and as columns."""
    slow = list(file_rows(path, name, HOUR, BOUNDS, source, "utf-8", IngestSettings()))
    batches = file_batches(path, name, HOUR, BOUNDS, source, "utf-8", IngestSettings())
    fast = pa.Table.from_batches(batches, PARSED).to_pylist()
    assert sorted(map(repr, fast)) == sorted(map(repr, batch_of(slow).to_pylist()))
    return sorted(
        (row for row in fast if row["kind"] != "file"),
        key=lambda row: (row["line"], row["item_id"]),
    )


def source(name: str, columns: ColumnSettings = COLUMNS, **chosen: Any) -> Source:
    return source_for(SourceSettings(name=name, columns=columns, time_unit="us", **chosen))


@pytest.mark.parametrize(
    ("file_name", "columns"),
    [
        ("event_date=2024-01-05/country=de/part-0", {"event_date": "2024-01-05", "country": "de"}),
        ("a=1/b/a=2/part-0", {"a": "2"}),
        ("a=x%20y%2F%C3%BC/f", {"a": "x y/ü"}),
        ("a%3D=b/f", {"a=": "b"}),
        ("a=%FF/b=%00/c=%/f", {"a": "%FF", "b": "%00", "c": "%"}),
        ("a=__HIVE_DEFAULT_PARTITION__/f", {"a": ""}),
        ("a=b=c/f", {"a": "b=c"}),
        ("=b/2024-01-05T13/f=1.csv", {}),
        ("a=+/f", {"a": "+"}),
    ],
)
def test_folders_name_columns(file_name: str, columns: dict[str, str]) -> None:
    assert folder_columns(file_name) == columns


def contexts(rows: list[dict[str, Any]]) -> list[dict[str, str]]:
    assert [row["kind"] for row in rows] == ["event"] * len(rows)
    return [dict(row["context"]) for row in rows]


@pytest.mark.parametrize("has_header", [True, False])
def test_delimited_lines_have_the_columns_of_their_folders(
    tmp_path: Path, has_header: bool
) -> None:
    names = ("at", "user", "item", "country")
    chosen: dict[str, Any] = {} if has_header else {"header": False, "field_names": names}
    path = tmp_path / "f"
    lines = [",".join(names)] * has_header + [f"{NOW_US},u,i,at", f"{NOW_US},u,j,"]
    path.write_text("\n".join(lines))
    rows = rows_both_ways(path, FOLDERS, source("delimited", **chosen))
    # A column that the file has itself is the file's, also where it is empty.
    assert contexts(rows) == [{"in": "at", "on": "phone/old"}, {"on": "phone/old"}]
    nowhere = source("delimited", **chosen)
    with pytest.raises(HeaderError, match="no column 'device'"):
        nowhere.parser(",".join(names) if has_header else None, "part-0")


def test_lines_that_end_in_delimiters_do_not_reach_the_folders(tmp_path: Path) -> None:
    path = tmp_path / "f"
    path.write_text(f"at,user,item,country\n{NOW_US},u,i,at,,\n{NOW_US},u,j,at,x\n")
    rows = rows_both_ways(path, FOLDERS, source("delimited"))
    assert contexts(rows[:1]) == [{"in": "at", "on": "phone/old"}]
    assert rows[1]["reason"] == "5 fields where 4 were expected"


def test_json_lines_have_the_columns_of_their_folders_where_they_have_none(tmp_path: Path) -> None:
    path = tmp_path / "f"
    record = {"at": NOW_US, "user": "u", "item": "i"}
    more: list[dict[str, Any]] = [{}, {"country": "at"}, {"country": None}, {"country": ""}]
    path.write_text(
        "\n".join(json.dumps({**record, "item": str(n), **m}) for n, m in enumerate(more))
    )
    both = {"in": "de", "on": "phone/old"}
    rows = rows_both_ways(path, FOLDERS, source("json_lines"))
    assert contexts(rows) == [both, {**both, "in": "at"}, both, both]


def test_fields_and_rules_may_be_of_folders_too(tmp_path: Path) -> None:
    columns = COLUMNS.model_copy(update={"user_id": "visitor", "context": {}})
    rule = {"name": "test", "column": "stage", "equals": ("test",)}
    (tmp_path / "f.json").write_text(f'{{"at": {NOW_US}, "item": "i"}}')
    (tmp_path / "f.csv").write_text(f"at,item\n{NOW_US},i\n")
    for name, file in (("json_lines", "f.json"), ("delimited", "f.csv")):
        read = source(name, columns, ignore=(rule,))
        (row,) = rows_both_ways(tmp_path / file, f"visitor=v7/stage=live/{file}", read)
        assert (row["kind"], row["user_id"]) == ("event", "v7")
        assert rows_both_ways(tmp_path / file, f"visitor=v7/stage=test/{file}", read) == []


def test_elements_have_the_columns_of_their_folders(tmp_path: Path) -> None:
    columns = COLUMNS.model_copy(update={"item_id": "items.id"})
    path = tmp_path / "f"
    path.write_text(f'{{"at": {NOW_US}, "user": "u", "items": [{{"id": "a"}}, {{"id": "b"}}]}}')
    rows = rows_both_ways(path, FOLDERS, source("json_lines", columns, explode="items"))
    assert contexts(rows) == [{"in": "de", "on": "phone/old"}] * 2


@pytest.mark.parametrize("name", ["parquet", "orc"])
def test_tables_have_the_columns_of_their_folders(tmp_path: Path, name: str) -> None:
    write = {"parquet": pa.parquet.write_table, "orc": pa.orc.write_table}[name]
    path = tmp_path / "f"
    table = pa.table(
        {
            "at": [NOW_US] * 3,
            "user": ["u", "u", None],
            "item": ["i", "j", "k"],
            "country": ["at", None, "ch"],
        }
    )
    write(table, path)
    rows = rows_both_ways(path, FOLDERS, source(name))
    assert contexts(rows[:2]) == [{"in": "at", "on": "phone/old"}, {"on": "phone/old"}]
    assert rows[2]["reason"] == "no user_id"
    assert json.loads(rows[2]["raw"])["device"] == "phone/old"
    of_folders = COLUMNS.model_copy(update={"user_id": "device", "context": {}})
    every = rows_both_ways(path, FOLDERS, source(name, of_folders))
    assert [row["user_id"] for row in every] == ["phone/old"] * 3
    again = source(name, of_folders).parser(None, FOLDERS)
    assert isinstance(again(rows[2]["raw"]), ParsedEvent)
    nothing = "device=__HIVE_DEFAULT_PARTITION__/part-0"
    assert {row["reason"] for row in rows_both_ways(path, nothing, source(name, of_folders))} == {
        "no user_id"
    }


@given(
    rows=st.lists(
        st.fixed_dictionaries(
            {"user": st.sampled_from(["u", "", " "]), "item": st.sampled_from(["i", "", '"'])},
            optional={"country": st.sampled_from(["at", "", None, "[]"])},
        ),
        max_size=6,
    ),
    country=st.sampled_from(["de", " ", "__HIVE_DEFAULT_PARTITION__", "%22", "u"]),
)
def test_columns_are_what_lines_say_whatever_the_folders(
    tmp_path_factory: pytest.TempPathFactory, rows: list[dict[str, Any]], country: str
) -> None:
    folder = tmp_path_factory.getbasetemp()
    name = f"country={country}/device=d/f"
    (folder / "f.json").write_text("\n".join(json.dumps({"at": NOW_US, **row}) for row in rows))
    (folder / "f.csv").write_text(
        "at,user,item\n" + "\n".join(f"{NOW_US},{row['user']},{row['item']}" for row in rows)
    )
    rows_both_ways(folder / "f.json", name, source("json_lines"))
    rows_both_ways(folder / "f.csv", name, source("delimited"))
