"""Rows of the tables ``items`` and ``users``."""

import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from pipeline.errors import HourglassError
from pipeline.sources.item_user_metadata import MOST_CHARS, IdColumn, read_metadata
from pipeline.sources.lines import read_lines


def read_items(path: Path, id_column: IdColumn = "item_id") -> Iterator[dict[str, Any]]:
    """Rows of a file, up to its first bad line."""
    for line in read_metadata(path, read_lines(path, "utf-8", MOST_CHARS), id_column):
        if line.fault or line.row is None:
            raise HourglassError(f"{path}: line {line.number}: {line.fault}")
        yield line.row


@pytest.fixture
def write(tmp_path: Path) -> Callable[[str], Path]:
    def write(content: str) -> Path:
        path = tmp_path / "metadata"
        path.write_text(content, encoding="utf-8")
        return path

    return write


def test_typed_items(write: Callable[[str], Path]) -> None:
    path = write(
        "item_id:token\tmovie_title:token_seq\trelease_year:token\tclass:token_seq\tcost:float\n"
        "1\tToy Story\t1995\tAnimation Comedy\t2.5\n"
        "2\tunknown\t\t\t\n"
    )
    first, second = read_items(path)
    assert first == {
        "item_id": "1",
        "categories": ["Animation", "Comedy"],
        "numbers": {"release_year": 1995.0, "cost": 2.5},
        "text": "Toy Story",
        "available_from": None,
        "available_to": None,
    }
    assert (second["numbers"], second["categories"]) == ({}, [])


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_a_line_may_end_in_delimiters_that_the_header_does_not_have(
    write: Callable[[str], Path], delimiter: str
) -> None:
    path = write("item_id|brand\na|x||\nb|y\nc|z||w\n".replace("|", delimiter))
    lines = list(read_metadata(path, read_lines(path, "utf-8", MOST_CHARS), "item_id"))
    assert [line.fault for line in lines] == [None, None, "4 fields where 2 were expected"]
    assert [line.row and line.row["categories"] for line in lines] == [
        ["brand=x"],
        ["brand=y"],
        None,
    ]


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_columns_may_be_divided_as_in_other_csv_files(
    write: Callable[[str], Path], delimiter: str
) -> None:
    lines = [("item_id", "brand", "price:float"), ("a", "Ä & Co", "2.5"), ("b", "", "")]
    first, second = read_items(write("".join(f"{delimiter.join(line)}\n" for line in lines)))
    assert (first["item_id"], first["categories"]) == ("a", ["brand=Ä & Co"])
    assert first["numbers"] == {"price": 2.5}
    assert (second["item_id"], second["categories"], second["numbers"]) == ("b", [], {})


def test_a_csv_file_may_quote_its_fields(write: Callable[[str], Path]) -> None:
    path = write('"item_id";title:token_seq\n"a;1";"Shoe, ""red"""\n')
    (row,) = read_items(path)
    assert (row["item_id"], row["text"]) == ("a;1", 'Shoe, "red"')


def test_tabs_come_first_and_leave_quotes_as_they_are(write: Callable[[str], Path]) -> None:
    (row,) = read_items(write('item_id\tname,item_id\n"a\tb,c\n'))
    assert (row["item_id"], row["categories"]) == ('"a', ["name,item_id=b,c"])


def test_typed_users(write: Callable[[str], Path]) -> None:
    path = write("user_id:token\tage:token\tgender:token\n1\t24\tM\n")
    (row,) = read_items(path, "user_id")
    assert (row["user_id"], row["numbers"], row["categories"]) == ("1", {"age": 24.0}, ["gender=M"])


def test_json_items(write: Callable[[str], Path]) -> None:
    record = {
        "item_id": 7,
        "categories": ["sport"],
        "numbers": {"words": 300, "score": 0.5},
        "text": "é",
        "available_from": "2026-01-05T13:00:00Z",
        "available_to": None,
    }
    (row,) = read_items(write(json.dumps(record) + "\n"))
    assert row == record | {
        "item_id": "7",
        "numbers": {"words": 300.0, "score": 0.5},
        "available_from": datetime(2026, 1, 5, 13, tzinfo=UTC),
    }


@pytest.mark.parametrize(
    ("content", "identity"),
    [
        pytest.param('{"item_id": 7.0}', "7", id="a number of JSON"),
        pytest.param('{"item_id": "7.0 "}', "7.0", id="a text of JSON"),
        pytest.param("item_id,x\n 7 ,1", "7", id="CSV"),
    ],
)
def test_ids_are_those_of_events(write: Callable[[str], Path], content: str, identity: str) -> None:
    path = write(content)
    (line,) = read_metadata(path, read_lines(path), "item_id", trim=True)
    assert line.row is not None
    assert line.row["item_id"] == identity


def test_an_empty_file_has_no_rows(write: Callable[[str], Path]) -> None:
    assert list(read_items(write(""))) == []


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"item_id":"a"}\n{"item_id":"a"}', "line 2: item_id 'a' is there a second time"),
        ('{"item_id":"a"}\n{"item_id":', "line 2: not valid JSON"),
        ('{"item_id":"a"}\n[]', "line 2: not a JSON object"),
        ('{"categories":[]}', "line 1: no item_id"),
        ('{"item_id":"a","colour":1}', "line 1: unknown key 'colour'"),
        ('{"item_id":"a","categories":"x"}', "line 1: categories must be a list"),
        ('{"item_id":"a","numbers":{"n":"x"}}', "numbers.n = 'x' is not a finite number"),
        ('{"item_id":"a","available_from":"soon"}', "available_from = 'soon' is not an ISO 8601"),
        ('{"item_id":"\\ud800"}', "half a surrogate pair"),
        ("item_id:token\tcost:float\n1", "line 2: 1 fields where 2 were expected"),
        ("item_id:token\tcost:float\n1\tx", "line 2: cost = 'x' is not a finite number"),
        ("id:token\tcost:float\n", "no column 'item_id' among its columns: id, cost"),
    ],
)
def test_a_bad_file_is_named_with_its_line(
    write: Callable[[str], Path], content: str, message: str
) -> None:
    with pytest.raises(HourglassError, match="metadata: ") as caught:
        list(read_items(write(content)))
    assert message in str(caught.value)


@pytest.mark.real
def test_movielens(datasets_dir: Path) -> None:
    folder = datasets_dir / "movielens-100k"
    items = list(read_items(folder / "ml-100k.item"))
    users = list(read_items(folder / "ml-100k.user", "user_id"))
    assert (len(items), len(users)) == (1682, 943)
    assert sum(1 for item in items if "Drama" in item["categories"]) == 725
    assert users[0]["numbers"] == {"age": 24.0}
