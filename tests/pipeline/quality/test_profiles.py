"""Profiles against counting by hand, row by row."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from datetime import timedelta
from statistics import median

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from quality_rows import HOUR, event, events, session_event, sessions

from pipeline.hours import Hour, HourRange
from pipeline.quality.profiles import (
    MAX_NAMES,
    OTHERS,
    event_profile,
    half_octave_text,
    half_octaves,
    octave_text,
    session_profile,
)

HOURS = HourRange(HOUR, HOUR + 2)
Weights = dict[tuple[Hour, str, str], float]


def weights(profile: pa.Table) -> Weights:
    rows = profile.to_pylist()
    found = {(Hour.of(r["hour"]), r["distribution"], r["bin"]): r["weight"] for r in rows}
    assert len(found) == len(rows)
    return found


def octave(n: int) -> str:
    """1, 2, 3-4, 5-8, ... found by trying."""
    low, high = 1, 1
    while n > high:
        low, high = high + 1, high * 2
    return str(n) if low == high else f"{low}-{high}"


def half_octave(value: float) -> str:
    if value <= 0:
        return "0" if value == 0 else "below 0"
    bin_ = 0
    while 2 ** ((bin_ + 1) / 2) <= value:
        bin_ += 1
    while 2 ** (bin_ / 2) > value:
        bin_ -= 1
    return half_octave_text(bin_)


def slow_event_profile(rows: list[dict[str, object]]) -> Weights:
    found: Weights = {}
    for hour in HOURS:
        mine = [row for row in rows if row["hour"] == hour.start]
        users = Counter(row["user_id"] for row in mine)
        items = Counter(row["item_id"] for row in mine)
        found[hour, "count", "events"] = len(mine)
        found[hour, "count", "users"] = len(users)
        found[hour, "count", "items"] = len(items)
        tally: Counter[tuple[str, str]] = Counter()
        for row in mine:
            tally["event_type", str(row["event_type"])] += 1
            for key, value in row["context"]:  # type: ignore[attr-defined]
                tally["context", key] += value is not None
            if row["value"] is not None:
                tally["value", half_octave(float(str(row["value"])))] += 1
            tally["item_events", octave(items[row["item_id"]])] += 1
        for n in users.values():
            tally["user_events", octave(n)] += 1
        found.update({(hour, *name): float(n) for name, n in tally.items() if n})
        if mine:
            found[hour, "fact", "events_per_user"] = len(mine) / len(users)
            found[hour, "fact", "share_of_top_user"] = max(users.values()) / len(mine)
            found[hour, "fact", "share_of_top_item"] = max(items.values()) / len(mine)
        values = [float(str(row["value"])) for row in mine if row["value"] is not None]
        if values:
            found[hour, "fact", "value_median"] = median(values)
        if mine:
            found[hour, "fact", "value_share"] = len(values) / len(mine)
    return found


event_rows = st.lists(
    st.builds(
        event,
        key=st.just("k"),
        hour=st.sampled_from([HOUR.start, HOUR.end]),
        user_id=st.sampled_from("abc"),
        item_id=st.sampled_from("xyzw"),
        event_type=st.sampled_from(["view", "buy"]),
        value=st.none() | st.floats(-1, 3000, allow_subnormal=False),
        context=st.lists(
            st.tuples(st.sampled_from(["page", "device"]), st.none() | st.just("v")),
            unique_by=lambda pair: pair[0],
        ),
    ),
    max_size=40,
)


@settings(deadline=None)
@given(event_rows)
def test_events_are_counted_as_by_hand(rows: list[dict[str, object]]) -> None:
    found = weights(event_profile(HOURS, events(*rows)))
    wanted = slow_event_profile(rows)
    assert found.keys() == wanted.keys()
    assert all(math.isclose(found[name], wanted[name]) for name in wanted)


@settings(deadline=None)
@given(st.lists(st.lists(st.integers(0, 4000), min_size=1, max_size=9), max_size=6))
def test_sessions_are_counted_as_by_hand(gaps: list[list[int]]) -> None:
    rows = []
    tally: Counter[tuple[str, str]] = Counter()
    dwells: dict[Hour, list[float]] = defaultdict(list)
    for n, of_session in enumerate(gaps):
        hour = HOUR + n % 2
        at_s = 0
        for position, gap_s in enumerate(of_session):
            last = position == len(of_session) - 1
            rows.append(
                session_event(
                    position,
                    hour=hour.start,
                    session_id=f"s{n}",
                    session_start=HOUR.start,
                    event_time=HOUR.start + timedelta(seconds=at_s),
                    dwell_s=None if last else float(gap_s),
                )
            )
            if not last:
                tally[str(hour) + " dwell_s", half_octave(gap_s)] += 1
                dwells[hour].append(gap_s)
                at_s += gap_s
        tally[str(hour) + " session_events", octave(len(of_session))] += 1
        tally[str(hour) + " session_duration_s", half_octave(at_s)] += 1
    found = weights(session_profile(HOURS, sessions(*rows)))
    for hour in HOURS:
        for distribution in ("dwell_s", "session_events", "session_duration_s"):
            mine = {bin_: n for (h, d, bin_), n in found.items() if (h, d) == (hour, distribution)}
            name = f"{hour} {distribution}"
            assert mine == {bin_: n for (where, bin_), n in tally.items() if where == name}
        if dwells[hour]:
            assert found[hour, "session_fact", "dwell_median_s"] == median(dwells[hour])
    n_sessions = sum(n for (_, d, b), n in found.items() if (d, b) == ("session_count", "sessions"))
    assert n_sessions == len(gaps)


def test_an_hour_without_events_is_known_to_have_none() -> None:
    found = weights(event_profile(HOURS, events()))
    assert set(found.values()) == {0.0}
    assert {(hour, bin_) for hour, _, bin_ in found} == {
        (hour, name) for hour in HOURS for name in ("events", "users", "items")
    }


def test_a_flood_of_names_stays_small() -> None:
    rows = [event(f"k{n}", event_type=f"type {n}") for n in range(500)]
    rows += [event("k", event_type="view")] * 3
    found = weights(event_profile(HOURS, events(*rows)))
    types = {bin_: n for (_, d, bin_), n in found.items() if d == "event_type"}
    assert len(types) == MAX_NAMES + 1
    assert types["view"] == 3
    assert types[OTHERS] == 503 - 3 - (MAX_NAMES - 1)


@pytest.mark.parametrize("power", range(-8, 24))
def test_bins_begin_at_powers_of_the_root_of_two(power: int) -> None:
    import numpy as np

    edge = 2 ** (power / 2)
    assert half_octaves(np.array([edge, edge * 1.0001, edge * 0.9999])).tolist() == [
        power,
        power,
        power - 1,
    ]


def test_octaves_are_named_by_what_they_hold() -> None:
    assert [octave_text(bin_) for bin_ in range(5)] == ["1", "2", "3-4", "5-8", "9-16"]
