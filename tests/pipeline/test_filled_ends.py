"""Where the log begins and ends is found without reading what lies between."""

from __future__ import annotations

import ast
from collections.abc import Iterable
from pathlib import Path

import pyarrow as pa
import pytest

from pipeline.hours import Hour, HourRange, contiguous
from pipeline.lake import lake as lake_module
from pipeline.lake.lake import Lake
from pipeline.lake.steps import first_filled, last_filled
from pipeline.lake.tables import EVENTS, FILLED_HOURS

ROOT = Path(__file__).resolve().parents[2]
# Whoever is who may have changed at any time: all hours are looked at, when a file of people came.
WHOLE = {"pipeline/ingest/people/load.py"}
H0 = Hour.parse("2016-03-14T13")


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return Lake(f"sqlite:///{tmp_path / 'lake' / 'catalog.db'}", tmp_path / "lake")


def record(lake: Lake, step: str, hours: Iterable[Hour]) -> None:
    names = ("input_digest", "output_digest", "state_digest", "config_digest", "code_version")
    hours = list(hours)
    rows = [
        {"hour": hour.start, "step": step, "rows": 1, **dict.fromkeys(names, "")} for hour in hours
    ]
    table = pa.Table.from_pylist(rows, FILLED_HOURS.schema)
    lake.record_filled(step, contiguous(hours), table, {})


def test_the_ends_of_a_year_are_found_in_the_files_of_two_days(
    lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    record(lake, "ingest", (H0 + 24 * day for day in range(365)))
    read: list[str] = []
    read_file = lake_module.read_file

    def noted(path: str, names: list[str]) -> pa.Table:
        read.append(path)
        return read_file(path, names)

    monkeypatch.setattr(lake_module, "read_file", noted)
    assert first_filled(lake, "ingest") == H0
    assert last_filled(lake, "ingest") == H0 + 24 * 364
    assert len(read) == 2
    assert last_filled(lake, "ingest", H0 + 24 * 100) == H0 + 24 * 99
    assert len(read) <= 4


def test_each_step_has_ends_of_its_own(lake: Lake) -> None:
    record(lake, "ingest", [H0, H0 + 5, H0 + 200])
    record(lake, "sessionize", [H0 + 100, H0 + 1000])
    assert (first_filled(lake, "ingest"), last_filled(lake, "ingest")) == (H0, H0 + 200)
    assert first_filled(lake, "sessionize") == H0 + 100
    assert last_filled(lake, "sessionize") == H0 + 1000
    # Before a time: that hour itself is not.
    assert last_filled(lake, "ingest", H0 + 5) == H0
    assert last_filled(lake, "ingest", H0 + 6) == H0 + 5
    assert last_filled(lake, "ingest", H0) is None
    assert last_filled(lake, "ingest", H0 - 5000) is None
    assert first_filled(lake, "validate") is last_filled(lake, "validate") is None


def test_a_state_of_before_has_the_ends_that_it_had(lake: Lake) -> None:
    assert first_filled(lake, "ingest") is last_filled(lake, "ingest") is None
    record(lake, "ingest", [H0])
    before = lake.state()
    record(lake, "ingest", [H0 - 50, H0 + 50])
    assert (first_filled(lake, "ingest", before), last_filled(lake, "ingest", state=before)) == (
        H0,
        H0,
    )
    assert first_filled(lake, "ingest") == H0 - 50


def test_the_span_of_a_table_holds_all_of_its_hours(lake: Lake) -> None:
    assert not lake.span(FILLED_HOURS)
    assert not lake.span(EVENTS)
    record(lake, "ingest", [H0, H0 + 30])
    assert lake.span(FILLED_HOURS) == HourRange(
        Hour.parse("2016-03-14T00"), Hour.parse("2016-03-16T00")
    )


def test_nobody_reads_of_all_hours_what_was_filled() -> None:
    whole = set()
    for package in ("pipeline", "training"):
        for path in (ROOT / package).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)):
                    continue
                names = {keyword.arg for keyword in node.keywords}
                on_lake = ast.unparse(node.func.value).endswith("lake")
                if on_lake and node.func.attr == "filled" and len(node.args) < 2:
                    whole |= set() if "hours" in names else {str(path.relative_to(ROOT))}
                if on_lake and node.func.attr == "filled_steps" and not node.args:
                    whole |= set() if "since" in names else {str(path.relative_to(ROOT))}
    assert whole == WHOLE
