"""Files that are no text are named by their first bytes, and none is read as text."""

from __future__ import annotations

import bz2
import gzip
import io
import sqlite3
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.orc
import pyarrow.parquet
import pytest

from pipeline.sources.file_kinds import kind_of
from pipeline.sources.lines import UnreadableFileError, read_lines

CSV = b"event_time,user_id,item_id\n" + b"1,u,i\n" * 400
TABLE = pa.table({"user_id": ["u"] * 9})


def zipped(name: str) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        archive.writestr(name, CSV)
    return content.getvalue()


def tarred(form: int) -> bytes:
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w", format=form) as archive:
        entry = tarfile.TarInfo("logs/a.csv")
        entry.size = len(CSV)
        archive.addfile(entry, io.BytesIO(CSV))
    return content.getvalue()


def written(write: Callable[[pa.Table, io.BytesIO], None], table: pa.Table = TABLE) -> bytes:
    content = io.BytesIO()
    write(table, content)
    return content.getvalue()


def arrow_file() -> bytes:
    content = io.BytesIO()
    with pa.ipc.new_file(content, TABLE.schema) as writer:
        writer.write_table(TABLE)
    return content.getvalue()


def database() -> bytes:
    connection = sqlite3.connect(":memory:")
    connection.execute("create table events (a)")
    return connection.serialize()


PARQUET = written(pa.parquet.write_table)
KINDS: dict[str, tuple[bytes, str]] = {
    "zip": (zipped("a.csv"), "is a zip archive: unpack it"),
    "empty zip": (b"PK\x05\x06" + bytes(18), "is a zip archive: unpack it"),
    "workbook": (zipped("[Content_Types].xml"), "is an Excel workbook: export it as CSV"),
    "tar of GNU": (tarred(tarfile.GNU_FORMAT), "is a tar archive: unpack it"),
    "tar of POSIX": (tarred(tarfile.PAX_FORMAT), "is a tar archive: unpack it"),
    "tar.gz": (gzip.compress(tarred(tarfile.GNU_FORMAT)), "is a tar archive: unpack it"),
    "tar.bz2": (bz2.compress(tarred(tarfile.GNU_FORMAT)), "is a tar archive: unpack it"),
    "7z": (b"7z\xbc\xaf\x27\x1c\x00\x04" + bytes(24), "is a 7z archive: unpack it"),
    "parquet": (PARQUET, "is Parquet: set source.name to parquet"),
    "empty parquet": (
        written(pa.parquet.write_table, TABLE.slice(0, 0)),
        "is Parquet: set source.name to parquet",
    ),
    "torn parquet": (PARQUET[:60], "is Parquet: set source.name to parquet"),
    "orc": (written(pa.orc.write_table), "is ORC: set source.name to orc"),
    "avro": (b"Obj\x01\x04\x14avro.codec\x08null", "is Avro: set source.name to avro"),
    "arrow": (arrow_file(), "is an Arrow file: write it as Parquet"),
    "sqlite": (database(), "is an SQLite database: export it as CSV"),
    "UTF-16": (CSV.decode().encode("utf-16"), "is UTF-16 text: convert it to UTF-8"),
    "UTF-16 cut inside a character": (
        ("\ufeff" + "🦉" * 300).encode("utf-16-be")[:1001],
        "is UTF-16 text: convert it to UTF-8",
    ),
    "UTF-32": (CSV.decode().encode("utf-32"), "is UTF-32 text: convert it to UTF-8"),
    "UTF-16 in gzip": (
        gzip.compress(CSV.decode().encode("utf-16")),
        "is UTF-16 text: convert it to UTF-8",
    ),
    "gzip in gzip": (
        gzip.compress(gzip.compress(CSV)),
        "is packed twice, inside by gzip: unpack it once",
    ),
}


@pytest.mark.parametrize(("content", "reason"), KINDS.values(), ids=KINDS)
def test_a_file_that_is_no_text_is_named(tmp_path: Path, content: bytes, reason: str) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(content)
    with pytest.raises(UnreadableFileError) as caught:
        next(read_lines(path))
    assert caught.value.reason == reason
    assert str(caught.value) == f"{path}: {reason}"


#: Texts whose beginning is nearly that of another kind.
TEXTS = {
    "PK": b"PK,user\n1,u\n",
    "PAR1": b"PAR1,user\n1,u\n",
    "ORC": b"ORC\n1\n",
    "ORC at both ends": b"ORC,user\n1,ORC\n",
    "BZh9": b"BZh9,user\n1,u\n",
    "7z": b"7z,user\n1,u\n",
    "ustar without a NUL": b"x" * 257 + b"ustar\n1\n",
    "Obj": b"Obj,user\n1,u\n",
    "bytes of no kind": b"\xff\xfe" + bytes(range(0xD8, 0xE0)) * 4,
}


@pytest.mark.parametrize("content", TEXTS.values(), ids=TEXTS)
def test_a_text_is_none_of_them(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.csv"
    for packed in (content, gzip.compress(content)):
        path.write_bytes(packed)
        lines = list(read_lines(path, "latin-1"))
        assert lines[0].text.startswith(content[:1].decode("latin-1"))


def test_the_first_kibibyte_tells_a_kind_and_less_of_a_small_file() -> None:
    assert kind_of(b"") is None
    assert kind_of(zipped("a.csv")[:4]) is not None
