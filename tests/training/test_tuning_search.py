"""The search for parameters: it begins with what is configured, and a kill loses nothing."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from pipeline.errors import HourglassError, UsageError
from pipeline.settings.learning import SearchRange, TuneSettings
from training.models import MODEL_NAMES, parameters_class
from training.parameters import parse_parameters
from training.tuning.search import Budget, SearchStoppedError, Tried, best_of, search
from training.tuning.space import Space, space_of

SPACE: Space = {
    "rate": SearchRange(low=0.001, high=1.0, log=True),
    "depth": SearchRange(low=1, high=9),
    "kind": ("a", "b", "c"),
}
# A rate of which there is no logarithm.
FIRST = {"rate": 0.0, "depth": 2, "kind": "a", "unrelated": 7}


def hill(parameters: Mapping[str, Any]) -> float:
    """Highest, 1, at a rate of .03, a depth of 6, and b."""
    if not parameters["rate"]:
        return -2.0
    off = abs(math.log10(parameters["rate"] / 0.03)) + abs(parameters["depth"] - 6) / 4
    return 1 - off - (parameters["kind"] != "b")


def run(folder: Path, value_of: Any = hill, trials: int = 40, seed: int = 0) -> list[Tried]:
    return search(folder / "trials.log", SPACE, FIRST, value_of, Budget(trials), seed)


def test_it_begins_as_configured_and_climbs(tmp_path: Path) -> None:
    trials = run(tmp_path)
    assert trials[0].parameters == {"rate": 0.0, "depth": 2, "kind": "a"}
    assert [trial.number for trial in trials] == list(range(40))
    assert all(trial.value == hill(trial.parameters) for trial in trials)
    assert all(isinstance(trial.parameters["depth"], int) for trial in trials)
    best = best_of(trials)
    assert best.value == max(hill(trial.parameters) for trial in trials)
    assert best.parameters["kind"] == "b"
    # As many draws at random reach .58 in the mean of 2,000 searches, and .9 in one of ten.
    assert best.value > 0.9


@pytest.mark.parametrize("killed_at", [0, 1, 7, 12])
def test_a_killed_search_makes_the_trials_of_one_that_was_not(
    tmp_path: Path, killed_at: int
) -> None:
    """The kill comes in the midst of a trial, which is made again."""
    undisturbed = run(tmp_path / "whole", trials=16)
    calls = []

    def value_of(parameters: Mapping[str, Any]) -> float:
        calls.append(dict(parameters))
        if len(calls) == killed_at + 1:
            raise KeyboardInterrupt
        return hill(parameters)

    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "cut", value_of, trials=16)
    assert run(tmp_path / "cut", value_of, trials=16) == undisturbed
    assert calls[killed_at] == calls[killed_at + 1]  # drawn again, from the same seed
    assert len(calls) == 17
    # A budget that is spent asks nothing more.
    assert run(tmp_path / "cut", value_of, trials=10) == undisturbed
    assert len(calls) == 17


def test_another_seed_tries_something_else(tmp_path: Path) -> None:
    first, second = run(tmp_path / "0", trials=3), run(tmp_path / "1", trials=3, seed=1)
    assert first[0].parameters == second[0].parameters
    assert first[1].parameters != second[1].parameters


def test_what_is_refused_is_told_and_does_not_end_the_search(tmp_path: Path) -> None:
    def value_of(parameters: Mapping[str, Any]) -> float:
        if parameters["kind"] == "c":
            raise UsageError("c is not to be had")
        return hill(parameters)

    trials = run(tmp_path, value_of, trials=30)
    refused = [trial for trial in trials if trial.why]
    assert refused
    assert {trial.why for trial in refused} == {"c is not to be had"}
    assert all(math.isnan(trial.value) for trial in refused)
    assert best_of(trials).parameters["kind"] == "b"
    assert run(tmp_path, value_of, trials=30)[-1] == trials[-1]


def test_where_nothing_comes_to_anything_the_first_reason_is_told(tmp_path: Path) -> None:
    def refused(_: Mapping[str, Any]) -> float:
        raise HourglassError("there is nothing to learn from")

    with pytest.raises(HourglassError, match=r"no trial .*: there is nothing to learn from"):
        best_of(run(tmp_path, refused, trials=3))


def test_nothing_is_tried_twice_and_a_small_space_ends_the_search(tmp_path: Path) -> None:
    space: Space = {"depth": (1, 2, 3), "kind": ("a", "b")}
    trials = search(tmp_path / "trials.log", space, FIRST, lambda p: p["depth"], Budget(50), 0)
    tried = [tuple(trial.parameters.values()) for trial in trials]
    assert sorted(tried) == [(depth, kind) for depth in (1, 2, 3) for kind in "ab"]
    assert best_of(trials).parameters["depth"] == 3


def test_time_that_is_up_still_leaves_the_first_trial(tmp_path: Path) -> None:
    budget = Budget(50, lambda: True)
    trials = search(tmp_path / "trials.log", SPACE, FIRST, hill, budget, 0)
    assert [trial.parameters["rate"] for trial in trials] == [0.0]


@pytest.mark.parametrize("system", MODEL_NAMES)
def test_all_that_is_tried_of_a_system_is_a_parameter_of_it(system: str) -> None:
    defaults = parse_parameters(parameters_class(system), system, {})
    try:
        space = space_of(system, vars(defaults), {})
    except UsageError as error:
        assert "nothing to tune" in str(error)
        assert system in ("pop", "random", "p_pop") or not hasattr(defaults, "learning_rate")
        return
    for name, tried in space.items():
        ends = (tried.low, tried.high) if isinstance(tried, SearchRange) else tried
        if name == "width" and getattr(defaults, "user_width", 0):
            continue  # one that goes with the width: only that one is left of the choices
        for value in ends:
            parse_parameters(parameters_class(system), system, {name: value})


def test_own_ranges_stand_beside_or_instead_of_the_shipped_ones() -> None:
    parameters = {"k_h": 500, "half_life_h": 0.0}
    space = space_of("recent_pop", parameters, {"half_life_h": (0.0, 2.0)})
    assert space["half_life_h"] == (0.0, 2.0)
    assert space["k_h"][0] == 0  # type: ignore[index]
    with pytest.raises(UsageError, match="recent_pop has no parameter 'k_hours'"):
        space_of("recent_pop", parameters, {"k_hours": (1, 2)})
    with pytest.raises(UsageError, match="nothing to tune of pop"):
        space_of("pop", {}, {})


@pytest.mark.parametrize(
    ("space", "sentence"),
    [
        ({"width": {"low": 64, "high": 64}}, "low 64 is not below high 64"),
        ({"rate": {"low": 0.0, "high": 1.0, "log": True}}, "low 0.0 has no logarithm"),
        ({"width": []}, "width: an empty list leaves nothing to try"),
        ({"width": {"low": 1}}, "high"),
        ({"rate": {"low": float("nan"), "high": 1.0}}, "has an end that is no number"),
        ({"rate": {"low": 0.1, "high": float("inf")}}, "has an end that is no number"),
    ],
)
def test_a_range_that_is_none_is_refused(space: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValidationError, match=sentence):
        TuneSettings(space=space)


def test_what_a_kill_left_of_a_line_is_cut_off(tmp_path: Path) -> None:
    undisturbed = run(tmp_path / "whole", trials=6)
    run(tmp_path / "torn", trials=4)
    file = tmp_path / "torn" / "trials.log"
    file.write_bytes(file.read_bytes() + b'{"number": 4, "para')
    assert run(tmp_path / "torn", trials=6) == undisturbed
    file.write_bytes(b"nonsense\n")
    with pytest.raises(HourglassError, match=r"trials\.log: the trials cannot be read: remove"):
        run(tmp_path / "torn", trials=6)


def test_a_trial_that_kills_the_process_twice_has_failed(tmp_path: Path) -> None:
    """As one for which there is too little memory: the third start goes on after it."""

    def value_of(parameters: Mapping[str, Any]) -> float:
        if parameters["kind"] == "c":
            raise KeyboardInterrupt
        return hill(parameters)

    starts, trials = 0, []
    while not trials:
        starts += 1
        try:
            trials = run(tmp_path, value_of, trials=12)
        except KeyboardInterrupt:
            assert starts < 40
    killed = [trial for trial in trials if trial.parameters["kind"] == "c"]
    assert killed
    assert all("the process ended during it, twice" in trial.why for trial in killed)
    assert starts == 1 + 2 * len(killed)


def test_an_error_of_a_library_fails_its_trial_alone(tmp_path: Path) -> None:
    def value_of(parameters: Mapping[str, Any]) -> float:
        if parameters["depth"] > 6:
            raise MemoryError("no more")
        return hill(parameters)

    trials = run(tmp_path, value_of, trials=15)
    failed = [trial for trial in trials if trial.parameters["depth"] > 6]
    assert failed
    assert {trial.why for trial in failed} == {"MemoryError: no more"}


def test_what_nothing_can_mend_ends_the_search_at_once(tmp_path: Path) -> None:
    calls = []

    def value_of(parameters: Mapping[str, Any]) -> float:
        calls.append(parameters)
        raise SearchStoppedError("nobody is asked")

    with pytest.raises(SearchStoppedError, match="nobody is asked"):
        run(tmp_path, value_of)
    assert len(calls) == 1


@pytest.mark.parametrize("seed", range(4))
def test_a_space_of_lists_is_tried_to_its_end_whatever_the_seed(tmp_path: Path, seed: int) -> None:
    space: Space = {"depth": tuple(range(1, 10)), "kind": ("a", "b", "c", "d", "e")}
    trials = search(tmp_path / "t.log", space, FIRST, lambda p: p["depth"], Budget(99), seed)
    assert len(trials) == 45
