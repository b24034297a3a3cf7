"""What the report reads from a lake: the right hours, once, and links that lead somewhere."""

from __future__ import annotations

from datetime import timedelta

import pytest
from report_rows import HOUR, table

from pipeline.hours import Hour, HourRange
from pipeline.lake.lake import Lake
from pipeline.lake.tables import (
    DWELL_HOURS,
    EVENTS,
    FAILED_EXPECTATIONS,
    FILLED_HOURS,
    ITEM_HOURS,
    PROFILES,
    QUARANTINE,
    SESSIONS,
    SOURCE_FILES,
    TableSpec,
)
from pipeline.quality.verdicts import JUDGED, STEPS, Kind
from pipeline.report.gather import data_facts
from pipeline.report.page_data import ReportFacts
from pipeline.report.render import report_html

DAYS = 5
HOURS = HourRange(HOUR, HOUR + 24 * DAYS)
BROKEN = HOURS.stop - 2


def event(hour: Hour, user: str = "ann", item: str = "tea") -> dict[str, object]:
    when = hour.start + timedelta(minutes=30)
    return {
        "hour": hour.start,
        "event_time": when,
        "user_id": user,
        "item_id": item,
        "source_file": "f",
        "session_id": f"{user}{hour}",
        "session_start": when,
        "position": 0,
    }


def filled(hour: Hour, step: str, digest: str, of: str) -> dict[str, object]:
    row = dict.fromkeys(FILLED_HOURS.schema.names, "")
    return row | {
        "hour": hour.start, "step": step, "output_digest": digest, "input_digest": of, "rows": 1,
    }  # fmt: skip


def judged(hour: Hour, kind: Kind, verdict: str) -> list[dict[str, object]]:
    return [
        filled(hour, JUDGED[kind], "content", ""),
        filled(hour, STEPS[kind], verdict, "content"),
    ]


@pytest.fixture(scope="module")
def facts(tmp_path_factory: pytest.TempPathFactory) -> ReportFacts:
    root = tmp_path_factory.mktemp("gather")
    lake = Lake(f"sqlite:///{root / 'catalog.db'}", root / "lake")
    before, after = HOUR - 1, HOURS.stop
    covered = [before, *HOURS, after]
    failed = {
        "hour": BROKEN.start, "batch": str(BROKEN), "suite": "sessions", "expectation": "dwell",
        "severity": "critical", "sentence": "too long", "observed": "", "limit": "",
        "examples": ["9"], "accepted": None,
    }  # fmt: skip
    rows: dict[TableSpec, list[dict[str, object]]] = {
        EVENTS: [event(hour) for hour in covered],
        SESSIONS: [event(hour) for hour in covered],
        ITEM_HOURS: [
            {"hour": h.start, "item_id": "tea", "events": 1, "users": 1} for h in covered
        ],
        DWELL_HOURS: [],
        SOURCE_FILES: [
            {"source_file": "f", "arrival": after.start, "records": 123, "accepted": 122,
             "duplicates": 0, "quarantined": 1}
        ],
        QUARANTINE: [
            {"hour": hour.start, "reason": reason, "source_file": "f", "line": 1, "raw": "x"}
            for hour, reason in ((before, "long ago"), (after, "when it was loaded"))
        ],
        PROFILES: [
            {"hour": h.start, "distribution": "event_type", "bin": bin_, "weight": weight}
            for h in covered
            for bin_, weight in (("view", 90.0), ("buy", 10.0 if h < HOURS.stop - 24 else 60.0))
        ],
        FAILED_EXPECTATIONS: [failed, failed | {"hour": before.start, "expectation": "old"}],
    }  # fmt: skip
    for spec, of_table in rows.items():
        if of_table:
            lake.append(spec, table(spec, *of_table), {})
    verdicts = [
        row
        for hour in HOURS
        for kind, verdict in (
            ("events", "ok"),
            ("sessions", "critical" if hour == BROKEN else "ok"),
        )
        for row in judged(hour, kind, verdict)  # type: ignore[arg-type]
    ]
    for step in {str(row["step"]) for row in verdicts}:
        mine = [row for row in verdicts if row["step"] == step]
        lake.record_filled(step, HOURS, table(FILLED_HOURS, *mine), {})
    page = root / "data_docs" / "validations" / "sessions" / str(BROKEN) / "t" / f"{BROKEN}.html"
    page.parent.mkdir(parents=True)
    page.write_text("")
    at = HOURS.stop.start
    out = root / "reports" / "report.html"
    return data_facts(lake, "Shop", HOURS, at, root / "data_docs", out)


def light(facts: ReportFacts, name: str) -> tuple[str, str]:
    return next((light.colour, light.sentence) for light in facts.lights if light.name == name)


def test_only_the_hours_of_the_report_are_read(facts: ReportFacts) -> None:
    assert facts.hours is not None
    assert facts.popularity is not None
    assert facts.hours["events"].tolist() == [1] * len(HOURS)
    assert facts.popularity.events == len(HOURS)
    assert [f.expectation for f in facts.failures] == ["dwell"]
    assert light(facts, "Freshness") == (
        "green", "The newest event is of 2016-03-19 12:30, 30 min old; up to 2 h is usual here.",
    )  # fmt: skip


def test_what_a_log_in_one_piece_refused_is_shown_though_it_came_after(facts: ReportFacts) -> None:
    assert [reason.reason for reason in facts.reasons] == ["when it was loaded"]
    assert light(facts, "Intake")[0] == "green"


def test_the_worse_of_two_verdicts_counts_and_links_to_its_page(facts: ReportFacts) -> None:
    colour, sentence = light(facts, "Expectations")
    assert colour == "red"
    assert f"1 hour failed a critical one, last {BROKEN}: too long. Such hours" in sentence
    assert facts.failures[0].page == f"../data_docs/validations/sessions/{BROKEN}/t/{BROKEN}.html"


def test_the_last_day_of_the_report_drifted(facts: ReportFacts) -> None:
    assert facts.drift is not None
    assert (facts.drift.current.stop, facts.drift.days) == (HOURS.stop, DAYS - 1)
    assert [d.distribution for d in facts.drift.drifted] == ["event_type"]
    assert light(facts, "Drift")[0] == "amber"


def test_such_facts_make_a_page(facts: ReportFacts) -> None:
    assert "too long" in report_html(facts)
