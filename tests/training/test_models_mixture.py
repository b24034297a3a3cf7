"""The terms of the mixture, each against a loop over its definition, and what they are for."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from synthetic import AS_OF_S, write_dataset

from pipeline.errors import HourglassError, UsageError
from pipeline.hours import US_PER_HOUR
from training.data.arrays import session_of_event
from training.data.reader import DataSet, Histories, Requests, read_dataset
from training.model_types import Tensors
from training.models import build
from training.models.hrnn_trend import HrnnTrend
from training.models.parts.base import Model
from training.models.parts.decayed_popularity import HourCounts, TrendRule, age_h_at
from training.models.parts.mixture.score_features import (
    DEFAULT_WEIGHTS,
    FORMER_DEFAULT_WEIGHTS,
    ITEM_FEATURES,
    LATER_FEATURES,
    PAIR_FEATURES,
    SCORE_FEATURES,
    FeatureStore,
    Neighbours,
    add_score_features,
)
from training.models.parts.mixture.score_weights import GaussianPrior
from training.models.parts.mixture.weight_priors import WeightPriors
from training.models.parts.neighbours.session_similarity import Sessions, SimilarityRule
from training.trainer.interface import FitOptions, ParentWeights

N_ITEMS = 9
FIRST_FEATURES = tuple(name for name in SCORE_FEATURES if name not in (*LATER_FEATURES, "similar"))
NAMES = [f"i{item}" for item in range(N_ITEMS)]
RULE = TrendRule(6.0, 0.1, 10)
LIKENESS = SimilarityRule(neighbours=4, sessions_per_item=500, half_life_h=48.0, last_events=20)
FAST = {"width": 8, "epochs": 1, "device": "cpu", "negatives": 0, "similar_sessions": 0}


def walks(
    users: int, seed: int, events: int = 12, stop_s: float = AS_OF_S
) -> dict[str, list[tuple[str, float]]]:
    """Item after item: mostly the next one round, so that order tells what comes."""
    rng = np.random.default_rng(seed)
    found = {}
    for user in range(users):
        step = np.where(rng.random(events) < 0.8, 1, rng.integers(0, N_ITEMS, events))
        item = np.cumsum(step) % N_ITEMS
        time = np.sort(stop_s - rng.uniform(0, 30, events) * 3600)
        found[f"u{user:02d}"] = [(NAMES[i], float(t)) for i, t in zip(item, time, strict=True)]
    return found


def data_of(folder: Path, users: int = 20, seed: int = 1) -> DataSet:
    return read_dataset(write_dataset(folder, walks(users, seed), vocabulary=NAMES))


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> DataSet:
    return data_of(tmp_path_factory.mktemp("mixture") / "d")


def evidence_of(data: DataSet) -> FeatureStore:
    return FeatureStore(
        HourCounts.of_popularity(data.popularity),
        data.manifest.as_of.index,
        RULE,
        N_ITEMS,
        Neighbours.of(data.histories, N_ITEMS),
        Sessions.of(data.histories, N_ITEMS, LIKENESS),
    )


def asked(data: DataSet, n: int = 50, seed: int = 0) -> Requests:
    rng = np.random.default_rng(seed)
    user = rng.integers(0, len(data.histories.user_ids), n)
    length = rng.integers(0, data.histories.lengths[user] + 1)
    last = data.histories.offsets[user] + np.maximum(length - 1, 0)
    return Requests(user, length, data.histories.time_us[last] + rng.integers(0, 9 * 10**9, n))


def slow_counts(histories: Histories, reach: int, before_us: float = math.inf) -> np.ndarray:
    """How often each item came 1 to ``reach`` steps after each other one."""
    counts = np.zeros((N_ITEMS, N_ITEMS))
    for first, stop in zip(histories.offsets[:-1], histories.offsets[1:], strict=True):
        for a in range(first, stop):
            for b in range(a + 1, min(stop, a + reach + 1)):
                i, j = histories.item[a] - 1, histories.item[b] - 1
                if i != j and histories.time_us[b] < before_us:
                    counts[i, j] += 1
    return counts


def slow_held(data: DataSet, user: int, length: int, now_us: int) -> np.ndarray:
    """What the four sessions most like the current one hold."""
    h = data.histories
    sessions: list[list[int]] = []
    now: list[int] = []
    for one, (first, stop) in enumerate(zip(h.offsets[:-1], h.offsets[1:], strict=True)):
        for event in range(first, stop):
            if event == first or h.session_start[event]:
                sessions.append([])
            sessions[-1].append(event)
            if one == user and event < first + length:
                now = list(sessions[-1])
    place = {h.item[event] - 1: at for at, event in enumerate(now[-20:], start=1)}
    similar = []
    for events in sessions:
        items = {int(h.item[event]) - 1 for event in events}
        age_h = (now_us - h.time_us[events[-1]]) / 3.6e9
        likeness = sum(at for item, at in place.items() if item in items) / max(1, len(now[-20:]))
        if len(items) > 1 and age_h > 0 and likeness:
            similar.append((likeness * 2 ** (-age_h / 48), sorted(items)))
    held = np.zeros(N_ITEMS)
    for likeness, items in sorted(similar, key=lambda pair: -pair[0])[:4]:
        held[items] += likeness
    return held


def slow_terms(data: DataSet, user: int, length: int, now_us: int) -> np.ndarray:
    """All terms but the affinity, (V, K - 1)."""
    known, h = data.popularity, data.histories
    hour = min(now_us // US_PER_HOUR, data.manifest.as_of.index)
    rows = list(zip(known.item - 1, known.hour_index, known.events, strict=True))
    rows = [row for row in rows if hour - 10 <= row[1] < hour]
    terms: dict[str, np.ndarray] = {}
    for name, half_life in zip(ITEM_FEATURES, (6.0, 1.0, 60.0, 0.15), strict=False):
        faded = np.full(N_ITEMS, 0.1)
        for item, counted, events in rows:
            faded[item] += events * 2 ** (-(hour - 1 - counted) / half_life)
        terms[name] = np.log(faded / faded.sum())
    firsts = [
        min([h for i, h, _ in rows if i == item], default=hour - 10) for item in range(N_ITEMS)
    ]
    terms["age"] = np.log2([hour - first for first in firsts])
    for name in PAIR_FEATURES:
        terms[name] = np.zeros(N_ITEMS)
    start = h.offsets[user]
    items = (h.item[start : start + length] - 1).tolist()
    q = np.exp(terms["log_q"])
    near, followed = slow_counts(h, 10), slow_counts(h, 1)
    if items:
        for j in set(items):
            places = [at for at, item in enumerate(items) if item == j]
            terms["just_seen"][j] = items[-1] == j
            terms["met"][j] = 1
            terms["times_met"][j] = math.log(len(places))
            terms["met_lately"][j] = 1 / (length - places[-1])
        terms["followed"] = np.log(1 + followed[items[-1]] / q)
        terms["preceded"] = np.log(1 + followed[:, items[-1]] / q)
        around = sum(
            0.7**back * (near[item] + near[:, item]) for back, item in enumerate(items[:-6:-1])
        )
        terms["near"] = np.log(1 + around / q)
    terms["similar"] = np.log(1 + slow_held(data, user, length, now_us) / q)
    return np.column_stack([terms[name] for name in SCORE_FEATURES[1:]])


def test_terms_are_their_definitions(data: DataSet) -> None:
    requests = asked(data)
    target = np.random.default_rng(5).integers(0, N_ITEMS, len(requests))
    columns = np.array([0, 3, 4, 8])
    found = evidence_of(data).features_of(data.histories, requests, target, columns)
    assert not found[..., 0].any()
    for row, asks in enumerate(zip(requests.user, requests.length, requests.now_us, strict=True)):
        expected = slow_terms(data, *asks)
        assert np.allclose(found[row, 0, 1:], expected[target[row]], rtol=1e-4, atol=1e-5)
        assert np.allclose(found[row, 1:, 1:], expected[columns], rtol=1e-4, atol=1e-5)


def test_scores_are_the_weighted_sum_of_the_terms(data: DataSet) -> None:
    rng = np.random.default_rng(0)
    requests = asked(data)
    weights = rng.normal(size=(2, len(SCORE_FEATURES)))[rng.integers(0, 2, len(requests))]
    scores = np.zeros((len(requests), N_ITEMS), np.float32)
    add_score_features(scores, evidence_of(data), data.histories, requests, weights)
    for row, asks in enumerate(zip(requests.user, requests.length, requests.now_us, strict=True)):
        assert np.allclose(scores[row], slow_terms(data, *asks) @ weights[row, 1:], atol=2e-3)


def test_of_a_large_catalogue_one_hour_is_held_at_a_time_and_none_made_twice(
    data: DataSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    from training.models.parts.mixture import score_features

    made: list[int] = []

    def counting(counts: HourCounts, hour: int, n_items: int, window_h: int) -> np.ndarray:
        made.append(hour)
        return age_h_at(counts, hour, n_items, window_h)

    requests = asked(data)
    target = np.zeros(len(requests), np.int64)
    weights = np.random.default_rng(2).normal(size=(len(requests), len(SCORE_FEATURES)))
    evidence = evidence_of(data)
    expected = evidence.features_of(data.histories, requests, target, np.arange(N_ITEMS))
    expected_scores = expected[:, 1:] @ weights[:, :, None]
    monkeypatch.setattr(score_features, "_CACHED_CELLS", 0)
    monkeypatch.setattr(score_features, "age_h_at", counting)
    hours = np.unique(evidence.hours(requests)).tolist()
    assert len(hours) > 5
    small = evidence_of(data)
    found = small.features_of(data.histories, requests, target, np.arange(N_ITEMS))
    assert np.array_equal(found, expected)
    assert made == hours
    assert len(small._of_hour) == 1
    made.clear()
    scores = np.zeros((len(requests), N_ITEMS), np.float32)
    add_score_features(scores, evidence_of(data), data.histories, requests, weights)
    assert np.allclose(scores, expected_scores[..., 0], atol=2e-3)
    assert made == hours


def test_neighbours_before_a_time_are_counted_from_events_before_it(data: DataSet) -> None:
    before_us = int(np.median(data.histories.time_us))
    found = Neighbours.of(data.histories, N_ITEMS, before_us)
    assert np.array_equal(found.followed.toarray(), slow_counts(data.histories, 1, before_us))
    assert np.array_equal(found.near.toarray(), slow_counts(data.histories, 10, before_us))
    assert np.array_equal(found.preceded.toarray(), slow_counts(data.histories, 1, before_us).T)


def test_of_many_events_the_latest_are_counted(
    data: DataSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    from training.models.parts.mixture import score_features

    monkeypatch.setattr(score_features, "MOST_EVENTS", 60)
    latest = np.sort(data.histories.time_us)[-60]
    kept = data.histories.time_us >= latest
    user, item = data.histories.user_of_event[kept], data.histories.item[kept] - 1
    expected = np.zeros((N_ITEMS, N_ITEMS))
    for a, b in zip(range(59), range(1, 60), strict=True):
        expected[item[a], item[b]] += user[a] == user[b] and item[a] != item[b]
    assert np.array_equal(Neighbours.of(data.histories, N_ITEMS).followed.toarray(), expected)


SIMILAR = {**FAST, "similar_sessions": 4}


@pytest.fixture(scope="module")
def weighed(data: DataSet) -> HrnnTrend:
    """A system whose every weight counts."""
    system = build("hrnn_trend", SIMILAR)
    system.fit(data, 0, lambda progress: None)
    rng = np.random.default_rng(1)
    weights = rng.normal(size=(2, len(SCORE_FEATURES)))
    precision = np.stack([np.eye(len(SCORE_FEATURES))] * 2)
    beliefs = (GaussianPrior(weights[0], precision[0]), GaussianPrior(weights[1], precision[1]))
    named = WeightPriors(SCORE_FEATURES, beliefs).tensors()
    told = {**system.tensors(), **{f"mixture.{name}": value for name, value in named.items()}}
    other = build("hrnn_trend", SIMILAR)
    other.load(told)
    assert isinstance(other, HrnnTrend)
    return other


def test_later_events_change_nothing(weighed: HrnnTrend, data: DataSet) -> None:
    requests, h = asked(data), data.histories
    before = weighed.score(h, requests)
    rng = np.random.default_rng(9)
    for row in range(len(requests)):
        first = h.offsets[requests.user[row]] + requests.length[row]
        later = slice(first, h.offsets[requests.user[row] + 1])
        columns = {name: getattr(h, name).copy() for name in ("item", "time_us", "session_start")}
        columns["item"][later] = rng.integers(1, N_ITEMS + 1, later.stop - later.start)
        columns["time_us"][later] += 10**9
        columns["session_start"][later] = rng.random(later.stop - later.start) < 0.5
        after = weighed.score(replace(h, **columns), requests)
        assert np.array_equal(after[row], before[row])


def test_all_that_is_kept_is_loaded(weighed: HrnnTrend, data: DataSet) -> None:
    other = build("hrnn_trend", SIMILAR)
    other.load(weighed.tensors())
    requests = asked(data)
    assert np.array_equal(
        other.score(data.histories, requests), weighed.score(data.histories, requests)
    )
    for name, tensor in weighed.tensors().items():
        assert np.array_equal(other.tensors()[name], tensor), name


def test_weights_of_other_terms_are_refused(weighed: HrnnTrend) -> None:
    with pytest.raises(HourglassError, match=r"its weights are of affinity, log_q, .*similar, its"):
        build("hrnn_trend", {**FAST, "mixture": False}).load(weighed.tensors())


def recall(system: Model, test: DataSet, k: int = 2) -> float:
    h = test.histories
    event = np.flatnonzero(h.is_target)
    event = event[h.item[event] != h.item[event - 1]]
    user = h.user_of_event[event]
    scores = system.score(h, Requests(user, event - h.offsets[user], h.time_us[event]))
    target = scores[np.arange(len(event)), h.item[event] - 1]
    return float(np.mean((scores >= target[:, None]).sum(axis=1) <= k))


def test_what_the_network_is_too_young_to_know_the_mixture_sees(tmp_path: Path) -> None:
    train = read_dataset(write_dataset(tmp_path / "d", walks(80, 2), vocabulary=NAMES))
    test = read_dataset(
        write_dataset(
            tmp_path / "t",
            walks(40, 3, stop_s=AS_OF_S + 20 * 3600),
            base=tmp_path / "d",
            window_start="2016-03-14T13",
            as_of="2016-03-15T09",
        )
    )
    plain = build("hrnn_trend", {**FAST, "mixture": False})
    mixed = build("hrnn_trend", FAST)
    for system in (plain, mixed):
        system.fit(train, 0, lambda progress: None)
    assert recall(mixed, test) > 0.75
    assert recall(plain, test) < 0.6
    weights = dict(zip(SCORE_FEATURES[:-1], mixed.tensors()["mixture.weight"][0], strict=True))
    assert weights["followed"] > weights["preceded"]


def test_without_the_network_the_mixture_is_alone(tmp_path: Path) -> None:
    data, alone = data_of(tmp_path / "d", users=60), {**FAST, "affinity": False}
    made = [build("hrnn_trend", alone) for _ in range(2)]
    for seed, system in enumerate(made):
        system.fit(data, seed, lambda progress: None)
    tensors = [system.tensors() for system in made]
    assert not np.allclose(tensors[0]["items.vector.weight"], tensors[1]["items.vector.weight"])
    requests = asked(data)
    one, other = (system.score(data.histories, requests) for system in made)
    assert np.allclose(one, other, atol=1e-5)
    assert tensors[0]["mixture.weight"].shape == (2, len(SCORE_FEATURES) - 2)
    # What is left are the terms, by those weights.
    for row, asks in enumerate(zip(requests.user, requests.length, requests.now_us, strict=True)):
        assert isinstance(made[0], HrnnTrend)
        evidence = made[0].feature_store()
        assert evidence.rule.half_life_h == 12
        starts = int(asks[1] == 0)
        if starts:
            terms = evidence.features_of(
                data.histories, requests.take(np.array([row])), np.zeros(1, int), np.arange(N_ITEMS)
            )
            expected = terms[0, 1:, 1:-1] @ tensors[0]["mixture.weight"][1]
            assert np.allclose(one[row], expected, atol=2e-3)
    loaded = build("hrnn_trend", alone)
    loaded.load(tensors[0])
    assert np.array_equal(loaded.score(data.histories, requests), one)


@pytest.mark.parametrize("other", ["mixture", "trend"])
def test_without_network_and_mixture_nothing_is_left_to_say(other: str) -> None:
    with pytest.raises(UsageError, match="affinity is false, but only the mixture says anything"):
        build("hrnn_trend", {"affinity": False, other: False})


@pytest.mark.parametrize("without", ["mixture", "trend"])
def test_sessions_belong_to_the_mixture(data: DataSet, without: str) -> None:
    """What leaves the mixture out leaves them out too, and keeps none of them."""
    told = {**FAST, without: False, **({"mixture": False} if without == "trend" else {})}
    scores = []
    for sessions in (0, 4):
        system = build("hrnn_trend", {**told, "similar_sessions": sessions})
        system.fit(data, 0, lambda progress: None)
        loaded = build("hrnn_trend", {**told, "similar_sessions": sessions})
        loaded.load(system.tensors())
        assert not any("similar" in name for name in system.tensors())
        scores.append(loaded.score(data.histories, asked(data)))
    assert np.array_equal(*scores)


def test_fewer_than_no_sessions_are_refused() -> None:
    with pytest.raises(UsageError, match="similar_sessions"):
        build("hrnn_trend", {"similar_sessions": -1})


def test_weights_are_fitted_on_what_was_known_before(
    data: DataSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither sessions nor neighbours of the time that the weights are fitted on; P6."""
    seen: list[tuple[FeatureStore, int, bool]] = []
    whole = HrnnTrend._choices

    def noting(
        self: HrnnTrend,
        data: DataSet,
        event: Any,
        events: Any,
        known: FeatureStore,
        affinity: bool = True,
    ) -> Any:
        seen.append((known, int(data.histories.time_us[event].min()), affinity))
        return whole(self, data, event, events, known, affinity)

    monkeypatch.setattr(HrnnTrend, "_choices", noting)
    h, times = data.histories, np.sort(data.histories.time_us)
    cut_us = int(times[int(0.7 * len(times))])
    first = build("hrnn_trend", {**SIMILAR, "validation_share": 0.3})
    first.fit(data, 0, lambda progress: None)
    start = ParentWeights("m", first.tensors(), data.item_ids, None, cut_us)
    second = build("hrnn_trend", {**SIMILAR, "validation_share": 0.0})
    assert isinstance(second, HrnnTrend)
    second.fit_with(data, 0, lambda progress: None, FitOptions(parent=start))
    # Slices of the time before the part kept apart, of which the network is not asked; that part;
    # and what came since the parent, which believes something already.
    apart = [number for number, (_, _, affinity) in enumerate(seen) if affinity]
    assert apart == [len(seen) - 2, len(seen) - 1]
    assert len(seen) > 2 + 7
    assert seen[-1][1] >= cut_us
    for evidence, asked_us, affinity in seen:
        assert evidence.sessions is not None
        assert len(evidence.sessions.end_us) > 5 or not affinity
        assert evidence.sessions.end_us.max(initial=0) < asked_us
        followed, known = evidence.neighbours.followed.toarray(), slow_counts(h, 1, asked_us)
        # A slice may begin with a request of the other kind.
        assert np.array_equal(followed, known) if affinity else (followed <= known).all()


def test_what_is_out_of_reach_changes_nothing(data: DataSet) -> None:
    likeness = replace(LIKENESS, sessions_per_item=2)
    every = Sessions.of(data.histories, N_ITEMS, likeness)
    near = every.within_reach()
    assert 0 < len(near.end_us) < len(every.end_us)
    requests = asked(data)
    one, other = (each.similar_items(data.histories, requests).toarray() for each in (every, near))
    assert one.any()
    assert np.allclose(one, other)


def test_requests_are_worked_on_in_parts(data: DataSet, monkeypatch: pytest.MonkeyPatch) -> None:
    sessions, requests = Sessions.of(data.histories, N_ITEMS, LIKENESS), asked(data)
    expected = sessions.similar_items(data.histories, requests).toarray()
    monkeypatch.setattr("training.models.parts.neighbours.session_similarity._CHUNK", 3)
    assert np.array_equal(sessions.similar_items(data.histories, requests).toarray(), expected)
    assert sessions.similar_items(data.histories, requests.take(slice(0))).shape == (0, N_ITEMS)


def test_of_sessions_only_the_latest_events_are_kept(data: DataSet) -> None:
    latest = np.sort(data.histories.time_us)[-60]
    found = Sessions.of(data.histories, N_ITEMS, LIKENESS, most_events=60)
    kept = data.histories.time_us >= latest
    number = session_of_event(data.histories)[kept]
    several = [
        one for one in np.unique(number) if len(set(data.histories.item[kept][number == one])) > 1
    ]
    assert found.items.shape == (len(several), N_ITEMS)
    assert found.items.shape[0] > 3


def test_a_log_without_sessions_is_told_nothing(tmp_path: Path) -> None:
    users = {f"u{at}": [(NAMES[at % 3], AS_OF_S - 9000.0 * (at + 1))] for at in range(9)}
    lonely = read_dataset(write_dataset(tmp_path / "d", users, vocabulary=NAMES))
    sessions = Sessions.of(lonely.histories, N_ITEMS, LIKENESS).within_reach()
    assert sessions.items.shape == (0, N_ITEMS)
    assert sessions.similar_items(lonely.histories, asked(lonely, 9)).nnz == 0


def continued(data: DataSet, before: HrnnTrend, tensors: Tensors, **told: object) -> HrnnTrend:
    """The successor of a model, that learns and is asked nothing new."""
    start = ParentWeights("m", tensors, data.item_ids, None, int(data.histories.time_us.max()) + 1)
    quiet = {**SIMILAR, "validation_share": 0.0, "learning_rate": 1e-9, **told}
    system = build("hrnn_trend", quiet)
    assert isinstance(system, HrnnTrend)
    system.fit_with(data, 0, lambda progress: None, FitOptions(parent=start))
    return system


@pytest.mark.parametrize(
    "told", [{"similar_sessions": 0}, {"affinity": False}, {"mixture": False}], ids=str
)
def test_a_successor_with_other_terms_keeps_what_was_said_of_its_own(
    weighed: HrnnTrend, data: DataSet, told: dict[str, object]
) -> None:
    tensors = weighed.tensors()
    tensors["mixture.precision"] = np.stack([np.eye(len(SCORE_FEATURES)) * 50.0] * 2)
    by_name = dict(zip(SCORE_FEATURES, tensors["mixture.weight"][0], strict=True))
    after = continued(data, weighed, tensors, **told)
    names = after._features
    assert set(names) < set(SCORE_FEATURES)
    found = after.tensors()
    assert found["mixture.weight"][0] == pytest.approx([by_name[name] for name in names])
    # And back again: what was left out begins as it does in a new model.
    again = continued(data, after, found)
    whole = dict(zip(SCORE_FEATURES, again.tensors()["mixture.weight"][0], strict=True))
    for name in SCORE_FEATURES:
        expected = by_name[name] if name in names else DEFAULT_WEIGHTS.get(name, 0.0)
        assert whole[name] == pytest.approx(expected), name


@pytest.mark.parametrize(
    ("told", "terms"),
    [
        ({"similar_sessions": 0}, FIRST_FEATURES),
        ({"similar_sessions": 0, "affinity": False}, FIRST_FEATURES[1:]),
        ({"mixture": False}, FIRST_FEATURES[:2]),
    ],
    ids=["all", "without the network", "published"],
)
def test_models_from_before_terms_had_names_go_on(
    weighed: HrnnTrend, data: DataSet, told: dict[str, object], terms: tuple[str, ...]
) -> None:
    old = without_later_features(continued(data, weighed, weighed.tensors(), **told).tensors())
    weights = old["mixture.weight"]
    del old["mixture.terms"]
    assert weights.shape == (2, len(terms))
    loaded = build("hrnn_trend", {**SIMILAR, **told})
    loaded.load(old)
    assert np.array_equal(loaded.tensors()["mixture.weight"], weights)
    found = continued(data, weighed, old).tensors()["mixture.weight"][1]
    assert found[[SCORE_FEATURES.index(name) for name in terms]] == pytest.approx(weights[1])


def test_a_model_from_before_some_features_scores_as_it_did(
    weighed: HrnnTrend, data: DataSet
) -> None:
    """Their weights are 0; its sessions, kept without places, are compared as V-SkNN does."""
    tensors = weighed.tensors()
    names = tensors["mixture.terms"].tobytes().decode().split("\n")
    for name in LATER_FEATURES:
        tensors["mixture.weight"][:, names.index(name)] = 0.0
    del tensors["mixture.similar.place"]
    as_now, as_then = (build("hrnn_trend", SIMILAR) for _ in range(2))
    as_now.load(tensors)
    as_then.load(without_later_features(tensors))
    requests = asked(data)
    scores = as_then.score(data.histories, requests)
    assert np.allclose(scores, as_now.score(data.histories, requests), atol=1e-4)
    sessions = as_then.feature_store().sessions
    assert sessions is not None
    assert sessions.rule == SimilarityRule(SIMILAR["similar_sessions"])
    again = build("hrnn_trend", SIMILAR)
    again.load(as_then.tensors())
    assert np.array_equal(again.score(data.histories, requests), scores)


def test_a_model_without_sessions_is_read_where_the_default_asks_for_them(data: DataSet) -> None:
    """Parameters that are not written take the default, which was none once."""
    without = build("hrnn_trend", {**FAST, "similar_sessions": 0})
    without.fit(data, 0, lambda progress: None)
    read = build("hrnn_trend", SIMILAR)
    read.load(without.tensors())
    requests = asked(data)
    expected = without.score(data.histories, requests)
    assert np.array_equal(read.score(data.histories, requests), expected)


def test_a_model_of_before_whose_weights_were_never_fitted_scores_as_it_did(data: DataSet) -> None:
    system = build("hrnn_trend", {**FAST, "validation_share": 0.0})
    system.fit(data, 0, lambda progress: None)
    of_weights = {"mixture.weight", "mixture.precision", "mixture.terms", "whole_fit"}
    tensors = {name: value for name, value in system.tensors().items() if name not in of_weights}
    assert len(tensors) == len(system.tensors()) - len(of_weights)
    read = build("hrnn_trend", FAST)
    read.load(tensors)
    assert isinstance(read, HrnnTrend)
    expected = [FORMER_DEFAULT_WEIGHTS.get(name, 0.0) for name in SCORE_FEATURES]
    assert np.allclose(read.score_weights(), [expected] * 2)
    assert isinstance(system, HrnnTrend)
    assert not np.allclose(system.score_weights(), [expected] * 2)


def without_later_features(tensors: Tensors) -> Tensors:
    """As a model kept them before `LATER_FEATURES` were there."""
    names = tensors["mixture.terms"].tobytes().decode().split("\n")
    first = [at for at, name in enumerate(names) if name not in LATER_FEATURES]
    return {
        **tensors,
        "mixture.weight": tensors["mixture.weight"][:, first],
        "mixture.precision": tensors["mixture.precision"][:, first][:, :, first],
        "mixture.terms": np.frombuffer("\n".join(names[at] for at in first).encode(), np.uint8),
    }


def test_a_belief_about_fewer_terms_is_as_sure_as_before() -> None:
    """The marginal of a normal distribution: its part of the covariance."""
    rng = np.random.default_rng(4)
    root = rng.normal(size=(12, 12))
    covariance = root @ root.T + np.eye(12)
    belief = GaussianPrior(rng.normal(size=12), np.linalg.inv(covariance))
    kept = WeightPriors(SCORE_FEATURES, (belief, belief))
    (found, _) = kept.about(SCORE_FEATURES[2:7])
    assert np.allclose(np.linalg.inv(found.precision), covariance[2:7, 2:7])
    assert np.array_equal(found.mean, belief.mean[2:7])


@pytest.mark.parametrize("terms", ["affinity\nlog_q", "a\nb\nc"])
def test_weights_that_do_not_fit_their_names_are_refused(weighed: HrnnTrend, terms: str) -> None:
    told = {**weighed.tensors(), "mixture.terms": np.frombuffer(terms.encode(), np.uint8)}
    with pytest.raises(HourglassError, match="which are no weights of"):
        build("hrnn_trend", SIMILAR).load(told)


def test_sessions_before_a_time_end_before_it(data: DataSet) -> None:
    h, before_us = data.histories, int(np.median(data.histories.time_us))
    cut = Sessions.of(h, N_ITEMS, LIKENESS, before_us)
    events: dict[int, list[int]] = {}
    for event, number in enumerate(session_of_event(h).tolist()):
        if h.time_us[event] < before_us:
            events.setdefault(number, []).append(event)
    told = [(sorted({*h.item[one]}), h.time_us[one[-1]]) for one in events.values()]
    expected = [pair for pair in told if len(pair[0]) > 1]
    assert len(expected) > 10
    found = [
        (sorted(cut.items[[row]].indices + 1), end) for row, end in enumerate(cut.end_us.tolist())
    ]
    assert found == expected


@pytest.mark.parametrize("refit", [False, True])
def test_neighbours_that_are_served_are_counted_from_everything(refit: bool, data: DataSet) -> None:
    system = build("hrnn_trend", {**SIMILAR, "refit": refit, "validation_share": 0.3})
    system.fit(data, 0, lambda progress: None)
    assert isinstance(system, HrnnTrend)
    found = system.feature_store().neighbours
    assert np.array_equal(found.followed.toarray(), slow_counts(data.histories, 1))
    assert np.array_equal(found.near.toarray(), slow_counts(data.histories, 10))
    sessions, every = (
        system.feature_store().sessions,
        Sessions.of(data.histories, N_ITEMS, LIKENESS),
    )
    assert sessions is not None
    assert np.array_equal(sessions.items.toarray(), every.items.toarray())


def test_a_successor_is_first_asked_what_its_model_does_not_know(tmp_path: Path) -> None:
    """Without a validation part, only what happened since then changes the weights."""
    before = data_of(tmp_path / "before", users=60)
    told = {**FAST, "validation_share": 0.0, "learning_rate": 1e-9}
    first = build("hrnn_trend", FAST)
    first.fit(before, 0, lambda progress: None)
    known = first.tensors()

    def following(as_of_us: int) -> np.ndarray:
        start = ParentWeights("m", known, before.item_ids, None, as_of_us)
        system = build("hrnn_trend", told)
        assert isinstance(system, HrnnTrend)
        system.fit_with(before, 0, lambda progress: None, FitOptions(parent=start))
        weights: np.ndarray = system.tensors()["mixture.weight"]
        return weights

    nothing_new = following(int(before.histories.time_us.max()) + 1)
    assert np.array_equal(nothing_new, known["mixture.weight"])
    some_new = following(int(np.quantile(before.histories.time_us, 0.7)))
    assert not np.allclose(some_new[0], known["mixture.weight"][0])
    assert np.abs(some_new - known["mixture.weight"]).max() < 1


def test_a_successor_knows_new_items(tmp_path: Path) -> None:
    before = data_of(tmp_path / "before", users=60)
    first = build("hrnn_trend", FAST)
    first.fit(before, 0, lambda progress: None)
    names = [*NAMES[::-1], "new"]
    later = read_dataset(write_dataset(tmp_path / "later", walks(60, 4), vocabulary=names))
    start = ParentWeights("m", first.tensors(), before.item_ids, None, (AS_OF_S - 9000) * 1_000_000)
    system = build("hrnn_trend", FAST)
    assert isinstance(system, HrnnTrend)
    system.fit_with(later, 0, lambda progress: None, FitOptions(parent=start))
    assert system.score(later.histories, asked(later)).shape == (50, N_ITEMS + 1)
    assert system.tensors()["mixture.followed.row_start"].shape == (N_ITEMS + 2,)
