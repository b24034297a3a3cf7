"""Who served when: hours of the log where they are known, the clock where it falls among them."""

from __future__ import annotations

from pathlib import Path

from report_hours import FIRST

from pipeline.hours import Hour, HourRange
from training.deployment.champion_history import ChampionPeriod
from training.report.champion import served_periods

HOURS = HourRange(FIRST, FIRST + 10)


def tenure(
    since: Hour | None, until: Hour | None, reason: str = "promoted", **changes: object
) -> ChampionPeriod:
    fields = {
        "model_id": "m", "version": "1", "name": "hrnn", "since_at": None, "since_hour": since,
        "until_at": None, "until_hour": until, "reason": reason, "sentence": "s",
        "record": Path("r.json"),
    }  # fmt: skip
    return ChampionPeriod(**(fields | changes))  # type: ignore[arg-type]


def test_newest_first_in_places_of_the_report() -> None:
    changes = served_periods(
        [tenure(FIRST - 4, FIRST + 3, "bootstrap"), tenure(FIRST + 3, None)], HOURS
    )
    assert [(change.turn, change.start, change.stop) for change in changes] == [
        ("promotion", 3, None), ("bootstrap", -4, 3),
    ]  # fmt: skip


def test_a_change_by_hand_stands_where_its_clock_falls_among_the_hours() -> None:
    cases = {"2016-03-14T02:30:00+00:00": 2.5, "2026-01-01T00:00:00+00:00": None,
             "2016-03-14T02:30:00": None, "yesterday": None}  # fmt: skip
    for at, place in cases.items():
        (change,) = served_periods([tenure(None, None, "rolled_back_by_hand", since_at=at)], HOURS)
        assert (change.start, change.turn) == (place, "rollback")


def test_what_was_never_recorded() -> None:
    (change,) = served_periods([tenure(None, FIRST + 1, "unknown", record=None)], HOURS)
    assert (change.turn, change.start, change.stop) == ("unknown", None, 1)


def test_the_monitor_has_several_reasons() -> None:
    replaced = [tenure(None, None, reason) for reason in ("below_floor", "cannot_score")]
    assert [change.turn for change in served_periods(replaced, HOURS)] == ["monitor", "monitor"]
