"""Files of items and users: one bad line is left out and named, and all else stands."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pipeline.ingest.metadata.item_user_tables import LoadedMetadata, load_metadata
from pipeline.lake.lake import Lake
from pipeline.lake.tables import ITEMS
from pipeline.settings.settings import Settings
from pipeline.settings.source import SourceSettings


class Shop:
    """A lake, and the file that its items come from."""

    def __init__(self, folder: Path) -> None:
        self.landing = folder / "landing"
        self.landing.mkdir()
        self.path = folder / "items.jsonl"
        self.folder = folder
        self.lake = Lake(f"sqlite:///{folder / 'catalog.db'}", folder / "lake")

    def load(self, *lines: str | dict[str, Any], encoding: str = "utf-8") -> LoadedMetadata:
        if lines:
            texts = [line if isinstance(line, str) else json.dumps(line) for line in lines]
            self.path.write_text("\n".join([*texts, ""]), encoding="utf-8")
        source = SourceSettings(path=self.landing, items_path=self.path, encoding=encoding)
        return load_metadata(self.lake, Settings(work=self.folder, source=source))

    def texts(self) -> dict[str, str | None]:
        return {row["item_id"]: row["text"] for row in self.lake.arrow(ITEMS).to_pylist()}


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    return Shop(tmp_path)


def test_one_bad_line_is_named_and_the_item_of_before_stays(shop: Shop) -> None:
    shop.load({"item_id": "a", "text": "Shoe"}, {"item_id": "b", "text": "Hat"})
    done = shop.load({"item_id": "a", "text": "Red shoe"}, '{"item_id": "b", "text":', "[]")
    assert done.rows == {"items": 2}
    assert done.faults == (
        f"{shop.path}: line 2: not valid JSON",
        f"{shop.path}: line 3: not a JSON object",
    )
    assert shop.texts() == {"a": "Red shoe", "b": "Hat"}
    # It is no news the next time, and over with the next good file.
    before = shop.lake.snapshot(ITEMS)
    again = shop.load()
    assert (again.faults, again.former_faults) == ((), done.faults)
    assert shop.lake.snapshot(ITEMS) == before
    assert shop.load({"item_id": "a", "text": "Boot"}) == LoadedMetadata({"items": 1})
    assert shop.texts() == {"a": "Boot"}


def test_no_price_is_no_fault(shop: Shop) -> None:
    done = shop.load({"item_id": "b", "numbers": {"price": None, "size": 3}})
    assert done == LoadedMetadata({"items": 1})
    (row,) = shop.lake.arrow(ITEMS).to_pylist()
    assert row["numbers"] == [("size", 3.0)]


def test_of_an_item_that_is_there_twice_the_last_line_holds(shop: Shop) -> None:
    shop.load({"item_id": "c"})
    done = shop.load(
        {"item_id": "a", "text": "Shoe"}, {"item_id": "b"}, {"item_id": "a", "text": "Shoe, red"}
    )
    assert done.faults == (
        f"{shop.path}: line 3: item_id 'a' is there a second time, and this line holds",
    )
    assert shop.texts() == {"a": "Shoe, red", "b": None}


def test_an_encoding_put_right_has_the_file_read_again(shop: Shop) -> None:
    shop.path.write_bytes(
        '{"item_id": "a", "text": "Caf\u00e9"}\n{"item_id": "b"}\n'.encode("latin-1")
    )
    assert shop.load().faults == (f"{shop.path}: line 1: not valid utf-8",)
    assert shop.load(encoding="latin-1") == LoadedMetadata({"items": 2})
    assert shop.texts() == {"a": "Caf\u00e9", "b": None}
    assert shop.load(encoding="latin-1").rows == {"items": 0}


def test_many_faults_are_counted(shop: Shop) -> None:
    done = shop.load(*["bad"] * 3, '{"item_id": "a"}')
    assert shop.load('{"item_id": "a"}', *["bad"] * 9).faults[-2:] == (
        f"{shop.path}: line 6: not valid JSON",
        f"{shop.path}: 4 more lines of this kind",
    )
    # A file that is none of items at all leaves the table as it was, each time anew.
    assert done.rows == {"items": 0}
    assert "no column 'item_id'" in done.faults[0]


def test_a_file_that_is_missing_does_not_hold_up_the_rest(shop: Shop) -> None:
    assert shop.load().faults == (f"{shop.path}: no such file: see source.items_path",)


def test_in_the_landing_zone_it_is_no_link_that_leads_out_of_it(shop: Shop) -> None:
    shop.path.write_text('{"item_id": "a"}\n')
    outside, shop.path = shop.path, shop.landing / "items.jsonl"
    shop.path.symlink_to(outside)
    assert shop.load().faults == (
        f"{shop.path}: a link that leads out of source.path: put the file itself there",
    )
    assert shop.texts() == {}
    # Elsewhere the settings name it, and a link is as good as a file.
    shop.path, link = shop.folder / "link.jsonl", shop.path
    link.rename(shop.path)
    assert shop.load().rows == {"items": 1}
