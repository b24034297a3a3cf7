from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.hours import Hour
from pipeline.lake import parquet_files
from pipeline.lake.parquet_files import HourFile, read_by_hour, write_by_hour
from pipeline.lake.tables import EVENTS

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

H0 = Hour.parse("2016-03-14T13")
SCHEMA = EVENTS.schema


def event(hour: Hour, line: int, **fields: Any) -> dict[str, Any]:
    row: dict[str, Any] = {
        "hour": hour.start,
        "event_time": hour.start,
        "user_id": "u",
        "item_id": "i",
        "event_type": "view",
        "value": None,
        "given_session": None,
        "context": {},
        "event_key": f"k{line}",
        "source_file": "a.csv",
        "line": line,
    }
    return row | fields


ROWS = [
    event(H0 + 2, 1, context={"device": "phone", "place": "Zürich", "empty": ""}),
    event(H0, 2, user_id="Ünïcödé 🦉\n\t\"',\\", item_id="日本", value=-0.0),
    event(H0 + 1, 3, value=1e308, given_session="s"),
    event(H0, 4, context=None, value=float("inf")),
    event(Hour.parse("1969-12-31T23"), 5, event_time=None, user_id="", item_id=None),
    event(H0 + 2, 6, context={"nothing": None}),
    *(event(H0 + 3, line) for line in range(7, 60)),
]


def frame(spark: SparkSession, rows: list[dict[str, Any]] = ROWS, parts: int = 3) -> DataFrame:
    table = pa.Table.from_pylist(rows, SCHEMA)
    return spark.createDataFrame(table).repartition(parts)


def multiset(frame: DataFrame) -> Counter[str]:
    return Counter(repr(row) for row in frame.select(*SCHEMA.names).collect())


@pytest.fixture(scope="module")
def staged(
    spark: SparkSession, tmp_path_factory: pytest.TempPathFactory
) -> tuple[list[HourFile], Path]:
    # A folder such as people have.
    folder = tmp_path_factory.mktemp("hour files") / "lake ü 50% [1] #{x}"
    return write_by_hour(frame(spark), SCHEMA, str(folder)), folder


def test_a_file_holds_one_hour_and_an_hour_of_a_task_one_file(
    staged: tuple[list[HourFile], Path],
) -> None:
    files, folder = staged
    hours = []
    for file in files:
        path = Path(file.path)
        assert path.is_relative_to(folder)
        assert path.stat().st_size == file.bytes
        table = pq.read_table(path, partitioning=None)
        assert table.schema.equals(SCHEMA)
        (hour,) = set(table.column("hour").to_pylist())
        assert (Hour.of(hour), table.num_rows) == (file.hour, file.rows)
        assert path.name.startswith(str(file.hour))
        hours.append(hour)
    assert sorted(hours) == sorted({row["hour"] for row in ROWS})


def test_both_ways_of_reading_give_back_what_was_written(
    spark: SparkSession,
    staged: tuple[list[HourFile], Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    files, _ = staged
    by_arrow = multiset(read_by_hour(spark, SCHEMA, files))
    monkeypatch.setattr(parquet_files, "_SMALL_BYTES", 0)
    by_spark = read_by_hour(spark, SCHEMA, files)
    assert "FileScan" in by_spark._jdf.queryExecution().toString()
    assert by_arrow == multiset(by_spark) == multiset(frame(spark))
    assert by_arrow.total() == len(ROWS)


def test_a_subset_of_the_files_is_a_subset_of_the_hours(
    spark: SparkSession, staged: tuple[list[HourFile], Path]
) -> None:
    files = [file for file in staged[0] if file.hour == H0]
    lines = [row.line for row in read_by_hour(spark, SCHEMA, files).collect()]
    assert sorted(lines) == [2, 4]


def test_no_files_are_no_rows_of_the_same_columns(spark: SparkSession) -> None:
    nothing = read_by_hour(spark, SCHEMA, [])
    assert nothing.columns == SCHEMA.names
    assert nothing.collect() == []


def test_no_rows_are_no_files(spark: SparkSession, tmp_path: Path) -> None:
    assert write_by_hour(frame(spark, []), SCHEMA, str(tmp_path)) == []
    assert list(tmp_path.rglob("*.parquet")) == []


def test_many_hours_in_one_task_come_apart(spark: SparkSession, tmp_path: Path) -> None:
    rows = [event(H0 + n % 40, n) for n in range(400)]
    files = write_by_hour(frame(spark, rows), SCHEMA, str(tmp_path))
    assert len(files) == 40
    assert Counter(row.line for row in read_by_hour(spark, SCHEMA, files).collect()) == Counter(
        range(400)
    )


def test_a_failing_task_names_no_file(spark: SparkSession, tmp_path: Path) -> None:
    def fail_late(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            yield batch
            raise RuntimeError("the power went")

    rows = frame(spark, parts=1)
    broken = rows.mapInArrow(fail_late, rows.schema)
    named: list[HourFile] = []
    with pytest.raises(Exception, match="the power went"):
        named = write_by_hour(broken, SCHEMA, str(tmp_path))
    assert named == []
