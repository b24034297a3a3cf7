"""The mixture as a prior inside a network's softmax: as it was known before each target."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from synthetic import AS_OF_S, write_dataset

from pipeline.array_types import Bools, Floats
from pipeline.errors import UsageError
from pipeline.hours import US_PER_HOUR
from training.data.reader import DataSet, Histories, Requests, read_dataset
from training.model_types import FitProgress
from training.models import build
from training.models.hrnn_trend import HrnnTrend
from training.models.parts.decayed_popularity import HourCounts, TrendRule, TrendTable, log_q_at
from training.models.parts.mixture.residual_prior import ResidualPrior, residual_weights
from training.models.parts.mixture.score_features import SCORE_FEATURES, FeatureStore, Neighbours
from training.trainer.interface import FitOptions

N_ITEMS = 7
NAMES = [f"i{item}" for item in range(N_ITEMS)]
RULE = TrendRule(6.0, 0.1, 48)
TERMS = ("just_seen", "met", "times_met", "met_lately", "followed", "preceded", "near")
LOG_QS = ("log_q", "log_q_short", "log_q_long", "log_q_last")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> DataSet:
    rng = np.random.default_rng(5)
    users = {}
    for user in range(14):
        time_s, events = AS_OF_S - float(rng.uniform(2, 40)) * 3600, []
        for _ in range(int(rng.integers(2, 14))):
            time_s += float(rng.choice([60.0, 500.0, 8000.0]))
            if time_s < AS_OF_S:
                events.append((NAMES[int(rng.integers(N_ITEMS))], time_s))
        if events:
            users[f"u{user:02d}"] = events
    folder = tmp_path_factory.mktemp("walks") / "d"
    return read_dataset(write_dataset(folder, users, vocabulary=NAMES))


@pytest.fixture(scope="module")
def weights() -> Floats:
    drawn = np.random.default_rng(1).normal(size=(2, len(SCORE_FEATURES)))
    drawn[:, [SCORE_FEATURES.index(name) for name in ("similar", "age", "affinity")]] = 7.0
    return drawn


def learned(data: DataSet) -> Bools:
    targets = data.histories.is_target.copy()
    targets[::5] = False
    return targets


@pytest.fixture(scope="module")
def prior(data: DataSet, weights: Floats) -> ResidualPrior:
    counts = HourCounts.of_popularity(data.popularity)
    store = FeatureStore(
        counts, data.manifest.as_of.index, RULE, N_ITEMS, Neighbours.of(data.histories, N_ITEMS)
    )
    hours = np.asarray(data.histories.time_us) // US_PER_HOUR
    table = TrendTable.at(counts, hours, learned(data), N_ITEMS, RULE)
    return ResidualPrior.of_slices(table, store, learned(data), data.histories, weights)


def slow_terms(h: Histories, event: int, before_us: float, q: Floats) -> dict[str, Floats]:
    """Every term of a target, counted pair by pair among what happened before a time."""
    user = int(np.searchsorted(h.offsets, event, side="right") - 1)
    past = [int(h.item[at]) - 1 for at in range(h.offsets[user], event)]
    followed, near = np.zeros((N_ITEMS, N_ITEMS)), np.zeros((N_ITEMS, N_ITEMS))
    for first, stop in zip(h.offsets[:-1], h.offsets[1:], strict=True):
        for a in range(first, stop):
            for b in range(a + 1, min(stop, a + 11)):
                i, j = int(h.item[a]) - 1, int(h.item[b]) - 1
                if i != j and h.time_us[b] < before_us:
                    near[i, j] += 1
                    followed[i, j] += b == a + 1
    terms = {name: np.zeros(N_ITEMS) for name in TERMS}
    for j in set(past):
        back = past[::-1].index(j) + 1
        terms["just_seen"][j] = float(back == 1)
        terms["met"][j], terms["met_lately"][j] = 1.0, 1 / back
        terms["times_met"][j] = math.log(past.count(j))
    for j in range(N_ITEMS):
        around = sum(0.7**back * (near[i, j] + near[j, i]) for back, i in enumerate(past[::-1][:5]))
        terms["near"][j] = math.log1p(around / q[j])
        if past:
            terms["followed"][j] = math.log1p(followed[past[-1], j] / q[j])
            terms["preceded"][j] = math.log1p(followed[j, past[-1]] / q[j])
    return terms


def slow_prior(data: DataSet, prior: ResidualPrior, weights: Floats, event: int) -> Floats:
    h, targets = data.histories, learned(data)
    shares = [part / 8 for part in range(1, 8)]
    edges = sorted(set(np.quantile(h.time_us[targets], shares, method="higher").tolist()))
    passed = [edge for edge in edges if edge <= h.time_us[event]]
    log_q = log_q_at(
        prior.stores[0].counts, int(h.time_us[event]) // US_PER_HOUR, N_ITEMS, RULE
    ).astype(np.float64)
    terms = slow_terms(h, event, max(passed, default=-math.inf), np.exp(log_q))
    begins = bool(h.session_start[event]) or event in h.offsets[:-1].tolist()
    of_kind = weights[int(begins)]
    total = sum(of_kind[SCORE_FEATURES.index(name)] for name in LOG_QS) * log_q
    for name, values in terms.items():
        total = total + of_kind[SCORE_FEATURES.index(name)] * values
    return total


def test_the_prior_is_the_mixture_as_known_before_each_target(
    data: DataSet, prior: ResidualPrior, weights: Floats
) -> None:
    events = np.random.default_rng(0).permutation(np.flatnonzero(learned(data)))
    expected = np.stack([slow_prior(data, prior, weights, int(event)) for event in events])
    assert len(prior.stores) > 5
    assert np.median(np.ptp(expected, axis=1)) > 0
    assert np.allclose(prior.of(events, slice(None)), expected, atol=1e-4)
    columns = np.array([3, 0, 3, 6])
    drawn = prior.of(events[:, None], columns[None, :])
    assert np.allclose(drawn, expected[:, columns], atol=1e-4)
    own = data.histories.item[events].astype(np.int64) - 1
    rows = np.arange(len(events))
    assert np.allclose(prior.of(events, own), expected[rows, own], atol=1e-4)


def test_no_target_is_counted_before_itself(data: DataSet, prior: ResidualPrior) -> None:
    """The events that a slice counts are all earlier than its targets; P6."""
    h = data.histories
    for event in np.flatnonzero(learned(data)).tolist():
        store = prior.stores[int(prior.slice_of[event])]
        earlier = Neighbours.of(h, N_ITEMS, int(h.time_us[event]))
        assert (store.neighbours.followed.toarray() <= earlier.followed.toarray()).all()
        assert (store.neighbours.near.toarray() <= earlier.near.toarray()).all()
    counted = [store.neighbours.near.sum() for store in prior.stores]
    assert counted[0] == 0
    assert counted == sorted(counted)
    assert counted[-1] > 0


def test_a_network_is_asked_with_its_own_scores_in_full(weights: Floats) -> None:
    asked = residual_weights(weights, 0.5)
    assert (asked[:, 0] == 1).all()
    assert np.array_equal(asked[:, 1:], weights[:, 1:] * 0.5)


def quiet(progress: FitProgress) -> None:
    """Nobody looks."""


SMALL: dict[str, Any] = {"width": 6, "epochs": 2, "device": "cpu", "learning_rate": 0.02}


@pytest.mark.parametrize("negatives", [0, 4], ids=["dense", "sampled"])
@pytest.mark.parametrize("share", [0.0, 0.5])
def test_a_model_that_learned_the_residual_is_kept_and_goes_on(
    tmp_path: Path, share: float, negatives: int
) -> None:
    rng = np.random.default_rng(2)
    users = {
        f"u{user:03d}": [
            (NAMES[int(item)], AS_OF_S - 9e4 + 200.0 * user + 60.0 * at)
            for at, item in enumerate((rng.integers(N_ITEMS) + np.arange(8)) % N_ITEMS)
        ]
        for user in range(60)
    }
    data = read_dataset(write_dataset(tmp_path / "d", users, vocabulary=NAMES))
    chosen = {**SMALL, "validation_share": share, "negatives": negatives}
    scores = []
    for residual in (False, True):
        model = build("hrnn_trend", {**chosen, "residual": residual})
        assert isinstance(model, HrnnTrend)
        model.fit_with(data, 0, quiet, FitOptions())
        again = build("hrnn_trend", {**chosen, "residual": residual})
        again.load(model.tensors())
        events = np.flatnonzero(learned(data))[:40]
        requests = Requests.before(data.histories, events)
        scores.append(model.score(data.histories, requests))
        assert np.array_equal(again.score(data.histories, requests), scores[-1])
    assert not np.allclose(scores[0], scores[1])
    assert np.isfinite(scores[1]).all()


def test_without_a_validation_part_it_is_served_as_it_was_trained(
    tmp_path: Path, data: DataSet
) -> None:
    """Its own scores in full, the rest as strongly as the network learned beside it."""
    model = build("hrnn_trend", {**SMALL, "validation_share": 0.0, "residual": True})
    assert isinstance(model, HrnnTrend)
    model.fit_with(data, 0, quiet, FitOptions())
    temperature = model.trained_net().temperature
    assert temperature is not None
    assert abs(float(temperature.detach()) - 1.0) > 0.01
    again = build("hrnn_trend", {**SMALL, "validation_share": 0.0, "residual": True})
    assert isinstance(again, HrnnTrend)
    again.load(model.tensors())
    for weights in (model.score_weights(), again.score_weights()):
        assert (weights[:, SCORE_FEATURES.index("affinity")] == 1).all()
        of_log_q = weights[:, SCORE_FEATURES.index("log_q")]
        assert np.allclose(of_log_q, 0.4 * float(temperature.detach()))


@pytest.mark.parametrize("without", ["trend", "mixture", "affinity"])
def test_without_a_mixture_or_a_network_there_is_no_residual(without: str) -> None:
    with pytest.raises(UsageError, match="residual is true"):
        build("hrnn_trend", {"residual": True, without: False})
