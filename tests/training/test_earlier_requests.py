"""What else weights are fitted on where few requests were kept apart: those before, by slices."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from synthetic import AS_OF_S, write_dataset

from training.data.reader import DataSet, Requests, read_dataset
from training.metrics.ranking import rank_of_target
from training.models import build
from training.models.hrnn_trend import HrnnTrend
from training.models.parts.mixture.earlier_requests import (
    begins_of,
    by_kind,
    latest_slices,
    thinned,
    time_slices,
)
from training.models.parts.mixture.score_features import SCORE_FEATURES

HOURS = 1.5  # all that the log has
ALONE: dict[str, Any] = {"affinity": False, "epochs": 1, "width": 8, "device": "cpu"}


def habits(users: int, items: int, seed: int = 0) -> dict[str, list[tuple[str, float]]]:
    """Users who go back and forth between two items of their own, and now and then elsewhere."""
    rng = np.random.default_rng(seed)
    log = {}
    for user in range(users):
        own = rng.choice(items, 2, replace=False)
        time_s = np.sort(AS_OF_S - rng.uniform(0, HOURS * 3600, 8))
        item = np.where(rng.random(8) < 0.9, own[np.arange(8) % 2], rng.integers(0, items, 8))
        log[f"u{user:03d}"] = [(f"i{i:03d}", float(t)) for i, t in zip(item, time_s, strict=True)]
    return log


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> DataSet:
    folder = tmp_path_factory.mktemp("young") / "data"
    return read_dataset(write_dataset(folder, habits(150, 300)))


def reciprocal_ranks(model: HrnnTrend, data: DataSet) -> np.ndarray:
    """Of the item before the last, which is the next one of a habit; the last is no candidate."""
    histories = data.histories
    last = histories.offsets[1:]
    requests = Requests.before(histories, last - 1)
    at_end = requests.__class__(
        requests.user, requests.length + 1, np.full(len(last), int(AS_OF_S * 1e6)),
        requests.context, np.zeros(len(last), np.bool_),
    )  # fmt: skip
    scores = model.score(histories, at_end)
    scores[np.arange(len(last)), histories.item[last - 1] - 1] = -np.inf
    back_and_forth = histories.item[last - 1] == histories.item[last - 3]
    chosen = np.flatnonzero(back_and_forth & (histories.item[last - 2] != histories.item[last - 1]))
    ranks = rank_of_target(scores[chosen], histories.item[last - 2][chosen])
    return 1 / ranks


def fitted(data: DataSet, **parameters: Any) -> HrnnTrend:
    model = build("hrnn_trend", {**ALONE, **parameters})
    assert isinstance(model, HrnnTrend)
    model.fit(data, 0, lambda progress: None)
    return model


def test_a_young_log_says_how_much_habits_count(
    data: DataSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    by_before = fitted(data)
    monkeypatch.setattr(HrnnTrend, "_guess", lambda self, data, fallback, *_: (fallback,) * 2)
    by_part_alone = fitted(data)
    of_habits = reciprocal_ranks(by_before, data)
    assert len(of_habits) > 20
    assert of_habits.mean() > 0.9
    assert of_habits.mean() > reciprocal_ranks(by_part_alone, data).mean()
    met = SCORE_FEATURES.index("met")
    assert by_before.score_weights()[0, met] > by_part_alone.score_weights()[0, met] + 0.3


def test_nothing_of_the_part_kept_apart_is_guessed_from(
    data: DataSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is believed before that part is looked at is the same whatever happens in it."""
    guesses = []
    whole = HrnnTrend._guess

    def noting(self: HrnnTrend, data: DataSet, *rest: Any) -> Any:
        guesses.append((whole(self, data, *rest), rest[-1]))
        return guesses[-1][0]

    monkeypatch.setattr(HrnnTrend, "_guess", noting)
    fitted(data)
    planted = data.histories.item.copy()
    after = data.histories.time_us >= guesses[0][1]
    assert 20 < after.sum() < len(after) / 2
    planted[after] = planted[after][::-1]
    other = data.__class__(
        **{**vars(data), "histories": data.histories.__class__(
            **{**vars(data.histories), "item": planted})}
    )  # fmt: skip
    fitted(other)
    assert guesses[0][1] == guesses[1][1]
    for belief, with_planted in zip(guesses[0][0], guesses[1][0], strict=True):
        assert np.array_equal(belief.mean, with_planted.mean)
        assert np.array_equal(belief.precision, with_planted.precision)


def test_slices_are_those_of_a_plain_loop(data: DataSet) -> None:
    histories, n_items = data.histories, len(data.item_ids)
    times = histories.time_us
    before_us = int(np.sort(times)[int(0.8 * len(times))])
    event = np.flatnonzero(np.arange(len(times)) % 3 > 0)
    slices = time_slices(histories, n_items, event, before_us)
    assert len(slices) == 7
    past = sorted(int(times[e]) for e in event if times[e] < before_us)
    bounds = [each.begins_us for each in slices] + [before_us]
    assert bounds == sorted(set(bounds))
    assert set(bounds[:-1]) <= set(past)
    for each, stop_us in zip(slices, bounds[1:], strict=True):
        items = [
            sum(histories.item[e] == i + 1 for e in range(len(times)) if times[e] < each.begins_us)
            for i in range(n_items)
        ]
        assert each.item_events.tolist() == items
        expected = [
            e
            for e in event
            if each.begins_us <= times[e] < stop_us and items[histories.item[e] - 1]
        ]
        assert each.event.tolist() == expected
    sizes = [sum(first <= t < stop for t in past) for first, stop in pairwise(bounds)]
    assert max(sizes) <= 2 * min(sizes)
    assert time_slices(histories, n_items, event, int(times.min())) == []


def test_of_many_targets_only_the_latest_slices_are_looked_at(data: DataSet) -> None:
    histories = data.histories
    event = np.arange(len(histories.item))
    slices = time_slices(histories, len(data.item_ids), event, int(AS_OF_S * 1e6))
    begins = [begins_of(histories, each.event) for each in slices]

    def first_slice(wanted: tuple[int, int]) -> int:
        return len(slices) - len(latest_slices(histories, slices, wanted))

    for wanted in ((1, 1), (0, 0), (25, 1), (1, 20), (1, 600)):
        first = first_slice(wanted)
        enough = [
            all(
                sum(int((each == kind).sum()) for each in begins[start:]) >= 10 * wanted[kind]
                for kind in (0, 1)
            )
            for start in range(len(slices))
        ]
        assert first == max((at for at, is_enough in enumerate(enough) if is_enough), default=0)
    assert first_slice((0, 0)) == 6
    assert first_slice((1, 600)) == 0
    assert 0 < first_slice((25, 1)) < 6
    assert list(latest_slices(histories, [], (1, 1))) == []


def test_without_a_part_kept_apart_all_of_the_log_says_it(data: DataSet) -> None:
    met = SCORE_FEATURES.index("met")
    weights = fitted(data, validation_share=0.0).score_weights()
    assert weights[0, met] > 2


def test_kinds_are_thinned_evenly(data: DataSet) -> None:
    histories = data.histories
    event = np.arange(len(histories.item))
    within, beginning = (thinned(each, 30) for each in by_kind(histories, event))
    assert 15 < len(within) <= 30
    assert 15 < len(beginning) <= 30
    begins = histories.session_start | np.isin(event, histories.offsets[:-1])
    assert begins[beginning].all()
    assert not begins[within].any()
    assert thinned(event, 0).size == 0
    assert thinned(np.arange(10), 5).tolist() == [0, 2, 4, 6, 8]
