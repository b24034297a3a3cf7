"""The model part of the page: figures as they are, pictures with words, light to carry."""

from __future__ import annotations

import re
from dataclasses import replace
from html import unescape

import numpy as np
import pytest
from markupsafe import escape
from model_example import CURVES, FLOOR, HEALTH, HELD, HOSTILE, LIVE, page_of

from pipeline.hours import Hour
from pipeline.report.format import Light, odds, signed, stamp
from training.report.model_charts import curves_chart, growth_chart, served_chart
from training.report.model_values import Curve, Growth, ModelHealth, Picture, Served

DASH = "\N{EN DASH}"
# Without pictures, which take most of the time.
BARE = replace(HEALTH, curves=None, growth=(), served=())


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
    said = words(section(page, "live"))
    assert "is live from 2016-03-14T03 on, since 2016-03-14 03:10 by the clock." in said
    assert "what happened before 2016-03-14T02: 9 h before this report" in said
    assert "before it pop-0" in said
    assert section(page, "live").count("<pre>") == 2
    alone = replace(BARE, live=replace(HEALTH.live, rollback=None, show=None, as_of=None))  # type: ignore[type-var]
    assert "<pre>" not in section(page_of(alone), "live")
    assert "its artefact cannot be read" in page_of(alone)


def test_a_decision_with_its_numbers_and_its_checks_folded_away(page: str) -> None:
    said = section(page, "decisions")
    cells = [words(cell) for cell in re.findall(r"<t[dh][^>]*>(.*?)</t[dh]>", said, re.DOTALL)]
    assert cells[cells.index("2016-03-14T04") + 4 :][:6] == [
        "+0.0123 [-0.0023, +0.0269]", "-0.0042", "3.1 of 336", "3", "4,321", "987",
    ]  # fmt: skip
    assert "<details><summary>1 check:" in said
    assert "n 7,654" in words(said)
    assert "1 promote, 4 hold, 1 block" in words(said)
    assert "5 older decisions" in words(said)


def test_what_an_older_decision_does_not_tell_is_a_dash() -> None:
    old = replace(HELD, gain=None, lower=None, odds=None, needed=None, looks=None, users=None)
    said = words(section(page_of(replace(BARE, decisions=(old,))), "decisions"))
    assert " ".join((DASH, DASH, DASH, DASH, "4,321", DASH)) in said


def test_slices_with_small_ones_grey_and_their_verdict(page: str) -> None:
    said = section(page, "slices")
    assert said.count('<tr class="small">') == 1
    assert "0.5000 [0.1000, 0.9000]" in said
    assert "+0.0500 [-0.1000, +0.2000] too small" in words(said)
    assert "fewer than 100 users" in words(said)
    without = replace(BARE, slices=replace(HEALTH.slices, decided=None))  # type: ignore[type-var]
    assert "verdict" not in section(page_of(without), "slices")


def test_the_table_beside_the_curves_tells_what_the_picture_shows(page: str) -> None:
    said = words(section(page, "metric"))
    assert "live 3 0.2241 [0.2000, 0.2500] 0.2114" in said
    assert f"recent_pop 3 0.1200 [{DASH}, {DASH}] 0.1100" in said
    assert LIVE.mean == pytest.approx((0.2 + 0.21 + 0.2241) / 3)


def test_every_picture_has_words_for_those_who_do_not_see_it(page: str) -> None:
    labels = re.findall(r'<svg role="img" aria-label="([^"]+)"', page)
    assert [label.split(" of ")[0] for label in labels] == [
        "Which model served when", "MRR@20 by hour", "Evidence by hour",
    ]  # fmt: skip
    # And what each shows stands beside it as text.
    assert section(page, "live").count("<li><span") == len(HEALTH.served)


def test_pictures_draw_what_they_are_given() -> None:
    # A panel for the live model and one for the line, the floor in both.
    curves = curves_chart(CURVES)
    assert curves.count("stroke: var(--accent)") >= 1
    assert curves.count("stroke: var(--second)") >= 1
    assert curves.count("stroke-dasharray") >= 2
    only_floor = curves_chart(replace(CURVES, curves=(FLOOR,), marks=()))
    assert "recent_pop" in only_floor
    assert "promotion" in served_chart(HEALTH)
    assert "replaced by the watch" in served_chart(HEALTH)
    assert "stroke-dasharray" in growth_chart(HEALTH)


def test_a_replay_picture_is_carried_or_linked() -> None:
    carried = page_of(replace(BARE, replay=Picture("run-1", "../replay/run-1/c.png", "data:x")))
    assert '<img src="data:x" alt="Curves of replay run-1">' in carried
    linked = page_of(replace(BARE, replay=Picture("run-1", "../replay/run-1/c.png", None)))
    assert "<img" not in linked
    assert 'href="../replay/run-1/c.png"' in linked


def test_lights_of_models_stand_in_their_own_group() -> None:
    assert "Models</h2>" not in page_of(BARE)
    page = page_of(BARE, [Light("M", "red", "m")])
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


def test_two_weeks_of_six_lines_stay_light() -> None:
    n = 336
    random = np.random.default_rng(0)
    hours = tuple(str(Hour.parse("2016-03-14T00") + place) for place in range(n))
    at = np.arange(n) + 0.5

    def curve(name: str, role: str) -> Curve:
        value = random.uniform(0.1, 0.3, n)
        return Curve(name, role, at, value, value - 0.02, value + 0.02)  # type: ignore[arg-type]

    lines = [f"line {place}" for place in range(6)]
    curves = replace(
        CURVES,
        hours=hours,
        curves=(curve("live", "live"), *(curve(name, "candidate") for name in lines)),
    )
    growth = tuple(Growth(name, at, random.uniform(0.1, 9, n), np.full(n, 336)) for name in lines)
    served = tuple(
        Served("x", f"x-{k}", str(k), "promotion", None, hours[k], "s", "r", float(k), float(k + 1))
        for k in reversed(range(n))
    )
    health = replace(
        HEALTH, curves=curves, growth=growth, served=served, hours=hours, decisions=(HELD,) * 20
    )
    text = page_of(health)
    assert len(text.encode()) < 1_000_000
    assert "236 older ones are in the records alone" in words(text)


def test_signs_odds_and_times_as_people_read_them() -> None:
    assert [signed(v) for v in (0.01, -0.5, None, float("nan"), (1.0, -1.0, None))] == [
        "+0.0100", "-0.5000", DASH, DASH, f"+1.0000 [-1.0000, {DASH}]",
    ]  # fmt: skip
    assert [odds(v) for v in (0.034, 9.94, 336.4, 1e6, None)] == [
        "0.034", "9.9", "336", "over a million", DASH,
    ]  # fmt: skip
    assert stamp("2016-03-14T03:10:00+00:00") == "2016-03-14 03:10"
