"""Whether retraining is worth it: each sign against a slow reference, and what follows of them."""

from __future__ import annotations

import random
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.settings.learning import RetrainSettings
from training.fit.retrain_policy import (
    RetrainSignals,
    metric_drop,
    popularity_shift,
    should_retrain,
    unseen_share,
)

COUNTS = st.dictionaries(st.sampled_from("abcdefgh"), st.integers(0, 50), max_size=8)
RULE = RetrainSettings(max_age="24h", max_unseen_share=0.05, max_shift=0.1, max_metric_drop=0.05)
QUIET = RetrainSignals(age_h=3, unseen_share=0.01, shift=0.02, metric_drop=0.0)


@given(COUNTS, st.sets(st.sampled_from("abcdefgh")))
def test_the_unseen_share_counts_events(recent: dict[str, int], known: set[str]) -> None:
    events = [item for item, count in recent.items() for _ in range(count)]
    unseen = [item for item in events if item not in known]
    expected = len(unseen) / len(events) if events else 0.0
    assert unseen_share(recent, known) == expected


@given(COUNTS, COUNTS)
def test_the_shift_lies_between_nothing_and_total_variation(
    then: dict[str, int], now: dict[str, int]
) -> None:
    shift = popularity_shift(then, now, seed=0)
    if not sum(then.values()) or not sum(now.values()):
        assert shift is None
        return
    apart = sum(
        abs(then.get(item, 0) / sum(then.values()) - now.get(item, 0) / sum(now.values()))
        for item in "abcdefgh"
    )
    assert shift is not None
    assert 0 <= shift <= apart / 2 + 1e-9
    assert shift == popularity_shift(then, now, seed=0)


def drawn(weights: dict[str, float], n: int, seed: int) -> dict[str, int]:
    rng = random.Random(seed)
    return Counter(rng.choices(list(weights), list(weights.values()), k=n))


def test_chance_alone_is_no_shift() -> None:
    """Two hundred events on a hundred items differ by a fifth, though nothing changed."""
    same = {f"i{n}": 1.0 / (n + 1) for n in range(100)}
    for seed in range(10):
        then, now = drawn(same, 200, seed), drawn(same, 200, 100 + seed)
        plain = sum(abs(then.get(i, 0) - now.get(i, 0)) for i in same) / 400
        assert plain > 0.15
        shift = popularity_shift(then, now, seed)
        assert shift is not None
        assert shift < 0.08


def test_a_true_shift_is_found() -> None:
    then = {f"i{n}": 1.0 / (n + 1) for n in range(100)}
    now = {f"i{n}": 1.0 / (100 - n) for n in range(100)}
    true = sum(abs(then[i] - now[i]) for i in then) / sum(then.values()) / 2
    shift = popularity_shift(drawn(then, 4000, 1), drawn(now, 4000, 2), seed=0)
    assert shift is not None
    assert true - 0.1 < shift <= true


def test_a_drop_compares_the_first_third_with_the_last() -> None:
    looks = [(0.4, 100), (0.2, 300), (0.9, 1), (0.9, 1), (0.1, 100), (0.3, 100)]
    first, last = (0.4 * 100 + 0.2 * 300) / 400, (0.1 * 100 + 0.3 * 100) / 200
    assert metric_drop(looks) == pytest.approx(1 - last / first)
    assert metric_drop(looks[:5]) is None  # too young to have developed
    assert metric_drop([(0.0, 10)] * 6) is None
    rising = metric_drop([(0.1, 1)] * 3 + [(0.2, 1)] * 3)
    assert rising == pytest.approx(-1.0)


def test_quiet_hours_are_not_worth_it() -> None:
    found = should_retrain(QUIET, RULE)
    assert (found.retrain, found.reasons) == (False, ("little_changed",))
    assert "3 h old" in found.sentence
    # A model without a past has no development, which alone is no reason.
    assert not should_retrain(RetrainSignals(3, 0.01, 0.02, None), RULE).retrain


@pytest.mark.parametrize(
    ("signs", "reason"),
    [
        (RetrainSignals(None, None, None, None), "no_model"),
        (RetrainSignals(24, 0.01, 0.02, 0.0), "old"),
        (RetrainSignals(3, 0.06, 0.02, 0.0), "unseen_items"),
        (RetrainSignals(3, 0.01, 0.11, 0.0), "popularity_moved"),
        (RetrainSignals(3, 0.01, 0.02, 0.06), "metric_fell"),
        (RetrainSignals(3, None, 0.02, 0.0), "unseen_items_unknown"),
        (RetrainSignals(3, 0.01, None, 0.0), "popularity_moved_unknown"),
    ],
)
def test_each_sign_speaks_for_a_new_model(signs: RetrainSignals, reason: str) -> None:
    found = should_retrain(signs, RULE)
    assert found.retrain
    assert found.reasons == (reason,)
    assert found.sentence.startswith("worth it: ")
