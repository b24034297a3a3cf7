"""A key that was renamed: its former name is read with a warning, both together are refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.errors import UsageError
from pipeline.settings import former_keys
from pipeline.settings.settings import load_settings


@pytest.fixture(autouse=True)
def nothing_said_yet(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(former_keys, "_warned", set())


def written(folder: Path, text: str) -> Path:
    path = folder / "hourglass.yaml"
    path.write_text(text)
    return path


def test_a_file_with_the_former_name_is_read_and_told_once(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path = written(tmp_path, "gate: {floor: pop, min_users: 7}\n")
    for _ in range(2):
        gate = load_settings(path).gate
        assert (gate.baseline, gate.min_users) == ("pop", 7)
    (warning,) = capfd.readouterr().err.splitlines()
    assert str(path) in warning
    assert "gate.floor is now called gate.baseline" in warning


def test_a_variable_with_the_former_name_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HOURGLASS_GATE__FLOOR", "pop")
    assert load_settings(written(tmp_path, "{}\n")).gate.baseline == "pop"
    assert "gate.baseline" in capfd.readouterr().err


def test_the_present_name_warns_of_nothing(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert load_settings(written(tmp_path, "gate: {baseline: pop}\n")).gate.baseline == "pop"
    assert capfd.readouterr().err == ""


def test_both_names_together_are_refused(tmp_path: Path) -> None:
    path = written(tmp_path, "gate: {floor: pop, baseline: recent_pop}\n")
    with pytest.raises(UsageError, match=r"keep gate\.baseline alone"):
        load_settings(path)
