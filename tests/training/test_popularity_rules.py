"""Which hours count for popularity follows what the log says; against a slow, obvious search."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from synthetic import AS_OF_S, write_dataset

from pipeline.hours import Hour
from training.data.reader import DataSet, Requests, read_dataset
from training.models import build
from training.models.parts.popularity_rules import (
    HALF_LIVES_H,
    WINDOWS_H,
    PopularityRule,
    chosen_rule,
    rules_within,
)

HOUR_S = 3600
KNOWN_H = 48
NOTHING = "2016-03-14T13"

Log = dict[str, list[tuple[str, float]]]


def news(rng: np.random.Generator) -> Log:
    """Every hour three other items out of sixty are wanted, and the same in the next hour."""
    log: Log = {}
    for hour in range(KNOWN_H):
        wanted = [(hour * 3 + nth) % 60 for nth in (0, 1, 2, 3, 4, 5)]
        for nth in range(30):
            at = AS_OF_S - (KNOWN_H - hour) * HOUR_S + int(rng.integers(HOUR_S))
            log[f"user {hour:02d} {nth:02d}"] = [(f"i{int(rng.choice(wanted)):02d}", at)]
    return log


def classics(rng: np.random.Generator) -> Log:
    """The same sixty items are wanted all the time, by a share of their own; events are few."""
    share = 1 / np.arange(1, 61)
    log: Log = {}
    for nth in range(500):
        at = AS_OF_S - KNOWN_H * HOUR_S + int(rng.integers(KNOWN_H * HOUR_S))
        log[f"user {nth:03d}"] = [(f"i{int(rng.choice(60, p=share / share.sum())):02d}", at)]
    return log


def data_of(folder: Path, log: Log) -> DataSet:
    return read_dataset(write_dataset(folder, log, popularity_window_h=KNOWN_H))


def slow_counts(log: Log, rule: PopularityRule, hour: int) -> Counter[str]:
    """Weighed events by item, event by event."""
    counts: Counter[str] = Counter()
    for events in log.values():
        for item, at in events:
            age = hour - 1 - int(at) // HOUR_S
            if 0 <= age < rule.window_h:
                counts[item] += 2 ** (-age / rule.half_life_h) if rule.half_life_h else 1
    return counts


def slow_choice(log: Log, rules: list[PopularityRule]) -> PopularityRule:
    """The rule under which the latest tenth of the events stand highest."""
    times = sorted(int(at) // HOUR_S for events in log.values() for _, at in events)
    first = max(int(np.quantile(times, 0.9)), Hour.parse(NOTHING).index - KNOWN_H // 2)
    ids = sorted({item for events in log.values() for item, _ in events})
    # The last of what came before the first compared event, which is nothing of what is asked.
    begins = min(time for time in times if time >= first)
    overall = Counter(
        item for events in log.values() for item, at in events if int(at) // HOUR_S < begins
    )
    tie = {item: np.float32(0.5) * np.float32(overall[item] / overall.total()) for item in ids}
    best, best_mean = rules[0], -1.0
    for rule in rules:
        ranks = []
        for events in log.values():
            for item, at in events:
                hour = int(at) // HOUR_S
                if hour >= first:
                    counts = slow_counts(log, rule, hour)
                    score = {each: np.float32(counts[each]) + tie[each] for each in ids}
                    ranks.append(1 / sum(score[each] >= score[item] for each in ids))
        if float(np.mean(ranks)) > best_mean + 1e-12:
            best, best_mean = rule, float(np.mean(ranks))
    return best


@pytest.mark.parametrize("make_log", [news, classics])
def test_the_rule_is_the_one_that_a_slow_search_chooses(tmp_path: Path, make_log: object) -> None:
    assert callable(make_log)
    log = make_log(np.random.default_rng(3))
    data = data_of(tmp_path / "d", log)
    system = build("recent_pop", {})
    metrics = system.fit(data, 0, lambda progress: None)
    expected = slow_choice(log, rules_within(KNOWN_H // 2))
    assert metrics == {"window_h": expected.window_h, "half_life_h": expected.half_life_h}
    assert (expected.window_h <= 3 or 0 < expected.half_life_h <= 2) == (make_log is news)


@pytest.mark.parametrize("half_life_h", [0.0, 3.0])
def test_scores_are_weighed_events_of_the_hours_before(tmp_path: Path, half_life_h: float) -> None:
    log = classics(np.random.default_rng(4))
    data = data_of(tmp_path / "d", log)
    system = build("recent_pop", {"k_h": 7, "half_life_h": half_life_h})
    system.fit(data, 0, lambda progress: None)
    late_h = np.array([0, -5, -11])
    now_us = (AS_OF_S + late_h * HOUR_S) * 1_000_000
    zeros = np.zeros(3, np.int64)
    scores = system.score(data.histories, Requests(zeros, zeros, now_us))
    tie = 0.5 * data.item_events / data.item_events.sum()
    rule = PopularityRule(7, half_life_h)
    for row, hour in zip(scores, Hour.parse(NOTHING).index + late_h, strict=True):
        counts = slow_counts(log, rule, int(hour))
        assert np.allclose(row, [counts[str(item)] for item in data.item_ids] + tie, atol=1e-5)


def test_a_chosen_rule_is_stored_with_the_model(tmp_path: Path) -> None:
    data = data_of(tmp_path / "d", news(np.random.default_rng(5)))
    system, other = (build("recent_pop", {"k_h": 0}) for _ in range(2))
    system.fit(data, 0, lambda progress: None)
    other.load(system.tensors())
    rows = Requests(np.zeros(2, np.int64), np.zeros(2, np.int64), np.full(2, AS_OF_S * 1_000_000))
    expected = system.score(data.histories, rows)
    assert (other.score(data.histories, rows) == expected).all()
    day = build("recent_pop", {"k_h": 24})
    day.fit(data, 0, lambda progress: None)
    assert (day.score(data.histories, rows) != expected).any()


def test_a_model_of_before_rules_were_stored_counts_as_its_parameters_say(tmp_path: Path) -> None:
    data = data_of(tmp_path / "d", classics(np.random.default_rng(6)))
    system, other = (build("recent_pop", {"k_h": 5}) for _ in range(2))
    system.fit(data, 0, lambda progress: None)
    tensors = dict(system.tensors())
    del tensors["rule"]
    other.load(tensors)
    rows = Requests(np.zeros(1, np.int64), np.zeros(1, np.int64), np.full(1, AS_OF_S * 1_000_000))
    assert (other.score(data.histories, rows) == system.score(data.histories, rows)).all()


def test_without_recent_events_it_is_a_day(tmp_path: Path) -> None:
    folder = write_dataset(tmp_path / "d", {"u": [("a", AS_OF_S - 400 * HOUR_S)]})
    data = read_dataset(folder)
    assert chosen_rule(data) == PopularityRule(24)


def test_no_rule_looks_further_back_than_is_known() -> None:
    assert all(rule.window_h <= 10 for rule in rules_within(10))
    assert {rule.window_h for rule in rules_within(200)} >= set(WINDOWS_H)
    assert rules_within(1) == [PopularityRule(1)]
    assert sum(rule.half_life_h > 0 for rule in rules_within(2)) == len(HALF_LIVES_H)


def test_a_half_life_alone_counts_all_known_hours(tmp_path: Path) -> None:
    data = data_of(tmp_path / "d", news(np.random.default_rng(7)))
    system = build("recent_pop", {"half_life_h": 2.0})
    known_h = data.manifest.popularity_window_h
    assert system.fit(data, 0, lambda progress: None) == {"window_h": known_h, "half_life_h": 2.0}
    whole = build("recent_pop", {"k_h": known_h, "half_life_h": 2.0})
    whole.fit(data, 0, lambda progress: None)
    rows = Requests(np.zeros(1, np.int64), np.zeros(1, np.int64), np.full(1, AS_OF_S * 1_000_000))
    scores = [model.score(data.histories, rows) for model in (system, whole)]
    assert np.array_equal(*scores)


def test_a_model_of_before_windows_were_chosen_counts_a_day(tmp_path: Path) -> None:
    data = data_of(tmp_path / "d", news(np.random.default_rng(8)))
    day, read = build("recent_pop", {"k_h": 24}), build("recent_pop", {})
    day.fit(data, 0, lambda progress: None)
    read.load({name: each for name, each in day.tensors().items() if name != "rule"})
    rows = Requests(np.zeros(1, np.int64), np.zeros(1, np.int64), np.full(1, AS_OF_S * 1_000_000))
    assert np.array_equal(read.score(data.histories, rows), day.score(data.histories, rows))
