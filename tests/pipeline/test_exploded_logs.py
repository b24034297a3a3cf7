"""Lines of several records, from the landing zone to the lake."""

from __future__ import annotations

import json
import random
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from fuzzed_logs import H0
from landing_place import Place

from pipeline.hours import HourRange
from pipeline.ingest.columns.batches import file_batches
from pipeline.ingest.parse import Bounds, file_rows
from pipeline.lake.tables import EVENTS, QUARANTINE, SOURCE_FILES
from pipeline.settings.source import ColumnSettings, SourceSettings
from pipeline.settings.tables import IngestSettings
from pipeline.sources import source_for
from pipeline.spark.compute import Compute

FIRST_US = H0.index * 3_600_000_000
WEEKS_AGO_US = FIRST_US - 20 * 24 * 3_600_000_000
TOO_MUCH = "its elements hold more than ingest.max_expansion allows"


def settings(path: Path, **columns: Any) -> SourceSettings:
    return SourceSettings(
        name="json_lines",
        path=path,
        time_unit="us",
        explode="items",
        columns=ColumnSettings(
            event_time="items.at", user_id="user", item_id="items.id", **columns
        ),
    )


@pytest.fixture
def place(tmp_path: Path, compute: Compute) -> Place:
    place = Place(tmp_path, compute)
    place.settings = place.settings.model_copy(update={"source": settings(place.landing)})
    return place


def put(place: Place, name: str, *lines: Any) -> None:
    path = place.landing / name
    path.parent.mkdir(parents=True, exist_ok=True)
    texts = (line if isinstance(line, str) else json.dumps(line) for line in lines)
    path.write_text("\n".join(texts))


def item(item_id: str | None, at_us: int = FIRST_US) -> dict[str, Any]:
    return {"id": item_id, "at": at_us}


def accounts(place: Place) -> list[tuple[int, ...]]:
    names = ("records", "accepted", "duplicates", "quarantined", "ignored")
    rows = sorted(place.rows(SOURCE_FILES), key=lambda row: row["source_file"])
    return [tuple(row[name] for name in names) for row in rows]


def test_each_element_is_counted_as_what_becomes_of_it(place: Place) -> None:
    rule = {"name": "tests", "column": "items.id", "equals": ("test",)}
    source = place.settings.source.model_copy(update={"ignore": ()})
    source = SourceSettings(**{**source.model_dump(), "ignore": (rule,)})
    place.settings = place.settings.model_copy(update={"source": source})
    put(
        place,
        f"{H0}/a.jsonl",
        {"user": "u", "items": [item("a"), item(None), item("test"), item("b")]},
        "no JSON",
        {"user": "u", "items": []},
        {"user": "u", "items": "a"},
        {"user": "u", "items": [item("a"), item("a")]},
    )
    put(place, f"{H0}/b.jsonl", {"user": "u", "items": [item("a"), item("c")]})
    place.ingest()
    assert accounts(place) == [(9, 4, 0, 4, 1), (2, 1, 1, 0, 0)]
    refused = sorted((row["line"], row["reason"]) for row in place.rows(QUARANTINE))
    assert refused == [
        (1, "no item_id"),
        (2, "not valid JSON"),
        (3, "no item_id"),
        (4, "items is not a list"),
    ]
    before = place.content()
    assert place.ingest().files == 0
    assert place.content() == before


def test_late_elements_are_let_in_by_themselves(place: Place) -> None:
    old, now = item("old", WEEKS_AGO_US), item("new")
    put(place, f"{H0}/a.jsonl", {"user": "u", "items": [old, now, {**old, "id": "older"}]})
    place.ingest()
    assert [row["item_id"] for row in place.rows(EVENTS)] == ["new"]
    assert {row["reason"] for row in place.rows(QUARANTINE)} == {
        "event_time is more than ingest.max_lateness before the file's arrival"
    }
    weeks_ago = H0 - 20 * 24
    place.ingest(late=HourRange(weeks_ago, weeks_ago + 1))
    assert sorted(row["item_id"] for row in place.rows(EVENTS)) == ["new", "old", "older"]
    assert place.rows(QUARANTINE) == []


def test_refused_elements_that_say_the_same_stay_apart(place: Place) -> None:
    line = {"user": "", "items": [item("a"), item("a"), item("a")]}
    put(place, f"{H0}/a.jsonl", line)
    place.ingest()
    assert len({row["raw"] for row in place.rows(QUARANTINE)}) == 3
    # The file grows: those of before are refused again, and none becomes two.
    put(place, f"{H0}/a.jsonl", line, line)
    place.ingest(clock=H0.start + timedelta(hours=1, minutes=30))
    assert len(place.rows(QUARANTINE)) == 6


def rows_of(path: Path, content: str, **rules: Any) -> list[tuple[str | None, str | None]]:
    """Kind and reason of each row, which are the same both ways that a file is read."""
    path.write_text(content)
    source = source_for(settings(path.parent))
    reading = (path, "a", H0, Bounds(FIRST_US + 1), source, "utf-8", IngestSettings(**rules))
    rows = list(file_rows(*reading))
    batches = [row for batch in file_batches(*reading) for row in batch.to_pylist()]
    assert len(batches) == len(rows)
    return [(row["kind"], row["reason"]) for row in batches]


def records_in(line: str) -> int:
    """How many records a line has, plainly."""
    try:
        items = json.loads(line)["items"]
    except ValueError:
        return 1
    return len(items) or 1 if isinstance(items, list) else 1


def test_a_line_does_not_fill_the_tables(tmp_path: Path) -> None:
    wide = json.dumps({"user": "u" * 500, "items": [item("a")] * 9})
    rules = {"max_record_chars": 1000, "max_expansion": 5}
    assert rows_of(tmp_path / "a", wide, **rules) == [("refused", TOO_MUCH), ("file", None)]
    # The same elements in two lines, or beside less, are events.
    narrow = json.dumps({"user": "u", "items": [item("a")] * 9})
    assert rows_of(tmp_path / "a", narrow, **rules)[:9] == [("event", None)] * 9
    half = json.dumps({"user": "u" * 500, "items": [item("a")] * 5})
    assert rows_of(tmp_path / "a", f"{half}\n{half}", **rules)[:10] == [("event", None)] * 10


def test_nothing_of_any_line_is_lost(place: Place) -> None:
    rng = random.Random(7)

    def any_item() -> Any:
        choices = [item("a"), item("b"), item(None), item("c", WEEKS_AGO_US), None, 7, {"id": []}]
        return rng.choice(choices)

    def any_line() -> str:
        items = rng.choice([None, [], "x", *([any_item() for _ in range(rng.randrange(5))],) * 5])
        text = json.dumps({"user": rng.choice(["u", "v", ""]), "items": items})
        return rng.choice([text, text, text, text[:-1], ""])

    expected = []
    for file in range(6):
        lines = [any_line() for _ in range(40)]
        put(place, f"{H0}/{file}.jsonl", *lines)
        expected.append(sum(records_in(line) for line in lines if line))
    place.ingest()
    counts = accounts(place)
    assert [count[0] for count in counts] == expected
    for records, *outcomes in counts:
        assert records == sum(outcomes)
    assert sum(count[1] for count in counts) == len(place.rows(EVENTS))
    assert sum(count[3] for count in counts) == len(place.rows(QUARANTINE))
