"""Logs in Parquet, ORC and Avro, from the landing zone to the lake."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import fastavro
import pyarrow as pa
import pyarrow.orc
import pyarrow.parquet
import pytest
from fuzzed_logs import H0
from landing_place import Place

from pipeline.errors import HourglassError
from pipeline.hours import HourRange
from pipeline.lake.tables import EVENTS, QUARANTINE
from pipeline.settings.source import ColumnSettings, SourceSettings
from pipeline.sources.base import HeaderError
from pipeline.spark.compute import Compute

SCHEMA = pa.schema(
    {
        "at": pa.timestamp("us", "UTC"),
        "user": pa.string(),
        "item": pa.int64(),
        "price": pa.float64(),
        "cart": pa.list_(pa.struct({"item": pa.int64(), "at": pa.timestamp("us", "UTC")})),
    }
)
COLUMNS = {"event_time": "at", "user_id": "user", "item_id": "item", "value": "price"}
AVRO = {
    "type": "record",
    "name": "Row",
    "fields": [
        {"name": "at", "type": ["null", {"type": "long", "logicalType": "timestamp-micros"}]},
        {"name": "user", "type": ["null", "string"]},
        {"name": "item", "type": ["null", "long"]},
        {"name": "price", "type": ["null", "double"]},
    ],
}


def by_avro(table: pa.Table, content: io.BytesIO) -> None:
    fastavro.writer(content, fastavro.parse_schema(AVRO), table.drop(["cart"]).to_pylist())


WRITE: dict[str, Callable[[pa.Table, io.BytesIO], None]] = {
    "parquet": pa.parquet.write_table,
    "orc": pa.orc.write_table,
    "avro": by_avro,
}


def at(seconds: float) -> datetime:
    return H0.start + timedelta(seconds=seconds)


def put(place: Place, name: str, rows: list[dict[str, Any]], schema: pa.Schema = SCHEMA) -> Path:
    """A file of rows; its name's end says in which format."""
    content = io.BytesIO()
    WRITE[name.rpartition(".")[2]](pa.Table.from_pylist(rows, schema), content)
    path = place.landing / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.getvalue())
    return path


@pytest.fixture
def place(tmp_path: Path, compute: Compute) -> Place:
    return Place(tmp_path, compute)


def read_as(place: Place, name: str, columns: dict[str, str] = COLUMNS, **chosen: Any) -> None:
    source = SourceSettings(
        name=name, path=place.landing, columns=ColumnSettings(**columns), **chosen
    )
    place.settings = place.settings.model_copy(update={"source": source})


ROWS = [
    {"at": at(0), "user": "u", "item": 1, "price": 2.5},
    {"at": at(0), "user": "u", "item": 1, "price": 2.5},
    {"at": at(1), "user": None, "item": 2},
    {"at": at(2), "user": "v", "item": 3},
    {"at": at(9 * 3600), "user": "v", "item": 4},
    {"at": None, "user": "v", "item": 5},
]


@pytest.mark.parametrize("name", list(WRITE))
def test_each_row_is_an_event_a_duplicate_or_in_quarantine(place: Place, name: str) -> None:
    read_as(place, name)
    file = f"{H0}/a.{name}"
    put(place, file, ROWS)
    summary = place.ingest()
    assert (summary.unreadable, summary.unfit) == ((), ())
    assert place.accounts() == {file: (6, 3, 0, 3)}
    events = sorted(place.rows(EVENTS), key=lambda row: row["line"])
    assert [(row["user_id"], row["item_id"], row["value"], row["line"]) for row in events] == [
        ("u", "1", 2.5, 1),
        ("u", "1", 2.5, 2),
        ("v", "3", None, 4),
    ]
    assert [row["event_time"] for row in events] == [at(0), at(0), at(2)]
    refused = sorted(place.rows(QUARANTINE), key=lambda row: row["line"])
    assert [(row["line"], row["reason"]) for row in refused] == [
        (3, "no user_id"),
        (5, "event_time is after the file's arrival"),
        (6, "no event_time"),
    ]
    assert json.loads(refused[1]["raw"])["at"] == f"{at(9 * 3600):%Y-%m-%dT%H:%M:%S}Z"
    assert place.ingest().files == 0


def test_a_file_that_is_rewritten_changes_only_what_it_says_otherwise(place: Place) -> None:
    read_as(place, "parquet")
    put(place, "a.parquet", ROWS[:4])
    place.ingest()
    put(place, "a.parquet", [*ROWS[:2], {**ROWS[2], "user": "w"}, ROWS[3]])
    place.ingest()
    users = sorted((row["line"], row["user_id"]) for row in place.rows(EVENTS))
    assert users == [(1, "u"), (2, "u"), (3, "w"), (4, "v")]


def test_files_that_are_not_of_the_format_or_lack_a_column_are_named_and_the_rest_is_taken(
    place: Place,
) -> None:
    read_as(place, "parquet")
    put(place, "a.parquet", ROWS[:1])
    put(
        place,
        "b.parquet",
        [{"at": at(0), "who": "u"}] * 2,
        pa.schema({"at": SCHEMA.field("at").type, "who": pa.string()}),
    )
    (place.landing / "c.csv").write_text("at,user\n")
    whole = put(place, "d.parquet", ROWS).read_bytes()
    (place.landing / "d.parquet").write_bytes(whole[:-100])
    summary = place.ingest()
    assert summary.unreadable == ("c.csv: is no Parquet", "d.parquet: is no whole Parquet file")
    (unfit,) = summary.unfit
    assert unfit.startswith("b.parquet: no column 'user' among its columns: at, who; source.colum")
    assert place.accounts() == {"a.parquet": (1, 1, 0, 0), "b.parquet": (2, 0, 0, 2)}
    (first, second) = sorted(place.rows(QUARANTINE), key=lambda row: row["line"])
    assert first["reason"] == second["reason"] == "the file has no column 'user'"
    assert json.loads(second["raw"]) == {"at": f"{at(0):%Y-%m-%dT%H:%M:%S}Z", "who": "u"}


def test_settings_that_no_file_fits_are_refused_before_anything_is_taken(place: Place) -> None:
    read_as(place, "parquet", {**COLUMNS, "user_id": "visitor"})
    put(place, "a.parquet", ROWS)
    with pytest.raises(HeaderError, match=r"source\.columns\.user_id says which column"):
        place.ingest()
    assert place.accounts() == {}
    (place.landing / "a.parquet").write_text("no parquet at all")
    with pytest.raises(HourglassError, match=r"a\.parquet: is no Parquet: no file in .* can be"):
        place.ingest()


def test_elements_of_lists_add_up_and_are_let_in_one_by_one(place: Place) -> None:
    """Of a row one element may be let in while another is refused again, for the same reason."""
    read_as(
        place, "parquet", {"event_time": "cart.at", "user_id": "user", "item_id": "cart.item"},
        explode="cart",
    )  # fmt: skip
    old, older = -8 * 24 * 3600, -10 * 24 * 3600
    cart = [
        {"item": item, "at": at(when)} for item, when in ((1, 0), (2, old), (3, older), (3, older))
    ]
    file = f"{H0}/a.parquet"
    put(place, file, [{"user": "u", "cart": cart}, {"user": "v", "cart": []}, {"user": "w"}])
    place.ingest()
    assert place.accounts() == {file: (6, 1, 0, 5)}
    assert place.refused() == [(file, 1)] * 3 + [(file, 2), (file, 3)]

    hour = H0 + old // 3600
    summary = place.ingest(late=HourRange(hour, hour + 1))
    assert (summary.files, summary.late) == (1, 1)
    assert place.accounts() == {file: (6, 2, 0, 4)}
    assert place.refused() == [(file, 1)] * 2 + [(file, 2), (file, 3)]
    assert sorted(row["item_id"] for row in place.rows(EVENTS)) == ["1", "2"]
    assert place.ingest().files == 0


def test_other_columns_make_files_be_read_again(place: Place) -> None:
    read_as(place, "parquet")
    put(place, "a.parquet", ROWS[:1])
    place.ingest()
    read_as(place, "parquet", {**COLUMNS, "item_id": "price"})
    assert place.ingest().read_again == 1
    assert [row["item_id"] for row in place.rows(EVENTS)] == ["2.5"]


def test_spark_and_one_process_make_the_same_of_them(
    tmp_path: Path, compute: Compute, on_spark: Compute
) -> None:
    rows = [
        {"at": at(n % 50), "user": f"u{n % 7}" if n % 11 else None, "item": n % 5}
        for n in range(300)
    ]
    contents = []
    for folder, where in (("here", compute), ("spark", on_spark)):
        place = Place(tmp_path / folder, where)
        read_as(place, "parquet")
        put(place, "a.parquet", rows[:200])
        put(place, "b.parquet", rows[100:])
        place.ingest()
        contents.append((place.content(), place.accounts()))
    assert contents[0] == contents[1]
