"""The figures of the quality benchmark, each against a slow and obvious count."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.quality import cold, trends
from benchmarks.quality.figures import Estimate, Runs, Table, difference
from benchmarks.quality.logs import Coded, FilmLog, log_of
from benchmarks.quality.parts import split_by_time
from pipeline.hours import US_PER_HOUR
from training.protocols.metadata import MetadataTable
from training.protocols.ratings import EarlierRatings


def test_the_interval_of_three_seeds_is_students() -> None:
    found = Estimate.of([0.1, 0.2, 0.3])
    assert found.mean == pytest.approx(0.2)
    assert found.half_width == pytest.approx(4.3027 * 0.1 / math.sqrt(3), rel=1e-4)
    assert str(Estimate.of([0.25])) == "0.2500"


def test_differences_are_taken_seed_by_seed() -> None:
    ours, theirs = Runs([{"m": 0.3}, {"m": 0.5}]), Runs([{"m": 0.2}, {"m": 0.4}])
    assert difference(ours, theirs)["m"].mean == pytest.approx(0.1)
    assert difference(ours, theirs)["m"].half_width == pytest.approx(0, abs=1e-9)
    without_seeds = Runs([{"m": 0.2}])
    assert difference(ours, without_seeds)["m"].mean == pytest.approx(0.2)


def test_a_table_tells_systems_and_pairs() -> None:
    table = Table("title", "note", {"a": Runs([{"m": 0.5}]), "b": Runs([{"m": 0.2}])}, [("a", "b")])
    lines = str(table).splitlines()
    assert lines[0] == "title"
    assert lines[2].split() == ["a", "0.5000"]
    assert lines[4].split() == ["a", "-", "b", "0.3000"]
    assert table.said["differences"]["a - b"]["m"]["mean"] == pytest.approx(0.3)
    assert table.said["systems"]["b"]["seeds"] == [{"m": 0.2}]


def film_log(n_users: int, n_items: int, seed: int) -> FilmLog:
    """Ratings at half hours, many of them at the same time."""
    rng = np.random.default_rng(seed)
    n = n_users * 12
    log = log_of(
        Coded.of(rng.integers(n_users, size=n)),
        Coded.of(rng.integers(n_items, size=n)),
        rng.integers(60, size=n) * (US_PER_HOUR // 2),
        "rating",
        rng.integers(1, 6, size=n).astype(np.float32),
    )

    def described(count: int) -> MetadataTable:
        ids = np.array([str(one) for one in range(count)], object)
        return MetadataTable(ids, [["odd"] if one % 2 else ["even"] for one in range(count)],
                     {"n": np.arange(count, dtype=float)})  # fmt: skip

    return FilmLog(log, described(n_items), described(n_users))


@pytest.mark.parametrize("share", [None, 0.7])
def test_held_out_items_are_in_no_history_and_are_what_is_relevant(share: float | None) -> None:
    films = film_log(20, 30, seed=3)
    task = cold.cold_task(films.log, films.items, films.users, 0, share)
    train = task.train
    held_out = set(train.item_ids[task.cold])
    assert len(held_out) == len(set(films.log.item)) // 2
    assert not held_out & set(train.item_ids[train.histories.item - 1])
    as_of_us = train.manifest.as_of.index * US_PER_HOUR if share else 0
    for row, user in enumerate(train.histories.user_ids[task.user]):
        met = {
            item
            for who, item, time_us in zip(
                films.log.user_ids[films.log.user],
                films.log.item_ids[films.log.item],
                films.log.time_us,
                strict=True,
            )
            if who == user and item in held_out and time_us >= as_of_us
        }
        assert set(train.item_ids[task.cold][task.relevant[row]]) == met != set()


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 10_000))
def test_list_figures_are_those_of_the_list_written_out(seed: int) -> None:
    rng = np.random.default_rng(seed)
    scores = rng.permutation(7 * 40).reshape(7, 40).astype(float)
    relevant = rng.random((7, 40)) < 0.1
    relevant[np.arange(7), rng.integers(40, size=7)] = True
    found = cold.list_figures(scores, relevant, (5, 25), rng)
    for k in (5, 25):
        ndcg, precision, mrr = [], [], []
        for row in range(7):
            shown = sorted(range(40), key=lambda item: -scores[row, item])
            gains = [1 if relevant[row, item] else 0 for item in shown]
            best = sorted(gains, reverse=True)
            dcg, ideal = (
                sum(gain / math.log2(place + 2) for place, gain in enumerate(one[:k]))
                for one in (gains, best)
            )
            ndcg.append(dcg / ideal)
            precision.append(sum(gains[:k]) / k)
            mrr.append(1 / (1 + gains.index(1)))
        assert found[f"ndcg@{k}"] == pytest.approx(np.mean(ndcg))
        assert found[f"precision@{k}"] == pytest.approx(np.mean(precision))
        assert found["mrr"] == pytest.approx(np.mean(mrr))


def test_equal_scores_come_to_chance() -> None:
    relevant = np.zeros((4000, 10), np.bool_)
    relevant[:, 0] = True
    found = [
        cold.list_figures(np.zeros((1, 10)), relevant[:1], (5,), np.random.default_rng(seed))
        for seed in range(2000)
    ]
    assert np.mean([one["precision@5"] for one in found]) == pytest.approx(0.1, abs=0.01)


def test_averages_know_only_what_was_rated_before() -> None:
    films = film_log(12, 15, seed=5)
    parts = split_by_time(films.log, 0.6, 1)
    ratings = EarlierRatings(parts.train.histories, parts.test.histories)
    known = set(parts.train.item_ids)
    assert len(ratings.user) == sum(item in known for item in films.log.item_ids[films.log.item])
    rolling, biases = ratings.rolling_average(), ratings.rolling_biases()
    items: list[list[float]] = []
    for at in range(len(ratings.user)):
        of_item = (ratings.item == ratings.item[at]) & (ratings.time_us < ratings.time_us[at])
        of_user = (ratings.user == ratings.user[at]) & (np.arange(len(ratings.user)) < at)
        averages = [
            float(ratings.value[which].mean()) if which.any() else ratings.mean
            for which in (of_item, of_user)
        ]
        assert rolling[at] == pytest.approx(sum(averages) / 2)
        above = ratings.value - ratings.mean
        items.append([above[of_item].sum() / (of_item.sum() + 10)])
        left = [above[other] - items[other][0] for other in np.flatnonzero(of_user)]
        expected = ratings.mean + items[at][0] + sum(left) / (len(left) + 10)
        assert biases[at] == pytest.approx(expected)


def test_a_users_level_says_nothing_about_taste() -> None:
    true = np.array([[1.0, 2.0, 4.0], [0.0, 3.0, 1.0]])
    shifted = 2 * true + np.array([[100.0], [-7.0]])
    assert trends.correlation(shifted, true) == pytest.approx(1)
    assert trends.correlation(-shifted, true) == pytest.approx(-1)


def test_the_truth_is_that_of_the_items_and_users_asked_about() -> None:
    known = trends.world(4, learned_h=12, asked_h=2, users=300)
    histories, train = known.parts.train.histories, known.parts.train
    assert known.affinity.shape == (len(known.requests), len(train.item_ids))
    assert (np.abs(known.affinity) <= 1 + 1e-9).all()
    # People read what they like: the truth of what was read is above that of what was not.
    read = np.zeros(known.affinity.shape, np.bool_)
    user = histories.user_of_event
    asked = user < len(known.requests)
    read[user[asked], histories.item[asked] - 1] = True
    assert known.affinity[read].mean() > known.affinity[~read].mean() + 0.2
    assert (known.age_h > 0).all()
