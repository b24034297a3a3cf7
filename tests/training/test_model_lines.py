"""Lines that go on from a model by themselves, hour after hour."""

from __future__ import annotations

import json
import shutil
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from shop import SMALL, Shop

from pipeline.errors import HourglassError
from pipeline.sealed_json import FORMAT, write_record
from pipeline.settings.settings import load_settings
from pipeline.workspace import CommandContext
from training.cli.main import run
from training.data.reader import read_dataset
from training.fit.model_configs import ModelConfig
from training.fit.model_lines import judged_dataset, latest_model_of
from training.fit.parent_model import _why_not
from training.registry.candidates import remember
from training.registry.model_card import read_card

QUICK = {**SMALL, "epochs": 1}
RATING = {"width": 8, "epochs": 1, "device": "cpu"}
RATING_MODELS = ("i_autorec", "rrn", "time_svd")


@pytest.fixture(scope="module")
def shop(mlflow_tables: None, tmp_path_factory: pytest.TempPathFactory) -> Shop:
    made = Shop(
        tmp_path_factory.mktemp("lines"),
        [
            {"name": "own", "system": "hrnn", "parameters": QUICK, "init_from": "self"},
            {"name": "live", "system": "hrnn", "parameters": QUICK, "init_from": "champion"},
            {"name": "counts", "system": "pop", "init_from": "self"},
            *(
                {"name": system, "system": system, "parameters": RATING, "init_from": "self"}
                for system in RATING_MODELS
            ),
        ],
    )
    for later in (0, 1, 2):
        made.add_dataset(f"hour-{later}", hours_later=later)
    return made


def trained(shop: Shop, capfd: pytest.CaptureFixture[str], *said: str) -> tuple[Any, str]:
    capfd.readouterr()
    assert run(shop.arguments(*said)) == 0
    found = capfd.readouterr()
    return json.loads(found.out.splitlines()[-1]), found.err


@pytest.mark.parametrize("line", ["own", *RATING_MODELS])
def test_a_line_goes_on_from_its_own_latest_model(
    shop: Shop, capfd: pytest.CaptureFixture[str], line: str
) -> None:
    first, said = trained(shop, capfd, "--dataset", "hour-0", "--model", line)
    assert first["continued_from"] is None
    assert f"{line} begins anew: no earlier fit of it before 2016-03-14T13" in said
    second, said = trained(shop, capfd, "--dataset", "hour-1", "--model", line)
    assert second["continued_from"] == first["model_id"]
    assert "begins anew" not in said
    third, _ = trained(shop, capfd, "--dataset", "hour-2", "--model", line)
    assert third["continued_from"] == second["model_id"]
    # A past hour goes on from what was there before it, not from what came since (P6, P2).
    again, _ = trained(shop, capfd, "--dataset", "hour-1", "--model", line)
    assert again == {**second, "seconds": 0.0, "is_new": False}
    # Whoever asks for a fresh one gets it.
    anew, _ = trained(shop, capfd, "--dataset", "hour-1", "--model", line, "--init-from", "none")
    assert anew["continued_from"] is None
    assert anew["model_id"] != second["model_id"]


@pytest.mark.parametrize("option", ["--anew", "--continue"])
def test_an_option_about_parents_is_refused_where_there_is_none(
    shop: Shop, capfd: pytest.CaptureFixture[str], option: str
) -> None:
    arguments = ("--dataset", "hour-0", "--model", "own", "--init-from", "none", option)
    assert run(shop.arguments(*arguments)) == 2
    assert f"{option} is about models that go on from another" in capfd.readouterr().err


def test_a_line_without_anything_to_go_on_from_begins_anew(
    shop: Shop, capfd: pytest.CaptureFixture[str]
) -> None:
    done, said = trained(shop, capfd, "--dataset", "hour-0", "--model", "live")
    assert done["continued_from"] is None
    assert "live begins anew: nothing is live yet" in said
    for hour in ("hour-0", "hour-1"):
        _, said = trained(shop, capfd, "--dataset", hour, "--model", "counts")
    assert "counts begins anew: a pop is always fitted anew" in said


def test_another_width_begins_anew(shop: Shop, capfd: pytest.CaptureFixture[str]) -> None:
    trained(shop, capfd, "--dataset", "hour-0", "--model", "own")
    wider = {**QUICK, "width": 9}
    shop.configure([{"name": "own", "system": "hrnn", "parameters": wider, "init_from": "self"}])
    done, said = trained(shop, capfd, "--dataset", "hour-2", "--model", "own")
    assert done["continued_from"] is None
    assert "has another width" in said


def test_a_card_of_before_a_parameter_tells_of_a_model_without_it(
    shop: Shop, capfd: pytest.CaptureFixture[str]
) -> None:
    shop.configure([{"name": "own", "system": "hrnn", "parameters": QUICK, "init_from": "self"}])
    first, _ = trained(shop, capfd, "--dataset", "hour-0", "--model", "own")
    card = read_card(shop.work / "models" / first["model_id"])
    parameters = {**card.all_parameters}
    del parameters["metadata_input"]
    aged = card.model_copy(update={"all_parameters": parameters})
    for tells, expected in ((False, None), (True, f"{card.model_id} has another metadata_input")):
        chosen = {**QUICK, "metadata_input": tells}
        model = ModelConfig(name="own", system="hrnn", parameters=chosen)
        assert _why_not(aged, model) == expected


def test_models_that_are_gone_or_damaged_do_not_count(
    shop: Shop, capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    settings = load_settings(shop.config)
    first, _ = trained(shop, capfd, "--dataset", "hour-0", "--model", "own")
    as_of = read_dataset(shop.work / "shards" / "hour-1").manifest.as_of
    assert latest_model_of(settings, "own", as_of) == first["model_id"]
    assert latest_model_of(settings, "own", as_of - 1) is None
    card = shop.work / "models" / first["model_id"] / "model.json"
    kept = card.read_text()
    card.write_text(kept[:100])
    assert latest_model_of(settings, "own", as_of) is None
    card.write_text(kept)
    assert latest_model_of(load_settings(None, {"work": str(tmp_path)}), "own", as_of) is None


def test_what_the_gate_blocked_is_not_gone_on_from(
    shop: Shop, capfd: pytest.CaptureFixture[str]
) -> None:
    shop.configure([{"name": "own", "system": "hrnn", "parameters": QUICK, "init_from": "self"}])
    settings = load_settings(shop.config)
    first, _ = trained(shop, capfd, "--dataset", "hour-0", "--model", "own")
    second, _ = trained(shop, capfd, "--dataset", "hour-1", "--model", "own")
    as_of = read_dataset(shop.work / "shards" / "hour-2").manifest.as_of
    assert latest_model_of(settings, "own", as_of) == second["model_id"]
    decisions = settings.path("decisions")

    def decide(hour: int, outcome: str, **content: object) -> Path:
        made_at = f"2026-01-01T{hour:02d}:00:00"
        said = {"format": FORMAT, "outcome": outcome, "made_at": made_at, **content}
        return write_record(decisions, f"2016-03-14T14-{second['model_id']}", said)

    blocked = decide(0, "block")
    assert latest_model_of(settings, "own", as_of) == first["model_id"]
    held = decide(1, "hold")
    assert latest_model_of(settings, "own", as_of) == second["model_id"]
    held.unlink()
    decide(2, "block", reasons=["missing_ranks"])  # says nothing of the model
    assert latest_model_of(settings, "own", as_of) == second["model_id"]
    blocked.chmod(0o644)
    blocked.write_text("{")  # nobody knows what it said
    assert latest_model_of(settings, "own", as_of) == first["model_id"]


def test_one_line_that_fails_does_not_keep_others_from_being_trained(
    shop: Shop, capfd: pytest.CaptureFixture[str]
) -> None:
    wild = {**QUICK, "learning_rate": 3e38}
    shop.configure([{"name": "wild", "system": "gru4rec", "parameters": wild}, {"system": "pop"}])
    capfd.readouterr()
    assert run(shop.arguments("--dataset", "hour-2")) == 1
    found = capfd.readouterr()
    (told,) = map(json.loads, found.out.splitlines())
    assert told["name"] == "pop"
    last = found.err.strip().splitlines()[-1]
    assert "1 of 2 models failed, the others are trained; wild: " in last


def test_the_latest_data_set_is_judged_and_one_that_may_be_it_is_not_passed_over(
    tmp_path: Path,
) -> None:
    shop = Shop(tmp_path, [{"name": "counts", "system": "pop"}])
    for later in (0, 1):
        shop.add_dataset(f"hour-{later}", hours_later=later)
    settings = load_settings(shop.config)
    ctx = CommandContext(settings, datetime(2026, 1, 1, tzinfo=UTC))
    baseline = {settings.gate.baseline: "model"}
    for later in (0, 1):
        remember(settings, f"hour-{later}", baseline)
    assert judged_dataset(ctx, "last").name == "hour-1"
    shutil.rmtree(settings.path("shards") / ".by_time")
    (settings.path("shards") / "hour-1" / "manifest.json").write_text("")
    with pytest.raises(HourglassError, match=r"hour-1/manifest\.json"):
        judged_dataset(ctx, "last")
