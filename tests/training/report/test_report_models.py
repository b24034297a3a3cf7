"""The model part of the page: figures as they are, pictures with words, light to carry."""

from __future__ import annotations

import re
from dataclasses import replace
from html import unescape

import numpy as np
import pytest
from markupsafe import escape
from model_example import BASELINE, HEALTH, HELD, HOSTILE, HOURS, LIVE, page_of, period

from pipeline.hours import Hour
from pipeline.report.format import StatusLight, odds, signed, stamp
from training.report.champion import ServedPeriod
from training.report.curves import Curve, Growth, Role
from training.report.gather import ModelHealth
from training.report.model_charts import curves_chart, growth_chart, served_chart
from training.report.replay_picture import ReplayPicture

DASH = "\N{EN DASH}"
# Without pictures, which take most of the time.
BARE = replace(HEALTH, curves=(), growth=(), served=())


def words(html: str) -> str:
    """What a reader sees."""
    return " ".join(unescape(re.sub(r"<[^>]+>", " ", html)).split())


def section(page: str, name: str) -> str:
    start = page.index(f'<section id="{name}">')
    return page[start : page.index("</section>", start)]


@pytest.fixture(scope="module")
def page() -> str:
    return page_of(HEALTH)


def test_who_is_live_and_the_two_commands(page: str) -> None:
    text = words(section(page, "live"))
    assert "is live from 2016-03-14T03 on, since 2016-03-14 03:10 by the clock." in text
    assert "what happened before 2016-03-14T02: 9 h before this report" in text
    assert "before it pop-0" in text
    assert section(page, "live").count("<pre>") == 2
    alone = replace(BARE, live=replace(HEALTH.live, previous=None, show=None, as_of=None))  # type: ignore[type-var]
    assert "<pre>" not in section(page_of(alone), "live")
    assert "its artefact cannot be read" in page_of(alone)


def test_a_decision_with_its_numbers_and_its_checks_folded_away(page: str) -> None:
    text = section(page, "decisions")
    cells = [words(cell) for cell in re.findall(r"<t[dh][^>]*>(.*?)</t[dh]>", text, re.DOTALL)]
    assert cells[cells.index("2016-03-14T04") + 4 :][:6] == [
        "+0.0123 [-0.0023, +0.0269]", "-0.0042", "3.1 of 336", "3", "4,321", "987",
    ]  # fmt: skip
    assert "<details><summary>1 check:" in text
    assert "n 7,654" in words(text)
    assert "1 promote, 4 hold, 1 block" in words(text)
    assert "5 older decisions" in words(text)


def test_what_an_older_decision_does_not_tell_is_a_dash() -> None:
    old = replace(HELD, gain=None, lower=None, odds=None, needed=None, looks=None, users=None)
    text = words(section(page_of(replace(BARE, decisions=(old,))), "decisions"))
    assert " ".join((DASH, DASH, DASH, DASH, "4,321", DASH)) in text


def test_slices_with_small_ones_grey_and_their_verdict(page: str) -> None:
    text = section(page, "slices")
    assert text.count('<tr class="small">') == 1
    assert "0.5000 [0.1000, 0.9000]" in text
    assert "+0.0500 [-0.1000, +0.2000] too small" in words(text)
    assert "fewer than 100 users" in words(text)
    without = replace(BARE, slices=replace(HEALTH.slices, decided=None))  # type: ignore[type-var]
    assert "verdict" not in section(page_of(without), "slices")


def test_the_table_beside_the_curves_tells_what_the_picture_shows(page: str) -> None:
    text = words(section(page, "metric"))
    assert "live 3 0.2241 [0.2000, 0.2500] 0.2114" in text
    assert f"recent_pop 3 0.1200 [{DASH}, {DASH}] 0.1100" in text
    assert LIVE.mean == pytest.approx((0.2 + 0.21 + 0.2241) / 3)


def test_every_picture_has_words_for_those_who_do_not_see_it(page: str) -> None:
    labels = re.findall(r'<svg role="img" aria-label="([^"]+)"', page)
    assert [label.split(" of ")[0] for label in labels] == [
        "Which model served when", "MRR@20 by hour", "Evidence by hour",
    ]  # fmt: skip
    # And what each shows stands beside it as text.
    assert section(page, "live").count("<li><span") == len(HEALTH.served)


def test_pictures_draw_what_they_are_given() -> None:
    # A panel for the live model and one for the candidate, the baseline in both.
    curves = curves_chart("MRR@20", HEALTH.curves, HEALTH.served, HOURS)
    assert curves.count("stroke: var(--accent)") >= 1
    assert curves.count("stroke: var(--second)") >= 1
    assert curves.count("stroke-dasharray") >= 2
    assert "recent_pop" in curves_chart("MRR@20", (BASELINE,), (), HOURS)
    served = served_chart(HEALTH.served, HOURS)
    assert "promotion" in served
    assert "replaced by the monitor" in served
    assert served_chart(HEALTH.served[2:3], HOURS) == ""  # no hour of the log is known for it
    assert "stroke-dasharray" in growth_chart(HEALTH.growth, HOURS)


def test_only_changes_within_the_report_are_marked() -> None:
    inside, before, after, unknown = (
        ServedPeriod(period("promoted", None), start, None) for start in (3.0, -4.0, 11.0, None)
    )
    plain = curves_chart("MRR@20", HEALTH.curves, (before, after, unknown), HOURS)
    assert curves_chart("MRR@20", HEALTH.curves, (), HOURS) == plain
    assert curves_chart("MRR@20", HEALTH.curves, (inside, before), HOURS) != plain


def test_a_replay_picture_is_carried_or_linked() -> None:
    carried = page_of(
        replace(BARE, replay=ReplayPicture("run-1", "../replay/run-1/c.png", "data:x"))
    )
    assert '<img src="data:x" alt="Curves of replay run-1">' in carried
    linked = page_of(replace(BARE, replay=ReplayPicture("run-1", "../replay/run-1/c.png", None)))
    assert "<img" not in linked
    assert 'href="../replay/run-1/c.png"' in linked


def test_lights_of_models_stand_in_their_own_group() -> None:
    assert "Models</h2>" not in page_of(BARE)
    page = page_of(BARE, [StatusLight("M", "red", "m")])
    assert 0 < page.index("Models</h2>") < page.index("<strong>M</strong>")


def test_no_models_are_sentences() -> None:
    page = page_of(ModelHealth())
    for sentence in ("No model is live yet", "No model has been evaluated", "has not decided yet"):
        assert sentence in page
    assert "<svg" not in page


def test_hostile_text_is_shown_and_never_obeyed(page: str) -> None:
    assert "<script" not in page
    assert "<img" not in page
    assert page.count(str(escape(HOSTILE))) >= 10


def test_ids_are_unique(page: str) -> None:
    ids = re.findall(r'\bid="([^"]+)"', page)
    assert len(ids) == len(set(ids)) > 0


def test_leaderboard_figures_have_their_interval(page: str) -> None:
    assert "0.0500 [0.0400, 0.0600]" in section(page, "models")


def test_what_lists_show_stands_below(page: str) -> None:
    text = words(section(page, "models"))
    assert "model coverage Gini novelty new diverse +1 +5 +20" in text
    assert ".250 .500 10.12 .875" in text
    assert "7 lists of 20. coverage:" in text
    assert HEALTH.last is not None
    without = replace(BARE, last=replace(HEALTH.last, lists={}))
    assert "coverage" not in section(page_of(without), "models")


@pytest.mark.nightly
def test_two_weeks_of_six_models_stay_light() -> None:
    n = 336
    random = np.random.default_rng(0)
    hours = tuple(str(Hour.parse("2016-03-14T00") + index) for index in range(n))
    at = np.arange(n) + 0.5

    def curve(name: str, role: Role) -> Curve:
        value = random.uniform(0.1, 0.3, n)
        return Curve(name, role, at, value, value - 0.02, value + 0.02)

    names = [f"model {index}" for index in range(6)]
    health = replace(
        HEALTH,
        curves=(curve("live", "live"), *(curve(name, "candidate") for name in names)),
        growth=tuple(
            Growth(name, at, random.uniform(0.1, 9, n), np.full(n, 336)) for name in names
        ),
        served=tuple(
            ServedPeriod(period("promoted", hours[start]), float(start), float(start + 1))
            for start in reversed(range(0, n, 2))
        ),
        hours=hours,
        decisions=(HELD,) * 20,
    )
    text = page_of(health)
    assert len(text.encode()) < 1_000_000
    assert "68 older ones are in the records alone" in words(text)


def test_signs_odds_and_times_as_people_read_them() -> None:
    assert [signed(v) for v in (0.01, -0.5, None, float("nan"), (1.0, -1.0, None))] == [
        "+0.0100", "-0.5000", DASH, DASH, f"+1.0000 [-1.0000, {DASH}]",
    ]  # fmt: skip
    assert [odds(v) for v in (0.034, 9.94, 336.4, 1e6, None)] == [
        "0.034", "9.9", "336", "over a million", DASH,
    ]  # fmt: skip
    assert stamp("2016-03-14T03:10:00+00:00") == "2016-03-14 03:10"
