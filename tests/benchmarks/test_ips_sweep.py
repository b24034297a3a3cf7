"""At a low temperature what is popular is recommended less; figures are what they are called."""

from __future__ import annotations

import numpy as np

from benchmarks.ips_sweep import mean_popularity, swept, swept_cold
from benchmarks.quality.logs import Coded, FilmLog, log_of
from benchmarks.quality.parts import split_by_time
from benchmarks.quality.ranking import Entry, rule
from pipeline.hours import HOUR_S, US_PER_S
from training.protocols.metadata import MetadataTable

N_ITEMS = 60


def test_popularity_is_a_mean_over_places_in_lists() -> None:
    events = np.array([10, 4, 1, 7])
    lists = [[0, 1], [0, 2], [1, 0]]
    shown = np.bincount(np.concatenate(lists), minlength=4)
    expected = np.mean([events[item] for items in lists for item in items])
    assert mean_popularity(shown, events) == expected


def test_what_exposure_explains_is_recommended_less() -> None:
    rng = np.random.default_rng(1)
    share = 1 / np.arange(1, N_ITEMS + 1)
    item = rng.choice(N_ITEMS, 4000, p=share / share.sum())
    user = np.repeat(np.arange(400), 10)
    time_s = rng.integers(0, 100 * HOUR_S, 400)[user] + np.tile(np.arange(10) * 60, 400)
    log = log_of(
        Coded.of(np.array([f"u{number:03d}" for number in user], object)),
        Coded.of(np.array([f"i{number:02d}" for number in item], object)),
        (time_s + 400_000 * HOUR_S).astype(np.int64) * US_PER_S,
        gap_s=HOUR_S,
    )
    parts = split_by_time(log, 0.8, 1)
    small = {"width": 8, "epochs": 2, "learning_rate": 0.03, "validation_share": 0.0}
    entry = Entry("gru4rec", "gru4rec", {**small, "device": "cpu"})
    runs = swept(parts, entry, [0.0, 1.0], [0], rule("drop"))
    assert list(runs) == ["none", "temperature 1"]
    plain, corrected = (run.rows[0] for run in runs.values())
    assert plain["popularity"] > 1.5 * corrected["popularity"]
    assert plain["coverage@20"] < corrected["coverage@20"]
    assert plain["recall@20"] > corrected["recall@20"]  # nothing but exposure says what comes


def test_exposure_taken_out_lets_features_stand_for_items_nobody_met() -> None:
    """Users keep to one kind; half of the items are shown forty times as often as the others."""
    rng = np.random.default_rng(2)
    kind = np.arange(N_ITEMS) % 4
    shown = np.where(np.arange(N_ITEMS) % 8 < 4, 40.0, 1.0)
    items = []
    for user in range(200):
        share = shown * np.where(kind == user % 4, 20, 1)
        items.append(rng.choice(N_ITEMS, 10, p=share / share.sum()))
    user = np.repeat(np.arange(200), 10)
    time_s = rng.integers(0, 100 * HOUR_S, 200)[user] + np.tile(np.arange(10) * 60, 200)
    names = np.array([f"i{number:02d}" for number in range(N_ITEMS)], object)
    log = log_of(
        Coded.of(np.array([f"u{number:03d}" for number in user], object)),
        Coded.of(names[np.concatenate(items)]),
        (time_s + 400_000 * HOUR_S).astype(np.int64) * US_PER_S,
        gap_s=HOUR_S,
    )
    people = sorted(set(log.user_ids))
    films = FilmLog(
        log,
        MetadataTable(names, [[f"kind {number}"] for number in kind]),
        MetadataTable(np.array(people, object), [[] for _ in people]),
    )
    small = {"width": 8, "epochs": 4, "learning_rate": 0.03, "validation_share": 0.0}
    entry = Entry("hrnn_meta", "hrnn_meta", {**small, "trend": False, "device": "cpu"})
    runs = swept_cold(films, entry, [0.0, 1.0], [0])
    assert list(runs) == ["random", "profile", "expected_popularity", "none", "temperature 1"]
    chance, plain, corrected = (
        runs[name].rows[0]["ndcg@5"] for name in ("random", "none", "temperature 1")
    )
    assert corrected > plain
    assert corrected > chance + 0.1
