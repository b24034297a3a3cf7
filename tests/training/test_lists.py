"""What lists show while a model is ranked, against lists that are written out."""

from __future__ import annotations

import io
import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console
from synthetic import AS_OF, AS_OF_S, write_dataset

from pipeline.sealed_json import json_ready
from pipeline.settings.learning import EvaluationSettings
from training.data.arrays import distinct
from training.data.reader import DataSet, Histories, Requests, read_dataset
from training.evaluation import lists
from training.evaluation.evaluate import Evaluation
from training.evaluation.leaderboard import list_rows, render_lists
from training.evaluation.lists import FUTURE_STEPS, ListFigures, ShownLists
from training.metrics.answers import novelty
from training.metrics.diversity import Audiences
from training.metrics.metrics import mean_metric
from training.metrics.ranking import find_targets, rank_targets
from training.metrics.ranks import SummaryRow

V = 6


class Table:
    """Scores that were written down, a row for each length of a user's history."""

    def __init__(self, scores: np.ndarray) -> None:
        self.scores = scores

    def score(self, histories: Histories, requests: Requests) -> np.ndarray:
        return self.scores[requests.user, requests.length].copy()


@pytest.fixture(scope="module")
def later(tmp_path_factory: pytest.TempPathFactory) -> DataSet:
    """Three users after the hour, of whom one has been there before; f is cold."""
    folder = tmp_path_factory.mktemp("lists")
    before = {"old": [(item, AS_OF_S - 7200.0 + at) for at, item in enumerate("abcdeaabbb")]}
    base = write_dataset(folder / "base", before, vocabulary=list("abcdef"))
    users = {
        "ann": [("a", AS_OF_S - 100.0), *((item, AS_OF_S + 60.0 * at) for at, item in
                                         enumerate("bcaadef"))],
        "bob": [("b", AS_OF_S + 5.0), ("b", AS_OF_S + 6.0), ("c", AS_OF_S + 7.0)],
        "cid": [("e", AS_OF_S + 9.0)],
    }  # fmt: skip
    made = write_dataset(
        folder / "test", users, base=base, window_start=AS_OF, as_of="2016-03-14T14"
    )
    return read_dataset(made)


def written_out(
    later: DataSet, scores: np.ndarray, rule: EvaluationSettings, every: int
) -> tuple[list[set[int]], list[list[bool]]]:
    """The list of each chosen target, and by future step whether it shows what comes then."""
    targets = find_targets(later.histories, rule)
    shown, hits = [], [[] for _ in range(FUTURE_STEPS + 1)]
    for row in range(0, len(targets.item), every):
        user, length = int(targets.requests.user[row]), int(targets.requests.length[row])
        own = scores[user, length].copy()
        if rule.repeats == "drop" and length:
            own[later.histories.item[later.histories.offsets[user] + length - 1] - 1] = -np.inf
        items = {item for item in range(V) if sum(other >= own[item] for other in own) <= rule.k}
        if rule.k >= V:
            items = {item for item in range(V) if own[item] > -np.inf}
        shown.append(items)
        for step in range(FUTURE_STEPS + 1):
            if row + step < len(targets.item) and targets.requests.user[row + step] == user:
                hits[step].append(int(targets.item[row + step]) - 1 in items)
    return shown, hits


def distance(histories: Histories, items: set[int]) -> float:
    """Mean of 1 - cosine of the users of two different items, pair by pair."""

    def users(item: int) -> set[int]:
        return set(histories.user_of_event[histories.item == item + 1].tolist())

    def cosine(first: set[int], other: set[int]) -> float:
        return len(first & other) / math.sqrt(len(first) * len(other)) if first and other else 0.0

    pairs = [(i, j) for i in items for j in items if i != j]
    return float(np.mean([1 - cosine(users(i), users(j)) for i, j in pairs]))


def test_of_many_users_some_tell_how_alike_items_are(
    later: DataSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown = np.zeros((1, V), np.bool_)
    shown[0, [1, 2]] = True  # b and c: of three users, two were there on both
    assert Audiences(later.histories, V).diversity(shown)[0] == pytest.approx(0.0)
    shown[0] = [True, True, False, False, False, False]
    assert Audiences(later.histories, V).diversity(shown)[0] == pytest.approx(1 - 1 / math.sqrt(2))
    monkeypatch.setattr("training.metrics.diversity._MOST_USERS", 1)  # ann alone
    assert Audiences(later.histories, V).diversity(shown)[0] == pytest.approx(0.0)


def test_lists_are_compared_a_few_at_a_time(
    later: DataSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of popular items each list has nearly all users: all lists together would fill the memory."""
    shown = np.random.default_rng(2).random((7, V)) < 0.5
    audiences = Audiences(later.histories, V)
    whole = audiences.diversity(shown)
    sizes: list[int] = []
    lengths = Audiences._lengths

    def watched(self: Audiences, block: np.ndarray) -> np.ndarray:
        sizes.append(len(block))
        return lengths(self, block)

    monkeypatch.setattr(Audiences, "_lengths", watched)
    monkeypatch.setattr("training.metrics.diversity._LISTS_AT_ONCE", 3)
    np.testing.assert_array_equal(audiences.diversity(shown), whole)
    assert sizes == [3, 3, 1]
    assert audiences.diversity(shown[:0]).shape == (0,)


def test_only_events_of_drawn_users_are_sorted(
    later: DataSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes: list[int] = []

    def watched(values: np.ndarray) -> np.ndarray:
        sizes.append(len(values))
        return distinct(values)

    monkeypatch.setattr("training.metrics.diversity.distinct", watched)
    monkeypatch.setattr("training.metrics.diversity._MOST_USERS", 1)
    Audiences(later.histories, V)
    assert sizes == [int(later.histories.lengths[0])]


@settings(deadline=None)
@given(
    seed=st.integers(0, 10_000),
    ties=st.booleans(),
    k=st.sampled_from([1, 2, V, V + 3]),
    repeats=st.sampled_from(["drop", "keep"]),
    most=st.sampled_from([3, 4, 10_000]),
    max_floats=st.sampled_from([V, 1 << 24]),
)
def test_figures_are_those_of_lists_written_out(
    later: DataSet, seed: int, ties: bool, k: int, repeats: str, most: int, max_floats: int
) -> None:
    rng = np.random.default_rng(seed)
    scores = rng.integers(3 if ties else 10_000, size=(3, 9, V)).astype(np.float32)
    rule = EvaluationSettings(k=k, repeats=repeats)
    n_targets = len(find_targets(later.histories, rule).item)
    is_new = rng.random(V) < 0.4
    audiences = Audiences(later.histories, V)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(lists, "_MOST_LISTS", most)
        patched.setattr(lists, "_MOST_DIVERSE", 4)
        watched = ShownLists(later, rule, is_new, audiences)
    ranks = rank_targets(
        Table(scores), later, rule, model_id="m", item_ids=later.item_ids,
        max_floats=max_floats, look=watched.look,
    )  # fmt: skip
    every = max(1, math.ceil(n_targets / most))
    shown, hits = written_out(later, scores, rule, every)
    figures = watched.figures()
    assert (figures.k, figures.n_lists) == (k, len(shown))
    counts = [sum(item in items for items in shown) for item in range(V)]
    assert figures.coverage == sum(count > 0 for count in counts) / V
    total = sum(counts)
    apart_within = [
        distance(later.histories, items)
        for row, items in enumerate(shown)
        if row * every % (every * math.ceil(n_targets / (every * 4))) == 0 and len(items) > 1
    ]
    if apart_within:
        assert figures.diversity == pytest.approx(np.mean(apart_within))
    else:
        assert math.isnan(figures.diversity)
    if total:
        apart = sum(abs(one - other) for one in counts for other in counts)
        assert figures.gini == pytest.approx(apart / (2 * V * total))
        events = later.item_events
        bits = [-math.log2((events[item] + 1) / (events.sum() + V)) for item in range(V)]
        expected = np.mean([bits[item] for items in shown for item in items])
        assert figures.novelty == pytest.approx(expected)
        new = [bool(is_new[item]) for items in shown for item in items]
        assert figures.new_items == pytest.approx(np.mean(new))
    else:
        assert math.isnan(figures.gini)
        assert math.isnan(figures.novelty)
        assert math.isnan(figures.new_items)
    for step, of_step in enumerate(hits):
        recall = np.mean(of_step) if of_step else math.nan
        assert figures.later_recall[step] == pytest.approx(recall, nan_ok=True)
    if every == 1 and k < V:
        assert figures.later_recall[0] == pytest.approx(mean_metric("recall", ranks.rank, k))


def test_of_items_whose_age_is_not_known_no_share_is_told(later: DataSet) -> None:
    watched = ShownLists(later, EvaluationSettings(k=1))
    scores = np.random.default_rng(0).random((1, V)).astype(np.float32)
    watched.look(slice(0, 1), scores)
    assert watched.figures().coverage > 0
    assert math.isnan(watched.figures().new_items)


def test_novelty_is_counted_in_bits() -> None:
    # 3 + 1 of 4 + 4 events, and 0 + 1 of 8.
    events = np.array([3, 0, 1, 0])
    assert novelty(np.array([5, 0, 0, 0]), events) == 1.0
    assert novelty(np.array([1, 1, 0, 0]), events) == 2.0
    assert math.isnan(novelty(np.zeros(4, np.int64), events))


def evaluated(**figures: ListFigures) -> Evaluation:
    rows = [
        SummaryRow(model_id, "mrr", 20, "all", mean, mean, mean, 9, 3)
        for model_id, mean in (("worse", 0.1), ("better", 0.2))
    ]
    names = {"worse": "pop", "better": "hrnn"}
    return Evaluation("after", AS_OF, 9, 0, names, rows, {}, lists=figures)


FIGURES = ListFigures(20, 7, 0.25, 0.5, 10.125, (0.5, 0.25, *[math.nan] * (FUTURE_STEPS - 1)))


def test_rows_of_lists_follow_the_leaderboard_and_are_json() -> None:
    rows = list_rows(evaluated(worse=FIGURES, better=FIGURES))
    assert [row["model"] for row in rows] == ["hrnn", "pop"]
    assert rows[0]["later_recall"][:3] == [0.5, 0.25, None]
    assert "NaN" not in json.dumps(rows)
    assert list_rows(evaluated()) == []
    assert [row["model"] for row in list_rows(evaluated(worse=FIGURES))] == ["pop"]


def test_the_table_of_lists_fits_a_terminal() -> None:
    table = render_lists(evaluated(worse=FIGURES, better=FIGURES))
    assert table is not None
    console = Console(file=io.StringIO(), width=80)
    console.print(table)
    printed = console.file.getvalue()  # type: ignore[attr-defined]
    assert "hrnn" in printed
    assert all(figure in printed for figure in (".250", ".500", "10.12"))
    assert "7 lists of 20" in printed
    assert render_lists(evaluated()) is None


def test_json_has_no_nan() -> None:
    content = {"a": [1, math.nan, (2.5, math.nan)], "b": {"c": math.nan, "d": "x", "e": None}}
    assert json_ready(content) == {"a": [1, None, [2.5, None]], "b": {"c": None, "d": "x",
                                                                       "e": None}}  # fmt: skip
