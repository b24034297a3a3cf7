"""The model part as a whole: of no model, of the first one, of a long history, of damage."""

from __future__ import annotations

import os
import shutil
from datetime import timedelta
from pathlib import Path

import pytest
from model_example import page_of
from report_hours import BASELINE, FIRST, World, decision, long_history, write_decision

from pipeline.hours import HourRange
from pipeline.report.format import StatusLight
from pipeline.sealed_json import write_record
from training.report.gather import SHOWN_DECISIONS, ModelHealth, model_health

HOURS = HourRange(FIRST, FIRST + 10)


def health_of(
    world: World, hours: HourRange, later_h: float = 0.5
) -> tuple[ModelHealth, dict[str, StatusLight]]:
    at = hours.stop.start + timedelta(hours=later_h)
    page = world.root / "reports" / "report.html"
    health, lights = model_health(world.settings, world.registry, hours, at, page)
    return health, {light.name: light for light in lights}


def test_nothing_yet_is_grey_and_says_what_to_run(tmp_path: Path) -> None:
    health, lights = health_of(World(tmp_path), HOURS)
    assert {light.colour for light in lights.values()} == {"grey"}
    assert "hourglass gate" in lights["Live model"].sentence
    page = page_of(health, list(lights.values()))
    for sentence in ("No model is live yet", "The gate has not decided yet", "No hour of this"):
        assert sentence in page
    assert "<svg" not in page


def test_only_the_first_model(tmp_path: Path) -> None:
    world = World(tmp_path)
    baseline = world.model(BASELINE, FIRST)
    record = world.goes_live("bootstrap", baseline, FIRST + 1, sentence="The floor comes first.")
    world.card(baseline, FIRST)
    health, lights = health_of(world, HOURS)
    live = health.live
    assert live is not None
    assert (live.period.name, live.period.version, live.period.since_hour) == (
        BASELINE, "1", FIRST + 1,
    )  # fmt: skip
    assert (live.age_h, live.behind_h) == (10.5, 10)
    assert (live.previous, live.rollback) == (None, None)
    assert live.show is not None
    assert record in live.show
    assert lights["Live model"].colour == lights["Model age"].colour == "green"
    page = page_of(health, list(lights.values()))
    assert "The floor comes first." in page
    assert "nothing to go back to" in page
    assert "hourglass rollback" not in page


@pytest.fixture(scope="module")
def long(tmp_path_factory: pytest.TempPathFactory) -> tuple[World, HourRange]:
    return long_history(tmp_path_factory.mktemp("long"), 60, n_models=2)


def test_a_long_history(long: tuple[World, HourRange]) -> None:
    world, hours = long
    health, lights = health_of(world, hours)
    assert health.live is not None
    assert (health.live.period.name, health.live.period.reason) == ("hrnn_trend", "promoted")
    assert health.live.previous is not None
    assert health.live.rollback == "hourglass rollback --reason 'why'"
    # The decision behind the promotion, not its record, holds the numbers.
    assert health.live.show is not None
    assert f"/{hours.first + 30}-{health.live.period.model_id}" in health.live.show
    assert [change.turn for change in health.served] == ["promotion", "promotion", "bootstrap"]
    assert [(change.start, change.stop) for change in health.served] == [
        (31, None),
        (16, 31),
        (0, 16),
    ]
    assert [curve.name for curve in health.curves] == ["live", BASELINE, "hrnn", "hrnn_trend"]
    assert {curve.judged for curve in health.curves} == {54}
    assert health.tally == {"promote": 2, "hold": 106, "block": 0}
    assert len(health.decisions) == SHOWN_DECISIONS
    assert health.older_decisions == 108 - SHOWN_DECISIONS
    assert {light.colour for light in lights.values()} == {"green"}
    assert "Records" not in lights


def test_a_long_history_on_the_page(long: tuple[World, HourRange]) -> None:
    page = page_of(health_of(*long)[0])
    assert page.count("<svg") == 3
    assert "<script" not in page
    assert page.count("<details><summary>1 check:") == SHOWN_DECISIONS
    assert "2 promote, 106 hold, 0 block" in " ".join(page.split())


def test_charts_begin_with_the_first_judged_hour(tmp_path: Path) -> None:
    world = World(tmp_path)
    baseline = world.model(BASELINE, FIRST)
    world.goes_live("bootstrap", baseline, FIRST - 3)
    cases = {20: 20, 55: 48}  # with twelve hours at least
    for judged, begins in cases.items():
        model = world.model("hrnn", FIRST + judged)
        path = write_decision(tmp_path, decision(FIRST + judged, "hrnn", model, baseline))
        health, _ = health_of(world, HourRange(FIRST, FIRST + 60))
        path.unlink()
        assert (health.hours[0], health.hours[-1]) == (str(FIRST + begins), str(FIRST + 59))
        assert health.served[0].start == -3 - begins
        assert health.growth[0].at.tolist() == [judged - begins + 0.5]


def test_slices_of_the_last_evaluation_small_ones_marked(long: tuple[World, HourRange]) -> None:
    slices = health_of(*long)[0].slices
    assert slices is not None
    assert slices.columns == ("live", "hrnn_trend", BASELINE)
    assert slices.hours == "2016-03-16T11 to 2016-03-16T12"
    by_name = {row.name: row for row in slices.rows}
    assert by_name["item/new"].users < slices.min_users
    assert by_name["item/new"].figures[0] is None  # the live model has no figures there
    assert by_name["item/new"].figures[1] == pytest.approx((0.2, 0.18, 0.22))
    assert by_name["session/short"].users >= slices.min_users


def test_verdicts_on_slices_are_those_of_the_last_decision_that_has_them(tmp_path: Path) -> None:
    world, hours = long_history(tmp_path, 8, n_models=2)
    model = world.model("hrnn", hours.first)
    gain = {"mean": 0.01, "lower": -0.02, "upper": 0.04}
    slices = {"item/head": {"difference": gain, "verdict": "harmless"}}
    content = decision(hours.first + 5, "hrnn", model, None) | {"slices": slices}
    write_decision(tmp_path, content)
    slices_shown = health_of(world, hours)[0].slices
    assert slices_shown is not None
    assert slices_shown.decided == "hrnn at 2016-03-14T05"
    assert slices_shown.columns == ("live", "hrnn", BASELINE)
    verdicts = {row.name: (row.gain, row.verdict) for row in slices_shown.rows}
    assert verdicts["item/head"] == ((0.01, -0.02, 0.04), "harmless")
    assert verdicts["item/new"] == (None, None)


def test_damage_is_named_and_the_rest_shown(long: tuple[World, HourRange], tmp_path: Path) -> None:
    world, hours = long
    copy = World(tmp_path / "copy", world.client)
    shutil.copytree(world.root, copy.root)
    path = max((copy.root / "decisions").glob("2016*.json"))
    path.chmod(0o644)
    path.write_text(path.read_text().replace("hold", "promote"))
    (copy.root / "decisions" / str(world.client.record)).unlink()
    shutil.rmtree(copy.root / "models")
    health, lights = health_of(copy, hours)
    assert any(path.name in sentence for sentence in health.damaged)
    assert len(health.decisions) == SHOWN_DECISIONS
    assert lights["Records"].colour == "amber"
    assert lights["Live model"].colour == "red"
    assert "cannot be read" in lights["Live model"].sentence
    assert health.live is not None
    assert health.live.period.version == world.client.live.version  # type: ignore[union-attr]
    assert path.name in page_of(health, list(lights.values()))


def test_a_decision_without_its_candidate_is_damage_too(tmp_path: Path) -> None:
    world = World(tmp_path)
    model = world.model("hrnn", FIRST)
    for change in ({"reasons": None}, {"as_of": "yesterday"}, {"checks": [1]}):
        content = decision(FIRST, "hrnn", model, None)
        path = write_record(tmp_path / "decisions", f"{FIRST}-{model.model_id}", content | change)
        health, lights = health_of(world, HOURS)
        assert health.decisions == []
        assert lights["Records"].sentence.startswith(f"decisions/{path.name}: not a whole decision")
        path.unlink()


def test_a_record_lost_from_the_middle_is_named_but_not_the_time_before_records(
    tmp_path: Path,
) -> None:
    world = World(tmp_path)
    world.client.live = world.model(BASELINE, FIRST)  # live from before there were records
    first = world.goes_live("promotion", world.model("hrnn", FIRST + 1), FIRST + 1)
    world.goes_live("promotion", world.model("hrnn", FIRST + 2), FIRST + 2)
    health, lights = health_of(world, HOURS)
    assert [change.turn for change in health.served] == ["promotion", "promotion", "unknown"]
    assert "Records" not in lights
    (tmp_path / "decisions" / first).unlink()
    health, lights = health_of(world, HOURS)
    assert [change.turn for change in health.served] == ["promotion", "unknown"]
    assert f"decisions/{first}: the record is lost" in lights["Records"].sentence


def test_names_that_are_no_ascii_and_hostile_text(tmp_path: Path) -> None:
    world = World(tmp_path)
    trap = '"><script>alert(1)</script>'
    model = world.model("hrnn", FIRST)
    world.goes_live("bootstrap", model, FIRST, sentence=f"Größe 模型 {trap}")
    content = {"sentence": trap, "reasons": [trap]}
    write_decision(tmp_path, decision(FIRST, f"линия {trap}", model, None, **content))
    page = page_of(health_of(world, HOURS)[0])
    assert "<script" not in page
    assert "Größe 模型 &#34;&gt;&lt;script&gt;" in page
    assert "линия" in page


def test_a_registry_that_cannot_be_read_is_red_and_the_page_is_made(tmp_path: Path) -> None:
    world, _ = long_history(tmp_path, 8, n_models=1)

    class Broken:
        def get_model_version_by_alias(self, name: str, alias: str) -> None:
            raise OSError("disk gone")

    world.client = Broken()  # type: ignore[assignment]
    health, lights = health_of(world, HOURS)
    assert lights["Live model"].colour == "red"
    assert "disk gone" in lights["Live model"].sentence
    assert len(health.decisions) == 8


def test_the_newest_replay_is_shown(tmp_path: Path) -> None:
    world = World(tmp_path)
    for run in ("first", "second"):
        (tmp_path / "replay" / run).mkdir(parents=True)
        (tmp_path / "replay" / run / "curve.png").write_text("<svg/>")
    os.utime(tmp_path / "replay" / "first" / "curve.png", (1, 1))
    health, lights = health_of(world, HOURS)
    assert health.replay is not None
    assert health.replay.run == "second"
    page = page_of(health, list(lights.values()))
    assert 'href="../replay/second/curve.png"' in page
    assert "data:image/png;base64," in page
    (tmp_path / "replay" / "second" / "curve.png").write_text("x" * 500_000)
    health, _ = health_of(world, HOURS)
    assert health.replay is not None
    assert health.replay.data is None
