"""Break-downs of an evaluation, each read off event by event."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from judging import RULE
from synthetic import AS_OF, AS_OF_S, write_dataset

from training.data.reader import DataSet, Histories, read_dataset
from training.evaluation.slices import FirstSeen, judged_slices, slice_masks
from training.metrics.metrics import (
    hour_of_day_slices,
    item_age_slices,
    session_position_slices,
)
from training.metrics.ranking import find_targets
from training.metrics.ranks import Ranks, summary

S_US = 1_000_000
AGES = ("under 1h", "1-6h", "6-24h", "1-3d", "3d+")
QUARTERS = ("00-06 UTC", "06-12 UTC", "12-18 UTC", "18-24 UTC")
N_ITEMS = 4
# Seconds before and after the boundary, close to the ends of each age, and users of a few events.
BEFORE_S = st.sampled_from([1, 3599, 3600, 6 * 3600, 86_399, 86_400, 259_199, 259_200, 400_000])
EVENT = st.tuples(st.integers(1, N_ITEMS), st.integers(0, 20_000), st.booleans())
USERS = st.lists(st.lists(EVENT, min_size=1, max_size=8), min_size=1, max_size=4)


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> tuple[DataSet, DataSet]:
    """A data set of five days and the hours after it; e is never met, a is met at last anew."""
    folder = tmp_path_factory.mktemp("slices")
    before = {"old": [("a", AS_OF_S - 432_000), ("b", AS_OF_S - 90_000), ("c", AS_OF_S - 1800)]}
    base = write_dataset(folder / "base", before, vocabulary=list("abcde"))
    later = {
        "ann": [("c", AS_OF_S - 100), *((item, AS_OF_S + 60.0 * at) for at, item in
                                        enumerate("abcdea"))],
        "bob": [("e", AS_OF_S + 20_000.0), ("d", AS_OF_S + 20_060.0)],
    }  # fmt: skip
    test = write_dataset(
        folder / "test", later, base=base, window_start=AS_OF, as_of="2016-03-14T20"
    )
    return read_dataset(base), read_dataset(test)


def unranked(test_set: DataSet) -> Ranks:
    """The questions of a test set; everyone is first."""
    targets = find_targets(test_set.histories, RULE)
    rank = np.ones(len(targets.item), np.int32)
    user, time_us = targets.requests.user.astype(np.int32), targets.requests.now_us
    return Ranks("m", "f", "r", user, targets.position, targets.session, time_us, targets.item,
                 rank)  # fmt: skip


def slow_age(first_us: list[int], now_us: int) -> str:
    """From the times of all events on an item that there will ever be."""
    earlier = [event_us for event_us in first_us if event_us < now_us]
    if not earlier:
        return "unseen"
    hours = (now_us - min(earlier)) / (3600 * S_US)
    return AGES[sum(hours >= edge for edge in (1, 6, 24, 72))]


def slow_names(learned: Histories, test: DataSet, ranks: Ranks) -> list[tuple[str, str, str]]:
    """Position, age and quarter of each target, from what happened before its request."""
    h = test.histories
    names = []
    for at, item, now_us in zip(ranks.position, ranks.item, ranks.time_us, strict=True):
        user = int(ranks.user[len(names)])
        place = 1
        while at - place >= h.offsets[user] and not h.session_start[at - place + 1]:
            place += 1
        of_item = [
            int(events.time_us[event])
            for events in (learned, h)
            for event in range(len(events.item))
            if events.item[event] == item
        ]
        position = str(place) if place < 4 else "4-5" if place < 6 else "6+"
        hour = int(now_us // (3600 * S_US)) % 24
        names.append((position, slow_age(of_item, int(now_us)), QUARTERS[hour // 6]))
    return names


def names_of(masks: dict[str, np.ndarray], breakdown: str, n: int) -> list[str]:
    """The slice of each target, which must be in exactly one."""
    of_breakdown = {
        name.removeprefix(f"{breakdown}/"): mask
        for name, mask in masks.items()
        if name.startswith(f"{breakdown}/")
    }
    assert (np.sum(list(of_breakdown.values()), axis=0) == 1).all()
    return [next(name for name, mask in of_breakdown.items() if mask[at]) for at in range(n)]


def test_two_users_by_hand(parts: tuple[DataSet, DataSet]) -> None:
    base, test = parts
    ranks = unranked(test)
    masks = slice_masks(test, ranks, FirstSeen.of(base))
    # Ann's c a minute and a half before the hour belongs to the session, and is no target.
    assert names_of(masks, "session_position", 8) == ["2", "3", "4-5", "4-5", "6+", "6+", "1", "2"]
    assert names_of(masks, "item_age", 8) == [
        "3d+", "1-3d", "under 1h", "unseen", "unseen", "3d+",
        "1-6h", "1-6h",  # Bob meets e and d hours after Ann
    ]  # fmt: skip
    assert names_of(masks, "hour_of_day", 8) == ["12-18 UTC"] * 6 + ["18-24 UTC"] * 2


def flat(users: Sequence[Sequence[tuple[int, int, bool]]], like: Histories) -> Histories:
    """Users of (item, seconds after the boundary, whether a session begins)."""
    rows = [sorted(events, key=lambda event: event[1]) for events in users]
    events = [event for row in rows for event in row]
    n = len(events)
    return dataclasses.replace(
        like,
        user_ids=np.array([f"u{at}" for at in range(len(rows))], object),
        offsets=np.cumsum([0, *map(len, rows)]),
        n_context=np.array([len(row) // 3 for row in rows], np.int32),
        item=np.array([item for item, _, _ in events], np.int32),
        time_us=np.array([(AS_OF_S + second) * S_US for _, second, _ in events], np.int64),
        session_start=np.array([begins for _, _, begins in events]),
        dwell_s=np.full(n, np.nan, np.float32),
        dwell_bin=np.zeros(n, np.int16),
        event_type=np.zeros(n, np.int16),
        value=np.full(n, np.nan, np.float32),
        context=np.zeros((n, 0), np.int32),
    )


@given(st.lists(st.tuples(st.integers(1, N_ITEMS), BEFORE_S), max_size=8), USERS, st.booleans())
def test_slices_are_those_of_reading_event_by_event(
    parts: tuple[DataSet, DataSet],
    before: list[tuple[int, int]],
    users: list[list[tuple[int, int, bool]]],
    reaches: bool,
) -> None:
    base, test = parts
    # An item that nobody asks for says how far the data set reaches.
    oldest = (5, -432_000 if reaches else -259_200, True)
    learned = flat([[oldest], [(item, -second, True) for item, second in before]], base.histories)
    short = all(second <= 259_200 for _, second in before) and not reaches
    base = dataclasses.replace(base, histories=learned)
    test = dataclasses.replace(test, histories=flat(users, test.histories))
    ranks = unranked(test)
    masks = slice_masks(test, ranks, FirstSeen.of(base))
    expected = slow_names(learned, test, ranks)
    for column, breakdown in enumerate(("session_position", "item_age", "hour_of_day")):
        if breakdown == "item_age" and short:
            assert not any(name.startswith("item_age/") for name in masks)
            continue
        assert names_of(masks, breakdown, ranks.n_targets) == [row[column] for row in expected]


@given(USERS, st.integers(0, 20_000))
def test_what_comes_later_ages_no_item(
    parts: tuple[DataSet, DataSet], users: list[list[tuple[int, int, bool]]], cut_s: int
) -> None:
    """Whatever else happens from a time on, targets before it and at it are where they were."""
    base, test = parts
    more = [*users, [(item, cut_s, True) for item in range(1, N_ITEMS + 1)]]
    ages = []
    for events in (users, more):
        part = dataclasses.replace(test, histories=flat(events, test.histories))
        ranks = unranked(part)
        names = names_of(slice_masks(part, ranks, FirstSeen.of(base)), "item_age", ranks.n_targets)
        early = (ranks.time_us <= (AS_OF_S + cut_s) * S_US) & (ranks.user < len(users))
        ages.append([name for name, is_early in zip(names, early, strict=True) if is_early])
    assert ages[0] == ages[1]


def test_edges() -> None:
    def named(masks: dict[str, np.ndarray]) -> dict[str, list[int]]:
        return {name: np.flatnonzero(mask).tolist() for name, mask in masks.items()}

    assert named(session_position_slices(np.array([1, 2, 3, 4, 5, 6, 90]))) == {
        "1": [0], "2": [1], "3": [2], "4-5": [3, 4], "6+": [5, 6],
    }  # fmt: skip
    hours = np.array([0, 5, 6, 11, 12, 17, 18, 23, 24])
    assert named(hour_of_day_slices(hours * 3600 * S_US)) == dict(
        zip(QUARTERS, ([0, 1, 8], [2, 3], [4, 5], [6, 7]), strict=True)
    )
    now_us = 10**15
    ages_s = np.array([0, 1, 3599, 3600, 21_599, 21_600, 86_399, 86_400, 259_199, 259_200])
    never = np.iinfo(np.int64).max
    first_us = np.append(now_us - ages_s * S_US, [now_us + 1, never])
    assert named(item_age_slices(first_us, np.full(12, now_us))) == {
        "unseen": [0, 10, 11], "under 1h": [1, 2], "1-6h": [3, 4], "6-24h": [5, 6],
        "1-3d": [7, 8], "3d+": [9],
    }  # fmt: skip


def test_they_are_summed_up_and_not_judged(parts: tuple[DataSet, DataSet]) -> None:
    base, test = parts
    ranks = unranked(test)
    masks = slice_masks(test, ranks, FirstSeen.of(base))
    shown = {row.slice_name for row in summary({"m": ranks}, RULE, 0, masks)}
    breakdowns = {name.split("/")[0] for name in shown}
    assert {"session_position", "item_age", "hour_of_day"} <= breakdowns
    judged = {name.split("/")[0] for name in judged_slices(masks)}
    assert judged == {"session_length", "item", "user"}


def test_without_the_data_set_no_age_is_told(parts: tuple[DataSet, DataSet]) -> None:
    masks = slice_masks(parts[1], unranked(parts[1]))
    assert not any(name.startswith("item_age/") or name == "item/new" for name in masks)


def test_a_short_data_set_tells_what_is_new_and_no_age(tmp_path: Path) -> None:
    events = {"u": [("a", AS_OF_S - 100_000), ("b", AS_OF_S - 50)]}
    base = write_dataset(tmp_path / "base", events)
    test = read_dataset(
        write_dataset(
            tmp_path / "test", {"v": [("a", AS_OF_S + 5.0), ("b", AS_OF_S + 6.0)]},
            base=base, window_start=AS_OF, as_of="2016-03-14T14",
        )
    )  # fmt: skip
    masks = slice_masks(test, unranked(test), FirstSeen.of(read_dataset(base)))
    assert masks["item/new"].tolist() == [False, True]
    assert not any(name.startswith("item_age/") for name in masks)
