"""Item trends: log q against a loop over its equation, and what it is for."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from synthetic import AS_OF, AS_OF_S, write_dataset

from pipeline.hours import US_PER_HOUR, Hour
from training.data.reader import DataSet, Popularity, Requests, read_dataset
from training.models import build
from training.models.parts import decayed_popularity
from training.models.parts.base import FollowsTrends, GradientTrained, Model
from training.models.parts.decayed_popularity import (
    HourCounts,
    TrendRule,
    TrendTable,
    age_h_at,
    log_q_at,
)
from training.trainer.interface import FitOptions, ParentWeights

HOUR_S = 3600
N_ITEMS = 4


def slow_log_q(counts: list[tuple[int, int, int]], hour: int, rule: TrendRule) -> list[float]:
    """``counts``: (item, hour, events)."""
    faded = [rule.smoothing] * N_ITEMS
    for item, counted, events in counts:
        if hour - rule.window_h <= counted < hour:
            faded[item - 1] += events * 2 ** (-(hour - 1 - counted) / rule.half_life_h)
    return [math.log(value / sum(faded)) for value in faded]


def hour_counts(counts: list[tuple[int, int, int]]) -> HourCounts:
    ordered = sorted(counts, key=lambda row: row[1])
    columns = np.array(ordered, np.int64).reshape(-1, 3).T
    return HourCounts(*columns)


count_lists = st.lists(
    st.tuples(st.integers(1, N_ITEMS), st.integers(0, 50), st.integers(1, 9)), max_size=30
)


@settings(deadline=None)
@given(
    count_lists,
    st.integers(-5, 80),
    st.sampled_from([0.5, 3.0, 24.0]),
    st.sampled_from([0.1, 2.0]),
    st.sampled_from([1, 7, 100]),
)
def test_log_q_is_the_equation(
    counts: list[tuple[int, int, int]],
    hour: int,
    half_life_h: float,
    smoothing: float,
    window_h: int,
) -> None:
    rule = TrendRule(half_life_h, smoothing, window_h)
    found = log_q_at(hour_counts(counts), hour, N_ITEMS, rule)
    assert np.allclose(found, slow_log_q(counts, hour, rule), rtol=1e-4, atol=1e-5)


@settings(deadline=None)
@given(count_lists, st.integers(-5, 80), st.sampled_from([1, 7, 100]))
def test_an_item_is_as_old_as_its_first_event_in_the_window(
    counts: list[tuple[int, int, int]], hour: int, window_h: int
) -> None:
    found = age_h_at(hour_counts(counts), hour, N_ITEMS, window_h)
    for item in range(1, N_ITEMS + 1):
        known = [h for i, h, _ in counts if i == item and hour - window_h <= h < hour]
        assert found[item - 1] == (hour - min(known) if known else window_h)


def test_a_target_never_sees_its_own_hour() -> None:
    rule = TrendRule(24.0, 0.1, 24)
    flat = math.log(1 / N_ITEMS)
    counts = hour_counts([(2, 7, 100)])
    assert np.allclose(log_q_at(counts, 7, N_ITEMS, rule), flat)
    after = log_q_at(counts, 8, N_ITEMS, rule)
    assert after.argmax() == 1
    assert after[1] > -0.01


def test_where_hours_do_not_fit_they_know_less_never_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decayed_popularity, "_MAX_CELLS", 3 * N_ITEMS)
    rule = TrendRule(5.0, 0.1, 6)
    counts = [(1 + hour % N_ITEMS, hour, 1 + hour) for hour in range(10)]
    hours = np.array([9, 0, 3, 5, 8, 3])
    table = TrendTable.at(hour_counts(counts), hours, np.ones(len(hours), bool), N_ITEMS, rule)
    assert table.log_q.shape == (3, N_ITEMS)
    for hour, row in zip(hours, table.row, strict=True):
        known_until = hour // 4 * 4
        assert np.allclose(table.log_q[row], slow_log_q(counts, known_until, rule), rtol=1e-4)


FAST = {"width": 8, "epochs": 1, "device": "cpu", "half_life_h": 6.0}


def known_counts(popularity: Popularity) -> list[tuple[int, int, int]]:
    columns = (popularity.item, popularity.hour_index, popularity.events)
    return [(int(i), int(h), int(n)) for i, h, n in zip(*columns, strict=True)]


def test_scores_are_taste_plus_tempered_log_q_of_the_latest_known_hour(tmp_path: Path) -> None:
    """With counts of its own, and with those that a much later hour brings."""
    rng = np.random.default_rng(2)
    users = {
        f"u{user}": [
            (f"i{rng.integers(N_ITEMS)}", AS_OF_S - 30 * HOUR_S + 4000.0 * step)
            for step in range(27)
        ]
        for user in range(5)
    }
    data = read_dataset(write_dataset(tmp_path / "d", users, popularity_window_h=10))
    system = build("hrnn_trend", {**FAST, "mixture": False})
    system.fit(data, 0, lambda progress: None)
    tensors = system.tensors()
    plain = build("hrnn", {"width": 8, "device": "cpu"})
    plain.load({name: tensor for name, tensor in tensors.items() if name != "temperature"})
    assert "mixture.weight" not in tensors  # too few events to fit any: the published form
    rule = TrendRule(6.0, 0.1, 10)

    def check(as_of: int, popularity: Popularity) -> None:
        late_h = np.array([-4, 0, 0, 1, 30])
        now_us = (as_of + late_h) * US_PER_HOUR + 1_800_000_000
        requests = Requests(np.arange(5), np.full(5, 20), now_us)
        added = system.score(data.histories, requests) - plain.score(data.histories, requests)
        for row, late in enumerate(late_h):
            hour = as_of + min(int(late), 0)
            log_q = np.array(slow_log_q(known_counts(popularity), hour, rule))
            assert np.allclose(added[row], tensors["temperature"] * log_q, atol=1e-4)

    as_of = data.manifest.as_of.index
    check(as_of, data.popularity)
    # Days later, with the hours before that alone: no hole where nothing is known, no old counts.
    pairs = np.array([(item, as_of + 90 - back) for item in (1, 2, 4) for back in range(16)])
    events = rng.integers(1, 9, len(pairs))
    later = Popularity(pairs[:, 0].astype(np.int32), pairs[:, 1], events)
    assert isinstance(system, FollowsTrends)
    system.refresh(later, Hour(as_of + 90))
    check(as_of + 90, later)


def test_the_temperature_is_chosen_where_nothing_was_learned(tmp_path: Path) -> None:
    """What the network settled on while learning is only where the choice begins."""
    base, _ = fashion_log(tmp_path)
    learn = {**FAST, "epochs": 3, "half_life_h": 2.0, "mixture": False}
    system = build("hrnn_trend", learn)
    system.fit(base, 0, lambda progress: None)
    chosen = system.tensors()["mixture.weight"][:, 1]
    assert (chosen > 0.3).all()
    assert np.abs(chosen - system.tensors()["temperature"]).min() > 1e-3
    whole = build("hrnn_trend", {**learn, "validation_share": 0.0})
    whole.fit(base, 0, lambda progress: None)
    assert "mixture.weight" not in whole.tensors()


def fashion_log(folder: Path) -> tuple[DataSet, DataSet]:
    """Every six hours another two of 24 items are in fashion; 8 of 10 events go to them.

    The last change lies three hours before as_of: training knows the new fashion only a little.
    """
    rng = np.random.default_rng(4)

    def item_at(time_s: float) -> str:
        block = int((time_s - AS_OF_S) // HOUR_S + 3) // 6 + 40
        hot = [(2 * block) % 24, (2 * block + 1) % 24]
        return f"i{rng.choice(hot) if rng.random() < 0.8 else rng.integers(24):02d}"

    users = {}
    for user in range(150):
        times = np.sort(AS_OF_S + rng.uniform(-120, 9, size=20) * HOUR_S)
        users[f"u{user:03d}"] = [(item_at(time), float(time)) for time in times]
    names = [f"i{item:02d}" for item in range(24)]
    known = {user: [e for e in events if e[1] < AS_OF_S] for user, events in users.items()}
    base = write_dataset(folder / "base", known, vocabulary=names)
    test = write_dataset(
        folder / "test", users, base=base, window_start=AS_OF, as_of="2016-03-14T22"
    )
    return read_dataset(base), read_dataset(test)


def test_trends_follow_fashion_without_retraining(tmp_path: Path) -> None:
    base, test = fashion_log(tmp_path)
    learn = {"width": 16, "epochs": 6, "learning_rate": 0.01, "device": "cpu"}
    plain = build("hrnn", {**learn, "validation_share": 0.0})
    trendy = build("hrnn_trend", {**learn, "half_life_h": 2.0, "mixture": False})
    for system in (plain, trendy):
        system.fit(base, 0, lambda progress: None)

    h = test.histories
    event = np.flatnonzero(h.is_target)
    event = event[h.item[event] != h.item[event - 1]]
    hour = h.time_us[event] // US_PER_HOUR - base.manifest.as_of.index

    def recall(system: Model, first_hour: int, stop_hour: int) -> float:
        asked = event[(hour >= first_hour) & (hour < stop_hour)]
        user = h.user_of_event[asked]
        requests = Requests(user, asked - h.offsets[user], h.time_us[asked])
        scores = system.score(h, requests)
        target = scores[np.arange(len(asked)), h.item[asked] - 1]
        return np.mean((scores >= target[:, None]).sum(axis=1) <= 2)

    # Until hour 3 the fashion of as_of holds: fading counts know it, item biases do not.
    assert recall(trendy, 0, 3) > 0.6
    assert recall(plain, 0, 3) < 0.45
    # Then it changes: the old counts mislead, fresh ones mend the same weights.
    stale = recall(trendy, 5, 9)
    later = test.popularity.hour_index < base.manifest.as_of.index + 5
    fresh = Popularity(
        test.popularity.item[later],
        test.popularity.hour_index[later],
        test.popularity.events[later],
    )
    trendy.refresh(fresh, Hour(base.manifest.as_of.index + 5))
    assert stale < 0.3
    assert recall(trendy, 5, 9) > 0.5


def test_training_sees_popularity_only_from_before_each_target(tmp_path: Path) -> None:
    """A log whose every hour has its own items: seeing one's own hour would answer everything."""
    rng = np.random.default_rng(0)
    users = {}
    for user in range(40):
        hours = np.sort(rng.choice(24, size=12, replace=False))
        users[f"u{user:02d}"] = [
            (f"i{hour:02d}", float(AS_OF_S - 24 * HOUR_S + hour * HOUR_S + 60 * user))
            for hour in hours
        ]
    data = read_dataset(write_dataset(tmp_path / "d", users))
    system = build("hrnn_trend", {**FAST, "epochs": 8, "half_life_h": 1.0})
    system.fit(data, 0, lambda progress: None)
    # The present hour's item is always new, so popularity must have learned to count against.
    assert system.tensors()["temperature"] < 0.95


@pytest.mark.parametrize("value", [0.0, -1.0])
def test_parameters_out_of_range(value: float) -> None:
    from pipeline.errors import UsageError

    with pytest.raises(UsageError, match=r"half_life_h = .* must be above 0"):
        build("hrnn_trend", {"half_life_h": value})


def test_the_published_form_adds_log_q_of_one_window_in_full(tmp_path: Path) -> None:
    base, _ = fashion_log(tmp_path)
    published = {
        **FAST,
        "epochs": 2,
        "mixture": False,
        "half_life_h": 1e6,
        "trend_window_h": 1,
        "trend_temperature": 1.0,
    }
    system = build("hrnn_trend", published)
    system.fit(base, 0, lambda progress: None)
    tensors = system.tensors()
    assert tensors["temperature"] == 1.0
    assert "mixture.weight" not in tensors
    plain = build("hrnn", {"width": 8, "device": "cpu"})
    plain.load({name: tensor for name, tensor in tensors.items() if name != "temperature"})
    as_of = base.manifest.as_of.index
    requests = Requests(np.arange(3), np.full(3, 2), np.full(3, as_of * US_PER_HOUR + 1))
    added = system.score(base.histories, requests) - plain.score(base.histories, requests)
    events = np.full(len(base.item_ids), 0.1)
    popularity = base.popularity
    for item, hour, count in zip(
        popularity.item, popularity.hour_index, popularity.events, strict=True
    ):
        if hour == as_of - 1:
            events[item - 1] += count
    assert events.sum() > 5
    assert np.allclose(added, np.log(events / events.sum()), atol=1e-4)
    # A model that is continued obeys its own parameters, not what its parent learned.
    learned = build("hrnn_trend", {**FAST, "mixture": False})
    learned.fit(base, 0, lambda progress: None)
    assert learned.tensors()["temperature"] != 1.0
    going_on = build("hrnn_trend", published)
    assert isinstance(going_on, GradientTrained)
    start = ParentWeights("parent", learned.tensors(), base.item_ids)
    going_on.fit_with(base, 0, lambda progress: None, FitOptions(parent=start))
    assert going_on.tensors()["temperature"] == 1.0
