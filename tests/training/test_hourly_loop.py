"""What the loop of an hour still does when one of its steps cannot be done."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace

import pytest

from pipeline.errors import HourglassError
from pipeline.hours import Hour
from pipeline.settings import Settings
from pipeline.workspace import Workspace
from training.loop import learn
from training.steps import Steps

STOP = Hour.parse("2016-03-14T13")


@pytest.fixture
def space(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    """Hours to learn from that are critical."""

    def refuse(*_: object) -> None:
        raise HourglassError("hours to learn from are critical")

    monkeypatch.setattr("pipeline.freezing.freeze_and_judge", refuse)
    return Workspace(Settings(work=tmp_path), datetime(2016, 3, 14, 14, tzinfo=UTC), as_json=True)


def test_without_a_data_set_the_live_model_recommends_and_the_hour_fails(
    space: Workspace, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    served: list[object] = []

    def recommend(_: Workspace, live: SimpleNamespace, at: datetime) -> SimpleNamespace:
        served.append((live.model_id, at))
        return SimpleNamespace(rows=20, users=1, path=tmp_path)

    live = SimpleNamespace(model_id="hrnn-before")
    monkeypatch.setattr("training.recommend_command.live_at", lambda *_: live)
    monkeypatch.setattr("training.recommend_command.recommend_all", recommend)
    with pytest.raises(HourglassError, match="hours to learn from are critical"):
        learn(space, STOP, Steps(space))
    assert served == [("hrnn-before", STOP.start)]


def test_where_nothing_is_live_either_the_first_cause_is_told(space: Workspace) -> None:
    with pytest.raises(HourglassError, match="hours to learn from are critical"):
        learn(space, STOP, Steps(space))
