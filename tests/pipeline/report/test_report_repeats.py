"""Repeat consumption against a walk through every user's events."""

from __future__ import annotations

from collections import defaultdict
from datetime import timedelta

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from report_rows import HOUR, table

from pipeline.lake.tables import SESSIONS
from pipeline.report.sessions import repeats

# (user, session number of the user, items in order)
Visits = list[tuple[str, str]]


def rows(visits: Visits) -> list[dict[str, object]]:
    """Sessions in the order given, a day apart; events ten seconds apart."""
    return [
        {
            "user_id": user,
            "session_id": f"{user}{visit}",
            "item_id": item,
            "session_start": HOUR.start + timedelta(days=visit),
            "event_time": HOUR.start + timedelta(days=visit, seconds=10 * position),
            "position": position,
        }
        for visit, (user, items) in enumerate(visits)
        for position, item in enumerate(items)
    ]


def slow(visits: Visits) -> tuple[list[str], list[float]]:
    """What each event is, and how long ago the item was for those of an earlier session."""
    kinds, waits = [], []
    last: dict[str, dict[str, float]] = defaultdict(dict)
    for visit, (user, items) in enumerate(visits):
        here: set[str] = set()
        for position, item in enumerate(items):
            time_s = visit * 86_400 + position * 10.0
            if item in here:
                kinds.append("immediate" if items[position - 1] == item else "within")
            elif item in last[user]:
                kinds.append("across")
                waits.append(time_s - last[user][item])
            else:
                kinds.append("new")
            here.add(item)
            last[user][item] = time_s
    return kinds, waits


VISITS = st.lists(
    st.tuples(st.sampled_from(["ann", "bob"]), st.text("abc", min_size=1, max_size=6)),
    min_size=1,
    max_size=8,
)


@settings(max_examples=120, deadline=None)
@given(VISITS, st.randoms(use_true_random=False))
def test_every_event_is_what_a_walk_says(visits: Visits, random: object) -> None:
    events = rows(visits)
    random.shuffle(events)  # type: ignore[attr-defined]
    result = repeats(table(SESSIONS, *events))
    kinds, waits = slow(visits)
    assert result is not None
    n = len(kinds)
    assert result.events == n
    assert result.immediate == pytest.approx(kinds.count("immediate") / n)
    assert result.within == pytest.approx((kinds.count("immediate") + kinds.count("within")) / n)
    assert result.across == pytest.approx(kinds.count("across") / n)
    assert result.new == pytest.approx(kinds.count("new") / n)
    assert (result.returns.n if result.returns else 0) == len(waits)
    if waits:
        assert result.returns is not None
        assert result.returns.median_s == pytest.approx(np.median(waits))


def test_shares_by_position() -> None:
    result = repeats(table(SESSIONS, *rows([("ann", "aba"), ("ann", "bcc"), ("bob", "a")])))
    assert result is not None
    assert result.labels == ("1", "2", "3-4")
    within, across, new = result.by_position
    assert within == pytest.approx([0, 0, 1])
    assert across == pytest.approx([1 / 3, 0, 0])
    assert new == pytest.approx([2 / 3, 1, 0])


def test_long_sessions_share_the_last_class() -> None:
    result = repeats(table(SESSIONS, *rows([("ann", "ab" * 100)])))
    assert result is not None
    assert result.labels[-1] == "33+"
    assert result.by_position.sum(axis=0) == pytest.approx(1)
    assert repeats(table(SESSIONS)) is None
