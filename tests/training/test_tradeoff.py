"""What knobs cost, against lists that are made target by target."""

from __future__ import annotations

import io
import json
import math
from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from rich.console import Console
from synthetic import AS_OF, AS_OF_S, write_dataset

from pipeline.errors import UsageError
from pipeline.hours import US_PER_HOUR
from pipeline.lake.tables import ITEMS
from pipeline.settings.learning import EvaluationSettings, RecommendSettings
from training.data.reader import DataSet, Histories, Popularity, Requests, read_dataset
from training.evaluation.lists import ShownLists
from training.metrics.diversity import Audiences
from training.metrics.metrics import METRICS, mean_metric
from training.metrics.ranking import find_targets, rank_targets
from training.recommend.knobs import pools, tradeoff
from training.recommend.knobs.exploration import Draws, chances_of, explored
from training.recommend.knobs.item_facts import ItemFacts
from training.recommend.knobs.room import Room
from training.recommend.knobs.tradeoff import (
    Cost,
    Variant,
    as_scores,
    costs,
    expected_values,
    pool_of_scores,
    position_of,
    recent_events,
)
from training.recommend.knobs.tradeoff_table import facts, render, render_lists
from training.recommend.knobs.variants import variants_of

ITEMS_OF = "abcdefgh"
V = len(ITEMS_OF)
GENRE = {"a": "x", "b": "x", "c": "x", "d": "y", "e": "y", "f": "z"}
RULE = EvaluationSettings(k=3, repeats="drop", bootstrap_samples=100)


class Written:
    """Scores that were written down, a row for each length of a user's history."""

    def __init__(self, seed: int = 0) -> None:
        rng = np.random.default_rng(seed)
        self.scores = rng.permuted(
            np.tile(np.arange(V, dtype=np.float32), (6, 12, 1)), axis=2
        )  # no ties

    def score(self, histories: Histories, requests: Requests) -> np.ndarray:
        return self.scores[requests.user, requests.length].copy()


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> tuple[DataSet, DataSet]:
    """A data set, and two hours of six users after it."""
    rng = np.random.default_rng(1)

    def walk(start_s: float, n: int) -> list[tuple[str, float]]:
        return [(ITEMS_OF[int(rng.integers(V))], start_s + 900.0 * at) for at in range(n)]

    folder = tmp_path_factory.mktemp("tradeoff")
    before = {f"u{user}": walk(AS_OF_S - 30 * 3600.0, 20) for user in range(6)}
    base = write_dataset(folder / "base", before, vocabulary=ITEMS_OF)
    users = {f"u{user}": walk(AS_OF_S + 60.0 * user, 8) for user in range(6)}
    test = write_dataset(
        folder / "test", users, base=base, window_start=AS_OF, as_of="2016-03-14T15"
    )
    return read_dataset(base), read_dataset(test)


@pytest.fixture
def metadata() -> pa.Table:
    rows = [{"item_id": i, "categories": [f"genre={g}", "all"]} for i, g in GENRE.items()]
    return pa.Table.from_pylist(rows, ITEMS.schema)


def run(
    data: tuple[DataSet, DataSet], metadata: pa.Table, *rules: dict, rule: EvaluationSettings = RULE
) -> list[Cost]:
    learned, test_set = data
    variants = [Variant(str(at), RecommendSettings(**keys)) for at, keys in enumerate(rules)]
    return costs(
        Written(), learned.item_ids, learned, test_set, metadata, rule, variants,
        lambda _done, _all: None,
    )  # fmt: skip


def served(data: tuple[DataSet, DataSet], chosen: RecommendSettings, k: int) -> list[list[int]]:
    """The list of each target, by the definition."""
    _, test_set = data
    histories = test_set.histories
    targets = find_targets(histories, RULE)
    popularity = test_set.popularity
    lists = []
    for user, length, now_us in zip(
        targets.requests.user, targets.requests.length, targets.requests.now_us, strict=True
    ):
        scores = dict(enumerate(Written().scores[user, length].tolist()))
        if length:
            scores.pop(int(histories.item[histories.offsets[user] + length - 1]) - 1)
        ordered = sorted(scores, key=lambda item: -scores[item])[: max(k, chosen.candidates)]
        spread = float(np.std([scores[item] for item in ordered]))
        hour = now_us // US_PER_HOUR
        events: Counter[int] = Counter()
        for item, index, n in zip(
            popularity.item, popularity.hour_index, popularity.events, strict=True
        ):
            if hour - int(chosen.popular_hours.removesuffix("h")) <= index < hour:
                events[int(item) - 1] += int(n)
        value = {
            item: scores[item] / spread + chosen.popularity * math.log(1 + events[item])
            for item in ordered
        }
        further = sorted(scores, key=lambda item: -scores[item])[len(ordered) :]
        chosen_items: list[int] = []
        counts: Counter[str] = Counter()
        for item in sorted(ordered, key=lambda item: -value[item]) + further:
            genre = GENRE.get(ITEMS_OF[item])
            if len(chosen_items) == k:
                break
            if chosen.max_per_category and genre and counts[genre] >= chosen.max_per_category:
                continue
            counts[genre or item] += 1  # type: ignore[index]
            chosen_items.append(item)
        lists.append(chosen_items)
    return lists


@pytest.mark.parametrize(
    "keys",
    [
        {"popularity": 1.5, "popular_hours": "2h"},
        {"popularity": -0.7, "popular_hours": "9h", "candidates": 5},
        {"max_per_category": 1, "category": "genre"},
        {"max_per_category": 1, "category": "genre", "candidates": 1},
        {"max_per_category": 1, "category": "genre", "popularity": 2.0, "candidates": 4},
    ],
    ids=["popular", "rare", "categories", "further down", "both"],
)
def test_figures_are_those_of_the_lists_that_are_served(
    data: tuple[DataSet, DataSet], metadata: pa.Table, keys: dict
) -> None:
    learned, test_set = data
    _, cost = run(data, metadata, {}, keys)
    lists = served(data, RecommendSettings(**keys), 3)
    item = find_targets(test_set.histories, RULE).item - 1
    rank = np.array(
        [
            shown.index(target) + 1 if target in shown else 4
            for shown, target in zip(lists, item.tolist(), strict=True)
        ],
        np.int32,
    )
    assert len(set(rank.tolist())) == 4
    for metric in METRICS:
        assert cost.figures[metric].mean == pytest.approx(mean_metric(metric, rank, 3))
    counts = Counter(item for shown in lists for item in shown)
    assert cost.lists.coverage == len(counts) / V
    assert cost.short_lists == sum(len(shown) < 3 for shown in lists) / len(lists)
    events = learned.item_events
    bits = [-math.log2((events[i] + 1) / (events.sum() + V)) for shown in lists for i in shown]
    assert cost.lists.novelty == pytest.approx(np.mean(bits))


def test_without_knobs_the_figures_are_those_of_the_leaderboard(
    data: tuple[DataSet, DataSet], metadata: pa.Table
) -> None:
    learned, test_set = data
    (cost,) = run(data, metadata, {})
    shown = ShownLists(test_set, RULE, None, Audiences(learned.histories, V))
    ranks = rank_targets(
        Written(), test_set, RULE, model_id="m", item_ids=learned.item_ids, look=shown.look
    )
    for metric in METRICS:
        assert cost.figures[metric].mean == pytest.approx(mean_metric(metric, ranks.rank, 3))
        assert cost.difference[metric].mean == 0
    expected = shown.figures()
    assert cost.lists.coverage == expected.coverage
    assert cost.lists.diversity == pytest.approx(expected.diversity)
    np.testing.assert_allclose(cost.lists.later_recall, expected.later_recall)


def test_differences_are_to_the_first_variant(
    data: tuple[DataSet, DataSet], metadata: pa.Table
) -> None:
    off, moved = run(data, metadata, {}, {"popularity": -3.0})
    for metric in METRICS:
        expected = moved.figures[metric].mean - off.figures[metric].mean
        assert moved.difference[metric].mean == pytest.approx(expected)
    assert moved.lists.novelty > off.lists.novelty


def test_drawn_places_are_those_that_serving_draws(
    data: tuple[DataSet, DataSet], metadata: pa.Table
) -> None:
    _, test_set = data
    keys = {"exploration": 0.5, "exploration_seed": 3, "candidates": 5}
    (cost,) = run(data, metadata, keys)
    pools = served(data, RecommendSettings(candidates=5), 5)
    targets = find_targets(test_set.histories, RULE)
    shown: Counter[int] = Counter()
    chance = []  # of the target in the list
    for pool, user, now_us, item in zip(
        pools, targets.requests.user, targets.requests.now_us, targets.item - 1, strict=True
    ):
        hour = "2016-03-14T13" if now_us < (AS_OF_S + 3600) * 10**6 else "2016-03-14T14"
        name = str(test_set.histories.user_ids[user])
        draws = Draws.of(3, [(hour, name)], 3, 5)
        shown.update(pool[place] for place in explored(np.array([5]), 3, 0.5, draws).position[0])
        own, moved, below = chances_of(0.5, 3, 5)
        at = pool.index(item) if item in pool else 5
        chance.append(own + 2 * moved if at < 3 else 3 * below if at < 5 else 0.0)
    counts = np.sort([shown[item] for item in range(V)])
    gini = ((2 * np.arange(1, V + 1) - V - 1) * counts).sum() / (V * counts.sum())
    assert cost.lists.gini == pytest.approx(gini)
    assert cost.figures["recall"].mean == pytest.approx(np.mean(chance))


@pytest.mark.parametrize(("length", "k", "share"), [(6, 3, 0.4), (2, 4, 0.5), (5, 1, 1.0)])
def test_expected_values_are_the_mean_over_many_draws(length: int, k: int, share: float) -> None:
    n = 20_000
    draws = Draws.of(0, [("h", str(number)) for number in range(n)], k, length)
    lists = explored(np.full(n, length), k, share, draws).position
    for position in range(-1, length):
        expected = expected_values(np.array([position]), np.array([length]), k, share)[0]
        hit = lists == position
        rank = np.where(hit.any(axis=1), hit.argmax(axis=1) + 1, k + 1).astype(np.int32)
        if position < 0:
            rank[:] = k + 1
        for metric, value in zip(METRICS, expected, strict=True):
            assert abs(mean_metric(metric, rank, k) - value) < 0.02, (position, metric)


@pytest.mark.parametrize("k", [1, V, V + 5])
def test_lists_as_long_as_the_catalogue_and_longer(
    data: tuple[DataSet, DataSet], metadata: pa.Table, k: int
) -> None:
    rule = EvaluationSettings(k=k, bootstrap_samples=100)
    everything = {"popularity": 1.0, "freshness": 1.0, "exploration": 0.5, "candidates": 2}
    off, moved = run(data, metadata, {}, everything, rule=rule)
    if k >= V:  # all but the item just met is listed
        assert off.figures["recall"].mean == moved.figures["recall"].mean == 1.0
        # Only who comes for the first time has met nothing, and may have all eight.
        n_first = int((find_targets(data[1].histories, rule).requests.length == 0).sum())
        n_long = n_first if k == V else 0
        n = len(find_targets(data[1].histories, rule).item)
        assert off.short_lists == moved.short_lists == pytest.approx(1 - n_long / n)
    assert math.isnan(off.lists.diversity) == (k == 1)


def test_freshness_lists_what_was_first_met_lately(
    data: tuple[DataSet, DataSet], metadata: pa.Table
) -> None:
    rows = metadata.to_pylist()
    rows[5]["available_from"] = datetime(2016, 3, 14, 12, 59, tzinfo=UTC)
    table = pa.Table.from_pylist(rows, ITEMS.schema)
    off, fresh = run(data, table, {}, {"freshness": 50.0, "freshness_half_life": "1h", "k": 3})
    assert fresh.lists.gini > off.lists.gini  # f, young all along, is in every list


def test_lists_end_as_deep_as_those_that_are_served(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of one category, then three of none."""
    categories = np.array([[0]] * 6 + [[-1]] * 3)
    of_items = ItemFacts(np.zeros(9), np.full(9, np.nan), categories, 1)
    chosen = RecommendSettings(k=3, max_per_category=1, candidates=1)
    room = Room(of_items, np.arange(9), 1)
    scores, now_us = np.arange(9.0, 0, -1)[None].astype(np.float32), np.zeros(1, np.int64)
    for deepest, expected in ((3_200, [0, 6, 7]), (8, [0, 6, 7]), (7, [0, 6]), (2, [0])):
        monkeypatch.setattr(pools, "DEEPEST", deepest)
        assert pool_of_scores(scores, now_us, chosen, of_items, room).item.tolist() == [expected]


def test_what_blocks_share_is_made_once(
    data: tuple[DataSet, DataSet], metadata: pa.Table, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The test set has targets of two hours, which are answered apart."""
    builds: Counter[str] = Counter()

    def counted(kind: type) -> object:
        def make(*args: object) -> object:
            builds[kind.__name__] += 1
            return kind(*args)

        return make

    monkeypatch.setattr(tradeoff, "Room", counted(Room))
    monkeypatch.setattr(tradeoff, "Audiences", counted(Audiences))
    run(data, metadata, {}, {"max_per_category": 1}, {"max_per_category": 2})
    assert builds == {"Room": 2, "Audiences": 1}  # a room for each limit


class Alike:
    """To which all items are alike."""

    def score(self, _histories: Histories, requests: Requests) -> np.ndarray:
        return np.zeros((len(requests), 2 * V), np.float32)


@pytest.mark.parametrize("available_s", [None, 0.0, 1e-6, 60.0])
def test_freshness_does_not_see_the_event_that_is_to_be_predicted(
    tmp_path: Path, metadata: pa.Table, available_s: float | None
) -> None:
    """Planted: each target is the first event on its item, which nobody could know was coming.

    ``available_s``: after that event; what becomes available just then may be known.
    """
    old, new = ITEMS_OF, ITEMS_OF.upper()
    before = {f"u{at}": [(old[at], AS_OF_S - 9e5), (old[at - 1], AS_OF_S - 8e5)] for at in range(V)}
    vocabulary = [*old, *new]
    base = write_dataset(tmp_path / "base", before, vocabulary=vocabulary)
    at_s = [AS_OF_S + 60.0 * at for at in range(V)]
    users = {f"u{at}": [(new[at], at_s[at])] for at in range(V)}
    test = write_dataset(
        tmp_path / "test", users, base=base, window_start=AS_OF, as_of="2016-03-14T15"
    )
    rows = [] if available_s is None else [
        {"item_id": new[at], "available_from": datetime.fromtimestamp(at_s[at], UTC)
         + timedelta(seconds=available_s)} for at in range(V)
    ]  # fmt: skip
    learned, test_set = read_dataset(base), read_dataset(test)
    rule = EvaluationSettings(k=1, bootstrap_samples=100)
    fresh = RecommendSettings(freshness=5.0, freshness_half_life="1h")
    (cost,) = costs(
        Alike(), learned.item_ids, learned, test_set,
        pa.Table.from_pylist(rows, ITEMS.schema), rule, [Variant("fresh", fresh)],
        lambda _done, _all: None,
    )  # fmt: skip
    assert cost.figures["recall"].mean == (1.0 if available_s == 0 else 0.0)


def test_small_pieces() -> None:
    item = np.array([[2, 0, -1], [1, 2, 0]])
    assert position_of(item, np.array([1, 4], np.int32)).tolist() == [1, -1]
    assert position_of(np.full((1, 3), -1), np.array([1], np.int32)).tolist() == [-1]
    infinite = -math.inf
    assert as_scores(item, 4).tolist() == [
        [2.0, infinite, 3.0, infinite],
        [1.0, 3.0, 2.0, infinite],
    ]
    counts = Popularity(np.array([1, 1, 3], np.int32), np.array([5, 6, 7]), np.array([10, 20, 40]))
    assert recent_events(counts, 5, 7, 4).tolist() == [30, 0, 0, 0]


# What is compared, and how it is printed


def test_variants_are_off_the_settings_and_each_value() -> None:
    rules = RecommendSettings(popularity=0.3, exclude_seen="history")
    variants = variants_of(rules, ["popularity=-0.5,1", "max_per_category=2,null"])
    assert [variant.name for variant in variants] == [
        "off", "settings", "popularity -0.5", "popularity 1", "max_per_category 2",
        "max_per_category null",
    ]  # fmt: skip
    assert [variant.rules.popularity for variant in variants] == [0, 0.3, -0.5, 1, 0.3, 0.3]
    assert [variant.rules.max_per_category for variant in variants[-2:]] == [2, None]
    assert [v.name for v in variants_of(RecommendSettings(), ["exploration=1"])] == [
        "off", "exploration 1",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ([], "no knob is on: set one in `recommend:`, or give values to compare"),
        (["candidates=7"], "no knob is on"),
        (["popularty=1"], r"'popularty' is no knob \(did you mean 'popularity'\?\): use one of"),
        (["exclude_seen=history"], "'exclude_seen' is no knob"),
        (["popularity"], "--knob popularity: write it like popularity=-0.5,0.5"),
        (["popularity="], "write it like"),
        (["exploration=2"], "--knob exploration=2: Input should be less than or equal to 1"),
        (["max_per_category=0"], "--knob max_per_category=0: Input should be greater than or"),
        (["popularity=much"], "--knob popularity=much: Input should be a valid number"),
    ],
)
def test_values_that_mean_nothing_are_refused(values: list[str], sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence):
        variants_of(RecommendSettings(), values)


def test_the_tables_fit_a_terminal_and_are_json(
    data: tuple[DataSet, DataSet], metadata: pa.Table
) -> None:
    off, *others = run(data, metadata, {}, {"popularity": 1.0})
    rows = [off, *(replace(row, name="freshness_half_life 24h") for row in others)]
    assert "NaN" not in json.dumps(facts(rows))
    assert facts(rows)["rows"][1]["minus_off"]["mrr"][0] == rows[1].difference["mrr"].mean
    console = Console(file=io.StringIO(), width=80)
    for table in (render(rows, "pop-1"), render_lists(rows)):
        console.print(table)
    printed = console.file.getvalue()  # type: ignore[attr-defined]
    ends = rows[1].difference["mrr"]
    interval = f"[{ends.lower:+.3f}, {ends.upper:+.3f}]".replace("0.", ".")
    assert interval in printed
    assert max(map(len, printed.splitlines())) <= 80
    for figure in (rows[1].figures["mrr"].mean, rows[1].lists.coverage, rows[1].lists.diversity):
        assert f"{figure:.3f}".removeprefix("0") in printed
