"""Suites are files that people edit: what they may write, and what a mistake tells them."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.errors import UsageError
from pipeline.hours import Hour
from pipeline.quality.checks.suite import SUITE_FOLDER, limit_text, load_suite, suite_values
from pipeline.settings.settings import Settings

HOUR = Hour.parse("2016-03-14T13")
VALUES = suite_values(HOUR, Settings.model_validate({"source": {"event_types": ["view", "like"]}}))


def write(folder: Path, text: str) -> Path:
    (folder / "events.yaml").write_text(text, encoding="utf-8")
    return folder


def entry(**changes: str) -> str:
    fields = {
        "name": "few",
        "promise": "there are few rows",
        "expect": "expect_table_row_count_to_be_between",
        "severity": "warning",
        "max_value": "3",
    } | changes
    lines = "\n    ".join(f"{key}: {value}" for key, value in fields.items())
    return f"suite: events\nexpectations:\n  - {lines}\n"


def test_placeholders_take_the_hours_and_the_settings_values() -> None:
    by_name = {check.name: check for check in load_suite("events", VALUES).checks}
    assert by_name["event_time_in_hour"].arguments["min_value"] == HOUR.start
    assert by_name["event_time_in_hour"].arguments["max_value"] == HOUR.end
    assert by_name["event_type_known"].arguments["value_set"] == ["view", "like"]
    assert by_name["user_id_length"].arguments["max_value"] == 512


def test_an_expectation_without_its_setting_is_left_out() -> None:
    values = suite_values(HOUR, Settings())
    names = {check.name for check in load_suite("events", values).checks}
    assert "event_type_known" not in names
    assert len(names) == len(load_suite("events", VALUES).checks) - 1


def test_a_users_file_stands_in_for_ours_and_the_others_stay(tmp_path: Path) -> None:
    folder = write(tmp_path, entry())
    assert [check.name for check in load_suite("events", VALUES, folder).checks] == ["few"]
    assert load_suite("hours", VALUES, folder) == load_suite("hours", VALUES)


@pytest.mark.parametrize("name", sorted(file.stem for file in SUITE_FOLDER.glob("*.yaml")))
def test_our_suites_are_named_after_their_files_and_every_severity_is_used(name: str) -> None:
    suite = load_suite(name, VALUES)
    assert suite.name == name
    assert "critical" in {check.severity for check in suite.checks}
    assert all(check.description and not check.description.endswith(".") for check in suite.checks)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (entry(severity="bad"), "severity"),
        (entry(name="Not a name"), "name"),
        (entry(expect="delete_everything"), "expect"),
        (entry(max_value="$gap"), r"\$gap has no value here: use one of \$event_types, \$gap_s"),
        (entry() + entry().split("expectations:\n")[1], "'few' occurs twice"),
        ("suite: events\nexpectations: []\n", "expectations"),
        ("suite: [", "not a YAML file"),
        ("just words", "the file"),
    ],
)
def test_a_wrong_file_is_told_where_it_is_wrong(tmp_path: Path, text: str, told: str) -> None:
    with pytest.raises(UsageError, match=told) as caught:
        load_suite("events", VALUES, write(tmp_path, text))
    assert str(tmp_path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_unknown_suite_names_the_known_ones() -> None:
    with pytest.raises(
        UsageError, match="built-in ones are datasets, events, hours, session_hours, sessions"
    ):
        load_suite("evnets", VALUES)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"min_value": 0, "max_value": 3600, "strict_max": True}, "at least 0, below 3,600"),
        ({"min_value": HOUR.start}, "at least 2016-03-14 13:00:00 UTC"),
        ({"value_set": ["view", "like"]}, "one of view, like"),
        ({"mostly": 0.99}, "in 0.99 of the rows"),
        ({"column": "user_id"}, "no exceptions"),
    ],
)
def test_limits_are_said_in_words(arguments: dict[str, object], words: str) -> None:
    assert limit_text(arguments) == words


def test_what_would_be_passed_over_in_a_folder_of_own_suites_is_a_mistake(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no such folder"):
        load_suite("hours", VALUES, tmp_path / "nowhere")
    for name in ("hour.yaml", "hours.yml"):
        file = tmp_path / name
        file.write_text("suite: hours", encoding="utf-8")
        with pytest.raises(UsageError, match=f"{name}: no suite is called that"):
            load_suite("hours", VALUES, tmp_path)
        file.unlink()
    (tmp_path / "hours.yaml").write_text(
        "suite: hour\nexpectations: [{name: a, promise: b, expect: expect_c, severity: warning}]",
        encoding="utf-8",
    )
    with pytest.raises(UsageError, match="must be hours"):
        load_suite("hours", VALUES, tmp_path)
