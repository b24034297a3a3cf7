"""A key that was renamed: its former name is read with a warning, both together are refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.errors import UsageError
from pipeline.settings import former_keys
from pipeline.settings.learning import MonitorSettings
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


def test_a_section_with_the_former_name_is_read(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path = written(tmp_path, "watch: {min_users: 7}\n")
    assert load_settings(path).monitor.min_users == 7
    (warning,) = capfd.readouterr().err.splitlines()
    assert f"{path}: watch is now called monitor" in warning


@pytest.mark.parametrize(
    ("name", "text"),
    [("HOURGLASS_WATCH__MIN_USERS", "7"), ("HOURGLASS_WATCH", '{"min_users": 7}')],
)
def test_a_variable_of_a_section_with_the_former_name_is_read(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    name: str,
    text: str,
) -> None:
    monkeypatch.setenv(name, text)
    assert load_settings(written(tmp_path, "monitor: {hours: 3}\n")).monitor == MonitorSettings(
        min_users=7, hours=3
    )
    assert "watch is now called monitor" in capfd.readouterr().err


def test_a_wrong_value_under_a_former_name_is_said_of_its_variable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOURGLASS_WATCH__MIN_USERS", "1")
    with pytest.raises(UsageError, match=r"HOURGLASS_WATCH__MIN_USERS: monitor\.min_users = '1'"):
        load_settings(written(tmp_path, "{}\n"))


def test_both_sections_together_are_refused(tmp_path: Path) -> None:
    path = written(tmp_path, "watch: {hours: 2}\nmonitor: {min_users: 7}\n")
    with pytest.raises(UsageError, match=r"both are set: keep monitor alone"):
        load_settings(path)


@pytest.mark.parametrize("text", ["watch: 3\n", "gate: 3\n"])
def test_a_section_that_is_none_is_refused_as_ever(tmp_path: Path, text: str) -> None:
    with pytest.raises(UsageError, match="= 3:"):
        load_settings(written(tmp_path, text))


def test_the_present_name_warns_of_nothing(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert load_settings(written(tmp_path, "gate: {baseline: pop}\n")).gate.baseline == "pop"
    assert capfd.readouterr().err == ""


def test_both_names_together_are_refused(tmp_path: Path) -> None:
    path = written(tmp_path, "gate: {floor: pop, baseline: recent_pop}\n")
    with pytest.raises(UsageError, match=r"keep gate\.baseline alone"):
        load_settings(path)
