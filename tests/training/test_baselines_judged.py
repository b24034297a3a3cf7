"""Several baselines through the real evaluation, gate and monitor, with a real registry."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from lives import registry
from synthetic import AS_OF, AS_OF_S, ring_walks, write_dataset

from benchmarks.gate_poison import AT, World
from pipeline.errors import HourglassError, UsageError
from pipeline.hours import Hour
from pipeline.settings.learning import GateSettings, RetrainSettings
from pipeline.settings.settings import Settings, load_settings
from pipeline.workspace import CommandContext
from training.data.reader import read_dataset
from training.deployment.promote import promote
from training.evaluation.evaluate import evaluate
from training.fit.model_lines import check_candidates, judged_dataset
from training.fit.retrain_policy import RetrainDecision, RetrainSignals
from training.gate.decision_file import read_record
from training.registry.candidates import candidates, configured, remember
from training.registry.mlflow_registry import Registry, champion
from training.steps.judge_candidates import ensure_champion, judge_candidates
from training.steps.retrain import models_to_train

__all__ = ["registry"]
# On a ring of items the neighbours are near perfect, and popularity knows next to nothing.
LINE, GOOD, POOR = "vsknn", "item_knn", "recent_pop"
MODELS = [LINE, GOOD, POOR, "pop"]


def settings_of(work: Path, *baselines: str, candidate: str = LINE) -> Settings:
    return load_settings(
        None,
        {
            "work": str(work),
            "candidate": [candidate],
            "models": [{"system": name} for name in MODELS],
            "gate": {"baseline": list(baselines)},
            "evaluation": {"bootstrap_samples": 100},
        },
    )


@pytest.fixture
def world(registry: Registry, tmp_path: Path) -> World:
    """A data set, the hour after it, and a fit of each model; nothing is live."""
    settings = settings_of(tmp_path, POOR, GOOD)
    base = write_dataset(settings.path("shards") / "base", ring_walks(200, AS_OF_S - 7200, seed=0))
    frozen = write_dataset(
        settings.path("frozen") / "after",
        ring_walks(60, AS_OF_S, seed=1),
        as_of="2016-03-14T14",
        window_start=AS_OF,
        base=base,
    )
    made = World(settings, registry, base, base, frozen)
    for name in MODELS:
        made.enter(name, name, read_dataset(base))
    return made


def evaluated(world: World) -> dict[str, float]:
    """MRR@20 by name."""
    found = evaluate(world.settings, world.registry, *world.data(), lambda *_: None)
    return {
        found.names[row.model_id]: row.mean
        for row in found.rows
        if (row.metric, row.slice_name) == ("mrr", "all")
    }


def as_listed(world: World, *baselines: str, candidate: str = LINE) -> World:
    return replace(
        world, settings=settings_of(world.settings.work, *baselines, candidate=candidate)
    )


def first_live(world: World) -> str:
    live = ensure_champion(world.settings, world.registry, world.dataset, AT, "after")
    return live.model_id.partition("-")[0]


@pytest.mark.parametrize("order", [(POOR, GOOD), (GOOD, POOR)], ids=["poor first", "good first"])
def test_before_the_first_promotion_the_best_baseline_of_the_hour_is_live(
    world: World, order: tuple[str, ...]
) -> None:
    world = as_listed(world, *order)
    figures = evaluated(world)
    assert figures[GOOD] > figures[POOR] + 0.1
    assert first_live(world) == GOOD
    # Whatever is live stays: it is asked for once.
    assert first_live(as_listed(world, POOR)) == GOOD


def test_without_figures_the_first_of_the_list_is_live(world: World) -> None:
    assert first_live(world) == POOR


def test_a_single_baseline_is_live_whatever_the_figures_say(world: World) -> None:
    evaluated(world)
    assert first_live(as_listed(world, POOR)) == POOR


def test_better_than_recent_pop_but_not_than_the_other_is_not_promoted(world: World) -> None:
    """The very case: by recent_pop alone it goes live, beside a better baseline it does not."""
    world.enter(LINE, "item_knn", read_dataset(world.dataset), shrinkage=50.0)
    evaluated(world)
    alone = as_listed(world, POOR)
    ensure_champion(alone.settings, alone.registry, alone.dataset, AT)
    ((decision, _),) = judge_candidates(alone.settings, alone.registry, *alone.data(), True, AT)
    assert decision.outcome.value == "promote", decision.sentence
    ((decision, path),) = judge_candidates(world.settings, world.registry, *world.data(), True, AT)
    assert (decision.outcome.value, decision.reasons) == ("hold", ("not_better_than_floor",))
    assert f"the bar is {GOOD} ({GOOD} 0." in decision.sentence
    content = read_record(path).content
    assert {name: each["system"] for name, each in content["floors"].items()} == {
        GOOD: GOOD,
        POOR: POOR,
    }


def test_better_than_each_is_promoted_and_the_decision_is_carried_out(world: World) -> None:
    world = as_listed(world, "pop", POOR, candidate=GOOD)
    evaluated(world)
    ensure_champion(world.settings, world.registry, world.dataset, AT, "after")
    ((decision, path),) = judge_candidates(world.settings, world.registry, *world.data(), True, AT)
    assert decision.outcome.value == "promote", decision.sentence
    assert "all beaten" in decision.sentence
    # All comparisons come out of the sums in the file again, or it would be refused.
    assert promote(world.registry, path).changed
    live = champion(world.registry)
    assert live is not None
    assert live.model_id.startswith(GOOD)


def test_guards_compare_what_the_evaluated_lists_show(world: World) -> None:
    world = as_listed(world, "pop", POOR, candidate=GOOD)
    gate = world.settings.gate.model_copy(update={"guards": {"coverage": 1.0}})
    world = replace(world, settings=world.settings.model_copy(update={"gate": gate}))
    found = evaluate(world.settings, world.registry, *world.data(), lambda *_: None)
    live = ensure_champion(world.settings, world.registry, world.dataset, AT, "after")
    ((decision, path),) = judge_candidates(world.settings, world.registry, *world.data(), True, AT)
    candidate = decision.evidence.candidate.model_id
    shown = read_record(path).content["shown"]
    for role, model_id in (("candidate", candidate), ("champion", live.model_id)):
        assert shown[role]["coverage"] == found.lists[model_id].coverage
    assert shown["candidate"]["coverage"] > shown["champion"]["coverage"] > 0
    assert decision.outcome.value == "promote", decision.sentence
    # As if the candidate showed one item in forty to everybody.
    index = world.settings.path("evaluations") / "after" / "evaluation.json"
    content = json.loads(index.read_text())
    content["lists"][candidate]["coverage"] = 0.025
    index.write_text(json.dumps(content))
    ((decision, _),) = judge_candidates(world.settings, world.registry, *world.data(), True, AT)
    assert (decision.outcome.value, decision.reasons) == ("block", ("below_guard",))
    assert "Coverage of the catalogue is 0.025 against" in decision.sentence


def test_each_baseline_has_its_role_and_is_evaluated_though_it_is_configured_nowhere(
    world: World,
) -> None:
    found = evaluate(world.settings, world.registry, *world.data(), lambda *_: None)
    roles = {found.names[model_id]: roles for model_id, roles in found.roles.items()}
    assert roles == {
        LINE: ["candidate"],
        GOOD: ["floor"],
        POOR: ["floor"],
        "pop": ["candidate"],
    }
    few = world.settings.model_copy(update={"models": world.settings.models[:1]})
    assert set(configured(few, "base")) == {LINE, GOOD, POOR}


def test_a_baseline_that_was_not_trained_is_named(world: World) -> None:
    models = candidates(world.settings, "base")
    index = world.settings.path("candidates") / "base.json"
    index.write_text(json.dumps({name: models[name] for name in models if name != GOOD}))
    said = f"the floor '{GOOD}' was not trained on data set base: run `hourglass train"
    with pytest.raises(HourglassError, match=said):
        ensure_champion(world.settings, world.registry, world.dataset, AT, "after")
    with pytest.raises(HourglassError, match=said):
        judge_candidates(world.settings, world.registry, *world.data(), True, AT)


def test_the_last_data_set_has_all_baselines(world: World) -> None:
    shards = world.settings.path("shards")
    later = write_dataset(
        shards / "later", ring_walks(20, AS_OF_S - 3600, seed=2), as_of="2016-03-14T14"
    )
    ctx = CommandContext(world.settings, Hour.parse(AS_OF).start)
    remember(world.settings, later.name, {POOR: "recent_pop-x"})
    assert judged_dataset(ctx, "last").name == "base"
    remember(world.settings, later.name, {GOOD: "item_knn-x"})
    assert judged_dataset(ctx, "last").name == "later"


def test_of_an_hour_that_is_skipped_all_baselines_are_fitted(tmp_path: Path) -> None:
    settings = settings_of(tmp_path, POOR, GOOD)
    signs = RetrainSignals(1, 0.0, 0.0, 0.0)
    quiet = RetrainDecision(retrain=False, reasons=("little_changed",), sentence="", signs=signs)
    skipping = settings.model_copy(update={"retrain": RetrainSettings(skip=True)})
    assert [model.name for model in models_to_train(skipping, quiet)] == [POOR, GOOD]
    assert [model.name for model in models_to_train(settings, quiet)] == MODELS


@pytest.mark.parametrize("baseline", [(POOR, "stam"), ("stam", POOR), ("stam",)])
def test_a_baseline_that_is_no_configured_model_is_named(
    tmp_path: Path, baseline: tuple[str, ...]
) -> None:
    settings = settings_of(tmp_path, POOR)
    check_candidates(settings)
    wrong = settings.model_copy(update={"gate": GateSettings(baseline=baseline)})
    with pytest.raises(UsageError, match=r"gate\.baseline: no entry of models is called 'stam'"):
        check_candidates(wrong)
