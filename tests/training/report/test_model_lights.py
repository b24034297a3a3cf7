"""Each light of model health in each of its colours, with what to do."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from report_hours import FIRST, monitor_result

from pipeline.hours import Hour, HourRange
from training.deployment.champion_history import ChampionPeriod
from training.deployment.monitor_record import MonitorOutcome
from training.evaluation.evaluate import Evaluation
from training.registry.champion_record import ModelRef
from training.report import traffic_lights
from training.report.champion import CurrentChampion
from training.report.decisions import DecisionRow

HOURS = HourRange(FIRST, FIRST + 100)
LIVE = CurrentChampion(
    ChampionPeriod(
        "hrnn-1", "3", "hrnn", "2016-03-17T20:10:00+00:00", Hour.parse("2016-03-17T20"), None, None,
        "promoted", "s", Path("r.json"),
    ),
    FIRST + 95, 5.5, 5.0, "hrnn-0", "show",
)  # fmt: skip
HELD = DecisionRow(
    FIRST + 99, "hrnn", "hrnn-1", None, "hold", ("not_yet_better",), "Not yet.",
    None, None, 3.0, 20.0, 1, 400, 100, (), "f.json",
)  # fmt: skip
EVALUATION = Evaluation(
    "f", str(FIRST + 99), 10, 0, {"a": "hrnn", "b": "champion"}, [], {}, 1,
    {"a": ["candidate"], "b": ["champion"]},
)  # fmt: skip


def test_who_is_live() -> None:
    light = traffic_lights.champion_light(LIVE, None, True)
    assert light.colour == "green"
    assert light.sentence == (
        "hrnn (version 3) is live since 2016-03-17T20: it was proven better and promoted; "
        "hrnn-0 is there to go back to."
    )
    assert traffic_lights.champion_light(None, None, False).colour == "grey"
    assert traffic_lights.champion_light(None, None, True).colour == "red"
    assert (
        traffic_lights.champion_light(None, "MLflow is gone.", True).sentence == "MLflow is gone."
    )
    by_hand = replace(LIVE.period, since_hour=None)
    gone = traffic_lights.champion_light(replace(LIVE, as_of=None, period=by_hand), None, True)
    assert gone.colour == "red"
    assert gone.sentence.endswith("hrnn-1 cannot be read: hourglass rollback --reason 'why'.")
    assert "2016-03-17 20:10" in gone.sentence


@pytest.mark.parametrize(
    ("age_h", "behind_h", "decided_h", "colour", "text"),
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
    age_h: float, behind_h: float, decided_h: int | None, colour: str, text: str
) -> None:
    live = replace(LIVE, age_h=age_h, behind_h=behind_h)
    decisions = [] if decided_h is None else [replace(HELD, hour=HOURS.stop - decided_h)]
    light = traffic_lights.age_light(live, 24, 100, decisions, HOURS)
    assert (light.colour, text in light.sentence) == (colour, True), light.sentence


def test_no_age_without_a_model() -> None:
    assert traffic_lights.age_light(None, 24, 100, [], HOURS).colour == "grey"
    assert traffic_lights.age_light(replace(LIVE, age_h=None), 24, 100, [], HOURS).colour == "grey"


@pytest.mark.parametrize(
    ("result", "colour", "remedy"),
    [
        ({}, "green", "So it stays live: nothing to do."),
        ({"gain": -0.01}, "amber", "though not surely, so it stays live: look at the next hours"),
        ({"gain": -0.05}, "red", "still live: run hourglass rollback."),
        ({"outcome": "replaced", "gain": -0.05}, "amber", "So it was rolled back: find out why"),
        ({"reason": "is_the_floor", "numbers": None}, "green", "finds a better model: nothing to"),
    ],
)
def test_the_live_model_against_the_baseline(
    result: dict[str, Any], colour: str, remedy: str
) -> None:
    last = monitor_result(FIRST, ModelRef("hrnn-1", "3", "hrnn"), sentence="fine.", **result)
    light = traffic_lights.baseline_light([last])
    assert (light.colour, remedy in light.sentence) == (colour, True), light.sentence
    checked = "The live model against the baseline on 2016-03-14T00: fine. "
    assert light.sentence.startswith(checked)
    if colour == "green":
        again = traffic_lights.baseline_light(
            [last, replace(last, outcome=MonitorOutcome.REPLACED)]
        )
        assert (again.colour, "rolled a model back 1 time in" in again.sentence) == ("amber", True)


def test_the_sections_that_lights_name_are_on_the_page() -> None:
    root = Path(__file__).parents[3]
    pages = [path for part in ("pipeline", "training") for path in (root / part).rglob("*.html")]
    headings = {
        heading
        for page in pages
        for heading in re.findall(r"<h2>(.*?)</h2>", page.read_text(encoding="utf-8"))
    }
    assert {"Failed expectations", "Incidents", "Live model"} <= headings


@pytest.mark.parametrize(
    ("reason", "colour", "to_do"),
    [
        ("bad_data", "amber", "mend or accept those hours (see Expectations)"),
        (
            "data_not_validated",
            "amber",
            "run hourglass validate --from 2016-03-14T00 --to 2016-03-14T01, then hourglass mon",
        ),
        ("learned_from_the_hour", "amber", "nothing to do, hours that it did not learn from"),
        ("not_evaluated", "amber", "after that run hourglass monitor again"),
        ("few_users", "grey", "nothing to do, its users count together with those of the next"),
        ("not_live_any_more", "grey", "nothing to do, the model that is live now"),
    ],
)
def test_an_hour_that_was_not_judged_says_what_to_do(reason: str, colour: str, to_do: str) -> None:
    result = monitor_result(
        FIRST, ModelRef("hrnn-1", "3", "hrnn"), sentence="bad.", outcome="unjudged", reason=reason
    )
    light = traffic_lights.baseline_light([result])
    assert light.colour == colour
    assert f"So nobody knows how well the model did: {to_do}" in light.sentence


def test_no_monitored_hour_is_grey() -> None:
    light = traffic_lights.baseline_light([])
    assert (light.colour, "run hourglass gate" in light.sentence) == ("grey", True)
    light = traffic_lights.baseline_light([], LIVE)
    assert (light.colour, "run hourglass monitor" in light.sentence) == ("grey", True)


def test_a_block_is_red_with_its_mend_and_a_hold_is_the_usual_end_of_an_hour() -> None:
    assert traffic_lights.decision_light([]).colour == "grey"
    light = traffic_lights.decision_light([HELD, replace(HELD, name="vsknn", odds=9.0)])
    assert light.colour == "green"
    assert "nearest: vsknn" in light.sentence
    better = replace(HELD, outcome="promote", reasons=("better_than_champion",), odds=None)
    assert (
        "may go live (proven better than the live model)"
        in traffic_lights.decision_light([HELD, better]).sentence
    )
    blocked = replace(HELD, outcome="block", reasons=("data_quality_unknown",), sentence="No.")
    light = traffic_lights.decision_light([blocked])
    assert light.colour == "red"
    assert "run hourglass validate" in light.sentence
    some = traffic_lights.decision_light([HELD, blocked])
    assert (
        some.colour,
        "hrnn (the hours were not validated) blocked; 1 candidate not: No." in some.sentence,
    ) == ("amber", True)
    # What an earlier hour blocked is history.
    earlier = replace(blocked, hour=FIRST + 98)
    assert traffic_lights.decision_light([HELD, earlier]).colour == "green"


def test_the_last_evaluation() -> None:
    assert traffic_lights.evaluation_light(None, HOURS.stop, 24).colour == "grey"
    assert traffic_lights.evaluation_light(EVALUATION, HOURS.stop, 24).colour == "green"
    old = traffic_lights.evaluation_light(EVALUATION, HOURS.stop + 25, 24)
    assert (old.colour, "25 h before the newest data" in old.sentence) == ("amber", True)
    some_failed = traffic_lights.evaluation_light(
        replace(EVALUATION, failures={"a": "hrnn: NaN"}), HOURS.stop, 24
    )
    assert (some_failed.colour, "(candidate) hrnn: NaN." in some_failed.sentence) == ("amber", True)
    both = {"a": "hrnn: NaN", "b": "champion: gone"}
    grave = traffic_lights.evaluation_light(replace(EVALUATION, failures=both), HOURS.stop, 24)
    assert (grave.colour, "(champion) champion: gone" in grave.sentence) == ("red", True)


def test_records() -> None:
    assert (
        traffic_lights.records_light(["a is broken", "b"]).sentence
        == "a is broken. (1 more below.)"
    )
