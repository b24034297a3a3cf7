"""Popularity, freshness and limits of categories, against lists made the slow, obvious way."""

from __future__ import annotations

import math
from collections import Counter
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from pydantic import ValidationError

from pipeline.errors import UsageError
from pipeline.hours import US_PER_HOUR
from pipeline.lake.tables import ITEMS
from pipeline.settings.learning import RecommendSettings
from training.recommend.knobs import pools, room
from training.recommend.knobs.fill import PopularByCategory
from training.recommend.knobs.item_facts import (
    ItemFacts,
    births,
    category_numbers,
    first_events,
    freshness,
    item_facts,
)
from training.recommend.knobs.pools import Pool, pool_of

NOW_US = 1_000 * US_PER_HOUR


def facts_of(
    categories: list[list[int]],
    events: list[int] | None = None,
    ages_h: list[float] | None = None,
) -> ItemFacts:
    n = len(categories)
    width = max(1, *(len(theirs) for theirs in categories))
    table = np.full((n, width), -1, np.int64)
    for row, theirs in enumerate(categories):
        table[row, : len(theirs)] = theirs
    return ItemFacts(
        np.log1p(np.array(events or [0] * n, float)),
        NOW_US - np.array(ages_h or [math.nan] * n) * US_PER_HOUR,
        table,
        1 + max((c for theirs in categories for c in theirs), default=-1),
    )


def rules(**keys: Any) -> RecommendSettings:
    return RecommendSettings(**keys)


def slow_pool(
    items: list[int],
    scores: list[float],
    chosen: RecommendSettings,
    facts: ItemFacts,
    near: int,
) -> list[int]:
    """One user's pool, by the definition."""
    pairs = [(i, s) for i, s in zip(items, scores, strict=True) if s > -math.inf]
    head, tail = pairs[:near], [item for item, _ in pairs[near:]]
    if chosen.popularity or chosen.freshness:
        mean = sum(s for _, s in head) / max(1, len(head))
        spread = math.sqrt(sum((s - mean) ** 2 for _, s in head) / max(1, len(head))) or 1.0
        half_life_h = float(chosen.freshness_half_life.removesuffix("h"))

        def value(pair: tuple[int, float]) -> float:
            item, score = pair
            age_h = (NOW_US - facts.born_us[item]) / US_PER_HOUR
            fresh = 0.5 ** (age_h / half_life_h) if age_h >= 0 else 0.0
            log_events = facts.log_events[item]
            return score / spread + chosen.popularity * log_events + chosen.freshness * fresh

        head = sorted(head, key=lambda pair: round(-value(pair), 9))
    counts: Counter[int] = Counter()
    pool: list[int] = []
    for number, item in enumerate([item for item, _ in head] + tail):
        theirs = [c for c in facts.categories[item].tolist() if c >= 0]
        most = chosen.max_per_category
        if number >= len(head) and len(pool) >= chosen.k:
            break
        if most is not None and any(counts[c] >= most for c in theirs):
            continue
        counts.update(theirs)
        pool.append(item)
    return pool


@hypothesis_settings(deadline=None, max_examples=150)
@given(data=st.data())
def test_pools_are_those_of_the_definition(data: st.DataObject) -> None:
    n = data.draw(st.integers(1, 9))
    b = data.draw(st.integers(1, 3))
    categories = data.draw(
        st.lists(st.lists(st.integers(0, 3), max_size=2, unique=True), min_size=n, max_size=n)
    )
    facts = facts_of(
        categories,
        data.draw(st.lists(st.integers(0, 50), min_size=n, max_size=n)),
        data.draw(st.lists(st.sampled_from([0.0, 3.0, 50.0, -2.0, math.nan]), min_size=n,
                           max_size=n)),
    )  # fmt: skip
    near = data.draw(st.integers(1, n))
    chosen = rules(
        k=data.draw(st.integers(1, n + 2)),
        popularity=data.draw(st.sampled_from([0.0, 0.4, -1.7])),
        freshness=data.draw(st.sampled_from([0.0, 2.0])),
        freshness_half_life="6h",
        max_per_category=data.draw(st.sampled_from([None, 1, 2])),
    )
    item = np.array([data.draw(st.permutations(range(n))) for _ in range(b)], np.int64)
    score = -np.sort(-np.random.default_rng(n).integers(0, 4, (b, n)).astype(np.float32), axis=1)
    n_items = data.draw(st.integers(0, n))
    score[:, n_items:] = -np.inf
    pool = pool_of(item, score, np.full(b, NOW_US), chosen, facts, near)
    for row in range(b):
        expected = slow_pool(item[row].tolist(), score[row].tolist(), chosen, facts, near)
        length = int(pool.length[row])
        assert pool.item[row, :length].tolist() == expected
        of_item = dict(zip(item[row].tolist(), score[row].tolist(), strict=True))
        assert pool.score[row, :length].tolist() == [of_item[i] for i in expected]
        assert (pool.item[row, length:] == -1).all()
        assert (pool.score[row, length:] == -np.inf).all()


def one_list(chosen: RecommendSettings, facts: ItemFacts, scores: list[float]) -> list[int]:
    item = np.arange(len(scores))[None]
    pool = pool_of(item, np.array([scores], np.float32), np.array([NOW_US]), chosen, facts, 200)
    return pool.item[0, : chosen.k].tolist()


def test_popularity_moves_lists_towards_what_is_popular_and_back() -> None:
    facts = facts_of([[]] * 4, events=[0, 1, 10, 1000])
    scores = [4.0, 3.0, 2.0, 1.0]
    assert one_list(rules(), facts, scores) == [0, 1, 2, 3]
    assert one_list(rules(popularity=5.0), facts, scores) == [3, 2, 1, 0]
    assert one_list(rules(popularity=-5.0), facts, scores[::-1]) == [0, 1, 2, 3]
    assert one_list(rules(popularity=0.2), facts, scores) == [0, 1, 3, 2]
    # sd is sqrt(1.25): 3.578, 2.683 + .139, 1.789 + .480, .894 + 1.382


def test_a_weight_means_the_same_on_any_scale_of_scores() -> None:
    rng = np.random.default_rng(0)
    facts = facts_of([[]] * 30, events=rng.integers(0, 99, 30).tolist())
    scores = np.sort(rng.random(30))[::-1]
    chosen = rules(popularity=0.5, k=30)
    lists = [one_list(chosen, facts, (scores * by + off).tolist())
             for by, off in ((1, 0), (4096, 0), (4, -8))]  # fmt: skip
    assert lists[0] == lists[1] == lists[2] != list(range(30))


def test_freshness_halves_with_the_half_life_and_nothing_comes_of_an_unknown_age() -> None:
    born_us = NOW_US - np.array([0.0, 6.0, 12.0, -1.0, math.nan]) * US_PER_HOUR
    assert freshness(born_us, NOW_US, 6.0).tolist() == [1.0, 0.5, 0.25, 0.0, 0.0]
    facts = facts_of([[]] * 4, ages_h=[100.0, math.nan, 1.0, -5.0])
    chosen = rules(freshness=9.0, freshness_half_life="6h")
    assert one_list(chosen, facts, [4.0, 3.0, 2.0, 1.0]) == [2, 0, 1, 3]


def test_scores_that_are_all_alike_leave_the_knobs_alone_to_decide() -> None:
    facts = facts_of([[]] * 3, events=[0, 5, 3])
    assert one_list(rules(popularity=1e-6), facts, [2.0, 2.0, 2.0]) == [1, 2, 0]
    assert one_list(rules(popularity=1.0), facts_of([[]]), [2.0]) == [0]


def test_candidates_beyond_the_first_k_take_the_places_of_a_full_category() -> None:
    facts = facts_of([[0], [0], [0], [1], [], []])
    scores = [6.0, 5.0, 4.0, 3.0, 2.0, 1.0]
    assert one_list(rules(k=4, max_per_category=1), facts, scores) == [0, 3, 4, 5]
    assert one_list(rules(k=4, max_per_category=2), facts, scores) == [0, 1, 3, 4]
    assert one_list(rules(k=9, max_per_category=1), facts_of([[0]] * 6), scores) == [0]


def test_an_item_counts_in_each_of_its_categories() -> None:
    facts = facts_of([[0, 1], [1], [2], [0]])
    assert one_list(rules(max_per_category=1), facts, [4.0, 3.0, 2.0, 1.0]) == [0, 2]


def test_blocks_of_few_users_hold_the_same_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(3)
    facts = facts_of(rng.integers(0, 5, (40, 2)).tolist())
    item = np.argsort(rng.random((7, 40)), axis=1)
    whole = pools.within_limit(item, facts, 2)
    monkeypatch.setattr(pools, "_CELLS_AT_ONCE", 12)
    assert (pools.within_limit(item, facts, 2) == whole).all()


@hypothesis_settings(deadline=None, max_examples=150)
@given(data=st.data())
def test_room_is_left_where_a_walk_through_the_catalogue_finds_an_item(data: st.DataObject) -> None:
    m = data.draw(st.integers(1, 8))
    categories = data.draw(
        st.lists(st.lists(st.integers(0, 3), max_size=2, unique=True), min_size=m, max_size=m)
    )
    facts = facts_of(categories)
    most, b = data.draw(st.integers(1, 2)), data.draw(st.integers(1, 3))
    items = st.lists(st.integers(0, m - 1), max_size=m, unique=True)
    offered = sorted(data.draw(items))
    item = np.full((b, m), -1, np.int64)
    pairs: list[tuple[int, int]] = []
    expected = []
    for row in range(b):
        counts: Counter[int] = Counter()
        listed: list[int] = []
        for number in data.draw(items):
            if number in offered and all(counts[c] < most for c in categories[number]):
                counts.update(categories[number])
                listed.append(number)
        barred = [number for number in data.draw(items) if number not in listed]
        item[row, : len(listed)] = listed
        repeats = data.draw(st.integers(1, 3))  # times that each was met
        pairs += [(row, number) for number in barred for _ in range(repeats)]
        expected.append(
            any(
                number not in listed
                and number not in barred
                and all(counts[c] < most for c in categories[number])
                for number in offered
            )
        )
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(room, "_CELLS_AT_ONCE", data.draw(st.sampled_from([1, 1 << 24])))
        left = room.Room(facts, np.array(offered, np.int64), most).is_left(
            item,
            np.array([row for row, _ in pairs], np.int64),
            np.array([number for _, number in pairs], np.int64),
        )
    assert left.tolist() == expected


def test_an_item_met_often_takes_the_room_of_one() -> None:
    facts = facts_of([[0], [0], [1], [1]])
    met_often = np.zeros(30, np.int64), np.full(30, 3)
    left = room.Room(facts, np.arange(4), 1).is_left(np.array([[0, -1]]), *met_often)
    assert left.tolist() == [True]  # item 2


def test_any_items_of_a_pool_hold_the_limit() -> None:
    """So a list that was drawn from it does."""
    rng = np.random.default_rng(5)
    facts = facts_of(rng.integers(0, 4, (30, 1)).tolist())
    item = np.argsort(rng.random((3, 30)), axis=1)
    score = np.tile(np.arange(30.0, 0, -1), (3, 1)).astype(np.float32)
    pool: Pool = pool_of(item, score, np.full(3, NOW_US), rules(k=4, max_per_category=2), facts, 30)
    for row in range(3):
        theirs = facts.categories[pool.item[row][pool.item[row] >= 0], 0]
        assert np.bincount(theirs).max() == 2


# What is filled up with popular items


def slow_fill(
    order: list[int], facts: ItemFacts, most: int, listed: list[int], barred: list[int], n: int
) -> list[int]:
    counts: Counter[int] = Counter()

    def of(item: int) -> list[int]:
        return [c for c in facts.categories[item].tolist() if c >= 0]

    for item in listed:
        counts.update(of(item))
    chosen: list[int] = []
    for place, item in enumerate(order):
        if len(chosen) == n:
            break
        if item in listed or item in barred or any(counts[c] >= most for c in of(item)):
            continue
        counts.update(of(item))
        chosen.append(place)
    return chosen


@hypothesis_settings(deadline=None, max_examples=150)
@given(data=st.data())
def test_lists_are_filled_as_by_a_walk_through_the_whole_catalogue(data: st.DataObject) -> None:
    m = data.draw(st.integers(1, 10))
    facts = facts_of(
        data.draw(
            st.lists(st.lists(st.integers(0, 3), max_size=2, unique=True), min_size=m, max_size=m)
        )
    )
    items = st.lists(st.integers(0, m - 1), max_size=m, unique=True)
    order, listed, barred = data.draw(items), data.draw(items), data.draw(items)
    most, n = data.draw(st.integers(1, 3)), data.draw(st.integers(0, 6))
    fill = PopularByCategory(np.array(order, np.int64), facts, most)
    places = fill.places(np.array(listed, np.int64), np.array(barred, np.int64), n).tolist()
    assert places == slow_fill(order, facts, most, listed, barred, n)


def test_a_group_that_ended_opens_no_full_one() -> None:
    facts = facts_of([[0], [0], [1]])
    fill = PopularByCategory(np.array([0, 1, 2]), facts, 1)
    assert fill.places(np.array([0]), np.array([2]), 2).tolist() == []


def test_groups_are_looked_at_as_a_whole_once_a_list(monkeypatch: pytest.MonkeyPatch) -> None:
    """Items of many categories each make nearly as many groups as there are items."""
    facts = facts_of([[at % 7, 7 + at % 5] for at in range(35)])
    fill, looks = PopularByCategory(np.arange(35), facts, 3), list[int]()
    closed = PopularByCategory._closed

    def watched(self: PopularByCategory, categories: Any, is_full: Any) -> Any:
        looks.append(len(categories))
        return closed(self, categories, is_full)

    monkeypatch.setattr(PopularByCategory, "_closed", watched)
    nothing = np.empty(0, np.int64)
    for _ in range(2):
        expected = slow_fill(list(range(35)), facts, 3, [], [], 14)
        assert fill.places(nothing, nothing, 14).tolist() == expected
    assert looks == [35, 35]


# What is known of items


def metadata(**items: list[str] | None) -> pa.Table:
    rows = [{"item_id": item, "categories": theirs} for item, theirs in items.items()]
    return pa.Table.from_pylist(rows, ITEMS.schema)


def named(table: pa.Table, ids: list[str], column: str | None) -> list[set[str]]:
    numbers, names = category_numbers(table, np.array(ids, object), column)
    return [{str(names[c]) for c in row if c >= 0} for row in numbers.tolist()]


def test_categories_are_those_of_a_column_or_all() -> None:
    table = metadata(
        a=["genre=Drama", "year=1999", "Kömödie"], b=["genre=Drama", "genre=Drama"], c=None, d=[]
    )
    ids = ["b", "zz", "a", "c", "d"]
    assert named(table, ids, "genre") == [{"genre=Drama"}, set(), {"genre=Drama"}, set(), set()]
    assert named(table, ids, None)[2] == {"genre=Drama", "year=1999", "Kömödie"}
    assert named(metadata(a=["größe=weit", None], b=["größe=eng"]), ["a", "b"], "größe") == [  # type: ignore[list-item]
        {"größe=weit"},
        {"größe=eng"},
    ]


@pytest.mark.parametrize(
    ("table", "column", "sentence"),
    [
        (metadata(), None, "the table items tells no category of any item: set source.items_path"),
        (metadata(a=None, b=[]), "genre", "the table items tells no category of any item"),
        (
            metadata(a=["genre=x", "länge=3", "alone"]),
            "gerne",
            "no item has a column 'gerne': use one of genre, länge",
        ),
        (metadata(a=["alone"]), "genre", "no item has a column 'genre': the categories of the ta"),
    ],
    ids=["no items", "no categories", "another column", "no columns"],
)
def test_categories_that_nobody_has_are_refused(
    table: pa.Table, column: str | None, sentence: str
) -> None:
    chosen = rules(max_per_category=1, category=column)
    ids = np.array(["a"], object)
    with pytest.raises(UsageError, match=sentence):
        item_facts(chosen, table, ids, np.zeros(1, np.int64), np.zeros(1))


def test_an_item_is_born_when_it_becomes_available_or_else_with_its_first_event() -> None:
    since = datetime(2016, 3, 14, 13, tzinfo=UTC)
    rows = [{"item_id": "a", "available_from": since}, {"item_id": "b"}]
    table = pa.Table.from_pylist(rows, ITEMS.schema)
    ids, first_us = np.array(["b", "a", "c", "d"], object), np.array([5.0, 6.0, 7.0, math.nan])
    born = births(table, ids, first_us)
    assert born[[0, 2]].tolist() == [6.0, 8.0]  # an event is known from the next microsecond on
    assert born[1] == since.timestamp() * 1e6
    assert math.isnan(born[3])
    at_those_times = np.array([5, int(born[1]), 8, 9])
    assert freshness(born, at_those_times, 6.0).tolist() == [0.0, 1.0, 1.0, 0.0]


class _Events:
    item = np.array([2, 1, 2], np.int32)
    time_us = np.array([30, 20, 10], np.int64)


def test_the_first_event_of_each_item() -> None:
    first = first_events(_Events(), 3)  # type: ignore[arg-type]
    assert first[:2].tolist() == [20.0, 10.0]
    assert math.isnan(first[2])


# The settings


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("popularity", math.nan),
        ("popularity", math.inf),
        ("freshness", -0.1),
        ("freshness_half_life", "soon"),
        ("freshness_half_life", "0h"),
        ("max_per_category", 0),
        ("category", ""),
        ("exploration", 1.1),
        ("exploration", -0.1),
        ("exploration_seed", -1),
        ("candidates", 0),
    ],
)
def test_impossible_knobs_are_refused(key: str, value: object) -> None:
    with pytest.raises(ValidationError, match=key):
        rules(**{key: value})


def test_all_knobs_are_off_by_default() -> None:
    assert not rules().has_knobs
    assert not rules(freshness_half_life="2h", category="genre", candidates=5).has_knobs
    on = rules(popularity=-1, freshness=1, max_per_category=3, exploration=0.5, k=7)
    assert on.has_knobs
    assert on.without_knobs() == rules(k=7)
    assert rules(k=300).n_candidates == 300
