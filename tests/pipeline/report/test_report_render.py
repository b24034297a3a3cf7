"""The page: safe with hostile text, whole without facts, and in need of nothing from outside."""

from __future__ import annotations

import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from report_example import EMPTY, FULL, HOSTILE, HOURS, PAGE

from pipeline.errors import HourglassError
from pipeline.hours import Hour
from pipeline.quality.drift import Comparison
from pipeline.report import render
from pipeline.report.format import Interval, cell, chance, duration, number, safe_href, visible
from pipeline.report.intake import Reason
from pipeline.report.render import fit_word, render_report, report_html


@pytest.fixture(autouse=True)
def each_chart_once(monkeypatch: pytest.MonkeyPatch, drawn: dict[Any, Any]) -> None:
    """Many pages here share their facts: a chart is drawn when it is first asked for."""
    draw_anew = render._chart

    def chart(draw: Any, *values: object) -> Any:
        # The values are kept too, so that no other object comes by their id.
        key = (draw, *map(id, values))
        if key not in drawn:
            drawn[key] = (values, draw_anew(draw, *values))
        return drawn[key][1]

    monkeypatch.setattr(render, "_chart", chart)


@pytest.fixture(scope="module")
def drawn() -> dict[Any, Any]:
    return {}


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
    names = [
        Tags(report_html(replace(EMPTY, reasons=(Reason("r", 1, [row]),)))).names
        for row in ({"source_file": "f", "line": 1, "raw": text} for text in (raw, ""))
    ]
    assert names[0] == names[1]


def test_the_page_needs_nothing_from_outside(page: str) -> None:
    fetching = {"src", "href", "xlink:href", "srcset", "action", "poster", "data"}
    for name, value in Tags(page).attributes:
        if name in fetching:
            assert value is not None
            assert value.startswith("#") or value in ("data_docs/index.html", PAGE)
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
    assert len(charts) == 14  # every one, and one of the distribution that drifted
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
    "failures": "No hour was validated, so nobody knows",
    "drift": "No hour has been profiled yet",
    "hours": "No hour of this range has been ingested",
    "reasons": "No record was refused",
    "dwell": "No two dwell times differ",
    "lengths": "No session closed",
    "popularity": "No item had an event",
    "filter_steps": "No data set has been made",
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
    alone = replace(FULL, extra=None)
    text = report_html(replace(alone, **{name: getattr(EMPTY, name)}))
    shown = {key for key, sentence in SENTENCES.items() if sentence in text}
    assert shown == {name}


def test_sections_of_others_stand_above_those_about_data(page: str) -> None:
    assert '<section id="rain"><h2>Rain</h2><b>none</b></section>' in page
    order = ("Weather<", "Data<", 'href="#rain', 'href="#failed', 'id="rain', 'id="failed')
    at = [page.index(text) for text in order]
    assert at == sorted(at)
    assert "Weather" not in report_html(EMPTY)


def test_an_empty_hour_frame_is_no_hours() -> None:
    assert FULL.hours is not None
    assert SENTENCES["hours"] in report_html(replace(FULL, hours=FULL.hours.iloc[:0]))


def test_the_newest_hours_are_open_and_older_ones_fold_away(page: str) -> None:
    shown = page[page.index('id="hours"') :]
    tables = re.findall(r"<tbody>(.*?)</tbody>", shown, flags=re.DOTALL)
    newest, older = (re.findall(r"\d{4}-\d\d-\d\dT\d\d", table) for table in tables[:2])
    assert newest[0] == "2016-03-15T05"
    assert (len(newest), len(older)) == (12, 18)
    assert older[-1] == "2016-03-14T00"
    assert "18 earlier hours" in page


OPTIONAL = ("times", "repeats", "churn")


@pytest.mark.parametrize("name", OPTIONAL)
def test_what_few_reports_have_is_passed_over_in_silence(name: str, page: str) -> None:
    text = report_html(replace(FULL, **{name: None}))
    assert 0 < text.count("<svg") < page.count("<svg")
    assert not [shown for shown in SENTENCES.values() if shown in text]


def test_days_that_are_too_few_for_drift_are_said_to_be(page: str) -> None:
    text = report_html(replace(FULL, drift=Comparison(HOURS, 2, ())))
    assert "Too little to compare" in text
    assert "Too little to compare" not in page


def test_a_drifted_distribution_is_marked_and_drawn(page: str) -> None:
    assert FULL.drift is not None
    (drift,) = FULL.drift.drifts
    usual = replace(FULL, drift=Comparison(HOURS, 7, (replace(drift, distance=0.14),)))
    assert ">drifted<" in page
    assert ">sure, but usual<" in (quiet := report_html(usual).replace("\n", ""))
    assert quiet.count("<svg") == page.count("<svg") - 1


def test_a_failure_that_is_accepted_says_why_and_links_to_its_page(page: str) -> None:
    shown = page[page.index('id="failed"') : page.index('id="hours"')]
    assert f'href="{PAGE}"' in shown
    assert "Accepted: " in shown
    assert "partly accepted" in shown
    without = replace(FULL, failures=(replace(FULL.failures[0], page=None),))
    assert PAGE not in report_html(without)


def test_nothing_late_or_refused_is_a_sentence_instead_of_a_chart() -> None:
    assert FULL.hours is not None
    text = report_html(replace(FULL, hours=FULL.hours.assign(late=0)))
    assert "Nothing was late, doubled or refused" in text


def test_words_for_fit_chance_and_duration() -> None:
    assert [fit_word(ks) for ks in (0.02, 0.1, 0.2)] == ["closely", "roughly", "badly"]
    assert [chance(p) for p in (0.0002, 0.01234, 1.0)] == ["< 0.001", "0.012", "1.000"]
    assert [duration(s) for s in (3.14159, 60, 90, 7200, 172_800)] == [
        "3.14 s", "60 s", "1.5 min", "2 h", "2 days",
    ]  # fmt: skip


def test_a_year_is_drawn_by_days_and_its_page_stays_light() -> None:
    assert FULL.hours is not None
    first = Hour.parse("2016-03-14T13")
    n = 365 * 24
    year = pd.concat([FULL.hours] * (n // 30), ignore_index=True)
    year = year.assign(hour=[str(first + n_hour) for n_hour in range(n)])
    text = report_html(replace(FULL, hours=year))
    assert "mean of the day" in text
    assert "8,424 older hours are in the chart alone" in text
    assert len(text) < 1_500_000


def test_sums_leave_out_what_cannot_be_added(page: str) -> None:
    shown = re.search(r"<h3>In all</h3>(.*?)</dl>", page, flags=re.DOTALL)
    assert shown is not None
    assert f"{sum(range(1000, 1030)):,}" in shown[1]
    assert "users" not in shown[1]


def test_figures_are_written_as_people_read_them(page: str) -> None:
    assert cell(Interval(0.25, 0.2, 0.3)) == "0.2500 [0.2000, 0.3000]"
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
