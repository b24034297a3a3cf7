"""Who served when: hours of the log where they are known, the clock where it falls among them."""

from __future__ import annotations

from pathlib import Path

from report_hours import FIRST

from pipeline.hours import Hour, HourRange
from training.deployment.champion_history import Tenure
from training.report.champion import marks, served, turn_of

HOURS = HourRange(FIRST, FIRST + 10)


def tenure(
    since: Hour | None, until: Hour | None, reason: str = "promoted", **said: object
) -> Tenure:
    fields = {
        "model_id": "m", "version": "1", "name": "hrnn", "since_at": None, "since_hour": since,
        "until_at": None, "until_hour": until, "reason": reason, "sentence": "s",
        "record": Path("r.json"),
    }  # fmt: skip
    return Tenure(**(fields | said))  # type: ignore[arg-type]


def test_newest_first_in_places_of_the_report() -> None:
    found = served([tenure(FIRST - 4, FIRST + 3, "bootstrap"), tenure(FIRST + 3, None)], HOURS)
    assert [(one.turn, one.start, one.stop) for one in found] == [
        ("promotion", 3, None), ("bootstrap", -4, 3),
    ]  # fmt: skip
    # What began before the report is no change in it.
    assert [(mark.at, mark.turn) for mark in marks(found, 10)] == [(3, "promotion")]


def test_a_change_by_hand_stands_where_its_clock_falls_among_the_hours() -> None:
    cases = {"2016-03-14T02:30:00+00:00": 2.5, "2026-01-01T00:00:00+00:00": None,
             "2016-03-14T02:30:00": None, "yesterday": None}  # fmt: skip
    for at, place in cases.items():
        (one,) = served([tenure(None, None, "rolled_back_by_hand", since_at=at)], HOURS)
        assert (one.start, one.turn) == (place, "rollback")
        assert len(marks([one], 10)) == (place is not None)


def test_what_was_never_recorded() -> None:
    (one,) = served([tenure(None, FIRST + 1, "unknown", record=None)], HOURS)
    assert (one.turn, one.record, one.start, one.stop) == ("unknown", None, None, 1)
    assert turn_of("below_floor") == turn_of("cannot_score") == "watch"
