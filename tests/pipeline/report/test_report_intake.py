"""What came in and what was refused, counted by hand."""

from __future__ import annotations

import pandas as pd
import pytest
from report_rows import HOUR, table

from pipeline.hours import HourRange
from pipeline.lake.tables import EVENTS, QUARANTINE, SESSIONS, SOURCE_FILES
from pipeline.report.intake import hour_table, intake_rates, quarantine_reasons, volume


def test_the_hour_table_counts_by_hand() -> None:
    def event(hour: int, user: str, item: str, file: str) -> dict[str, object]:
        start = (HOUR + hour).start
        return {"hour": start, "user_id": user, "item_id": item, "source_file": file}

    def file(name: str, hour: int, duplicates: int) -> dict[str, object]:
        arrival = (HOUR + hour).start
        return {
            "source_file": name,
            "arrival": arrival,
            "duplicates": duplicates,
            "records": 10 + duplicates,
        }

    result = hour_table(
        HourRange(HOUR, HOUR + 3),
        table(
            EVENTS,
            event(0, "ann", "tea", "f0"),
            event(0, "ann", "cup", "f0"),
            event(0, "bob", "tea", "f2"),  # two hours late
            event(2, "bob", "tea", "f2"),
            event(2, "cy", "tea", "bulk"),  # loaded after the range
        ),
        table(
            SESSIONS,
            {"hour": (HOUR + 2).start, "session_id": "a"},
            {"hour": (HOUR + 2).start, "session_id": "a"},
            {"hour": (HOUR + 2).start, "session_id": "b"},
        ),
        table(
            SOURCE_FILES,
            file("f2", 0, 0),  # what it held before it was rewritten
            *(file("f0", 0, 3), file("f2", 2, 1), file("bulk", 900, 50)),
        ),
        table(QUARANTINE, *({"hour": (HOUR + 1).start, "reason": "r"} for _ in range(4))),
    )
    assert result.columns.tolist() == [
        "hour", "events", "users", "items", "sessions_closed", "late", "records", "duplicates",
        "quarantined",
    ]  # fmt: skip
    assert result.to_numpy().tolist() == [
        ["2016-03-14T13", 3, 2, 2, 0, 1, 23, 3, 0],
        ["2016-03-14T14", 0, 0, 0, 0, 0, 0, 0, 4],
        ["2016-03-14T15", 2, 2, 1, 2, 0, 11, 1, 0],
    ]


def test_the_hour_table_of_nothing_is_zeros() -> None:
    empty = (table(spec) for spec in (EVENTS, SESSIONS, SOURCE_FILES, QUARANTINE))
    result = hour_table(HourRange(HOUR, HOUR + 2), *empty)
    assert result.drop(columns="hour").to_numpy().sum() == 0
    assert len(result) == 2


def test_quarantine_reasons_come_by_number_with_their_first_records() -> None:
    rows = [
        {"reason": reason, "source_file": file, "line": line, "raw": f"{reason}{line}"}
        for reason, file, line in [
            ("no user", "b", 9), ("no user", "a", 7), ("no user", "a", 2),
            ("bad time", "a", 1), ("no item", "a", 1),
        ]
    ]  # fmt: skip
    reasons = quarantine_reasons(table(QUARANTINE, *rows), top=2, examples=2)
    assert [(r.reason, r.records) for r in reasons] == [("no user", 3), ("bad time", 1)]
    assert [(e["source_file"], e["line"]) for e in reasons[0].examples] == [("a", 2), ("a", 7)]
    assert quarantine_reasons(table(QUARANTINE)) == ()


def hours(**columns: list[int]) -> pd.DataFrame:
    n = len(next(iter(columns.values())))
    names = ("events", "late", "records", "duplicates", "quarantined")
    return pd.DataFrame(
        {"hour": [str(HOUR + h) for h in range(n)]}
        | {name: columns.get(name, [0] * n) for name in names}
    )


def test_rates_are_of_the_last_day_and_of_all_before() -> None:
    table = hours(
        events=[10] * 24 + [50] * 24,
        late=[1] * 24 + [0] * 23 + [12],
        records=[20] * 24 + [60] * 24,
        duplicates=[0] * 47 + [36],
        quarantined=[2] * 24 + [0] * 24,
    )
    late, duplicates, quarantined = intake_rates(table)
    assert (late.last, late.before) == pytest.approx((12 / 1200, 0.1))
    assert (duplicates.last, duplicates.before) == pytest.approx((36 / 1440, 0))
    assert (quarantined.last, quarantined.before) == pytest.approx((0, 0.1))
    assert 0 < late.low < late.last


def test_a_log_that_came_in_one_piece_has_no_rates() -> None:
    assert intake_rates(hours(events=[10] * 48)) == ()


def test_volume_goes_by_24_hours_from_the_end() -> None:
    result = volume(hours(events=[7] * 5 + [1] * 24 + [2] * 24 + [3] * 20 + [0] * 4))
    assert result is not None
    assert (result.events, result.days, result.expected) == (60, (48, 24), 36)
    assert result.silent == tuple(str(HOUR + h) for h in range(73, 77))
    assert volume(hours(events=[1] * 47)) is None
