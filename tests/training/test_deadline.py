"""The deadline of an hour is the clock's: what counts is what was published, and when."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from webhook import webhook

from pipeline.hours import Hour
from pipeline.settings.settings import Settings
from pipeline.workspace import CommandContext
from training.cli.main import run
from training.recommend.publish import FILE, first_published, note_published
from training.steps.deadline import deadline_step, missed_deadline

HOUR = Hour.parse("2016-03-14T13")
DUE = datetime(2016, 3, 14, 14, 20, tzinfo=UTC)
MINUTE = timedelta(minutes=1)


def publish(work: Path, hour: Hour, at: datetime | None) -> Path:
    """Recommendations of an hour, which are as of its end; None: by a version that noted no time"""
    folder = work / "recommendations" / str(hour + 1)
    folder.mkdir(parents=True)
    (folder / FILE).write_bytes(b"")
    if at is not None:
        note_published(folder, at)
    return folder


def test_an_hour_that_was_published_in_time_is_fine(tmp_path: Path) -> None:
    publish(tmp_path, HOUR, DUE)
    assert missed_deadline(Settings(work=tmp_path), DUE) is None


def test_before_the_deadline_the_hour_before_counts(tmp_path: Path) -> None:
    publish(tmp_path, HOUR - 1, DUE - timedelta(hours=1))
    assert missed_deadline(Settings(work=tmp_path), DUE - MINUTE) is None
    missed = missed_deadline(Settings(work=tmp_path), DUE)
    assert missed is not None
    assert (missed.hour, missed.last, missed.due) == (HOUR, HOUR - 1, DUE)
    assert missed.sentence == (
        "the recommendations of hour 2016-03-14T13, due at 14:20 (UTC), are not published; the "
        "last are of hour 2016-03-14T12"
    )


def test_an_hour_that_was_published_late_missed_it_too(tmp_path: Path) -> None:
    publish(tmp_path, HOUR, DUE + 3 * MINUTE)
    missed = missed_deadline(Settings(work=tmp_path), DUE + 15 * MINUTE)
    assert missed is not None
    assert missed.sentence.endswith("were published at 2016-03-14T14:23")


def test_publishing_again_makes_an_hour_no_later(tmp_path: Path) -> None:
    folder = publish(tmp_path, HOUR, DUE - MINUTE)
    note_published(folder, DUE + MINUTE)
    assert first_published(folder) == DUE - MINUTE
    assert missed_deadline(Settings(work=tmp_path), DUE + MINUTE) is None


def test_what_a_version_before_published_was_in_time(tmp_path: Path) -> None:
    publish(tmp_path, HOUR, None)
    assert missed_deadline(Settings(work=tmp_path), DUE) is None


def test_a_longer_deadline_may_reach_into_the_next_hour(tmp_path: Path) -> None:
    settings = Settings(work=tmp_path, notify={"deadline_min": 90})  # type: ignore[arg-type]
    missed = missed_deadline(settings, datetime(2016, 3, 14, 15, 31, tzinfo=UTC))
    assert missed is not None
    assert missed.hour == HOUR
    assert missed.due == datetime(2016, 3, 14, 15, 30, tzinfo=UTC)


def test_a_hole_is_told_once_until_hours_are_published_again(tmp_path: Path) -> None:
    publish(tmp_path, HOUR - 1, DUE - timedelta(hours=1))
    with webhook() as hook:
        settings = Settings(work=tmp_path, site="shop", notify={"to": (hook.address,)})  # type: ignore[arg-type]
        ctx = CommandContext(settings, DUE)
        for later_h in (0, 0.25, 1, 2):
            assert deadline_step(replace(ctx, clock=DUE + timedelta(hours=later_h))).value
        assert hook.titles == ["Hourglass shop: deadline missed, hour 2016-03-14T13"]
        publish(tmp_path, HOUR + 2, DUE + timedelta(hours=2, minutes=-1))
        assert deadline_step(replace(ctx, clock=DUE + timedelta(hours=2))).value is None
        assert deadline_step(replace(ctx, clock=DUE + timedelta(hours=3))).value is not None
    assert hook.titles[1:] == ["Hourglass shop: deadline missed, hour 2016-03-14T16"]
    assert "no event of it was taken in" in hook.messages[0]["message"]


def test_an_hour_that_comes_late_after_it_was_missed_is_not_told_twice(tmp_path: Path) -> None:
    publish(tmp_path, HOUR - 1, DUE - timedelta(hours=1))
    with webhook() as hook:
        settings = Settings(work=tmp_path, notify={"to": (hook.address,)})  # type: ignore[arg-type]
        ctx = CommandContext(settings, DUE)
        deadline_step(ctx)
        publish(tmp_path, HOUR, DUE + 5 * MINUTE)
        assert deadline_step(replace(ctx, clock=DUE + 15 * MINUTE)).value is not None
    assert len(hook.messages) == 1


def test_without_a_deadline_nothing_is_late(tmp_path: Path) -> None:
    with webhook() as hook:
        notify = {"to": (hook.address,), "deadline_min": 0}
        settings = Settings(work=tmp_path, notify=notify)  # type: ignore[arg-type]
        done = deadline_step(CommandContext(settings, DUE))
    assert done.value is None
    assert done.line == "there is no deadline: notify.deadline_min is 0"
    assert hook.messages == []


def test_the_command_ends_with_1_where_an_hour_is_late(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("HOURGLASS_CONFIG", raising=False)
    (tmp_path / "hourglass.yaml").write_text("work: shop\n")
    assert run(["deadline", "--json"]) == 1
    captured = capfd.readouterr()
    assert json.loads(captured.out)["missed"] is True
    assert captured.err.startswith("hourglass: deadline missed: the recommendations of hour ")
    (tmp_path / "hourglass.yaml").write_text("work: shop\nnotify: {deadline_min: 0}\n")
    assert run(["deadline"]) == 0
