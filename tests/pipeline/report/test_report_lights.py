"""Each light in each of its colours, with a sentence that names what to do."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import numpy as np
import pandas as pd
import pytest
from report_rows import HOUR

from pipeline.hours import Hour, HourRange
from pipeline.quality.drift import Comparison, Drift
from pipeline.report import traffic_lights
from pipeline.report.failures import Failure
from pipeline.report.intake import LaterFiles, Rate, Volume
from pipeline.report.sessions import SessionLengths

COUNTS = {"records": 100, "accepted": 90, "duplicates": 6, "quarantined": 4}
LATER = LaterFiles(records=100, duplicates=6, quarantined=4)


@pytest.mark.parametrize(
    ("age_h", "colour", "text"),
    [
        (0.5, "green", "30 min old"),
        (4.9, "green", "up to 5 h is usual"),
        (9, "amber", "whether files still arrive"),
        (11, "red", "11.0 h old, and 5 h is the longest"),
        (49, "red", "whether ingest runs"),
        (7 * 24 + 1, "grey", "no new event is expected"),
    ],
)
def test_freshness_goes_by_the_longest_silence(age_h: float, colour: str, text: str) -> None:
    hours = pd.DataFrame({"events": [3] * 10 + [0] * 4 + [3] * 34})  # silent for four: five apart
    newest = HOUR.start
    light = traffic_lights.freshness_light(newest, newest + timedelta(hours=age_h), hours)
    assert light.colour == colour
    assert text in light.sentence
    assert traffic_lights.freshness_light(None, newest, hours).colour == "grey"


def rates(late: int, quarantined: int) -> list[Rate]:
    return [Rate("late", late, 1000, 0.02), Rate("quarantined", quarantined, 1000, 0.001)]


@pytest.mark.parametrize(
    ("late", "quarantined", "colour", "text"),
    [
        (20, 1, "green", "2 % of events late (2 % before)"),
        (40, 1, "green", "4 %"),  # may be chance
        (70, 1, "amber", "files arrive late"),
        (20, 30, "amber", "the reasons below"),
        (20, 90, "red", "the reasons below"),
    ],
)
def test_intake_compares_with_the_days_before(
    late: int, quarantined: int, colour: str, text: str
) -> None:
    light = traffic_lights.intake_light(rates(late, quarantined), LATER)
    assert light.colour == colour
    assert text in light.sentence


def test_intake_of_a_log_in_one_piece() -> None:
    light = traffic_lights.intake_light((), LATER)
    assert light.colour == "green"
    assert "6 % were duplicates and 4 % quarantined" in light.sentence
    assert traffic_lights.intake_light((), replace(LATER, quarantined=6)).colour == "amber"


HOURS = HourRange(HOUR, HOUR + 3)


def failure(severity: str, hours: int = 1, accepted: tuple[str, ...] = ()) -> Failure:
    open_ = 0 if accepted else hours
    sentence = f"{severity} promise broken"
    return Failure(
        "hours", severity, severity, hours, open_, str(HOUR), str(HOUR), sentence, (), accepted
    )


def verdicts(*by_hour: str) -> dict[Hour, str]:
    return {HOUR + n: verdict for n, verdict in enumerate(by_hour)}


@pytest.mark.parametrize(
    ("by_hour", "failed", "colour", "words"),
    [
        ((), [], "grey", f"run hourglass validate --from {HOUR} --to {HOUR + 3}."),
        (
            ("ok", "ok", "ok"),
            [],
            "green",
            "3 of 3 hours were checked against their expectations, and all of those passed. "
            "Their data can be used: nothing to do.",
        ),
        (
            ("ok", "ok"),
            [],
            "amber",
            "2 of 3 hours were checked against their expectations, and all of those passed. Nobody "
            "knows about the rest: run hourglass validate "
            f"--from {HOUR + 2} --to {HOUR + 3} for the others.",
        ),
        (
            ("ok", "warning", "warning"),
            [failure("warning", 2)],
            "amber",
            "2 hours passed with warnings, most often “warning” (hours), last 2016-03-14T15. "
            "Warnings stop nothing, but look at Failed expectations.",
        ),
        (
            ("ok", "critical", "warning"),
            [failure("warning"), failure("critical")],
            "red",
            "1 hour failed a critical one, last 2016-03-14T14: critical promise broken. Such hours "
            "are used for nothing until you mend their data and validate them again, or accept",
        ),
        (
            ("ok", "accepted", "ok"),
            [failure("critical", accepted=("known outage",))],
            "amber",
            '1 critical hour accepted because "known outage". Accepted hours are used as they are.',
        ),
        (
            ("ok", "warning"),
            [failure("warning")],
            "amber",
            f"; run hourglass validate --from {HOUR + 2} --to {HOUR + 3} for the others.",
        ),
        (("ok", "critical", "ok"), [], "red", "validate again to see why"),
    ],
)
def test_expectations(
    by_hour: tuple[str, ...], failed: list[Failure], colour: str, words: str
) -> None:
    light = traffic_lights.expectations_light(HOURS, verdicts(*by_hour), failed)
    assert light.colour == colour
    assert words in light.sentence


@pytest.mark.parametrize(
    ("days", "colour", "text"),
    [
        (None, "grey", "Less than two days"),
        (Volume(1000, (900, 1100), ()), "green", "900 to 1,100, median 1,000"),
        (Volume(800, (900, 1100), ()), "green", "800 events"),  # not far from the median
        (Volume(500, (900, 1100), ()), "amber", "a file that is missing"),
        (Volume(300, (900, 1100), ()), "red", "a file that is missing"),
        (Volume(2000, (900, 1100), ()), "amber", "doubled delivery"),
        (Volume(800, (900, 1100), ("2016-03-14T13",)), "red", "first 2016-03-14T13"),
        (Volume(1000, (900, 1100), ("2016-03-14T13",)), "amber", "1 hour without an event"),
        # a quiet weekend in the week hides nothing of a quiet Tuesday
        (Volume(80, (20, 20, 200, 200, 200, 200, 200), ()), "amber", "week before had 200"),
        (Volume(150, (20, 20, 200, 200, 200, 200, 200), ()), "green", "150 events"),
    ],
)
def test_volume(days: Volume | None, colour: str, text: str) -> None:
    light = traffic_lights.volume_light(days)
    assert light.colour == colour
    assert text in light.sentence


def test_sessions_of_one_event_teach_nothing() -> None:
    def light(single: int) -> str:
        lengths = SessionLengths(10, 2.0, 2.0, 3, ("1", "2"), (single, 10 - single))
        return traffic_lights.sessions_light(lengths, None).colour

    assert (light(5), light(6)) == ("green", "amber")
    assert traffic_lights.sessions_light(None, None).colour == "grey"


def drift(distance: float, p: float = 0.001) -> Drift:
    shares = np.array([0.5, 0.5])
    return Drift("dwell_s", ("1", "2"), shares, shares, distance, 0.1, p, p)


def test_drift() -> None:
    def light(*drifts: Drift) -> traffic_lights.StatusLight:
        return traffic_lights.drift_light(Comparison(HOURS, 7, drifts))

    assert traffic_lights.drift_light(None).colour == "grey"
    assert "fewer than 3 days before the last" in light().sentence
    assert light(drift(0.14), drift(0.4, p=0.02)).colour == "green"
    result = light(drift(0.14), drift(0.4))
    assert result.colour == "amber"
    assert "1 of 2 distributions" in result.sentence
    assert "dwell time is 40 %, up to 10 % is usual" in result.sentence


def test_the_support_filter() -> None:
    def steps(events: int) -> list[dict[str, object]]:
        return [
            {"step": "window", "events": 1000, "items": 100},
            {"step": "items >= 10", "events": 990, "items": 40},
            {"step": "sessions >= 2", "events": events, "items": 40},
        ]

    assert traffic_lights.support_light([]).colour == "grey"
    assert traffic_lights.support_light(steps(600)).sentence == (
        "The last data set kept 60 % of the events and 40 % of the items (40)."
    )
    amber, red = traffic_lights.support_light(steps(200)), traffic_lights.support_light(steps(50))
    assert (amber.colour, red.colour) == ("amber", "red")
    assert '"sessions >= 2" took 790' in amber.sentence


def test_conservation() -> None:
    assert traffic_lights.conservation_light(COUNTS).colour == "green"
    broken = traffic_lights.conservation_light(COUNTS | {"accepted": 89})
    assert broken.colour == "red"
    assert "100 records are not 89 accepted" in broken.sentence


def test_the_data_sets_own_verdict() -> None:
    assert traffic_lights.dataset_light(None).sentence == "The last data set was not judged."
    unmade = traffic_lights.dataset_light(None, exists=False)
    assert unmade == traffic_lights.StatusLight(
        "Data set", "grey", "No data set has been made yet."
    )
    assert traffic_lights.dataset_light({"verdict": "ok", "failed": []}).colour == "green"
    result = traffic_lights.dataset_light(
        {"verdict": "critical", "failed": ["few items.", "few users"]}
    )
    assert (result.colour, result.sentence) == ("red", "few items. (1 more failed.)")
