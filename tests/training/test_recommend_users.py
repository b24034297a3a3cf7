"""The file of users: what is read, and what is said when it cannot be."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.errors import UsageError
from training.recommend.users import read_users


def test_a_text_file_has_one_id_a_line(tmp_path: Path) -> None:
    path = tmp_path / "users.txt"
    path.write_text("bert\n\nanna \nbert\n007\n", encoding="utf-8")
    assert read_users(path).user_ids.tolist() == ["bert", "anna ", "007"]


def test_a_csv_may_tell_the_context(tmp_path: Path) -> None:
    path = tmp_path / "users.csv"
    path.write_text("device,user_id\nphone,007\n,NA\ndesk,007\n", encoding="utf-8")
    asked = read_users(path)
    assert asked.user_ids.tolist() == ["007", "NA"]
    assert asked.context["device"].tolist() == ["phone", None]


def test_whole_numbers_in_parquet_are_ids_too(tmp_path: Path) -> None:
    path = tmp_path / "users.parquet"
    pq.write_table(pa.table({"user_id": [3, 12, 3], "country": ["x", None, "y"]}), path)
    asked = read_users(path)
    assert asked.user_ids.tolist() == ["3", "12"]
    assert asked.context["country"].tolist() == ["x", None]


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("u.txt", b"", r"u\.txt: names no user"),
        ("u.csv", b"", r"u\.csv: names no user"),
        ("u.csv", b"user_id\n", r"u\.csv: names no user"),
        ("u.csv", b"user\nanna\n", r"u\.csv: no column 'user_id': its columns are user"),
        ("u.csv", b"user_id,x\nanna,1\n,2\n", r"u\.csv: row 2 of 2 has no user_id"),
        ("u.txt", b"\xff\xfe", r"u\.txt: not a UTF-8 file"),
        ("u.csv", b"user_id\n\xff\xfe\n", r"u\.csv: not a UTF-8 file"),
        ("u.parquet", b"no parquet", r"u\.parquet: cannot read the users"),
    ],
)
def test_a_file_that_tells_no_users_is_refused(
    tmp_path: Path, name: str, content: bytes, said: str
) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(UsageError, match=said):
        read_users(path)


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"none\.txt: cannot read the users: No such file"):
        read_users(tmp_path / "none.txt")


def test_ids_that_are_fractions_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "u.parquet"
    pq.write_table(pa.table({"user_id": [1.5]}), path)
    with pytest.raises(UsageError, match="column 'user_id' is of type double: make it text"):
        read_users(path)
