"""Ages of items when they are asked for, against a plain reading of their names."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from replay_world import log_of, run_of, settings_of, walks

from training.replay.item_age import AGES, age_lines, ages_of, by_age
from training.replay.roll import roll
from training.replay.store import read_step
from training.replay.table import markdown, results_of, table_of

HOUR_US = 3_600_000_000


def slow_age(age_us: int) -> str:
    if age_us == 0:
        return "first event"
    if age_us < HOUR_US:
        return "under 1 h"
    if age_us < 6 * HOUR_US:
        return "1 to 6 h"
    if age_us < 24 * HOUR_US:
        return "6 to 24 h"
    return "1 to 7 days" if age_us < 7 * 24 * HOUR_US else "older"


@given(st.lists(st.integers(0, 400 * HOUR_US) | st.sampled_from([0, 1, HOUR_US, 168 * HOUR_US])))
def test_ages_are_what_their_names_say(ages_us: list[int]) -> None:
    ages = ages_of(np.array(ages_us, np.int64))
    assert [AGES[age] for age in ages] == [slow_age(age_us) for age_us in ages_us]


def test_means_are_of_the_targets_of_an_age() -> None:
    ages_us = np.array([0, HOUR_US, 2 * HOUR_US, 0])
    rows = by_age(ages_us, {"a": np.array([1.0, 1.0, 0.0, 0.0]), "b": np.zeros(4)})
    assert rows == [
        {"age": "first event", "n_targets": 2, "means": {"a": 0.5, "b": 0.0}},
        {"age": "1 to 6 h", "n_targets": 2, "means": {"a": 0.5, "b": 0.0}},
    ]
    lines = age_lines(rows, ["a", "b"], 20)
    assert lines[2] == "| arm | first event (2) | 1 to 6 h (2) |"
    assert lines[4] == "| a | 0.5000 | 0.5000 |"


def test_a_replay_tells_how_soon_an_arm_lists_what_is_new(tmp_path: Path) -> None:
    events = [*walks(30), ("u00", "new", 13.5), ("u01", "new", 13.75), ("u02", "new", 14.5)]
    chosen = [{"name": "recent_pop", "parameters": {"k_h": 6}}, {"name": "item_knn"}]
    settings = settings_of(tmp_path, chosen)
    log = log_of(events, settings, 30)
    run, arms = run_of(settings, 13, 15)
    roll(run, lambda: log, arms)
    steps = [read_step(run.arm_folder(arms[0]), hours.first).ranks for hours in run.steps]
    new = int(np.searchsorted(log.item_ids, "new"))
    ages_h = [step.item_age_us[step.item == new] / HOUR_US for step in steps]
    assert ages_h[0] == pytest.approx([0.0, 0.25])
    assert ages_h[1] == pytest.approx([1.0])
    table = table_of(results_of(run, arms), arms, settings.evaluation, 0)
    assert sum(row["n_targets"] for row in table["by_age"]) == table["n_targets"]
    for row in table["arms"]:
        hits = sum(age["means"][row["arm"]] * age["n_targets"] for age in table["by_age"])
        assert hits / table["n_targets"] == pytest.approx(row["all"]["recall"][0], abs=1e-4)
    assert "## Recall@3 by the age of the item" in markdown(table)
