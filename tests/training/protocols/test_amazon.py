"""Amazon's ratings and categories as published in 2014 and 2018, and MTAM's protocol on them."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import numpy as np
import pytest

from pipeline.errors import HourglassError, UsageError
from training.protocols.metadata import ITEM_FORMATS, read_items
from training.protocols.protocol import read_protocol
from training.protocols.raw_files import FORMATS, read_log
from training.protocols.read_data import files_of_logs, read_exam

OLD = (
    "{'asin': 'a', 'title': \"It's\", 'categories': [['Electronics', 'Cables'], ['Toys', 'x']]}\n"
    "{'asin': 'b', 'price': 5.0}\n"
    "\n"
    "{'asin': 'a', 'categories': [['Electronics', 'Lamps']]}\n"
    "{'asin': 'c', 'categories': [['Electronics']]}\n"
)
NEW = (
    '{"category": ["Electronics", "Cables"], "asin": "a", "also_buy": ["b"]}\n'
    '{"category": [], "asin": "b"}\n'
    '{"category": ["Electronics"], "asin": "c"}\n'
)


@pytest.mark.parametrize("text", [OLD, NEW], ids=["2014", "2018"])
@pytest.mark.parametrize("name", ["meta_Electronics.json", "meta_Electronics.json.gz"])
def test_the_category_of_a_product_is_the_narrowest(tmp_path: Path, text: str, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(gzip.compress(text.encode()) if path.suffix == ".gz" else text.encode())
    table = read_items([path], ITEM_FORMATS["amazon"])
    assert table.ids.tolist() == ["a", "b", "c"]
    assert table.tokens == [["Cables"], [], ["Electronics"]]


BAD = {
    "no object": ("ratings, 5\n", r"line 2 is no object, .* it begins with 'ratings, 5'"),
    "a call": ("open('x')\n", "line 2 is no object"),
    "cut off": ("{'asin': 'b', 'categ\n", "line 2 is no object"),
    "a list": ('["asin"]\n', "line 2 names no asin"),
    "no id": ('{"category": ["x"]}\n', "line 2 names no asin"),
    "id is a number": ('{"asin": 7}\n', "line 2 names no asin"),
    "one name": ('{"asin": "b", "category": "x"}\n', "category is 'x': it must be a list of names"),
    "numbers": ('{"asin": "b", "categories": [[1]]}\n', r"categories is \[\[1\]\]: it must be"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_line_that_is_no_product_is_named(tmp_path: Path, name: str) -> None:
    line, sentence = BAD[name]
    path = tmp_path / "meta_Electronics.json"
    path.write_text('{"asin": "a"}\n' + line)
    with pytest.raises(HourglassError, match=r"meta_Electronics\.json: line 2") as error:
        read_items([path], ITEM_FORMATS["amazon"])
    assert error.match(sentence)


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "meta_Electronics.json.gz"
    path.write_bytes(gzip.compress(NEW.encode())[:-12])
    with pytest.raises(HourglassError, match=r"json\.gz: cannot be read"):
        read_items([path], ITEM_FORMATS["amazon"])


def test_the_releases_name_user_and_item_in_another_order(tmp_path: Path) -> None:
    old, new = tmp_path / "ratings_Electronics.csv", tmp_path / "Electronics.csv"
    old.write_text("u1,a,5.0,1400000000\n")
    new.write_text("a,u1,5.0,1400000000\n")
    for path, name in ((old, "amazon"), (new, "amazon_2018")):
        log = read_log([path], FORMATS[name])
        assert (log.user_ids.tolist(), log.item_ids.tolist()) == (["u1"], ["a"])
        assert log.value.tolist() == [5.0]


def ratings(folder: Path, name: str, item_first: bool) -> None:
    """Enough for the thresholds of MTAM: 60 users who rate 12 of 16 products each."""
    rng = np.random.default_rng(0)
    lines = []
    for user in range(60):
        for nth, item in enumerate(rng.permutation(16)[:12]):
            pair = (f"i{item:02d}", f"u{user}") if item_first else (f"u{user}", f"i{item:02d}")
            lines.append(f"{pair[0]},{pair[1]},5.0,{1_400_000_000 + 86_400 * nth}")
    (folder / name).write_text("\n".join(lines) + "\n")


@pytest.mark.parametrize(
    ("file", "log"),
    [("Electronics.csv", "electronics"), ("ratings_Electronics.csv", "electronics of 2014")],
)
def test_categories_are_told_of_the_sets_of_mtam(tmp_path: Path, file: str, log: str) -> None:
    ratings(tmp_path, file, item_first=log == "electronics")
    protocol = read_protocol("P16")
    logs = files_of_logs(tmp_path, protocol)
    assert list(logs) == [log]
    data = protocol.data[log]
    with pytest.raises(UsageError, match=r"no file \*/meta_Electronics\.json\* is there"):
        read_exam(logs[log], protocol, data)
    category = {f"i{item:02d}": f"kind {item % 4}" for item in range(1, 16)}
    lines = [
        json.dumps({"asin": item, "category": ["Electronics", kind]})
        for item, kind in category.items()
    ]
    (tmp_path / "meta_Electronics.json").write_text("\n".join(lines) + "\n")
    (tmp_path / "meta_CDs_and_Vinyl.json").write_text("no product of this log\n")
    _, _, exam = read_exam(logs[log], protocol, data)
    features = exam.train.item_features
    assert features is not None
    assert exam.train.item_ids.tolist() == [f"i{item:02d}" for item in range(16)]
    told = [
        features.token_names[features.token[start:stop]].tolist()
        for start, stop in zip(features.offsets, features.offsets[1:], strict=False)
    ]
    assert told == [[], *([kind] for kind in category.values())]


def test_published_figures_are_of_the_release_that_the_paper_links() -> None:
    data = read_protocol("P16").data
    for name in ("electronics", "cds", "movies-and-tv"):
        assert (data[name].format, bool(data[name].published)) == ("amazon_2018", True)
        assert (data[f"{name} of 2014"].format, data[f"{name} of 2014"].published) == ("amazon", {})
