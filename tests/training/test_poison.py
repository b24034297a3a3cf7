"""Broken candidates through the real evaluation and gate, with a real registry."""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from synthetic import AS_OF, AS_OF_S, ring_walks, write_dataset

from benchmarks.gate_poison import AFTER, AT, BEFORE, FLOOR, LINE, World, judged, rewrite_card
from pipeline.errors import HourglassError
from pipeline.hours import Hour, HourRange
from pipeline.sealed_json import file_away, find_record, write_record
from pipeline.settings.settings import Settings, load_settings
from pipeline.workspace import CommandContext
from training.data.reader import read_dataset
from training.deployment.champion_history import ChampionPeriod
from training.evaluation.evaluate import evaluate, evaluated_test_sets, load_evaluation
from training.evaluation.leaderboard import render_lists
from training.gate.decision_file import latest_decision, read_decision
from training.gate.past_looks import LookKey
from training.models import build
from training.registry.candidates import candidates
from training.registry.mlflow_registry import champion, open_registry
from training.registry.model_card import CARD_NAME
from training.registry.record_chain import UNLINKED
from training.steps import judge_candidates as judgement
from training.steps.hour_data import HourData
from training.steps.judge_candidates import champion_since, ensure_champion, judge_candidates

AT_TIME = datetime(2016, 3, 14, 15, tzinfo=UTC)
REASONS = {
    "NaN weights": "not_loadable",
    "shuffled vocabulary": "vocabulary_mismatch",
    "vocabulary cut short": "not_loadable",
    "truncated weights": "not_loadable",
    "truncated weights, card made to agree": "not_loadable",
    "popularity only": "not_personal",
    "trained on the future": "trained_on_the_future",
    "trained on the future, as_of denied": "stale_artefact",
    "of an older data set": "stale_artefact",
    "of an older data set, denied": "card_contradicts_data",
    "candidate changed after ranking": "artefact_changed",
    "truncated after ranking": "not_loadable",
    "champion changed after ranking": "baseline_changed",
}


@pytest.fixture(scope="module")
def world(store: str, tmp_path_factory: pytest.TempPathFactory) -> World:
    """Two data sets an hour apart, the hour after them, and a live floor."""
    work = tmp_path_factory.mktemp("poison")
    settings = load_settings(
        None,
        {
            "work": str(work),
            "candidate": [LINE],
            "models": [{"system": LINE}, {"system": FLOOR}, {"system": "hrnn_rating"}],
            "gate": {"baseline": FLOOR},
            "evaluation": {"bootstrap_samples": 100},
        },
    )
    shards = settings.path("shards")
    older = write_dataset(
        shards / "older", ring_walks(200, AS_OF_S - 9000, seed=0), as_of="2016-03-14T12"
    )
    base = write_dataset(shards / "base", ring_walks(200, AS_OF_S - 7200, seed=0))
    frozen = write_dataset(
        settings.path("frozen") / "after",
        ring_walks(60, AS_OF_S, seed=1),
        as_of="2016-03-14T14",
        window_start=AS_OF,
        base=base,
    )
    registry = open_registry(store, "poison", settings.path("models"), work / "mlflow")
    made = World(settings, registry, base, older, frozen)
    learned = read_dataset(base)
    made.enter(FLOOR, FLOOR, learned)
    made.enter(LINE, LINE, learned)
    ensure_champion(settings, registry, base, AT)
    return made


def test_the_sound_candidate_is_promoted(world: World) -> None:
    found = judged(world, "none")
    assert found["outcome"] == "promote", found
    path = latest_decision(world.settings.path("decisions"))
    decision = read_decision(path)
    assert decision.line == LINE
    assert decision.champion_version == "1"
    content = decision.record.content
    assert content["slices"]["user/new"]["verdict"] == "too_small"
    assert content["champion"]["live_record"].startswith("bootstrap-")
    cards = [content[role]["card_sha256"] for role in ("candidate", "champion", "floor")]
    assert all(len(card) == 64 for card in cards)


@pytest.mark.parametrize("poison", [*BEFORE, *AFTER])
def test_each_poison_is_blocked_by_its_reason(world: World, poison: str) -> None:
    found = judged(world, poison)
    assert found["outcome"] == "block", found
    assert REASONS[poison] in found["reason"].split(", ")


def test_one_candidate_that_cannot_be_judged_does_not_spoil_the_others(world: World) -> None:
    evaluate(world.settings, world.registry, *world.data(), lambda *_: None)
    both = world.settings.model_copy(update={"candidate": ("ghost", LINE)})
    found = judge_candidates(both, world.registry, *world.data(), True, AT)
    assert [decision.evidence.name for decision, _ in found] == ["ghost", LINE]
    (ghost, path), (sound, _) = found
    assert (ghost.outcome.value, ghost.reasons[0]) == ("block", "not_loadable")
    assert "the candidate 'ghost' was not trained" in ghost.sentence
    assert read_decision(path).candidate_id == "ghost"
    assert latest_decision(world.settings.path("decisions")) != path
    assert sound.proof.alpha == pytest.approx(0.025)
    none = world.settings.model_copy(update={"candidate": "ghost"})
    with pytest.raises(HourglassError, match="'ghost' was not trained"):
        judge_candidates(none, world.registry, *world.data(), True, AT)


def test_a_damaged_card_is_blocked_by_a_decision_beside_the_others(world: World) -> None:
    world.enter("damaged", LINE, read_dataset(world.dataset), shrinkage=7.0)
    both = world.settings.model_copy(update={"candidate": ("damaged", LINE)})
    evaluate(both, world.registry, *world.data(), lambda *_: None)
    models = candidates(both, world.dataset.name)
    card = world.settings.path("models") / models["damaged"] / CARD_NAME
    card.write_text(card.read_text()[:-40])
    found = judge_candidates(both, world.registry, *world.data(), True, AT)
    (damaged, path), (sound, _) = found
    assert (damaged.outcome.value, damaged.reasons[0]) == ("block", "not_loadable")
    assert f"{models['damaged']}/{CARD_NAME}" in damaged.sentence
    assert (read_decision(path).line, sound.evidence.name) == ("damaged", LINE)
    assert sound.outcome.value != "block"


def test_a_look_knows_what_its_line_and_floor_are_made_of(world: World) -> None:
    """Another window, parameter or start makes another line; another window leaves the floor."""
    evaluate(world.settings, world.registry, *world.data(), lambda *_: None)

    def key(settings: Settings) -> LookKey:
        ((decision, _),) = judge_candidates(settings, world.registry, *world.data(), True, AT)
        return decision.evidence.look.key

    here, rules = key(world.settings), world.settings.dataset.model_copy(update={"window": "9h"})
    models = tuple(
        model.model_copy(update={"init_from": "self"}) for model in world.settings.models
    )
    for changes in ({"dataset": rules}, {"models": models}):
        there = key(world.settings.model_copy(update=changes))
        assert there.definition != here.definition
        assert there.floor_definition == here.floor_definition
    assert key(world.settings) == here
    assert len(here.definition) == len(here.floor_definition) == 16


def test_what_is_live_is_judged_from_the_hour_of_its_tenure_on() -> None:
    def tenure(hour: str | None) -> ChampionPeriod:
        since = None if hour is None else Hour.parse(hour)
        return ChampionPeriod("m", "1", LINE, None, since, None, None, "promoted", "", None)

    first, second, by_hand = tenure("2016-03-14T07"), tenure("2016-03-14T09"), tenure(None)
    assert champion_since([]) is None
    assert champion_since([by_hand]) is None
    assert champion_since([first, second]) == Hour.parse("2016-03-14T09")
    assert champion_since([first, second, by_hand]) == Hour.parse("2016-03-14T09")


def test_the_gate_counts_looks_of_the_present_tenure_and_the_first_of_the_hour(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[object] = []
    since = Hour.parse("2016-03-14T09")
    live = ChampionPeriod("m", "1", LINE, None, since, None, None, "promoted", "", None)
    monkeypatch.setattr(judgement, "champion_periods", lambda *_: [live])
    monkeypatch.setattr(judgement, "earlier_looks", lambda *given: asked.append(given[-1]) or ())
    monkeypatch.setattr(judgement, "first_look", lambda *given: asked.append(given[1]))
    evaluate(world.settings, world.registry, *world.data(), lambda *_: None)
    judge_candidates(world.settings, world.registry, *world.data(), True, AT)
    assert {str(one) for one in asked} == {"2016-03-14T09", AS_OF}


def test_a_forged_decision_among_those_filed_away_counts_for_nothing(world: World) -> None:
    """As one that lies beside them: here a look of another fit at the very hour."""
    folder = world.settings.path("decisions")
    assert judged(world, "none")["outcome"] == "promote"
    content = dict(read_decision(latest_decision(folder)).record.content)
    content |= {"candidate": content["candidate"] | {"model_id": "other"}, "made_at": "2000-01-01"}
    forged = write_record(folder, f"{AS_OF}-other", content)
    file_away(forged)
    assert judged(world, "none")["outcome"] == "promote"
    assert (folder / UNLINKED / forged.name).is_file()
    assert find_record(forged) is None


def test_a_forged_champion_is_neither_ranked_nor_replaced(world: World) -> None:
    """Though its card agrees with its files: MLflow recorded another."""
    live = champion(world.registry)
    assert live is not None
    card = live.folder / CARD_NAME
    whole = card.read_bytes()
    try:
        rewrite_card(live.folder, metrics={"loss": 0.0})
        made = evaluate(world.settings, world.registry, *world.data(), print)
        assert str(card) in made.failures[live.model_id]
        ((decision, _),) = judge_candidates(world.settings, world.registry, *world.data(), True, AT)
        assert decision.outcome.value == "block"
        assert "baseline_changed" in decision.reasons
        assert str(card) in decision.sentence
    finally:
        card.write_bytes(whole)
    assert judged(world, "none")["outcome"] == "promote"


def test_of_two_candidates_only_one_is_promoted(world: World) -> None:
    twin = "item_knn_twin"
    world.enter(twin, LINE, read_dataset(world.dataset), shrinkage=5.0)
    both = world.settings.model_copy(update={"candidate": (LINE, twin)})
    evaluate(both, world.registry, *world.data(), lambda *_: None)
    found = judge_candidates(both, world.registry, *world.data(), True, "2026-01-01T01:00:00")
    assert [decision.outcome.value for decision, _ in found] == ["hold", "promote"]
    assert found[0][0].reasons == ("another_is_better",)
    assert latest_decision(world.settings.path("decisions")) == found[-1][1]


def test_an_evaluation_tells_roles_hours_and_slices_without_ranks(world: World) -> None:
    made = evaluate(world.settings, world.registry, *world.data(), lambda *_: None)
    folder = world.settings.path("evaluations") / "after"
    content = json.loads((folder / "evaluation.json").read_text())
    roles = {name: content["roles"][model_id] for model_id, name in content["names"].items()}
    assert roles == {LINE: ["candidate"], FLOOR: ["floor", "champion"]}
    assert (content["as_of"], content["hours"]) == (AS_OF, 1)
    for ranks in folder.glob("*.parquet"):
        ranks.unlink()
    again = load_evaluation(world.settings, world.dataset, world.frozen)
    assert again == replace(made, rows=again.rows, lists=again.lists)
    assert again.lists.keys() == made.names.keys()
    for model_id, figures in again.lists.items():
        assert repr(figures) == repr(made.lists[model_id])  # NaN is NaN
    assert [row.slice_name for row in again.rows] == [row.slice_name for row in made.rows]
    assert {"all", "user/new", "item/tail"} <= {row.slice_name for row in again.rows}
    # Evaluations of before lists were looked at are read like any.
    del content["lists"]
    (folder / "evaluation.json").write_text(json.dumps(content))
    old = load_evaluation(world.settings, world.dataset, world.frozen)
    assert old == replace(again, rows=old.rows, lists={})
    assert render_lists(old) is None


def test_a_model_that_is_no_longer_configured_is_not_ranked(world: World) -> None:
    world.enter("forgotten", "vsknn", read_dataset(world.dataset))
    made = evaluate(world.settings, world.registry, *world.data(), lambda *_: None)
    assert sorted(made.names.values()) == [LINE, FLOOR]


def test_an_evaluation_that_is_not_there_is_asked_for(world: World, tmp_path: Path) -> None:
    elsewhere = world.settings.model_copy(update={"work": tmp_path})
    with pytest.raises(HourglassError, match="was not evaluated"):
        load_evaluation(elsewhere, world.dataset, world.frozen)


def test_no_system_but_one_of_values_is_told_to_predict_them() -> None:
    from training.evaluation.evaluate import PredictsValues

    assert isinstance(build("hrnn_rating", {}), PredictsValues)
    assert not isinstance(build("hrnn", {}), PredictsValues)
    assert not isinstance(build(LINE, {}), PredictsValues)


def test_the_gate_goes_by_the_events_that_models_were_evaluated_on(
    world: World, tmp_path: Path
) -> None:
    """Late events, sessionized between evaluation and gate, make another test set of the hour."""
    evaluate(world.settings, world.registry, *world.data(), lambda *_: None)
    settings = world.settings.model_copy(update={"work": tmp_path})
    first = Hour.parse(AS_OF)
    hours = HourRange(first, first + 1)
    assert evaluated_test_sets(settings, "base", hours) == []
    names = ("after", "later", "of others", "other hours", "other rules", "gone")
    for number, name in enumerate(names):
        test_set = settings.path("frozen") / name
        base = world.older if name == "of others" else world.dataset
        stop = first + (2 if name == "other hours" else 1)
        events = ring_walks(20 + number, AS_OF_S, seed=1)
        write_dataset(test_set, events, as_of=str(stop), window_start=AS_OF, base=base)
        manifest = json.loads((test_set / "manifest.json").read_text())
        rules = "others" if name == "other rules" else settings.digest("dataset", "sessions")
        (test_set / "manifest.json").write_text(json.dumps(manifest | {"config_digest": rules}))
        index = settings.path("evaluations") / name / "evaluation.json"
        index.parent.mkdir(parents=True)
        source = world.settings.path("evaluations") / "after" / "evaluation.json"
        content = json.loads(source.read_text()) | {"hours": len(HourRange(first, stop))}
        index.write_text(json.dumps(content))
        os.utime(index, ns=(0, 1_000 * number))
    shutil.rmtree(settings.path("frozen") / "gone")
    after, later = (settings.path("frozen") / name for name in ("after", "later"))
    assert evaluated_test_sets(settings, "base", hours) == [after, later]
    assert HourData(CommandContext(settings, AT_TIME), world.dataset).evaluated_folder == later
    # Evaluated once more on the former.
    os.utime(settings.path("evaluations") / "after" / "evaluation.json", ns=(0, 10_000))
    data = HourData(CommandContext(settings, AT_TIME), world.dataset)
    assert data.evaluated_folder == after
    assert data.evaluated_set.manifest.dataset_id == "after"
