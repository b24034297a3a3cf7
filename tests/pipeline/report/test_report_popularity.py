"""Popularity and its churn against slow, obvious references."""

from __future__ import annotations

from collections import Counter, defaultdict
from datetime import timedelta

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from report_rows import HOUR, table

from pipeline.lake.tables import ITEM_HOURS
from pipeline.report.popularity import churn, popularity


def test_popularity_adds_up_hours_and_ranks() -> None:
    counts = [("tea", 0, 5), ("tea", 1, 4), ("cup", 0, 1), ("pot", 1, 1)]
    result = popularity(
        table(
            ITEM_HOURS,
            *(
                {"hour": (HOUR + h).start, "item_id": item, "events": n, "users": 1}
                for item, h, n in counts
            ),
        ),
        top=2,
    )
    assert result is not None
    assert result.top == (("tea", 9, 9 / 11), ("cup", 1, 1 / 11))
    assert (result.items, result.events) == (3, 11)
    assert result.shares.tolist() == pytest.approx([9 / 11, 10 / 11, 1])
    assert result.share_of(0.01) == pytest.approx(9 / 11)
    assert result.share_of(1) == 1
    assert popularity(table(ITEM_HOURS)) is None


def item_hours(counts: list[tuple[int, str, int]]) -> pa.Table:
    return table(
        ITEM_HOURS,
        *(
            {"hour": HOUR.start + timedelta(hours=h), "item_id": item, "events": n, "users": 1}
            for h, item, n in counts
        ),
    )


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(1, 50), min_size=1, max_size=30))
def test_gini_is_half_the_mean_difference_and_half_is_counted(events: list[int]) -> None:
    result = popularity(item_hours([(0, f"i{n:02d}", count) for n, count in enumerate(events)]))
    assert result is not None
    differences = [abs(a - b) for a in events for b in events]
    slow = sum(differences) / (2 * len(events) * sum(events))
    assert result.gini == pytest.approx(slow, abs=1e-9)
    events_so_far, needed = 0, 0
    for count in sorted(events, reverse=True):
        if 2 * events_so_far >= sum(events):
            break
        events_so_far, needed = events_so_far + count, needed + 1
    assert result.half == needed


COUNTS = st.lists(
    st.tuples(st.integers(0, 90), st.sampled_from("abcdefgh"), st.integers(1, 5)),
    min_size=1,
    max_size=60,
)


@settings(max_examples=80, deadline=None)
@given(COUNTS)
def test_churn_of_days_is_that_of_the_definition(counts: list[tuple[int, str, int]]) -> None:
    result = churn(item_hours(counts), top=3)
    by_day: dict[int, Counter[str]] = defaultdict(Counter)
    for hour, item, n in counts:
        by_day[(HOUR.index + hour) // 24][item] += n
    tops = {
        day: set(sorted(items, key=lambda item: (-items[item], item))[:3])
        for day, items in sorted(by_day.items())
    }
    if len(tops) < 3:
        assert result is None
        return
    assert result is not None
    assert (result.unit, len(result.starts)) == ("day", len(tops))
    for (day, items), overlap in zip(list(tops.items())[:-1], result.overlap, strict=True):
        if day + 1 in tops:
            other = tops[day + 1]
            assert overlap == pytest.approx(len(items & other) / len(items | other))
        else:
            assert np.isnan(overlap)
    for lag, stays in enumerate(result.stays, start=1):
        shares = [len(t & tops[d + lag]) / len(t) for d, t in tops.items() if d + lag in tops]
        assert np.isnan(stays) if not shares else stays == pytest.approx(sum(shares) / len(shares))


def test_half_of_the_top_is_gone_where_the_line_crosses_one_half() -> None:
    # Each hour one of four items leaves the top for good: 3/4 stay an hour, 1/2 two.
    counts = [(hour, f"i{hour + n:03d}", 200) for hour in range(30) for n in range(4)]
    result = churn(item_hours(counts), top=4)
    assert result is not None
    assert result.unit == "hour"
    assert result.starts[:2] == ("2016-03-14T13", "2016-03-14T14")
    assert result.overlap == pytest.approx(3 / 5)
    assert result.mean_overlap == pytest.approx(3 / 5)
    assert result.stays[:5] == pytest.approx([3 / 4, 2 / 4, 1 / 4, 0, 0])
    assert result.half_life == pytest.approx(2)


def test_a_top_that_never_changes_has_no_half_life() -> None:
    result = churn(item_hours([(hour, item, 900) for hour in range(9) for item in "ab"]))
    assert result is not None
    assert result.half_life is None
    assert result.stays == pytest.approx(1)
    assert churn(item_hours([])) is None
