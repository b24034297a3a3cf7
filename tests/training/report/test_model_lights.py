"""Each light of model health in each of its colours, with what to do."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from report_hours import FIRST, watched

from pipeline.hours import HourRange
from training.deployment.monitor_record import WatchOutcome
from training.evaluation.evaluate import Evaluation
from training.registry.champion_record import ModelRef
from training.report import traffic_lights
from training.report.model_values import Decided, Live

HOURS = HourRange(FIRST, FIRST + 100)
LIVE = Live(
    "hrnn", "hrnn-1", "3", "2016-03-17T20:10:00+00:00", "2016-03-17T20", "promoted", "s", "r.json",
    str(FIRST + 95), 5.5, 5.0, "hrnn-0", "hourglass rollback", "show",
)  # fmt: skip
HELD = Decided(
    str(FIRST + 99), "hrnn", "hrnn-1", None, "hold", ("not_yet_better",), "Not yet.", "mrr@20",
    None, None, 3.0, 20.0, 1, 400, 100, (), "f.json",
)  # fmt: skip
EVALUATION = Evaluation(
    "f", str(FIRST + 99), 10, 0, {"a": "hrnn", "b": "champion"}, [], {}, 1,
    {"a": ["candidate"], "b": ["champion"]},
)  # fmt: skip


def test_who_is_live() -> None:
    found = traffic_lights.live_light(LIVE, None, True)
    assert found.colour == "green"
    assert found.sentence == (
        "hrnn (version 3) is live since 2016-03-17T20: promoted; hrnn-0 is there to go back to."
    )
    assert traffic_lights.live_light(None, None, False).colour == "grey"
    assert traffic_lights.live_light(None, None, True).colour == "red"
    assert traffic_lights.live_light(None, "MLflow is gone.", True).sentence == "MLflow is gone."
    gone = traffic_lights.live_light(replace(LIVE, as_of=None, since_hour=None), None, True)
    assert gone.colour == "red"
    assert gone.sentence.endswith("artefact hrnn-1 cannot be read: hourglass rollback.")
    assert "2016-03-17 20:10" in gone.sentence


@pytest.mark.parametrize(
    ("age_h", "behind_h", "decided_h", "colour", "said"),
    [
        (24.0, 24.0, None, "green", "24 h is the limit"),
        (24.5, 24.0, 0, "amber", "none of the last 1 decision replaced it"),
        (24.5, 24.0, 40, "red", "no decision was made since then"),
        # Ingest stands still: the data look fresh, the model is old by the clock.
        (60.0, 5.0, 3, "red", "no decision was made since then"),
        # A log that ended long ago: only its own time counts.
        (9000.0, 5.0, None, "green", "before the log's end"),
        (9000.0, 30.0, 3, "amber", "before the log's end"),
    ],
)
def test_how_old_it_is(
    age_h: float, behind_h: float, decided_h: int | None, colour: str, said: str
) -> None:
    live = replace(LIVE, age_h=age_h, behind_h=behind_h)
    decisions = [] if decided_h is None else [replace(HELD, hour=str(HOURS.stop - decided_h))]
    found = traffic_lights.age_light(live, 24, 100, decisions, HOURS)
    assert (found.colour, said in found.sentence) == (colour, True), found.sentence


def test_no_age_without_a_model() -> None:
    assert traffic_lights.age_light(None, 24, 100, [], HOURS).colour == "grey"
    assert traffic_lights.age_light(replace(LIVE, age_h=None), 24, 100, [], HOURS).colour == "grey"


@pytest.mark.parametrize(
    ("said", "colour", "mend"),
    [
        ({}, "green", "2016-03-14T00: fine."),
        ({"gain": -0.01}, "amber", "though not surely"),
        ({"gain": -0.05}, "red", "hourglass rollback"),
        ({"outcome": "replaced", "gain": -0.05}, "amber", "Find out why"),
        ({"outcome": "unjudged", "reason": "bad_data", "numbers": None}, "amber", "Nobody knows"),
        ({"outcome": "unjudged", "reason": "few_users"}, "grey", "Nobody knows"),
        ({"reason": "is_the_floor", "numbers": None}, "green", "2016-03-14T00: fine."),
    ],
)
def test_the_live_model_against_its_floor(said: dict[str, Any], colour: str, mend: str) -> None:
    last = watched(FIRST, ModelRef("hrnn-1", "3", "hrnn"), sentence="fine.", **said)
    found = traffic_lights.floor_light([last])
    assert (found.colour, mend in found.sentence) == (colour, True), found.sentence
    if colour == "green":
        again = traffic_lights.floor_light([last, replace(last, outcome=WatchOutcome.REPLACED)])
        assert (again.colour, "replaced a model 1 time" in again.sentence) == ("amber", True)


def test_no_watch_is_grey() -> None:
    assert traffic_lights.floor_light([]).colour == "grey"


def test_a_block_is_red_with_its_mend_and_a_hold_is_the_usual_end_of_an_hour() -> None:
    assert traffic_lights.decision_light([]).colour == "grey"
    held = traffic_lights.decision_light([HELD, replace(HELD, line="vsknn", odds=9.0)])
    assert held.colour == "green"
    assert "nearest: vsknn" in held.sentence
    better = replace(HELD, outcome="promote", reasons=("better_than_champion",), odds=None)
    assert (
        "may go live (proven better than the live model)"
        in traffic_lights.decision_light([HELD, better]).sentence
    )
    blocked = replace(HELD, outcome="block", reasons=("data_quality_unknown",), sentence="No.")
    found = traffic_lights.decision_light([blocked])
    assert found.colour == "red"
    assert "run hourglass validate" in found.sentence
    some = traffic_lights.decision_light([HELD, blocked])
    assert (
        some.colour,
        "hrnn (the hours were not validated) blocked; 1 line not: No." in some.sentence,
    ) == ("amber", True)
    # What an earlier hour blocked is history.
    earlier = replace(blocked, hour=str(FIRST + 98))
    assert traffic_lights.decision_light([HELD, earlier]).colour == "green"


def test_the_last_evaluation() -> None:
    assert traffic_lights.evaluation_light(None, HOURS.stop, 24).colour == "grey"
    assert traffic_lights.evaluation_light(EVALUATION, HOURS.stop, 24).colour == "green"
    old = traffic_lights.evaluation_light(EVALUATION, HOURS.stop + 25, 24)
    assert (old.colour, "25 h before the newest data" in old.sentence) == ("amber", True)
    one = traffic_lights.evaluation_light(
        replace(EVALUATION, failures={"a": "hrnn: NaN"}), HOURS.stop, 24
    )
    assert (one.colour, "(candidate) hrnn: NaN." in one.sentence) == ("amber", True)
    both = {"a": "hrnn: NaN", "b": "champion: gone"}
    grave = traffic_lights.evaluation_light(replace(EVALUATION, failures=both), HOURS.stop, 24)
    assert (grave.colour, "(champion) champion: gone" in grave.sentence) == ("red", True)


def test_records() -> None:
    assert (
        traffic_lights.records_light(["a is broken", "b"]).sentence
        == "a is broken. (1 more below.)"
    )
