"""How a fit comes from the model before it, what is said of that, and what a refit may do."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from shop import SMALL, Shop

from pipeline.settings.settings import load_settings
from pipeline.workspace import CommandContext
from training.cli.main import run
from training.cli.train import _without_processes
from training.data.reader import read_dataset, sha256_of
from training.fit.descent import Descent
from training.fit.parent_model import ParentModel
from training.fit.progress_display import display
from training.fit.refit import refit
from training.fit.retrain_policy import (
    LineChoice,
    LineSignals,
    RetrainDecision,
    RetrainSignals,
)
from training.fit.retrain_signals import record_retrain_decision
from training.fit.train import Trained
from training.model_types import WholeFit
from training.registry.candidates import trained_on
from training.registry.mlflow_registry import Registry, registry_of, version_of
from training.trainer.interface import ParentWeights

AGED = {**SMALL, "epochs": 1, "anew_h": 2, "continue_h": 24}
YOUNG = {**AGED, "anew_h": 9}
MODELS = [
    {"name": "aged", "system": "hrnn", "parameters": AGED, "init_from": "self"},
    {"name": "young", "system": "hrnn", "parameters": YOUNG, "init_from": "self"},
    {"name": "heir", "system": "hrnn", "parameters": AGED, "init_from": "champion"},
]


@pytest.fixture(scope="module")
def shop(mlflow_tables: None, tmp_path_factory: pytest.TempPathFactory) -> Shop:
    made = Shop(tmp_path_factory.mktemp("descent"), MODELS)
    for later in (0, 1, 2):
        made.add_dataset(f"hour-{later}", hours_later=later)
    return made


AFTER = "made anew after hrnn-a"


def context(shop: Shop) -> CommandContext:
    return CommandContext(load_settings(shop.config), datetime(2016, 3, 15, tzinfo=UTC))


def trained(shop: Shop, capfd: pytest.CaptureFixture[str], *words: str) -> dict[str, Any]:
    capfd.readouterr()
    assert run(shop.arguments(*words)) == 0
    answer: dict[str, Any] = json.loads(capfd.readouterr().out.splitlines()[-1])
    return answer


def refitted(shop: Shop, candidate: str, line: str, hour: int) -> Trained:
    """The refit of a candidate as of an hour, as if it had been proven better."""
    ctx = context(shop)
    data = read_dataset(shop.work / "shards" / f"hour-{hour}")
    decision: Any = SimpleNamespace(
        candidate_id=candidate,
        candidate_card_sha256=sha256_of(shop.work / "models" / candidate / "model.json"),
        record=SimpleNamespace(path=Path("decision.json")),
        end=data.manifest.as_of,
        line=line,
    )
    with display(ctx.step_table, silent=True) as listener:
        return refit(ctx.settings, registry_of(ctx), decision, data, listener)


def candidate_of(shop: Shop, hour: int, line: str) -> str:
    return (trained_on(context(shop).settings, f"hour-{hour}") or {})[line]


def test_a_refit_never_makes_a_line_anew_but_the_next_candidate_is(
    shop: Shop, capfd: pytest.CaptureFixture[str]
) -> None:
    trained(shop, capfd, "--dataset", "hour-0", "--model", "aged")
    judged = trained(shop, capfd, "--dataset", "hour-1", "--model", "aged")["model_id"]
    live = refitted(shop, judged, "aged", 2)
    assert live.continued_from == judged
    assert live.made_anew_after is None
    assert live.metrics["whole_fit_age_h"] == 2.0
    assert candidate_of(shop, 2, "aged") == live.model_id
    candidate = trained(shop, capfd, "--dataset", "hour-2", "--model", "aged")
    assert candidate["made_anew_after"] == judged
    assert candidate["metrics"]["whole_fit_age_h"] == 0.0
    # A refit that is asked for again does not take the place of what is to be judged.
    assert refitted(shop, judged, "aged", 2).model_id == live.model_id
    assert candidate_of(shop, 2, "aged") == candidate["model_id"] != live.model_id


def test_a_refit_is_the_fit_of_the_next_hour_while_no_whole_one_is_due(
    shop: Shop, capfd: pytest.CaptureFixture[str]
) -> None:
    trained(shop, capfd, "--dataset", "hour-0", "--model", "young")
    judged = trained(shop, capfd, "--dataset", "hour-1", "--model", "young")["model_id"]
    live = refitted(shop, judged, "young", 2)
    again = trained(shop, capfd, "--dataset", "hour-2", "--model", "young")
    assert (again["model_id"], again["is_new"]) == (live.model_id, False)


def test_the_refit_of_a_candidate_from_nothing_goes_on_from_it(
    shop: Shop, capfd: pytest.CaptureFixture[str]
) -> None:
    """By its own rule it would begin anew: nothing is live."""
    judged = trained(shop, capfd, "--dataset", "hour-1", "--model", "heir")
    assert judged["continued_from"] is None
    live = refitted(shop, judged["model_id"], "heir", 2)
    assert live.continued_from == judged["model_id"]


def without_fits(shop: Shop) -> None:
    """As if nothing had been trained on any data set yet."""
    for path in (shop.work / "candidates").glob("*.json"):
        path.unlink()


def test_a_refit_goes_on_from_what_was_judged_whatever_was_fitted_meanwhile(
    shop: Shop, capfd: pytest.CaptureFixture[str]
) -> None:
    without_fits(shop)
    trained(shop, capfd, "--dataset", "hour-0", "--model", "young")
    judged = trained(shop, capfd, "--dataset", "hour-1", "--model", "young")
    assert judged["continued_from"] is not None
    by_hand = trained(shop, capfd, "--dataset", "hour-1", "--model", "young", "--anew")
    assert candidate_of(shop, 1, "young") == by_hand["model_id"] != judged["model_id"]
    live = refitted(shop, judged["model_id"], "young", 2)
    without_fits(shop)
    assert live.continued_from == judged["model_id"]


def test_a_refit_goes_on_from_what_the_judged_one_went_on_from_whatever_is_live_by_now(
    shop: Shop, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def make_live(model_id: str) -> None:
        live = SimpleNamespace(model_id=model_id)
        monkeypatch.setattr("training.fit.parent_model.champion", lambda _: live)

    first = trained(shop, capfd, "--dataset", "hour-0", "--model", "heir")["model_id"]
    make_live(first)
    judged = trained(shop, capfd, "--dataset", "hour-1", "--model", "heir")
    assert judged["continued_from"] == first
    other = trained(shop, capfd, "--dataset", "hour-1", "--model", "heir", "--anew")
    make_live(other["model_id"])
    live = refitted(shop, judged["model_id"], "heir", 2)
    assert live.continued_from == first
    # The next candidate is the same fit.
    make_live(live.model_id)
    again = trained(shop, capfd, "--dataset", "hour-2", "--model", "heir", "--continue")
    without_fits(shop)
    assert (again["model_id"], again["is_new"]) == (live.model_id, False)


def tags_of(registry: Registry, model_id: str) -> tuple[dict[str, str], dict[str, str]]:
    """Of the version and of its run."""
    version = version_of(registry, model_id)
    assert version is not None
    return version.tags, registry.client.get_run(version.run_id).data.tags


def test_what_was_made_anew_does_not_say_that_it_was_continued(
    shop: Shop, capfd: pytest.CaptureFixture[str]
) -> None:
    seed = ("--seed", "3")  # so that nothing of another test is gone on from
    (shop.work / "candidates" / "hour-1.json").unlink(missing_ok=True)
    parent = trained(shop, capfd, "--dataset", "hour-0", "--model", "aged", *seed)["model_id"]
    words = ("train", "--dataset", "hour-2", "--model", "aged", *seed)
    assert run(["--config", str(shop.config), *words]) == 0
    printed = capfd.readouterr().out
    assert f"made anew after {parent}, whose whole fit was 2 h old" in printed
    assert "continued" not in printed
    model_id = candidate_of(shop, 2, "aged")
    card = shop.card(model_id)
    assert (card["continued_from"], card["made_anew_after"]) == (None, parent)
    for tags in tags_of(registry_of(context(shop)), model_id):
        assert tags["made_anew_after"] == parent
        assert "continued_from" not in tags


def test_a_step_says_so(shop: Shop, capfd: pytest.CaptureFixture[str]) -> None:
    parent = trained(shop, capfd, "--dataset", "hour-0", "--model", "young")["model_id"]
    step = trained(shop, capfd, "--dataset", "hour-1", "--model", "young")
    assert step["descent"] == f"continued from {parent}"
    assert shop.card(step["model_id"])["made_anew_after"] is None
    for tags in tags_of(registry_of(context(shop)), step["model_id"]):
        assert tags["continued_from"] == parent
        assert "made_anew_after" not in tags


@pytest.mark.parametrize(
    ("made_anew", "whole_fit", "signs", "sentence"),
    [
        (False, WholeFit(30.0, True, False), (), "continued from hrnn-a"),
        (True, WholeFit(24.0, True, False), (), f"{AFTER}, whose whole fit was 24 h old"),
        (
            True,
            WholeFit(1.0, False, True),
            ("lead_fell",),
            f"{AFTER}, whose whole fit had at most half of the targets of now",
        ),
        (
            True,
            WholeFit(24.0, True, True),
            (),
            f"{AFTER}, whose whole fit was 24 h old and had at most half of the targets of now",
        ),
        (True, WholeFit(3.0, False, False), (), f"{AFTER}, whose whole fit was 3 h old, as asked"),
        (
            True,
            WholeFit(3.0, False, False),
            ("lead_fell", "rules_changed"),
            f"{AFTER}, whose whole fit was 3 h old, by the signs lead_fell, rules_changed",
        ),
        (True, None, (), f"{AFTER}, as asked"),
    ],
)
def test_a_descent_in_words(
    made_anew: bool, whole_fit: WholeFit | None, signs: tuple[str, ...], sentence: str
) -> None:
    weights: Any = ParentWeights("hrnn-a", {}, None)  # type: ignore[arg-type]
    descent = Descent(ParentModel("hrnn", weights), made_anew, whole_fit, signs)
    assert descent.sentence == sentence


def test_what_was_outgrown_says_so(
    mlflow_tables: None, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    shop = Shop(tmp_path / "grown", MODELS[1:2])
    shop.add_dataset("hour-0", users=15)
    shop.add_dataset("hour-1", hours_later=1, users=60)
    parent = trained(shop, capfd, "--dataset", "hour-0", "--model", "young")["model_id"]
    grown = trained(shop, capfd, "--dataset", "hour-1", "--model", "young")
    why = "whose whole fit had at most half of the targets of now"
    assert grown["descent"] == f"made anew after {parent}, {why}"


def found_stale(shop: Shop, hour: int, *names: str) -> None:
    """`hourglass stale` has found that these entries are to be made anew."""
    signs = [LineSignals(name, "parent", 1, 9, 0.2, None, rules_changed=False) for name in names]
    lines = tuple(LineChoice(sign.name, ("lead_fell",), sign) for sign in signs)
    quiet = RetrainSignals(1, 0.0, 0.0, None)
    decision = RetrainDecision(True, ("lead_fell",), "worth it", quiet, lines)
    record_retrain_decision(context(shop).settings, f"hour-{hour}", decision)


@pytest.mark.parametrize(
    ("names", "words", "is_anew"),
    [
        ((), (), False),
        (("young",), (), True),
        (("aged",), (), False),
        (("young",), ("--continue",), False),
        ((), ("--anew",), True),
    ],
    ids=["a step", "this one anew", "another one anew", "a person says no", "a person says yes"],
)
def test_as_needed_makes_anew_what_the_signs_name_unless_a_person_says_otherwise(
    shop: Shop,
    capfd: pytest.CaptureFixture[str],
    names: tuple[str, ...],
    words: tuple[str, ...],
    is_anew: bool,
) -> None:
    only_young = Shop(shop.root, [*MODELS[1:2], {"name": "pop", "system": "pop"}])
    try:
        parent = trained(only_young, capfd, "--dataset", "hour-0", "--model", "young")["model_id"]
        (shop.work / "candidates" / "hour-1.json").unlink(missing_ok=True)
        found_stale(shop, 2, *names)
        done = trained(only_young, capfd, "--dataset", "hour-2", "--as-needed", *words)
    finally:
        shop.configure(MODELS)
    fits = {"anew": done["made_anew_after"], "on": done["continued_from"]}
    assert done["descent"].endswith("by the signs lead_fell") is ("young" in names and not words)
    assert fits == ({"anew": parent, "on": None} if is_anew else {"anew": None, "on": parent})


def test_a_person_may_have_a_line_go_on_that_is_due(
    shop: Shop, capfd: pytest.CaptureFixture[str]
) -> None:
    (shop.work / "candidates" / "hour-1.json").unlink(missing_ok=True)
    parent = trained(shop, capfd, "--dataset", "hour-0", "--model", "aged")["model_id"]
    on = trained(shop, capfd, "--dataset", "hour-2", "--model", "aged", "--continue")
    assert (on["continued_from"], on["made_anew_after"]) == (parent, None)


def test_of_a_rating_model_nothing_goes_on_when_it_is_made_anew(
    shop: Shop, capfd: pytest.CaptureFixture[str]
) -> None:
    small = {"width": 8, "epochs": 1, "device": "cpu"}
    rating = {"name": "r", "system": "rrn", "parameters": small, "init_from": "self"}
    shop.configure([*MODELS, rating])
    try:
        parent = trained(shop, capfd, "--dataset", "hour-0", "--model", "r")["model_id"]
        on = trained(shop, capfd, "--dataset", "hour-1", "--model", "r")
        anew = trained(shop, capfd, "--dataset", "hour-1", "--model", "r", "--anew")
    finally:
        shop.configure(MODELS)
    assert on["continued_from"] == parent
    assert (anew["continued_from"], anew["made_anew_after"], anew["descent"]) == (None,) * 3


@pytest.mark.parametrize(
    ("anew", "words"), [(None, set()), (True, {"--anew"}), (False, {"--continue"})]
)
def test_what_a_person_chose_reaches_each_of_several_processes(
    anew: bool | None, words: set[str]
) -> None:
    options = {"seed": 0, "model": None, "system": None, "device": None, "init_from": None}
    context: Any = SimpleNamespace(
        parent=None, params={**options, "as_needed": False, "resume": True, "anew": anew}
    )
    line = _without_processes(context, "hour-0")
    assert {word for word in line if word in ("--anew", "--continue")} == words
