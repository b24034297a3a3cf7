"""Models by name: what settings and files may say, and what is refused."""

from __future__ import annotations

import json
from importlib import resources
from pathlib import Path

import pytest

from pipeline.errors import UsageError
from pipeline.settings.settings import Settings, load_settings
from training.fit.model_configs import ModelConfig, agreeing, chosen, configured, resolve, shipped
from training.models import build

MODELS = resources.files("training") / "configs"


def settings_of(*models: object, **more: object) -> Settings:
    return load_settings(None, {"models": list(models), **more})


@pytest.mark.parametrize("name", shipped())
def test_every_shipped_model_can_be_built(name: str) -> None:
    (model,) = (resolve(one) for one in settings_of(name).models)
    assert model.name == name
    assert name.startswith(model.system)
    assert build(model.system, model.parameters).name == model.system


@pytest.mark.parametrize("name", shipped())
def test_the_header_of_a_shipped_model_says_what_to_expect(name: str) -> None:
    text = (MODELS / f"{name}.yaml").read_text("utf-8")
    header = [line for line in text.splitlines() if line.startswith("#")]
    assert text.startswith("# ")
    assert any(line.startswith("# Result to expect: ") for line in header)
    assert any("hourglass " in line or "python " in line for line in header)


def test_the_wanted_models_are_shipped() -> None:
    wanted = {"gru4rec", "hrnn", "hrnn_trend", "hrnn_meta", "hrnn_rating"}
    tuned = {"gru4rec_yoochoose", "hrnn_yoochoose", "hrnn_trend_deskdrop", "hrnn_wikipedia"}
    assert wanted | tuned <= set(shipped())


def test_a_model_is_a_name_a_file_or_a_system(tmp_path: Path) -> None:
    own = tmp_path / "mine.yaml"
    own.write_text("system: hrnn\nparameters: {width: 8, epochs: 2}\n")
    settings = settings_of(
        "hrnn_trend",
        "pop",
        str(own),
        {"name": "wide", "file": str(own), "parameters": {"width": 16}, "keep_optimiser": True},
        {"system": "item_knn"},
        {"name": "short", "system": "gru4rec", "parameters": {"epochs": 1}},
    )
    assert chosen(settings, [], None) == [
        ModelConfig("hrnn_trend", "hrnn_trend", {}),
        ModelConfig("pop", "pop", {}),
        ModelConfig("mine", "hrnn", {"width": 8, "epochs": 2}),
        ModelConfig("wide", "hrnn", {"width": 16, "epochs": 2}, keep_optimiser=True),
        ModelConfig("item_knn", "item_knn", {}),
        ModelConfig("short", "gru4rec", {"epochs": 1}),
    ]
    assert [model.name for model in chosen(settings, [], "hrnn")] == ["mine", "wide"]
    assert [model.name for model in chosen(settings, ["wide", "pop"], None)] == ["wide", "pop"]


def test_the_settings_come_before_the_shipped_models() -> None:
    settings = settings_of({"name": "hrnn", "system": "hrnn_trend"})
    assert configured(settings, "hrnn").system == "hrnn_trend"
    assert configured(settings, "hrnn_meta").system == "hrnn_meta"  # not configured, but shipped


def test_the_environment_may_list_models(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOURGLASS_MODELS", json.dumps(["pop", {"system": "hrnn"}]))
    assert [model.name for model in load_settings(None).models] == ["pop", "hrnn"]


@pytest.mark.parametrize(
    ("models", "sentence"),
    [
        (["hrnn", {"system": "hrnn"}], "two models are called 'hrnn'"),
        ([{"name": "a"}], "a system or a file, one of the two"),
        ([{"system": "hrnn", "file": "hrnn"}], "a system or a file, one of the two"),
        ([{"system": "hrnn", "sead": 1}], "unknown key 'models.0.sead'"),
        ([{"name": "a b", "system": "hrnn"}], "models.0.name = 'a b'"),
    ],
)
def test_settings_that_are_refused(models: list[object], sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence):
        settings_of(*models)


def test_names_that_nobody_knows() -> None:
    settings = settings_of("pop")
    with pytest.raises(UsageError, match=r"no model 'nope': use one of pop, .*gru4rec, "):
        configured(settings, "nope")
    with pytest.raises(UsageError, match="no model 'nope'"):
        chosen(settings_of("pop", "nope"), [], None)
    with pytest.raises(UsageError, match="'hrnn' is not among those of the configured models: pop"):
        chosen(settings, [], "hrnn")
    with pytest.raises(UsageError, match="use one of them"):
        chosen(settings, ["pop"], "pop")
    with pytest.raises(UsageError, match="names 'pop' twice"):
        chosen(settings, ["pop", "pop"], None)
    with pytest.raises(UsageError, match="list no models"):
        chosen(settings_of(), [], None)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("parameters: {}\n", "system: Field required"),
        ("system: hrnn\nsead: 1\n", "unknown key 'sead'"),
        ("- hrnn\n", "a model's file has system and parameters"),
        ("system: [\n", "not a YAML file"),
        ("system: huge\n", "unknown system 'huge'"),
    ],
)
def test_files_that_are_refused(tmp_path: Path, text: str, sentence: str) -> None:
    (tmp_path / "mine.yaml").write_text(text)
    with pytest.raises(UsageError, match=sentence):
        configured(settings_of(), str(tmp_path / "mine.yaml"))


def test_a_file_that_is_not_there() -> None:
    with pytest.raises(UsageError, match=r"no/such\.yaml: cannot read the model"):
        configured(settings_of(), "no/such.yaml")


def test_models_learn_what_they_are_judged_on() -> None:
    assert agreeing(ModelConfig("a", "hrnn", {}), repeats=True).parameters == {"repeats": True}
    told = ModelConfig("a", "hrnn", {"repeats": False})
    assert agreeing(told, repeats=True) == told
    assert agreeing(ModelConfig("pop", "pop", {}), repeats=True).parameters == {}
