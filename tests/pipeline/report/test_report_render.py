"""The page: safe with hostile text, whole without facts, and in need of nothing from outside."""

from __future__ import annotations

import re
from dataclasses import fields, replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.errors import HourglassError
from pipeline.report.facts import (
    DwellTimes,
    GateDecision,
    Interval,
    Light,
    Link,
    Popularity,
    Reason,
    Refused,
    ReportFacts,
    SessionLengths,
)
from pipeline.report.render import cell, number, render_report, report_html, safe_href, visible

HOSTILE = '"><script>alert(1)</script><img src=x onerror=alert(2)>&amp;'
EMPTY = ReportFacts("Hourglass", "2016-03-14T13 to 2016-03-15T13")
FULL = ReportFacts(
    title=f"Shop {HOSTILE}",
    generated_for="2016-03-14T13 to 2016-03-15T19",
    lights=(Light("Data quality", "red", f"broken {HOSTILE}"),),
    hours=pd.DataFrame(
        {
            "hour": [f"2016-03-{14 + n // 24}T{n % 24:02d}" for n in range(30)],
            "events": range(1000, 1030),
            "users": range(30),
            "items": range(30),
            "sessions_closed": range(30),
            "late": 0,
            "duplicates": 0,
            "quarantined": 0,
        }
    ),
    reasons=(Reason(HOSTILE, 2, (Refused(HOSTILE, 7, HOSTILE + "\x00\x1b[31m\u202e"),)),),
    dwell=DwellTimes(
        4, 30.0, 20.0, 25.0, 1, np.array([0.0, 25, 50, 75]), np.array([1, 2, 1]), 2.25, 13.3
    ),
    lengths=SessionLengths(3, 2.0, 2.0, 3, ("1", "2", "3+"), (1, 1, 1)),
    popularity=Popularity(2, 10, ((HOSTILE, 9, 0.9), ("cup", 1, 0.1)), np.array([0.9, 1.0])),
    filter_steps=(
        {"step": HOSTILE, "events": 200, "items": 20, "users": 10, "sessions": 40},
        {"step": "support", "events": 50, "items": 5, "users": 4, "sessions": 12},
    ),
    leaderboard=(
        {"system": HOSTILE, "mrr@20": Interval(0.25, 0.2, 0.3)},
        {"system": "pop", "mrr@20": Interval(0.05, 0.04, 0.06), "note": "floor"},
    ),
    leaderboard_note="over targets",
    gate=GateDecision("hold", HOSTILE, "2016-03-15T12", HOSTILE, None, (HOSTILE,)),
    links=(
        Link("Data Docs", "data_docs/index.html"),
        Link("trap", "javascript:alert(3)"),
        Link(HOSTILE, command=f"mlflow ui {HOSTILE}"),
    ),
)


class Tags(HTMLParser):
    """Collects what a browser would act on, and whether tags close in order."""

    VOID = frozenset({"meta", "br", "img", "link", "path", "use", "rect"})

    def __init__(self, html: str) -> None:
        super().__init__()
        self.names: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.open: list[str] = []
        self.text = ""
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.names.append(tag)
        self.attributes += attrs
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.names.append(tag)
        self.attributes += attrs

    def handle_endtag(self, tag: str) -> None:
        if tag not in self.VOID:
            assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


@pytest.fixture(scope="module")
def page() -> str:
    return report_html(FULL)


def test_hostile_text_is_shown_and_never_obeyed(page: str) -> None:
    tags = Tags(page)
    assert not {"script", "img", "iframe", "object"} & set(tags.names)
    assert not [name for name, _ in tags.attributes if name.startswith("on")]
    assert tags.text.count(HOSTILE) >= 10
    assert tags.open == []


def test_control_and_direction_characters_are_spelt_out(page: str) -> None:
    assert r"\x00\x1b[31m\u202e" in page
    assert not set("\x00\x1b\u202e") & set(page)
    assert visible("x" * 1000) == "x" * 300 + "…"
    assert visible(None) == ""


@settings(max_examples=20, deadline=None)
@given(raw=st.text(max_size=80))
def test_no_raw_record_can_add_a_tag(raw: str) -> None:
    facts = replace(EMPTY, reasons=(Reason("r", 1, (Refused("f", 1, raw),)),))
    plain = replace(EMPTY, reasons=(Reason("r", 1, (Refused("f", 1, ""),)),))
    assert Tags(report_html(facts)).names == Tags(report_html(plain)).names


def test_the_page_needs_nothing_from_outside(page: str) -> None:
    fetching = {"src", "href", "xlink:href", "srcset", "action", "poster", "data"}
    for name, value in Tags(page).attributes:
        if name in fetching:
            assert value is not None
            assert value.startswith("#") or value == "data_docs/index.html"
    assert "@import" not in page
    assert not re.findall(r"url\((?!#)", page)


def test_ids_are_unique_though_charts_share_a_page(page: str) -> None:
    ids = [value for name, value in Tags(page).attributes if name == "id"]
    assert len(ids) == len(set(ids))
    targets = re.findall(r'(?:url\(#|href="#)([^)"]+)', page)
    assert targets
    assert set(targets) <= set(ids)


def test_charts_take_the_pages_colours(page: str) -> None:
    charts = re.findall(r"<svg.*?</svg>", page, flags=re.DOTALL)
    assert len(charts) == 4
    for chart in charts:
        assert "currentColor" in chart
        assert set(re.findall(r"(?:fill|stroke): (#\w+)", chart)) == set()
        assert not re.match(r"<svg[^>]* (width|height)=", chart)


def test_only_addresses_that_open_a_page_become_links(page: str) -> None:
    links = [value for name, value in Tags(page).attributes if name == "href"]
    assert "data_docs/index.html" in links
    assert "trap: javascript:alert(3)" in Tags(page).text
    assert safe_href("http://mlflow.example/#/experiments") is not None
    for address in ("javascript:x", " JavaScript:x", "data:text/html,x", "vbscript:x", "", None):
        assert safe_href(address) is None


SENTENCES = {
    "lights": "shows no traffic lights",
    "hours": "No hour of this range has been ingested",
    "reasons": "No record was refused",
    "dwell": "No two dwell times differ",
    "lengths": "No session closed",
    "popularity": "No item had an event",
    "filter_steps": "No data set has been made",
    "leaderboard": "No model has been evaluated",
    "gate": "The gate has not decided yet",
    "links": "nothing to link to",
}


def test_a_report_without_facts_says_what_is_missing() -> None:
    text = report_html(EMPTY)
    for sentence in SENTENCES.values():
        assert sentence in text
    assert "<svg" not in text
    assert "<table" not in text


@pytest.mark.parametrize("name", sorted(SENTENCES))
def test_each_part_can_be_missing_alone(name: str) -> None:
    default = next(field for field in fields(ReportFacts) if field.name == name).default
    text = report_html(replace(FULL, **{name: default}))
    said = {key for key, sentence in SENTENCES.items() if sentence in text}
    assert said == {name}


def test_an_empty_hour_frame_is_no_hours() -> None:
    assert FULL.hours is not None
    assert SENTENCES["hours"] in report_html(replace(FULL, hours=FULL.hours.iloc[:0]))


def test_the_newest_day_is_open_and_older_hours_fold_away(page: str) -> None:
    tables = re.findall(r"<tbody>(.*?)</tbody>", page, flags=re.DOTALL)
    newest, older = (re.findall(r"\d{4}-\d\d-\d\dT\d\d", table) for table in tables[:2])
    assert newest[0] == "2016-03-15T05"
    assert (len(newest), len(older)) == (24, 6)
    assert older[-1] == "2016-03-14T00"
    assert "6 earlier hours" in page


def test_sums_leave_out_what_cannot_be_added(page: str) -> None:
    said = re.search(r"<h3>In all</h3>(.*?)</dl>", page, flags=re.DOTALL)
    assert said is not None
    assert f"{sum(range(1000, 1030)):,}" in said[1]
    assert "users" not in said[1]


def test_figures_are_written_as_people_read_them(page: str) -> None:
    assert cell(Interval(0.25, 0.2, 0.3)) == "0.2500 [0.2000, 0.3000]"
    assert "0.0500 [0.0400, 0.0600]" in page
    assert [number(v) for v in (1234, 0.5, 12.34, 2000.0, True, "x")] == [
        "1,234", "0.5000", "12.3", "2,000", "yes", "x",
    ]  # fmt: skip
    assert number(float("nan")) == number(None) == "\N{EN DASH}"
    assert "25 %" in page  # 50 of the first step's 200 events


def test_the_same_facts_give_the_same_file(tmp_path: Path) -> None:
    first = render_report(FULL, tmp_path / "reports" / "a.html").read_bytes()
    again = render_report(FULL, tmp_path / "reports" / "a.html").read_bytes()
    assert first == again
    assert [file.name for file in (tmp_path / "reports").iterdir()] == ["a.html"]


def test_a_report_that_cannot_be_written_says_so(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(HourglassError, match="cannot write the report"):
        render_report(EMPTY, tmp_path / "file" / "report.html")
