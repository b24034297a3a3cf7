"""Each preset of the demo: settings that load, for a log that is known by its name."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.hours import parse_duration_h
from pipeline.settings.settings import load_settings
from pipeline.sources import SOURCE_NAMES, source_for
from pipeline.sources.known_logs import KNOWN_LOGS
from training.loop.demo import demo_settings, presets

#: Logs that nobody has but who collects them, Diginetica's few purchases, and MIND's past, which
#: has no times of its own.
NO_DEMO = {
    *("diginetica_purchases", "ga4", "ga4_json", "matomo", "matomo_actions", "mind_history"),
    *("posthog", "segment", "snowplow"),
}


@pytest.mark.parametrize("name", presets())
def test_a_preset_is_settings_of_the_log_of_its_name(name: str, tmp_path: Path) -> None:
    assert name in SOURCE_NAMES
    settings = load_settings(None, demo_settings(name, tmp_path / "raw", None, tmp_path))
    assert settings.source.name == name
    assert settings.source.path == (tmp_path / "raw").absolute()
    source = source_for(settings.source)
    assert source.name == name
    window = parse_duration_h(settings.dataset.window)
    assert parse_duration_h(settings.dataset.history) <= window
    assert 0 < parse_duration_h(settings.evaluation.horizon) <= window


def test_every_public_log_has_a_preset() -> None:
    assert set(presets()) == {*KNOWN_LOGS, "access_log"} - NO_DEMO


def test_rules_and_types_of_presets_are_of_columns_that_the_log_has() -> None:
    def parse(name: str, header: str | None, line: str) -> object:
        settings = load_settings(None, demo_settings(name, Path("raw"), None, Path("work")))
        return source_for(settings.source).parser(header, "f")(line)

    late = "user_000001\t2013-05-04T23:08:57Z\t\tAn artist\t\tA song"
    assert getattr(parse("lastfm_1k", None, late), "rule", None) == "later than the log"
    timely = late.replace("2013", "2009")
    assert getattr(parse("lastfm_1k", None, timely), "item_id", None) == "An artist"
