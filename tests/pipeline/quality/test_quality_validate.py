"""Results are replaced, bounded, escaped and quiet; wrong requests are told so."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from quality_rows import GOOD_EVENTS, HOUR, VALUES, event, events

from pipeline.errors import UsageError
from pipeline.quality.checks.expectations import validate_frame
from pipeline.quality.checks.suite import Check, Suite, load_suite
from pipeline.quality.hour_metrics import events_frame

if TYPE_CHECKING:
    pass


def snapshot(site: Path) -> dict[str, str]:
    folders = (site, site.parent / "validations")
    return {
        str(file.relative_to(site.parent)): file.read_text(encoding="utf-8")
        for folder in folders
        for file in folder.rglob("*")
        if file.is_file() and not file.name.startswith(".")
    }


def test_judging_again_changes_nothing_and_a_mended_hour_replaces_its_result(
    tmp_path: Path,
) -> None:
    site, suite = tmp_path / "data_docs", load_suite("events", VALUES)
    bad = events_frame(events(event("k", user_id=None)))
    validate_frame(suite, bad, str(HOUR), site, keep=5)
    first = snapshot(site)
    validate_frame(suite, bad, str(HOUR), site, keep=5)
    assert snapshot(site) == first

    validate_frame(suite, events_frame(events(*GOOD_EVENTS)), str(HOUR), site, keep=5)
    mended = snapshot(site)
    assert mended.keys() == first.keys()
    assert "1 critical" in first["data_docs/index.html"]
    assert "0 critical" in mended["data_docs/index.html"]


def test_only_the_batches_judged_last_stay(tmp_path: Path) -> None:
    site, suite = tmp_path / "data_docs", load_suite("events", VALUES)
    frame = events_frame(events())
    hours = [HOUR + n for n in (5, 6, 7, 0)]  # the last one judged is the oldest hour
    for hour in hours:
        validate_frame(suite, frame, str(hour), site, keep=3)
    kept = {str(HOUR + n) for n in (6, 7, 0)}
    for folder, ending in ((site, "html"), (tmp_path / "validations", "json")):
        pages = {file.stem for file in folder.rglob(f"*T*.{ending}")}
        assert pages == kept
    index = (site / "index.html").read_text(encoding="utf-8")
    assert set(re.findall(r"<strong>(.*?)</strong>", index)) == kept
    links = re.findall(r'href="(validations/[^"#]+\.html)"', index)
    assert len(links) == 3
    assert all((site / link).is_file() for link in links)


def test_pages_need_no_network_and_escape_what_the_log_says(tmp_path: Path) -> None:
    hostile = '<script>alert("x")</script>'
    frame = events_frame(events(event("k", event_type=hostile)))
    outcome = validate_frame(load_suite("events", VALUES), frame, str(HOUR), tmp_path / "d", 5)
    page = outcome.page.read_text(encoding="utf-8")
    assert "&lt;script&gt;alert(" in page
    for text in snapshot(tmp_path / "d").values():
        assert "://" not in text
    for html in (page, (tmp_path / "d" / "index.html").read_text(encoding="utf-8")):
        assert "<script" not in html


def test_nothing_is_printed(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    frame = events_frame(events(event("k", user_id=None))).drop(columns="value")
    validate_frame(load_suite("events", VALUES), frame, str(HOUR), tmp_path / "d", 5)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("check", "told"),
    [
        (("expect_the_best", {}), "no 'expect_the_best'"),
        (("expect_column_values_to_not_be_null", {}), "column"),
        (("expect_column_values_to_not_be_null", {"column": "a", "colour": 1}), "colour"),
    ],
)
def test_an_expectation_that_does_not_exist_is_a_usage_error(
    tmp_path: Path, check: tuple[str, dict[str, Any]], told: str
) -> None:
    suite = Suite("mine", (Check("c", "p", check[0], "critical", "", "", check[1]),))
    with pytest.raises(UsageError, match=told):
        validate_frame(suite, events_frame(events()), str(HOUR), tmp_path, keep=5)


def test_names_that_could_leave_the_folder_are_refused(tmp_path: Path) -> None:
    suite = load_suite("events", VALUES)
    for name in ("../x", "", "a/b", "a.b"):
        with pytest.raises(UsageError, match="batch name"):
            validate_frame(suite, events_frame(events()), name, tmp_path, keep=5)
    with pytest.raises(UsageError, match="keep = 0"):
        validate_frame(suite, events_frame(events()), str(HOUR), tmp_path, keep=0)


def test_results_are_plain_json(tmp_path: Path) -> None:
    frame = events_frame(events(event("k", value=math.inf)))
    validate_frame(load_suite("events", VALUES), frame, str(HOUR), tmp_path / "d", 5)
    (file,) = (tmp_path / "validations").rglob("*T*.json")
    content = json.loads(file.read_text(encoding="utf-8"))
    assert content["suite_name"] == "events"
    assert content["success"] is False
