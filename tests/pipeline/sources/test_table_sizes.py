"""Files of columns that are small and say that they hold much."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fastavro
import pyarrow as pa
import pyarrow.orc
import pyarrow.parquet
import pytest

from pipeline.hours import Hour
from pipeline.ingest.columns.batches import file_batches
from pipeline.ingest.parse import Bounds, file_rows
from pipeline.settings.source import ColumnSettings, SourceSettings
from pipeline.settings.tables import IngestSettings
from pipeline.sources import source_for
from pipeline.sources.tables import files, reading
from pipeline.sources.tables.avro import AvroFile
from pipeline.sources.tables.files import OrcFile, ParquetFile
from pipeline.sources.tables.source import TableSource

HOUR = Hour.parse("2016-03-14T13")
NOW_US = HOUR.index * 3_600_000_000
LONG = "x" * 100_000
WRITE = {"parquet": pa.parquet.write_table, "orc": pa.orc.write_table}
formats = pytest.mark.parametrize("name", list(WRITE))


def rows_of(name: str, path: Path, **rules: Any) -> list[tuple[str, str | None]]:
    """Kind and reason of each row of a file, the same both ways."""
    source = source_for(SourceSettings(name=name, time_unit="us"))
    options = (path, path.name, HOUR, Bounds(NOW_US + 1), source, "utf-8", IngestSettings(**rules))
    batches = [row for batch in file_batches(*options) for row in batch.to_pylist()]
    assert len(list(file_rows(*options))) == len(batches)
    return [(row["kind"], row["reason"]) for row in batches]


def constant(rows: int, **columns: Any) -> pa.Table:
    """As many equal rows, each text of which the file holds once."""
    values = {"event_time": NOW_US, "user_id": "u", "item_id": "i"} | columns
    index = pa.array([0] * rows, pa.int32())
    return pa.table(
        {
            name: pa.DictionaryArray.from_arrays(index, pa.array([value])).cast(
                pa.string() if isinstance(value, str) else pa.int64()
            )
            for name, value in values.items()
        }
    )


@formats
def test_a_file_of_more_rows_than_it_can_hold_is_refused_by_name(tmp_path: Path, name: str) -> None:
    path = tmp_path / f"log.{name}"
    options: dict[str, Any] = {"compression": "zstd"}
    WRITE[name](constant(80_000), path, **options)
    assert path.stat().st_size < 10_000
    # All files are read that hold less than 16 MiB.
    assert rows_of(name, path, max_expansion=1)[-1] == ("file", None)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("pipeline.sources.tables.source.SMALL_BYTES", 1 << 10)
        ((kind, reason),) = rows_of(name, path, max_expansion=20)
        assert kind == "unreadable"
        assert reason == (
            f"{files_kind(name)} file says that it holds over 20 times its size "
            "(ingest.max_expansion)"
        )
        assert rows_of(name, path, max_expansion=10_000)[-1] == ("file", None)


def files_kind(name: str) -> str:
    return {"parquet": "Parquet", "orc": "ORC"}[name]


AVRO_SCHEMA = {
    "type": "record",
    "name": "Row",
    "fields": [
        {"name": "event_time", "type": "long"},
        {"name": "user_id", "type": "string"},
        {"name": "item_id", "type": "string"},
    ],
}


@pytest.mark.parametrize("codec", ["null", "deflate", "bzip2", "xz"])
def test_blocks_of_avro_are_not_unpacked_beyond_what_is_allowed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, codec: str
) -> None:
    monkeypatch.setattr("pipeline.sources.tables.source.SMALL_BYTES", 1 << 10)
    path = tmp_path / "log"
    row = {"event_time": NOW_US, "user_id": "u", "item_id": "i"}
    with path.open("wb") as raw:
        rows = [row, {**row, "user_id": "u" * 5_000_000}, row]
        fastavro.writer(raw, AVRO_SCHEMA, rows, codec=codec)
    if codec == "null":
        assert rows_of("avro", path, max_expansion=1)[-1] == ("file", None)
        return
    assert path.stat().st_size < 10_000
    assert rows_of("avro", path, max_expansion=20) == [
        (
            "unreadable",
            "Avro file says that it holds over 20 times its size (ingest.max_expansion)",
        )
    ]
    assert rows_of("avro", path, max_expansion=1 << 20)[-1] == ("file", None)


def test_blocks_of_avro_that_hold_more_records_than_bytes_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipeline.sources.tables.source.SMALL_BYTES", 1 << 10)
    fields = [{"name": f["name"], "type": "null"} for f in AVRO_SCHEMA["fields"]]
    with (tmp_path / "log").open("wb") as raw:
        nothing = {f["name"]: None for f in fields}
        fastavro.writer(raw, {**AVRO_SCHEMA, "fields": fields}, [nothing] * 100_000)
    ((kind, _),) = rows_of("avro", tmp_path / "log", max_expansion=2)
    assert kind == "unreadable"


def test_blocks_of_avro_are_counted_in_every_file(tmp_path: Path) -> None:
    path = tmp_path / "log"
    row = {"event_time": NOW_US, "user_id": "u" * 50, "item_id": "i"}
    for codec in ("null", "deflate", "bzip2", "xz"):
        with path.open("wb") as raw:
            fastavro.writer(raw, AVRO_SCHEMA, [row] * 3000, codec=codec)
        # Each long takes 8 bytes, each text one and its own.
        held = 3000 * (8 + 51 + 2)
        with path.open("rb") as raw:
            file = AvroFile(raw)
            assert file.holds_more_than(held + 100) is False
            assert file.holds_more_than(held - 100) is True
            assert sum(batch.num_rows for _, batch in file.batches()) == 3000


def sizes(batches: Iterator[tuple[int, pa.RecordBatch]]) -> list[tuple[int, int]]:
    return [(batch.num_rows, batch.nbytes) for _, batch in batches]


@formats
def test_texts_that_a_file_holds_once_are_not_all_unpacked_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr(files, "BYTES_PER_BATCH", 4 << 20)
    monkeypatch.setattr(files, "_ORC_ROWS_AT_ONCE", 16)
    path = tmp_path / "log"
    options: dict[str, Any] = (
        {"dictionary_pagesize_limit": 1 << 20}
        if name == "parquet"
        else {"dictionary_key_size_threshold": 1.0, "compression": "zstd"}
    )
    WRITE[name](constant(500, item_id=LONG), path, **options)
    with path.open("rb") as raw:
        table = {"parquet": ParquetFile, "orc": OrcFile}[name](raw)
        of_batches = sizes(table.batches(["event_time", "item_id"]))
        assert sum(rows for rows, _ in of_batches) == 500
        assert max(size for _, size in of_batches) <= 4 << 20
        # Where only short columns are needed, all rows come at once.
        assert [rows for rows, _ in sizes(table.batches(["event_time", "user_id"]))] == [500]
        from_middle = list(table.batches(["item_id"], 250))
        assert from_middle[0][0] <= 250
        assert from_middle[-1][0] + from_middle[-1][1].num_rows == 500


def test_the_longest_text_of_a_dictionary_is_seen_in_structs_and_lists(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "BYTES_PER_BATCH", 1 << 20)
    monkeypatch.setattr(files, "ROWS_PER_BATCH", 64)
    # The first rows are empty, so that the dictionary comes late.
    nested = [[]] * 70 + [[{"id": LONG}]] * 300
    structs = [None] * 70 + [{"a": {"b": LONG}}] * 300
    table = pa.table({"plain": list(range(370)), "items": nested, "deep": structs})
    pa.parquet.write_table(table, tmp_path / "log")
    with (tmp_path / "log").open("rb") as raw:
        file = ParquetFile(raw)
        for column in ("items", "deep"):
            read = list(file.batches([column]))
            assert max(batch.nbytes for _, batch in read) <= 1 << 20
            rows = [row for _, batch in read for row in batch.column(column).to_pylist()]
            assert rows == table[column].to_pylist()
        assert max(rows for rows, _ in sizes(file.batches(["plain"]))) == 64


def test_long_lists_are_unpacked_a_few_rows_at_a_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "BYTES_PER_BATCH", 1 << 16)
    table = pa.table({"numbers": [[7] * 1000] * 400})
    pa.parquet.write_table(table, tmp_path / "log")
    with (tmp_path / "log").open("rb") as raw:
        of_batches = sizes(ParquetFile(raw).batches())
    assert max(size for _, size in of_batches) <= (1 << 16) + 1000
    assert sum(rows for rows, _ in of_batches) == 400


def test_elements_do_not_repeat_a_long_row_all_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "BYTES_PER_BATCH", 1 << 20)
    table = pa.table(
        {
            "at": [NOW_US] * 3,
            "user": ["u", LONG, ""],
            "items": [["a", "b"], [str(n) for n in range(300)], []],
        }
    )
    pa.parquet.write_table(table, tmp_path / "log")
    columns = ColumnSettings(event_time="at", user_id="user", item_id="items")
    source = source_for(
        SourceSettings(name="parquet", columns=columns, time_unit="us", explode="items")
    )
    assert isinstance(source, TableSource)
    with source.opened(tmp_path / "log", "log", None, 1 << 20) as opened:
        batches = list(opened.text_batches())
    assert max(batch.texts.nbytes for batch in batches) <= (1 << 20) + 2 * len(LONG)
    assert [row for batch in batches for row in batch.row] == [0, 0, *[1] * 300, 2]
    assert [nth for batch in batches for nth in batch.nth] == [0, 1, *range(300), 0]
    items = [item for batch in batches for item in batch.texts["item_id"].to_pylist()]
    assert items == ["a", "b", *(str(n) for n in range(300)), ""]


def test_a_damaged_column_that_nobody_needs_costs_a_refused_row_its_text_alone(
    tmp_path: Path,
) -> None:
    rng = random.Random(5)
    rows = 2000
    other = pa.array([rng.randbytes(40) for _ in range(rows)], pa.binary())
    table = constant(rows).append_column("other", other)
    table = table.set_column(1, "user_id", pa.array([None, *["u"] * (rows - 1)], pa.string()))
    path = tmp_path / "log"
    pa.parquet.write_table(table, path, write_page_checksum=True, use_dictionary=False)
    chunk = pa.parquet.ParquetFile(path).metadata.row_group(0).column(3)
    at = chunk.data_page_offset + chunk.total_compressed_size // 2
    content = bytearray(path.read_bytes())
    content[at : at + 8] = b"\xff" * 8
    path.write_bytes(bytes(content))
    outcomes = rows_of("parquet", path)
    assert outcomes[-1] == ("file", None)
    assert [kind for kind, _ in outcomes].count("event") == rows - 1
    assert ("refused", "no user_id") in outcomes
