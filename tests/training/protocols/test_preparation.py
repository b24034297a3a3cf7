"""Each rule of the preparation against a slow and obvious count."""

from __future__ import annotations

from collections import Counter, defaultdict

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from small_logs import log, random_log, rows_of

from training.protocols.events import Log
from training.protocols.preparation import (
    last_of_user,
    no_repeat,
    of_frequent,
    of_latest_sessions,
    of_users_with_sessions,
    prepared,
    windows,
)
from training.protocols.protocol import Preparation

SEEDS = st.integers(0, 10_000)


@settings(max_examples=25, deadline=None)
@given(SEEDS, st.integers(1, 40))
def test_frequent_codes_stay(seed: int, least: int) -> None:
    events = random_log(seed)
    counts = Counter(events.item.tolist())
    stays = of_frequent(events.item, least)
    assert stays.tolist() == [counts[item] >= least for item in events.item.tolist()]


@settings(max_examples=25, deadline=None)
@given(SEEDS, st.integers(1, 30))
def test_users_with_enough_sessions_stay(seed: int, least: int) -> None:
    events = random_log(seed)
    sessions = defaultdict(set)
    for user, session in zip(events.user, events.session, strict=True):
        sessions[user].add(session)
    stays = of_users_with_sessions(events.user, events.session, least)
    assert stays.tolist() == [len(sessions[user]) >= least for user in events.user]


@settings(max_examples=25, deadline=None)
@given(SEEDS)
def test_an_event_on_the_item_before_goes_unless_it_begins_a_session(seed: int) -> None:
    events = random_log(seed, items=2)
    stays = no_repeat(events.item, events.session)
    for at in range(1, len(events)):
        same = events.item[at] == events.item[at - 1]
        assert stays[at] == (not same or events.session[at] != events.session[at - 1])


@settings(max_examples=25, deadline=None)
@given(SEEDS, st.floats(0.05, 0.95))
def test_the_latest_sessions_by_their_ends_stay(seed: int, share: float) -> None:
    events = random_log(seed)
    stays = of_latest_sessions(events.session, events.time_us, share)
    ends = {s: events.time_us[events.session == s].max() for s in set(events.session.tolist())}
    staying = {s for s in ends if stays[events.session == s].all()}
    assert not stays[~np.isin(events.session, list(staying))].any()
    assert min(ends[s] for s in staying) > max((ends[s] for s in ends.keys() - staying), default=0)
    assert len(staying) >= share * len(ends) - 1


@settings(max_examples=25, deadline=None)
@given(SEEDS, st.integers(1, 40))
def test_the_last_events_of_each_user_stay(seed: int, most: int) -> None:
    events = random_log(seed)
    by_user = defaultdict(list)
    for row in rows_of(events):
        by_user[row[0]].append(row)
    wanted = [row for rows in by_user.values() for row in rows[-most:]]
    assert sorted(rows_of(events.take(last_of_user(events.user, most)))) == sorted(wanted)


def slow_round(events: list[tuple[str, str, int]], least_item: int, least_user: int) -> list[
    tuple[str, str, int]
]:  # fmt: skip
    items = Counter(item for _, item, _ in events)
    events = [event for event in events if items[event[1]] >= least_item]
    users = Counter(user for user, _, _ in events)
    return [event for event in events if users[event[0]] >= least_user]


@settings(max_examples=25, deadline=None)
@given(SEEDS)
def test_once_is_one_round_and_the_fixed_point_is_what_no_round_changes(seed: int) -> None:
    events = random_log(seed, n=150)
    rows = slow_round(rows_of(events), 12, 10)
    rules = Preparation(min_item_events=12, min_user_events=10)
    assert rows_of(prepared(events, rules)) == rows
    while (fewer := slow_round(rows, 12, 10)) != rows:
        rows = fewer
    stable = prepared(events, rules.model_copy(update={"order": "fixed_point"}))
    assert rows_of(stable) == rows


def test_one_round_may_leave_what_a_second_takes() -> None:
    events = log(("a", "x", 0), ("a", "y", 1), ("b", "x", 2), ("b", "z", 3), ("b", "z", 4))
    rules = Preparation(min_item_events=2, min_user_events=2)
    assert {user for user, *_ in rows_of(prepared(events, rules))} == {"b"}
    assert {item for _, item, _ in rows_of(prepared(events, rules))} == {"x", "z"}
    stable = prepared(events, Preparation(**{**rules.model_dump(), "order": "fixed_point"}))
    assert rows_of(stable) == rows_of(events.take(events.item == 2))


def slow_windows(events: Log, most: int, step: int) -> list[tuple[str, list[tuple[int, bool]]]]:
    """Each window's name, and the rows in the log of its events with whether they are new."""
    cut = []
    for user in dict.fromkeys(events.user.tolist()):
        rows = np.flatnonzero(events.user == user).tolist()
        told: set[int] = set()
        start = number = 0
        while True:
            window = rows[start : start + most]
            name = f"{events.user_ids[user]}/{number}"
            cut.append((name, [(row, row not in told) for row in window]))
            told |= set(window)
            if start + most >= len(rows):
                break
            start, number = start + step, number + 1
    return cut


@settings(max_examples=40, deadline=None)
@given(SEEDS, st.integers(2, 12), st.integers(1, 12))
def test_windows_are_those_that_a_loop_cuts(seed: int, most: int, step: int) -> None:
    events, step = random_log(seed, n=120), min(step, most)
    cut, row, is_new = windows(events, most, step)
    by_window: dict[str, list[tuple[int, bool]]] = {}
    for window, at, new in zip(cut.user, row.tolist(), is_new.tolist(), strict=True):
        by_window.setdefault(str(cut.user_ids[window]), []).append((at, new))
    assert list(by_window.items()) == slow_windows(events, most, step)
    assert [row[1:] for row in rows_of(cut)] == [rows_of(events)[at][1:] for at in row]
    assert (cut.session == cut.user).all()
    assert sorted(row[is_new].tolist()) == list(range(len(events)))


@pytest.mark.parametrize(("most", "step", "wanted"), [(300, None, 150), (5, None, 3), (5, 2, 2)])
def test_windows_are_half_a_window_apart_by_default(
    most: int, step: int | None, wanted: int
) -> None:
    assert Preparation(window_events=most, window_step=step).step == wanted
