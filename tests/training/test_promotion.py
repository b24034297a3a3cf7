"""Carrying out decisions, and refusing those that do not hold any more."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from lives import (
    decided,
    dying,
    floored,
    live_ids,
    prepared_floored,
    register,
    registry,
    training,
    write_model,
)
from synthetic import write_dataset

from pipeline.errors import HourglassError
from pipeline.hours import Hour
from training.deployment.champion import changing
from training.deployment.champion_history import champion_periods
from training.deployment.promote import install_first, promote, roll_back_by_hand
from training.gate.artefact_checks import ArtefactProblem, ArtefactReport
from training.registry.artefact import WEIGHTS_NAME
from training.registry.champion_record import read_event
from training.registry.mlflow_registry import (
    CHAMPION,
    PREVIOUS,
    Registry,
    aliased,
    champion,
    open_registry,
    point,
    previous,
    registered_version,
)
from training.registry.mlflow_run import log_training
from training.registry.model_card import CARD_NAME

__all__ = ["floored", "prepared_floored", "registry"]


def test_at_first_nothing_is_live(registry: Registry) -> None:
    assert live_ids(registry) == (None, None)
    assert champion_periods(registry, registry.records) == []


def test_the_floor_goes_live_when_nothing_is_and_only_then(floored: Registry) -> None:
    live = champion(floored)
    assert live is not None
    assert live.folder == floored.models / "recent-a"
    assert live.champion_record is not None
    event = read_event(floored.records / live.champion_record)
    assert (event.kind, event.reason, event.before, event.stack) == (
        *("bootstrap", "bootstrap"),
        *(None, ()),
    )
    assert install_first(floored, "hrnn-b", floored.records) == live


def test_promotion_records_why_before_the_alias_moves(floored: Registry) -> None:
    decision = decided(floored, "hrnn-b")
    done = promote(floored, decision, at="2016-03-14T14:02:00")
    assert done.changed
    assert done.sentence == "hrnn-b is live: hrnn-b was compared."
    assert live_ids(floored) == ("hrnn-b", "recent-a")
    live = champion(floored)
    assert live == done.champion
    assert live is not None
    assert live.champion_record is not None
    event = read_event(floored.records / live.champion_record)
    assert (event.champion.model_id, event.champion.name) == ("hrnn-b", "my_hrnn")
    assert event.before is not None
    assert event.before.model_id == "recent-a"
    assert (event.at, event.as_of) == ("2016-03-14T14:02:00", Hour.parse("2016-03-14T14"))
    assert (event.reason, event.decision) == ("promoted", decision.name)
    # For people MLflow shows the previous model too.
    shown = floored.client.get_model_version_by_alias(floored.name, PREVIOUS)
    assert shown.tags["model_id"] == "recent-a"


def test_promoting_twice_changes_nothing(floored: Registry) -> None:
    decision = decided(floored, "hrnn-b")
    promote(floored, decision)
    before = sorted(floored.records.iterdir())
    again = promote(floored, decision)
    assert not again.changed
    assert again.sentence == "hrnn-b is the champion already."
    assert sorted(floored.records.iterdir()) == before


def test_a_first_promotion_needs_no_champion(registry: Registry) -> None:
    register(registry, "hrnn-a")
    assert promote(registry, decided(registry, "hrnn-a")).changed
    assert live_ids(registry) == ("hrnn-a", None)


def test_a_held_decision_says_so_and_changes_nothing(floored: Registry) -> None:
    done = promote(floored, decided(floored, "hrnn-b", outcome="hold"))
    assert not done.changed
    assert done.sentence == "held: hrnn-b was compared."
    assert live_ids(floored) == ("recent-a", None)


def test_a_sentence_that_names_no_candidate_gets_its_name(floored: Registry) -> None:
    late = decided(floored, "hrnn-b", outcome="hold", sentence="Too few events yet.")
    assert promote(floored, late).sentence == "hrnn-b is held: Too few events yet."


def refuses(registry: Registry, decision: Path, sentence: str, refit: str | None = None) -> None:
    before = live_ids(registry)
    with pytest.raises(HourglassError, match=sentence):
        promote(registry, decision, refit)
    assert live_ids(registry) == before


def test_a_blocked_decision_is_refused(floored: Registry) -> None:
    refuses(floored, decided(floored, "hrnn-b", outcome="block"), "^blocked: hrnn-b was compared")


def test_a_tampered_decision_is_refused(floored: Registry) -> None:
    held = decided(floored, "hrnn-b", outcome="hold")
    held.chmod(0o644)
    held.write_text(held.read_text().replace('"outcome": "hold"', '"outcome": "promote"'))
    refuses(floored, held, "changed after it was written")


def test_a_decision_against_another_champion_is_stale(floored: Registry) -> None:
    stale = decided(floored, "pop-c", against="recent-a")
    promote(floored, decided(floored, "hrnn-b"))
    refuses(floored, stale, "compared pop-c with recent-a, but hrnn-b is live")
    refuses(floored, decided(floored, "pop-c", against=None), "no champion, but hrnn-b is live")


def test_a_decision_against_another_version_of_the_champion_is_stale(floored: Registry) -> None:
    other = {"model_id": "recent-a", "version": "7"}
    refuses(floored, decided(floored, "hrnn-b", champion=other), "run hourglass gate again")


def test_a_decision_is_out_of_date_when_a_newer_one_is_there(floored: Registry) -> None:
    older = decided(floored, "hrnn-b", made_at="2016-03-14T14:00:00")
    newer = decided(floored, "hrnn-c", hour="2016-03-14T14", outcome="hold")
    refuses(floored, older, f"out of date: {newer.name}")


def test_a_decision_is_out_of_date_when_it_was_made_again_otherwise(floored: Registry) -> None:
    older = decided(floored, "hrnn-b", made_at="2016-03-14T14:00:00")
    again = decided(floored, "hrnn-b", made_at="2016-03-14T14:05:00", outcome="hold")
    refuses(floored, older, f"out of date: {again.name}")


def test_the_same_decision_made_again_is_no_newer_one(floored: Registry) -> None:
    decision = decided(floored, "hrnn-b", made_at="2016-03-14T14:00:00")
    decided(floored, "hrnn-b", made_at="2016-03-14T14:05:00")
    assert promote(floored, decision).changed


def test_a_newer_decision_about_another_line_is_none_about_this_one(floored: Registry) -> None:
    decision = decided(floored, "hrnn-b")
    decided(floored, "pop-x", hour="2016-03-14T14", outcome="hold")
    assert promote(floored, decision).changed


def test_a_candidate_that_changed_vanished_or_was_never_registered_is_refused(
    floored: Registry,
) -> None:
    decision = decided(floored, "hrnn-b")
    card = floored.models / "hrnn-b" / CARD_NAME
    card.write_text("{}")
    refuses(floored, decision, "not the artefact that")
    card.unlink()
    refuses(floored, decision, "not the artefact that")
    for file in card.parent.iterdir():
        file.unlink()
    card.parent.rmdir()
    refuses(floored, decision, "hrnn-b: the artefact is missing")
    write_model(floored.models, "pop-z")
    refuses(floored, decided(floored, "pop-z"), "pop-z is not registered: run hourglass train")


def test_an_artefact_damaged_since_it_was_judged_is_refused(floored: Registry) -> None:
    decision = decided(floored, "hrnn-b")
    weights = floored.models / "hrnn-b" / WEIGHTS_NAME
    weights.write_bytes(weights.read_bytes()[:-8])
    refuses(floored, decision, "does not match the card's SHA-256")


# A refit that learned from the judged hour too


def refit(registry: Registry, model_id: str, name: str = "my_hrnn", **card: object) -> str:
    """A fit like that of hrnn-b on data up to the end of the judged hour; ``card`` differs."""
    shards = registry.models.parent / "shards"
    if not (shards / "later").exists():
        write_dataset(shards / "later", {}, vocabulary=["a"], as_of="2016-03-14T14")
        write_dataset(shards / "base", {}, vocabulary=["a"])
    usual = {"as_of": Hour.parse("2016-03-14T14"), "dataset_id": "later"}
    write_model(registry.models, model_id, **{**usual, **card})
    log_training(registry, replace(training(model_id), name=name))
    return model_id


def test_a_refit_goes_live_in_the_candidates_stead(floored: Registry) -> None:
    decision = decided(floored, "hrnn-b")
    done = promote(floored, decision, refit(floored, "hrnn-r"))
    assert done.sentence.startswith("hrnn-r, a refit of hrnn-b up to 2016-03-14T14, is live")
    assert live_ids(floored) == ("hrnn-r", "recent-a")
    assert not promote(floored, decision, "hrnn-r").changed
    assert not promote(floored, decision).changed
    assert live_ids(floored) == ("hrnn-r", "recent-a")


def test_what_is_no_refit_is_refused(floored: Registry) -> None:
    decision = decided(floored, "hrnn-b")
    other = refit(floored, "hrnn-x", parameters={"reach": 3})
    refuses(floored, decision, "hrnn-x is no refit of hrnn-b", other)
    older = refit(floored, "hrnn-y", as_of=Hour.parse("2016-03-14T13"))
    refuses(floored, decision, "hrnn-y learned up to 2016-03-14T13, but", older)
    refuses(floored, decision, "hrnn-q is not registered", "hrnn-q")
    early = refit(floored, "hrnn-v", dataset_id="base")
    refuses(floored, decision, "hrnn-v learned up to 2016-03-14T13, but", early)
    gone = refit(floored, "hrnn-w", dataset_id="gone")
    refuses(floored, decision, "gone: no such data set folder", gone)
    strange = refit(floored, "hrnn-s", name="other")
    refuses(floored, decision, "it is of the line other, not of my_hrnn", strange)
    seeded = refit(floored, "hrnn-t", seed=8)
    refuses(floored, decision, "its seed is 8, not 0", seeded)
    rule = {floored.models / "hrnn-b": "self", floored.models / "hrnn-r": "none"}
    refit(floored, "hrnn-r")
    for folder, said in rule.items():
        with_rule(floored, folder.name, said)
    refuses(floored, decision, "it was made with init_from none, not self", "hrnn-r")


def with_rule(registry: Registry, model_id: str, rule: str) -> None:
    run_id = registered_version(registry, model_id).run_id
    registry.client.set_tag(str(run_id), "init_from", rule)


def test_a_line_that_goes_on_from_its_own_does_so_in_the_refit(registry: Registry) -> None:
    register(registry, "recent-a")
    install_first(registry, "recent-a", registry.records)
    write_model(registry.models, "hrnn-b", continued_from="hrnn-a")
    log_training(registry, training("hrnn-b"))
    decision = decided(registry, "hrnn-b")
    refuses(registry, decision, "it began anew, while hrnn-b went on", refit(registry, "hrnn-x"))
    anew = refit(registry, "hrnn-z", made_anew_after="hrnn-b")
    refuses(registry, decision, "it was made anew after hrnn-b: nobody judged its weights", anew)
    other = refit(registry, "hrnn-w", continued_from="hrnn-c")
    refuses(registry, decision, "it went on from hrnn-c, neither from hrnn-b nor from what", other)
    good = refit(registry, "hrnn-y", continued_from="hrnn-b")
    assert promote(registry, decision, good).changed


def test_a_candidate_that_was_made_anew_goes_on_in_its_refit(registry: Registry) -> None:
    register(registry, "recent-a")
    install_first(registry, "recent-a", registry.records)
    write_model(registry.models, "hrnn-b", made_anew_after="hrnn-a")
    log_training(registry, training("hrnn-b"))
    decision = decided(registry, "hrnn-b")
    refuses(registry, decision, "it began anew, while hrnn-b went on", refit(registry, "hrnn-x"))
    of_before = refit(registry, "hrnn-w", continued_from="hrnn-a")
    refuses(registry, decision, "it went on from hrnn-a, neither from hrnn-b nor", of_before)
    assert promote(registry, decision, refit(registry, "hrnn-y", continued_from="hrnn-b")).changed


def test_a_refit_is_probed_before_it_goes_live(floored: Registry) -> None:
    decision = decided(floored, "hrnn-b")
    new = refit(floored, "hrnn-r")
    bad = ArtefactProblem("not_personal", "hrnn-r gives everybody the same")

    def examined(*defects: ArtefactProblem) -> Callable[[Path], ArtefactReport]:
        return lambda folder: ArtefactReport(folder.name, defects, None, 64)

    with pytest.raises(HourglassError, match="everybody the same: promote hrnn-b itself"):
        promote(floored, decision, new, check_artefact=examined(bad))
    assert live_ids(floored) == ("recent-a", None)
    assert promote(floored, decision, new, check_artefact=examined()).changed


def test_a_damaged_refit_is_refused(floored: Registry) -> None:
    decision = decided(floored, "hrnn-b")
    new = refit(floored, "hrnn-r")
    (floored.models / new / WEIGHTS_NAME).write_bytes(b"")
    refuses(floored, decision, "does not match the card's SHA-256", new)


def test_the_decision_behind_a_refit_is_good_once(floored: Registry) -> None:
    decision = decided(floored, "hrnn-b")
    new = refit(floored, "hrnn-r")
    promote(floored, decision, new)
    roll_back_by_hand(floored, floored.records, "bad")
    refuses(floored, decision, "and rolled back", new)
    refuses(floored, decision, "and rolled back")


# Cut short


@pytest.mark.parametrize(
    "method", ["set_model_version_tag", "set_registered_model_alias", "second alias"]
)
def test_a_promotion_cut_short_leaves_a_champion_and_is_completed(
    floored: Registry, method: str
) -> None:
    decision = decided(floored, "hrnn-b")
    call = 2 if method == "second alias" else 1
    method = "set_registered_model_alias" if method == "second alias" else method
    with pytest.raises(KeyboardInterrupt):
        promote(dying(floored, method, call), decision)
    moved = call == 2
    assert live_ids(floored) == (("hrnn-b", "recent-a") if moved else ("recent-a", None))
    assert promote(floored, decision).changed is not moved
    assert live_ids(floored) == ("hrnn-b", "recent-a")
    assert [one.model_id for one in champion_periods(floored, floored.records)] == [
        "recent-a",
        "hrnn-b",
    ]
    shown = floored.client.get_model_version_by_alias(floored.name, PREVIOUS)
    assert shown.tags["model_id"] == "recent-a"


def test_only_one_process_at_a_time_changes_what_is_live(floored: Registry) -> None:
    decision = decided(floored, "hrnn-b")
    with changing(floored.records, "rolling back"), pytest.raises(HourglassError) as refusal:
        promote(floored, decision, wait_s=0.3)
    holder = f"another process (rolling back, pid {os.getpid()} on "
    assert f"the live model is being changed by {holder}" in str(refusal.value)
    assert live_ids(floored) == ("recent-a", None)
    assert promote(floored, decision).changed


# Registries made before there were records


def test_a_registry_without_records_goes_on_working(store: str, tmp_path: Path) -> None:
    old = open_registry(store, "without-records", tmp_path / "models", tmp_path / "runs")
    register(old, "hrnn-a", "hrnn-b", "hrnn-c")
    point(old, PREVIOUS, "1")
    assert live_ids(old) == (None, None)
    point(old, CHAMPION, "2")
    assert live_ids(old) == ("hrnn-b", "hrnn-a")
    assert [one.reason for one in champion_periods(old, old.records)] == ["unknown"]
    promote(old, decided(old, "hrnn-c"))
    assert [one.model_id for one in champion_periods(old, old.records)] == ["hrnn-b", "hrnn-c"]
    for expected in ("hrnn-b", "hrnn-a"):
        assert roll_back_by_hand(old, old.records, "bad").champion.model_id == expected
    point(old, PREVIOUS, "1")  # the champion itself is none
    assert previous(old) is None


def test_a_lost_record_takes_nobody_off_the_air(floored: Registry) -> None:
    promote(floored, decided(floored, "hrnn-b"))
    for path in floored.records.glob("promotion-*.json"):
        path.unlink()
    live, before = aliased(floored)
    assert live is not None
    assert before is not None
    assert (live.model_id, before.model_id) == ("hrnn-b", "recent-a")
    assert [one.record for one in champion_periods(floored, floored.records)] == [None]
