"""Wrong parameters of any configured model are refused before anything is trained."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from pipeline.errors import UsageError
from pipeline.settings.settings import Settings
from training.cli.main import run
from training.fit.model_check import Facts, check_models, facts_of
from training.replay.arms import arms_of

WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "choice": (
        {"system": "gru4rec", "parameters": {"loss": "bpr-max"}},
        "parameter loss = 'bpr-max' must be one of cross_entropy, bpr, top1, hinge, bpr_max, "
        "one_against_all (did you mean 'bpr_max'?)",
    ),
    "capitals": (
        {"system": "gru4rec", "parameters": {"loss": "BPR-MAX"}},
        "(did you mean 'bpr_max'?)",
    ),
    "name": (
        {"system": "hrnn", "parameters": {"learning-rate": 0.1}},
        "unknown parameter 'learning-rate' (did you mean 'learning_rate'?)",
    ),
    "type": (
        {"system": "hrnn", "parameters": {"epochs": "3"}},
        "parameter epochs = '3' is not of type int",
    ),
    "range": (
        {"system": "item_knn", "parameters": {"fade": 0.0}},
        "parameter fade = 0.0 must be above 0",
    ),
    "reward": (
        {
            "system": "gru4rec",
            "parameters": {"loss": "one_against_all", "rewards": {"view": "high"}},
        },
        "parameter rewards.view = 'high' must be between 0 and 1",
    ),
    "event type": (
        {
            "system": "gru4rec",
            "parameters": {"loss": "one_against_all", "rewards": {"veiw": 0.5}},
        },
        "rewards.veiw: there are no such events, only view, buy (did you mean 'view'?)",
    ),
    "two together": (
        {"system": "hrnn_trend", "parameters": {"ips_temperature": 1.0}},
        "trend and ips_temperature both take popularity out",
    ),
    "window": (
        {"system": "recent_pop", "parameters": {"k_h": 100}},
        "parameter k_h = 100 must be at most the data set's popularity window of 72 h",
    ),
    "infinite": (
        {"system": "gru4rec", "parameters": {"score_penalty": float("inf")}},
        "parameter score_penalty = inf must be a finite number",
    ),
}
OF_DATA = ("window", "event type")
FAULTS = pytest.mark.parametrize("fault", list(WRONG))


def content_with(fault: str) -> dict[str, Any]:
    """Settings whose second model of three is wrong."""
    return {
        "models": ["recent_pop", {"name": "experiment", **WRONG[fault][0]}, "item_knn"],
        "candidate": "item_knn",
        "dataset": {"event_types": ["view", "buy"]},
    }


@FAULTS
def test_the_model_the_parameter_and_a_guess_are_named(fault: str) -> None:
    settings = Settings(**content_with(fault))
    with pytest.raises(UsageError) as caught:
        check_models(settings, facts_of(settings))
    assert str(caught.value).startswith("model 'experiment': ")
    assert WRONG[fault][1] in str(caught.value)


def test_what_only_a_data_set_tells_is_not_guessed() -> None:
    for fault in OF_DATA:
        check_models(Settings(**content_with(fault)), Facts())


@pytest.mark.parametrize("fault", [fault for fault in WRONG if fault not in OF_DATA])
def test_an_arm_is_refused_though_it_is_not_asked_for(fault: str) -> None:
    model, said = WRONG[fault]
    wrong = {"name": "wrong", "model": model["system"], "parameters": model["parameters"]}
    settings = Settings(
        replay={"arms": [{"name": "pop"}, wrong]},  # type: ignore[arg-type]
        dataset={"event_types": ["view", "buy"]},  # type: ignore[arg-type]
    )
    with pytest.raises(UsageError) as caught:
        arms_of(settings, ["pop"])
    assert str(caught.value).startswith("arm 'wrong': ")
    assert said in str(caught.value)


@pytest.mark.parametrize("fault", OF_DATA)
def test_an_arm_that_the_data_cannot_feed_is_refused_where_it_is_rolled(fault: str) -> None:
    model, said = WRONG[fault]
    wrong = {"name": "wrong", "model": model["system"], "parameters": model["parameters"]}
    settings = Settings(
        replay={"arms": [{"name": "pop"}, wrong]},  # type: ignore[arg-type]
        dataset={"event_types": ["view", "buy"]},  # type: ignore[arg-type]
    )
    assert [arm.name for arm in arms_of(settings, ["pop"])] == ["pop"]
    with pytest.raises(UsageError, match=r"^arm 'wrong': ") as caught:
        arms_of(settings, [])
    assert said in str(caught.value)


@pytest.mark.parametrize(
    "command",
    [
        "train",
        "train --model recent_pop",
        "train --as-needed",
        "loop",
        "replay --from 2023-11-14T22 --to 2023-11-15T00",
        "demo --work demo",
    ],
)
def test_every_command_that_trains_refuses_at_once(
    command: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("HOURGLASS_CONFIG", raising=False)
    content = content_with("choice")
    if command.startswith("demo"):  # it brings its own settings, under the environment's
        monkeypatch.setenv("HOURGLASS_MODELS", json.dumps(content["models"]))
    else:
        (tmp_path / "hourglass.yaml").write_text(yaml.safe_dump(content))
    before = sorted(tmp_path.rglob("*"))
    assert run(command.split()) == 2
    said = capfd.readouterr().err.strip().splitlines()
    assert said == [f"hourglass: model 'experiment': {WRONG['choice'][1]}"]
    assert sorted(tmp_path.rglob("*")) == before
