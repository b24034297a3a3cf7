"""How far back validation looks: five weeks, and further only where an hour before has changed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from pipeline.hours import Hour, HourRange
from pipeline.lake.lake import Lake
from pipeline.lake.tables import FILLED_HOURS
from pipeline.quality import validate_hours
from pipeline.quality.baseline import BASELINE_H
from pipeline.settings.settings import Settings

HOUR = Hour.parse("2016-03-14T13")
ALONE = HourRange(HOUR, HOUR + 1)


@pytest.fixture
def lake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Lake:
    """A lake whose hours pass, whatever they hold."""

    def passed(run: Any, work: Any) -> list[Any]:
        run.results.update({(kind, batch): [] for kind, batch in work})
        return []

    monkeypatch.setattr(validate_hours, "_validate_part", passed)
    return Lake(f"sqlite:///{tmp_path / 'lake' / 'catalog.db'}", tmp_path / "lake")


def ingested(lake: Lake, hour: Hour, digest: str) -> None:
    names = ("input_digest", "state_digest", "config_digest", "code_version")
    row = {"hour": hour.start, "step": "ingest", "output_digest": digest, "rows": 1}
    rows = pa.Table.from_pylist([{**row, **dict.fromkeys(names, "")}], FILLED_HOURS.schema)
    lake.record_filled("ingest", HourRange(hour, hour + 1), rows, {})


def test_it_looks_back_five_weeks_and_further_where_an_hour_has_changed(
    lake: Lake, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for hour in (HOUR - 10, HOUR):
        ingested(lake, hour, "a")
    settings = Settings(work=tmp_path)
    validate_hours.validate(lake, settings, HourRange(HOUR - 10, HOUR - 9), ("events",))
    looks: list[Hour | None] = []
    filled_steps = Lake.filled_steps

    def noted(self: Lake, since: Hour | None = None, *state: Any) -> Any:
        looks.append(since)
        return filled_steps(self, since, *state)

    monkeypatch.setattr(Lake, "filled_steps", noted)
    # Of sessions nothing is known to be stable here, and that is another look.
    monkeypatch.setattr(validate_hours, "stale_hours", lambda *_: [])
    validate_hours.validate(lake, settings, ALONE, ("events",))
    assert looks == [HOUR - BASELINE_H]
    ingested(lake, HOUR - 10, "b")
    looks.clear()
    validate_hours.validate(lake, settings, ALONE, ("events",))
    assert looks == [HOUR - BASELINE_H, HOUR - 10 - BASELINE_H]
    verdicts = lake.filled("validate", HourRange(HOUR - 10, HOUR + 1))
    assert {hour: each.input_digest for hour, each in verdicts.items()} == {
        HOUR - 10: "b",
        HOUR: "a",
    }
