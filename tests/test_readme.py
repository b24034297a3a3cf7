"""What the README shows works as it stands."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pytest
import typer

from pipeline.hours import Hour, HourRange
from pipeline.lake.lake import Lake
from pipeline.lake.tables import SESSIONS
from pipeline.settings.settings import load_settings
from training.cli.main import app
from training.fit.model_configs import resolve
from training.replay.arms import arms_of

README = Path(__file__).parents[1] / "README.md"
TEXT = README.read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    """The code blocks of a language."""
    return re.findall(rf"```{language}\n(.*?)```", TEXT, re.DOTALL)


def block(language: str) -> str:
    """The one code block of a language."""
    (found,) = blocks(language)
    return found


def test_the_examples_of_settings_are_valid(tmp_path: Path) -> None:
    own, models, lines, arms = blocks("yaml")
    (tmp_path / "hourglass.yaml").write_text(own, encoding="utf-8")
    settings = load_settings(tmp_path / "hourglass.yaml")
    assert settings.source.columns.user_id == "customer"
    assert settings.source.event_types == ("view", "cart", "buy")
    (tmp_path / "hourglass.yaml").write_text(models, encoding="utf-8")
    listed = load_settings(tmp_path / "hourglass.yaml").models
    assert [resolve(model).system for model in listed[:2]] == ["recent_pop", "hrnn_trend"]
    assert [resolve(model).name for model in listed[3:]] == ["wide", "quick"]
    (tmp_path / "hourglass.yaml").write_text(lines, encoding="utf-8")
    looped = load_settings(tmp_path / "hourglass.yaml")
    assert [resolve(model).init_from for model in looped.models] == [
        *("none", "self", "champion", "none"),
    ]
    assert set(looped.candidates) <= {model.name for model in looped.models}
    (tmp_path / "hourglass.yaml").write_text(arms, encoding="utf-8")
    rolled = arms_of(load_settings(tmp_path / "hourglass.yaml"), [])
    assert [arm.settings.mode for arm in rolled[2:]] == ["continued", "offline", "offline"]


def test_every_command_is_listed_and_no_other() -> None:
    listed = set(re.findall(r"^\| `hourglass (\w+)", TEXT, re.MULTILINE))
    commands = typer.main.get_command(app).commands  # type: ignore[attr-defined]
    assert listed == set(commands)


def test_another_program_reads_sessions_per_hour(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "work" / "simulator" / "lake"
    lake = Lake(f"sqlite:///{folder}/catalog.db", folder)
    hour = Hour.parse("2026-01-05T03")
    start = datetime(2026, 1, 5, 2, 10, tzinfo=UTC)
    # Two sessions closed in the hour, of two events and of one.
    rows = [("a", 0, start), ("a", 1, start + timedelta(minutes=5)), ("b", 0, start)]
    table = pa.Table.from_pylist(
        [
            {"hour": hour.start, "session_id": session, "position": position, "event_time": time}
            for session, position, time in rows
        ],
        schema=SESSIONS.schema,
    )
    lake.overwrite(SESSIONS, "true", table, {})
    assert lake.arrow(SESSIONS, HourRange(hour, hour + 1)).num_rows == 3
    said = subprocess.run(
        [sys.executable, "-c", block("python")],
        cwd=tmp_path,
        env={**os.environ, "TZ": "Asia/Tokyo"},
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert re.search(r"2026-01-05 03:00:00\S* +│ +2 │", said), said
