"""No sentence of the page contradicts the numbers that stand beside it."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import timedelta
from itertools import product
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pytest
from report_example import FULL
from report_rows import HOUR, table

from pipeline.hours import Hour, HourRange
from pipeline.lake.lake import Lake
from pipeline.lake.tables import (
    EVENTS,
    FAILED_EXPECTATIONS,
    FILLED_HOURS,
    INCIDENTS,
    OPEN_SESSIONS,
    QUARANTINE,
    SESSIONS,
    SOURCE_FILES,
    TableSpec,
)
from pipeline.quality.verdicts import JUDGED, STEPS
from pipeline.report import render, traffic_lights
from pipeline.report.failures import failed_sentence
from pipeline.report.format import StatusLight
from pipeline.report.gather import data_facts
from pipeline.report.intake import LaterFiles, hour_table, intake_sentence, later_files
from pipeline.report.page_data import ReportFacts
from pipeline.report.render import report_html
from pipeline.text.numbers import NOTHING

LOG = HourRange(HOUR, HOUR + 2)
CLOSED = HourRange(HOUR, HOUR + 3)
EXPONENT = re.compile(r"\de[+-]?\d", re.IGNORECASE)
NOTHING_WRONG = "Nothing was late, doubled or refused"
NOTHING_FAILED = "No expectation failed"


def text_of(page: str) -> str:
    """What a reader sees: no tags, no styles, nothing that is marked as code."""
    for hidden in ("style", "pre", "code"):
        page = re.sub(rf"<{hidden}\b.*?</{hidden}>", " ", page, flags=re.DOTALL)
    return " ".join(re.sub(r"<[^>]*>", " ", page).split())


class Story:
    """A lake of a two-hour log that came in one piece after its hours."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.lake = Lake(f"sqlite:///{folder / 'catalog.db'}", folder / "lake")
        self.counts = {"records": 6, "accepted": 6, "duplicates": 0, "quarantined": 0}
        self.arrival = CLOSED.stop
        self.refused = 0
        self.verdicts: dict[Hour, str] = dict.fromkeys(LOG, "ok")
        self.failed: list[dict[str, object]] = []
        self.changes: list[dict[str, object]] = []

    def facts(self) -> ReportFacts:
        lake = self.lake
        events = [
            {"hour": h.start, "event_time": h.start + timedelta(minutes=30 + n), "user_id": f"u{n}",
             "item_id": "tea", "source_file": "log.csv"}
            for h in LOG for n in range(3)
        ]  # fmt: skip
        sessions = [
            {**event, "hour": event["hour"] + timedelta(hours=1), "position": 0,  # type: ignore[operator]
             "session_id": f"s{n}", "session_start": event["event_time"]}
            for n, event in enumerate(events)
        ]  # fmt: skip
        file = {"source_file": "log.csv", "arrival": self.arrival.start, **self.counts}
        refused = [
            {"hour": self.arrival.start, "reason": "no user_id", "source_file": "log.csv",
             "line": n, "raw": "x"}
            for n in range(self.refused)
        ]  # fmt: skip
        rows: dict[TableSpec, list[dict[str, Any]]] = {
            EVENTS: events, SESSIONS: sessions, SOURCE_FILES: [file], QUARANTINE: refused,
            FAILED_EXPECTATIONS: self.failed, INCIDENTS: self.changes,
            OPEN_SESSIONS: [{"hour": (CLOSED.stop - 1).start, "session_id": "still going on"}],
        }  # fmt: skip
        for spec, of_table in rows.items():
            if of_table:
                lake.append(spec, table(spec, *of_table), {})
        steps: dict[str, dict[Hour, str]] = {
            JUDGED["events"]: dict.fromkeys(LOG, "content"),
            STEPS["events"]: self.verdicts,
            JUDGED["sessions"]: dict.fromkeys(CLOSED, "closed"),
        }
        for step, hours in steps.items():
            filled = [
                dict.fromkeys(FILLED_HOURS.schema.names, "")
                | {"hour": hour.start, "step": step, "output_digest": digest, "rows": 3}
                | {"input_digest": "content" if step == STEPS["events"] else ""}
                for hour, digest in hours.items()
            ]
            if filled:
                lake.record_filled(step, CLOSED, table(FILLED_HOURS, *filled), {})
        docs, page = self.folder / "data_docs", self.folder / "reports" / "report.html"
        return data_facts(lake, "Shop", CLOSED, CLOSED.stop.start, docs, page, LOG.stop)


def light(facts: ReportFacts, name: str) -> StatusLight:
    return next(each for each in facts.lights if each.name == name)


@pytest.fixture
def story(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Story:
    monkeypatch.setattr(render, "_chart", lambda _draw, *_values: "")
    return Story(tmp_path)


def test_everything_fine_is_said_with_all_sessions(story: Story) -> None:
    facts = story.facts()
    text = text_of(report_html(facts))
    assert facts.hours is not None
    assert facts.hours["sessions_closed"].tolist() == [0, 3, 3]
    assert facts.lengths is not None
    assert "hours 3 events 6 sessions closed 6 late 0 records 6 duplicates 0" in text
    assert "6 closed sessions" in text
    assert "1 session of these hours had not closed" in text
    assert "6 records came after these hours; none was doubled or refused." in text
    assert "No expectation failed in the 2 validated hours." in text
    assert light(facts, "Expectations") == StatusLight(
        "Expectations",
        "green",
        "2 of 2 hours were checked against their expectations, and all of those passed. Their data "
        "can be used: nothing to do.",
    )


def test_duplicates_of_a_log_in_one_piece(story: Story) -> None:
    story.counts |= {"records": 15, "duplicates": 9}
    facts = story.facts()
    text = text_of(report_html(facts))
    assert NOTHING_WRONG not in text
    assert "15 records came after these hours: 9 doubled, 0 refused." in text
    assert "records 15 duplicates 9 quarantined 0" in text
    assert f"after these {5 * f'{NOTHING} '}15 9 0" in text
    intake = light(facts, "Intake")
    assert intake.colour == "amber"
    assert "60 % were duplicates" in intake.sentence
    assert "log.csv repeats records within itself; its times are whole seconds" in intake.sentence
    assert "delivered twice" not in text


def test_a_quarantined_record(story: Story) -> None:
    story.counts |= {"records": 7, "quarantined": 1}
    story.refused = 1
    facts = story.facts()
    text = text_of(report_html(facts))
    assert NOTHING_WRONG not in text
    assert "No record was refused" not in text
    assert "quarantined 1" in text
    assert "look at the reasons below" in light(facts, "Intake").sentence


def test_the_hour_of_closing_is_no_silence(story: Story) -> None:
    assert "without an event" not in text_of(report_html(story.facts()))


def test_an_hour_that_was_critical_and_mended_is_told(story: Story) -> None:
    change = {
        "hour": HOUR.start, "kind": "events", "number": 1, "at": CLOSED.stop.start, "by": "ann",
        "verdict": "critical", "cause": "", "sentence": "too many were refused",
        "expectations": ["hours.quarantine_rate_critical"],
    }  # fmt: skip
    mended = {**change, "number": 2, "by": "bob", "verdict": "ok", "cause": "data_changed"}
    story.changes = [change, mended | {"at": CLOSED.stop.start + timedelta(minutes=5)}]
    facts = story.facts()
    text = text_of(report_html(facts))
    assert "all of those passed" not in text
    assert "all of those pass, 1 critical hour mended since (see Incidents)" in text
    assert f"mended {HOUR} 1 hour of events too many were refused." in text
    assert "from 2016-03-14 16:00 to 2016-03-14 16:05" in text
    assert "validated again after its data had changed: it passes by bob" in text


@pytest.mark.parametrize("verdict", ["critical", "accepted", "warning"])
def test_a_broken_promise_is_never_passed_over(story: Story, verdict: str) -> None:
    story.verdicts[HOUR] = verdict
    text = text_of(report_html(story.facts()))
    assert NOTHING_FAILED not in text
    assert f"run hourglass validate --from {HOUR} --to {HOUR + 1}" in text


def test_what_a_batch_broke_before_the_report_is_found(story: Story) -> None:
    first = HOUR - 30
    story.verdicts[HOUR] = "warning"
    story.failed = [
        {"hour": first.start, "batch": f"{first}+40h", "suite": "hours", "expectation": "late",
         "severity": "warning", "sentence": "files come late", "accepted": None}
    ]  # fmt: skip
    facts = story.facts()
    (failure,) = facts.failures
    assert (failure.sentence, failure.hours) == ("files come late", 40)
    assert "files come late" in text_of(report_html(facts))


def test_what_the_data_set_broke_is_not_denied(story: Story) -> None:
    facts = story.facts()
    broken = StatusLight("Data set", "red", "Few items.")
    facts = replace(facts, lights=(*facts.lights, broken), dataset_failed=("few items",))
    text = text_of(report_html(facts))
    assert NOTHING_FAILED not in text
    assert "The 2 validated hours passed; what is broken stands above: Data set." in text
    assert text.count("few items") == 1


def test_nothing_validated_is_not_nothing_failed(story: Story) -> None:
    story.verdicts = {}
    assert NOTHING_FAILED not in text_of(report_html(story.facts()))


def hours_with(late: int, duplicates: int, quarantined: int) -> pd.DataFrame:
    return pd.DataFrame(
        {"late": [0, late], "duplicates": [duplicates, 0], "quarantined": [0, quarantined]}
    )


def test_nothing_wrong_is_said_of_zeros_alone() -> None:
    for counts in product((0, 1), repeat=5):
        *of_hours, doubled, refused = counts
        later = LaterFiles(9, doubled, refused)
        sentence = intake_sentence(hours_with(*of_hours), later)
        assert NOTHING_WRONG not in sentence
        if any(of_hours):
            assert sentence == ""  # the chart shows it
        elif doubled or refused:
            assert f"{doubled} doubled, {refused} refused" in sentence
        else:
            assert sentence == "9 records came after these hours; none was doubled or refused."
    assert intake_sentence(hours_with(0, 0, 0), LaterFiles()).startswith(NOTHING_WRONG)
    assert intake_sentence(None, LaterFiles(1, 1)) == (
        "1 record came after these hours: 1 doubled, 0 refused."
    )


def test_no_expectation_failed_only_where_nothing_else_says_so() -> None:
    for validated, unexplained, elsewhere in product((0, 2, 3), ([], [HOUR]), ([], ["Data set"])):
        sentence = failed_sentence(validated, 3, unexplained, elsewhere)
        clean = validated and not unexplained and not elsewhere
        assert sentence.startswith(NOTHING_FAILED) == bool(clean)
    assert failed_sentence(2, 3, [], []) == (
        "No expectation failed in the 2 validated hours (1 of 3 were not)."
    )


def test_late_records_alone_are_drawn_and_not_denied() -> None:
    def event(hour: Hour) -> dict[str, object]:
        return {"hour": hour.start, "user_id": "u", "item_id": "i", "source_file": "f"}

    files = table(SOURCE_FILES, {"source_file": "f", "arrival": (HOUR + 1).start, "records": 2,
                                 "duplicates": 0})  # fmt: skip
    result = hour_table(LOG, table(EVENTS, event(HOUR), event(HOUR + 1)), table(SESSIONS), files,
                       table(QUARANTINE))  # fmt: skip
    later = later_files(LOG, files, table(QUARANTINE))
    assert (result["late"].sum(), later) == (1, LaterFiles())
    assert intake_sentence(result, later) == ""


@pytest.mark.parametrize(
    ("later", "colour", "sentence"),
    [
        (LaterFiles(), "grey", "No file arrived in these hours or after them."),
        (LaterFiles(100, 21, 0), "amber", "21 % were duplicates"),
        (LaterFiles(100, 0, 6), "amber", "look at the reasons below"),
        (LaterFiles(100, 1, 1), "green", "1 % were duplicates and 1 % quarantined."),
    ],
    ids=["nothing", "duplicates", "refused", "fine"],
)
def test_the_intake_of_files_that_came_later(later: LaterFiles, colour: str, sentence: str) -> None:
    result = traffic_lights.intake_light((), later)
    assert result.colour == colour
    assert sentence in result.sentence


def test_a_first_day_is_not_compared_with_days_that_were_not() -> None:
    rates = [
        traffic_lights.Rate("quarantined", 1, 1000, None),
        traffic_lights.Rate("duplicates", 1, 1000, None),
    ]
    result = traffic_lights.intake_light(rates, LaterFiles())
    assert (result.colour, "before" in result.sentence) == ("green", False)


@pytest.mark.parametrize("power", [-9, -5, -2, 0, 3, 6, 9, 12, 16, 40])
def test_no_number_of_the_page_has_an_exponent(power: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(render, "_chart", lambda _draw, *_values: "")
    times = 10.0**power
    dwell, spread, lengths = FULL.dwell, FULL.times, FULL.lengths
    assert dwell is not None
    assert spread is not None
    assert lengths is not None
    assert spread.durations is not None
    long = replace(spread.durations, median_s=1.234 * times, low_s=0.1 * times, high_s=7.77 * times)
    gamma = replace(
        dwell.moments, shape=1.2 * times, scale_s=3.4 * times, ks=5.6 / times, ks_at_s=times
    )
    facts = replace(
        FULL,
        dwell=replace(
            dwell, mean_s=times, median_s=1.5 * times, sd_s=2 * times, moments=gamma, likely=gamma,
            scott_width_s=9.9 * times,
        ),
        times=replace(spread, durations=long, gaps=long, once=1 / times),
        lengths=replace(lengths, mean=times, median=times),
    )  # fmt: skip
    assert not EXPONENT.search(text_of(report_html(facts)))


def test_an_axis_has_no_exponent() -> None:
    from pipeline.report.svg import svg

    for times in (1e-7, 1e9):
        drawn = svg(
            "axis", "An axis", lambda axes, times=times: axes[0].plot([0, times], [0, times])
        )  # type: ignore[misc]
        labels = re.findall(r"<text[^>]*>([^<]*)</text>", drawn)
        assert labels
        assert not [
            label for label in labels if re.search(r"\de|10\^|\N{MULTIPLICATION SIGN}", label)
        ]


def test_arrow_rows_of_later_files_are_counted_by_hand() -> None:
    inside = {"source_file": "in", "arrival": HOUR.start, "records": 5, "duplicates": 1}
    after = {"source_file": "after", "arrival": LOG.stop.start, "records": 7, "duplicates": 2}
    files = table(SOURCE_FILES, inside, after)
    refused = pa.Table.from_pylist(
        [{"hour": hour.start} for hour in (HOUR, LOG.stop, LOG.stop + 5)], QUARANTINE.schema
    )
    assert later_files(LOG, files, refused) == LaterFiles(7, 2, 2)
