"""Whether retraining is worth it: each sign against a slow reference, and what follows of them."""

from __future__ import annotations

import random
import re
from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.settings.learning import RetrainSettings
from training.fit.retrain_policy import (
    Choice,
    LineSignals,
    Look,
    RetrainSignals,
    choice_of_line,
    lead_drop,
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


# Whether an entry takes a step or is made anew.

STEPS_ON = LineSignals(
    name="mine",
    parent="hrnn-a",
    whole_fit_age_h=23,
    anew_h=24,
    lead_drop=0.10,
    new_share=0.9,
    rules_changed=False,
)


def test_a_drop_of_the_lead_counts_hours_that_are_hard_for_both_against_none() -> None:
    hard = [Look(0.3, 0.2, 900), Look(0.3, 0.2, 300)]
    easy = [Look(0.9, 0.6, 500), Look(0.6, 0.4, 500)]
    lost = [Look(0.24, 0.2, 500), Look(0.12, 0.1, 500)]
    between = [Look(9.0, 1.0, 1)] * 2
    assert lead_drop(hard + between + easy) == pytest.approx(0.0)
    assert lead_drop(hard + between + lost) == pytest.approx(1 - 1.2 / 1.5)
    few = [Look(0.24, 0.2, 500), Look(0.12, 0.1, 499)]
    assert lead_drop(hard + between + few) is None  # too few to tell
    assert lead_drop([*hard, between[0], *lost]) is None  # too young to have developed
    assert lead_drop([Look(0.1, 0.0, 1000)] * 6) is None


@pytest.mark.parametrize(
    ("changed", "reason", "text"),
    [
        ({"whole_fit_age_h": 24}, "whole_fit_old", r"whole fit is 24 h old \(anew_h 24\)"),
        ({"lead_drop": 0.11}, "lead_fell", "fell by 11.0% since its whole fit"),
        ({"new_share": 0.91}, "vocabulary_changed", "91.0% of the events are on items that its"),
        ({"rules_changed": True}, "rules_changed", "made by other settings since"),
    ],
)
def test_each_sign_of_an_entry_makes_it_anew(
    changed: dict[str, object], reason: str, text: str
) -> None:
    signs = replace(STEPS_ON, **changed)  # type: ignore[arg-type]
    assert choice_of_line(signs, RULE).reasons == (reason,)
    other = replace(STEPS_ON, name="other")
    decided = should_retrain(QUIET, RULE, (signs, other))
    assert (decided.retrain, decided.choice, decided.anew) == (True, Choice.ANEW, ("mine",))
    assert decided.reasons == (reason,)
    assert re.search(f"worth it: mine anew, since .*{text}", decided.sentence)


@pytest.mark.parametrize(
    "changed",
    [
        {},
        {"whole_fit_age_h": None, "lead_drop": None, "new_share": None},
        {"anew_h": 0, "whole_fit_age_h": 999},
    ],
    ids=["within all limits", "nothing can be told", "never by its age"],
)
def test_an_entry_takes_a_step_otherwise(changed: dict[str, object]) -> None:
    line = replace(STEPS_ON, **changed)  # type: ignore[arg-type]
    assert not choice_of_line(line, RULE).anew
    assert should_retrain(QUIET, RULE, (line,)).choice is Choice.NOTHING
    moved = should_retrain(replace(QUIET, shift=0.11), RULE, (line,))
    assert (moved.choice, moved.anew) == (Choice.STEP, ())
