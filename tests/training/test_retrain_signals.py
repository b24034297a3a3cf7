"""What speaks for a new model, as it is gathered from registry, cards and evaluations."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from lives import register, registry, training, write_model
from synthetic import write_dataset

from pipeline.hours import Hour, HourRange
from pipeline.lake.lake import Lake
from pipeline.settings.settings import Settings, load_settings
from training.deployment.promote import install_first
from training.fit.line_signals import generation, line_signals, looks_of
from training.fit.retrain_policy import (
    LineChoice,
    LineSignals,
    Look,
    RetrainDecision,
    RetrainSignals,
)
from training.fit.retrain_signals import (
    record_retrain_decision,
    recorded_retrain_decision,
    signals_at,
)
from training.registry.candidates import remember
from training.registry.mlflow_registry import LiveModel, Registry
from training.registry.mlflow_run import log_training
from training.registry.model_card import read_card

__all__ = ["registry"]
LATER = Hour.parse("2016-03-14T20")


@pytest.fixture
def live(registry: Registry, monkeypatch: pytest.MonkeyPatch) -> Registry:
    """hrnn-b is live, of the entry my_hrnn; nothing happened."""
    monkeypatch.setattr("training.fit.retrain_signals.item_events", lambda *_: {})
    register(registry, "hrnn-b")
    install_first(registry, "hrnn-b", registry.records)
    return registry


def settings_of(registry: Registry, baseline: str) -> Settings:
    """With a baseline of the live model's own type."""
    system = read_card(registry.models / "hrnn-b").system
    models = [{"name": name, "system": system} for name in (baseline, "another")]
    return load_settings(
        None,
        {
            "work": str(registry.models.parent),
            "models": models,
            "gate": {"baseline": baseline},
            "candidate": "another",
        },
    )


@pytest.mark.parametrize(("baseline", "age_h"), [("other_knn", 7), ("my_hrnn", None)])
def test_a_live_model_of_a_baselines_type_is_none_but_by_its_name(
    live: Registry, baseline: str, age_h: int | None
) -> None:
    signals = signals_at(settings_of(live, baseline), Lake("", Path()), live, LATER)
    assert signals.age_h == age_h


# Of entries that go on from an earlier fit.

START = LATER - 4


def settings_with_candidate(work: Path, rule: str = "self") -> Settings:
    return load_settings(
        None,
        {
            "work": str(work),
            "models": [
                "recent_pop",
                {"name": "mine", "system": "hrnn", "init_from": rule, "parameters": {}},
            ],
            "candidate": "mine",
            "gate": {"min_targets": 10},
        },
    )


def chain(models: Path, *fits: dict[str, Any]) -> None:
    """Fits hrnn-0, hrnn-1 ... an hour apart, the last as of an hour before `LATER`."""
    for number, card in enumerate(fits):
        as_of = LATER - len(fits) + number
        write_model(models, f"hrnn-{number}", system="hrnn", as_of=as_of, metrics={}, **card)


def ids(settings: Settings, model_id: str, since: Hour = START - 99) -> tuple[list[str], bool]:
    fits = generation(settings, model_id, since)
    return [card.model_id for card in fits.cards], fits.is_whole


def test_a_generation_goes_back_to_the_latest_whole_fit(tmp_path: Path) -> None:
    settings = settings_with_candidate(tmp_path)
    steps = [{"continued_from": f"hrnn-{number}"} for number in range(5)]
    chain(tmp_path / "models", {}, steps[0], {"made_anew_after": "hrnn-1"}, steps[2], steps[3])
    assert ids(settings, "hrnn-4") == (["hrnn-4", "hrnn-3", "hrnn-2"], True)
    assert ids(settings, "hrnn-1") == (["hrnn-1", "hrnn-0"], True)
    assert ids(settings, "hrnn-4", LATER - 2) == (["hrnn-4", "hrnn-3"], False)


def test_a_card_of_before_tells_a_whole_fit_by_its_age(tmp_path: Path) -> None:
    settings, models = settings_with_candidate(tmp_path), tmp_path / "models"
    chain(models, {}, {"continued_from": "hrnn-0"})
    write_model(models, "hrnn-old", continued_from="hrnn-1", metrics={"whole_fit_age_h": 0.0})
    assert ids(settings, "hrnn-old") == (["hrnn-old"], True)
    write_model(models, "hrnn-orphan", continued_from="hrnn-gone", metrics={})
    assert ids(settings, "hrnn-orphan") == (["hrnn-orphan"], False)


def evaluated(
    settings: Settings,
    hour: Hour,
    figures: dict[str, float],
    floors: Sequence[str],
    *,
    prefix: str = "set",
    n_targets: int = 50,
) -> None:
    """An evaluation of one hour: MRR by model id."""
    row = {"metric": "mrr", "k": 20, "lower": 0.0, "upper": 1.0}
    row |= {"n_targets": n_targets, "n_users": 9}
    rows = [
        {**row, "model_id": model_id, "mean": mean if where == "all" else 0.9, "slice_name": where}
        for model_id, mean in figures.items()
        for where in ("all", "head")
    ]
    content = {
        "as_of": str(hour),
        "n_targets": n_targets,
        "left_out_events": 0,
        "names": {model_id: model_id for model_id in figures},
        "rows": rows,
        "failures": {},
        "hours": 1,
        "roles": {m: ["floor" if m in floors else "candidate"] for m in figures},
        "champion_version": None,
        "not_ranked": {},
    }
    folder = settings.path("evaluations") / f"{prefix}-{hour}"
    folder.mkdir(parents=True)
    (folder / "evaluation.json").write_text(json.dumps(content))


def test_looks_are_those_of_one_generation_beside_the_best_baseline(tmp_path: Path) -> None:
    settings = settings_with_candidate(tmp_path)
    chain(tmp_path / "models", {}, {"continued_from": "hrnn-0"}, {"continued_from": "hrnn-1"})
    fits = generation(settings, "hrnn-2", START - 99)
    floors = ("pop-a", "pop-b")
    evaluated(settings, LATER - 4, {"hrnn-0": 0.9, "pop-a": 0.1}, floors)  # it was learning then
    evaluated(settings, LATER - 3, {"hrnn-0": 0.3, "pop-a": 0.1, "pop-b": 0.2}, floors)
    evaluated(settings, LATER - 2, {"hrnn-0": 0.5, "hrnn-1": 0.4, "pop-a": 0.2}, floors)
    evaluated(settings, LATER - 1, {"other-1": 0.5, "pop-a": 0.2}, floors)
    evaluated(settings, LATER, {"hrnn-2": 0.9, "pop-a": 0.2}, floors)  # not over yet
    looks = looks_of(settings, fits, HourRange(fits.began, LATER))
    assert looks == [Look(0.3, 0.2, 50), Look(0.4, 0.2, 50)]


def test_signs_of_an_entry_are_of_the_fit_that_it_would_go_on_from(
    registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "training.fit.line_signals.item_events", lambda *_: {"item-0": 1, "unmet": 3}
    )
    settings, lake = settings_with_candidate(registry.models.parent), Lake("", Path())
    assert line_signals(settings, lake, registry, LATER) == ()
    chain(registry.models, {}, {"continued_from": "hrnn-0", "all_parameters": {"anew_h": 7}})
    for number in (0, 1):
        log_training(registry, training(f"hrnn-{number}"))
        dataset = settings.path("shards") / f"d{number}"
        write_dataset(dataset, {}, vocabulary=["a"], as_of=str(LATER - 2 + number))
        remember(settings, dataset.name, {"mine": f"hrnn-{number}"})
    (signs,) = line_signals(settings, lake, registry, LATER)
    assert signs == LineSignals(
        name="mine",
        parent="hrnn-1",
        whole_fit_age_h=2,
        anew_h=7,
        lead_drop=None,
        new_share=0.75,
        rules_changed=True,
    )


@pytest.mark.parametrize("names", ["ab", "ba"])
def test_of_two_evaluations_of_an_hour_that_of_the_later_fit_counts_or_of_more_targets(
    tmp_path: Path, names: str
) -> None:
    settings = settings_with_candidate(tmp_path)
    chain(tmp_path / "models", {}, {"continued_from": "hrnn-0"}, {"continued_from": "hrnn-1"})
    fits = generation(settings, "hrnn-2", START - 99)
    first, second = names
    at = LATER - 1
    evaluated(settings, at, {"hrnn-1": 0.5, "pop": 0.2}, ["pop"], prefix=first, n_targets=60)
    evaluated(settings, at, {"hrnn-2": 0.4, "pop": 0.2}, ["pop"], prefix=second)
    at = LATER - 2
    evaluated(settings, at, {"hrnn-1": 0.3, "pop": 0.2}, ["pop"], prefix=first, n_targets=60)
    evaluated(settings, at, {"hrnn-1": 0.2, "pop": 0.2}, ["pop"], prefix=second)
    looks = looks_of(settings, fits, HourRange(fits.began, LATER))
    assert looks == [Look(0.3, 0.2, 60), Look(0.4, 0.2, 50)]


@pytest.mark.parametrize(
    ("rule", "of_rule", "parent"),
    [
        ("champion", "hrnn-1", "hrnn-1"),
        # It went live in this very hour, or as the refit of the hour before: it knows the data set.
        ("champion", "hrnn-2", "hrnn-1"),
        ("champion", "hrnn-3", "hrnn-1"),
        ("previous", "hrnn-1", "hrnn-1"),
        ("champion", "knn-0", None),
        ("none", "hrnn-1", None),
    ],
)
def test_signs_are_of_what_training_goes_on_from(
    registry: Registry,
    monkeypatch: pytest.MonkeyPatch,
    rule: str,
    of_rule: str,
    parent: str | None,
) -> None:
    monkeypatch.setattr("training.fit.line_signals.item_events", lambda *_: {})
    live = LiveModel(of_rule, "1", registry.models / of_rule, None)
    for role in ("champion", "previous"):
        there = live if role == rule else None
        monkeypatch.setattr(f"training.fit.parent_model.{role}", lambda _, there=there: there)
    settings, lake = settings_with_candidate(registry.models.parent, rule), Lake("", Path())
    chain(registry.models, {}, {"continued_from": "hrnn-0"}, {"continued_from": "hrnn-1"})
    write_model(registry.models, "hrnn-3", system="hrnn", as_of=LATER - 1, made_anew_after="hrnn-1")
    write_model(registry.models, "knn-0", as_of=LATER - 2)
    signs = line_signals(settings, lake, registry, LATER - 1)
    assert [sign.parent for sign in signs] == ([] if parent is None else [parent])


def test_a_step_under_other_settings_does_not_hide_that_its_whole_fit_is_of_others(
    registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("training.fit.line_signals.item_events", lambda *_: {})
    settings, lake = settings_with_candidate(registry.models.parent), Lake("", Path())
    now = settings.digest("dataset", "sessions")
    chain(registry.models, {}, {"continued_from": "hrnn-0"}, {"made_anew_after": "hrnn-1"})
    log_training(registry, training("hrnn-0"))
    for number in (1, 2):
        log_training(registry, replace(training(f"hrnn-{number}"), config_digest=now))
    for latest, changed in (("hrnn-0", True), ("hrnn-1", True), ("hrnn-2", False)):
        latest_of = {"mine": latest}
        monkeypatch.setattr(
            "training.fit.parent_model.latest_model_of", lambda _, name, __, of=latest_of: of[name]
        )
        (signs,) = line_signals(settings, lake, registry, LATER)
        assert signs.rules_changed is changed


def test_what_was_chosen_is_kept_in_its_record(tmp_path: Path) -> None:
    settings = settings_with_candidate(tmp_path)
    line = LineChoice("mine", ("lead_fell",), LineSignals("mine", "a", 3, 24, 0.1, None, False))
    decision = RetrainDecision(
        True, ("lead_fell",), "worth it", RetrainSignals(1, 0.0, 0.0, None), (line,)
    )
    path = record_retrain_decision(settings, "d", decision)
    assert recorded_retrain_decision(settings, "d") == decision
    content = json.loads(path.read_text())
    assert content["choice"] == "anew"
    # A record of before this was chosen names no entry.
    path.write_text(json.dumps({k: v for k, v in content.items() if k not in ("choice", "lines")}))
    before = recorded_retrain_decision(settings, "d")
    assert before is not None
    assert (before.choice, before.anew) == ("step", ())
