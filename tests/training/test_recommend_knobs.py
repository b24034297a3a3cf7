"""Knobs in what is published: limits that hold, lists that are full, propensities in the table."""

from __future__ import annotations

import json
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from recommending import (
    NOW,
    asking,
    count,
    items_of,
    lake_of,
    learned,
    publish,
    published,
    ruled,
    step,
)
from synthetic import AS_OF, AS_OF_S, ring_walks, write_dataset

from pipeline.errors import UsageError
from pipeline.lake.tables import ALL_TABLES, ITEM_HOURS, ITEMS, RECOMMENDATIONS, TableSpec
from pipeline.settings.settings import Settings, load_settings
from training.recommend.knobs import lists, pools
from training.recommend.knobs.exploration import chances_of
from training.registry.mlflow_registry import LiveModel
from training.steps.recommend import short_lists

SHOWN = {"a": 5, "b": 4, "c": 3, "d": 2, "e": 2, "f": 1}


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return load_settings(None, {"work": str(tmp_path / "work"), "recommend": {"k": 3}})


@pytest.fixture
def live(tmp_path: Path, settings: Settings) -> tuple[LiveModel, Path]:
    """A popularity model of six items, a the most popular; nobody saw g, which it cannot know."""
    rows = {
        f"u{at}": [("a", AS_OF_S - 3600.0), (item, AS_OF_S - 3000.0 + at)]
        for at, item in enumerate(item for item, n in SHOWN.items() for _ in range(n))
    }
    folder = write_dataset(tmp_path / "data", rows, vocabulary="abcdef")
    return learned("pop", folder, settings), folder


def categorise(settings: Settings, **categories: list[str] | None) -> None:
    """The items table: of which categories each item is."""
    rows = [{"item_id": item, "categories": theirs} for item, theirs in categories.items()]
    lake_of(settings).overwrite(ITEMS, "true", pa.Table.from_pylist(rows, ITEMS.schema), {})


def news_and_sport(settings: Settings) -> None:
    columns = {"a": "news", "b": "news", "c": "news", "d": "sport", "e": "sport", "f": "düne"}
    categorise(
        settings, **{item: [f"genre={c}", f"id={item}"] for item, c in columns.items()}, g=None
    )


def test_no_category_is_listed_more_often_than_allowed_and_lists_are_full(
    settings: Settings, live: tuple[LiveModel, Path]
) -> None:
    news_and_sport(settings)
    rows = publish(ruled(settings, max_per_category=1, category="genre"), *live)
    assert items_of(rows, "u0") == "bdf"  # the last was a
    assert items_of(rows, "u5") == "adf"
    rows = publish(ruled(settings, max_per_category=2, category="genre", k=5), *live)
    assert items_of(rows, "u5") == "acdef"  # b was the last, and two are news
    assert items_of(publish(ruled(settings, max_per_category=1), *live), "u5") == "adf"


def test_few_candidates_are_made_more_until_a_list_is_full(
    settings: Settings, live: tuple[LiveModel, Path]
) -> None:
    news_and_sport(settings)
    few = ruled(settings, max_per_category=1, category="genre", candidates=1)
    assert items_of(publish(few, *live), "u0") == "bdf"


def test_no_list_is_followed_down_the_whole_catalogue(
    settings: Settings, live: tuple[LiveModel, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is popular ends it instead, within the limit; candidates always count in full."""
    news_and_sport(settings)
    few = {"max_per_category": 1, "category": "genre", "candidates": 1, "k": 2}
    depths: list[int] = []
    search = lists.best_items

    def watched(*args: Any) -> Any:
        depths.append(args[3])
        return search(*args)

    monkeypatch.setattr(lists, "best_items", watched)
    assert items_of(publish(ruled(settings, **few), *live), "u0") == "bd"
    assert depths == [2, 6]  # as deep as there are items
    monkeypatch.setattr(pools, "DEEPEST", 3)
    depths.clear()
    cut = publish(ruled(settings, **few), *live)
    assert depths == [2, 3]
    # u0 may have b, c, d; u5 a, c, d; u12, who met d last, a, b, c, which are all news.
    assert (items_of(cut, "u0"), items_of(cut, "u5"), items_of(cut, "u12")) == ("bd", "ad", "aE")
    assert publish(ruled(settings, **few), *live) == cut
    every = publish(ruled(settings, **few | {"candidates": 6}), *live)
    assert items_of(every, "u12") == "ae"


def test_who_met_an_item_often_still_has_the_rest_of_the_model(
    tmp_path: Path, settings: Settings
) -> None:
    """Of sport f was met thirty times: d and e are there still."""
    rows = {
        "u": [("f", AS_OF_S - 3600.0 + 60.0 * at) for at in range(30)],
        "v": [(item, AS_OF_S - 1000.0 + at) for at, item in enumerate("aaaabbbccde")],
    }
    folder = write_dataset(tmp_path / "data", rows, vocabulary="abcdef")
    live = learned("pop", folder, settings)
    genres = {"a": "news", "b": "news", "c": "news", "d": "sport", "e": "sport", "f": "sport"}
    categorise(settings, **{item: [f"genre={genre}"] for item, genre in genres.items()})
    limited = ruled(settings, max_per_category=1, k=2, candidates=2, exclude_seen="history")
    assert items_of(publish(limited, live, folder), "u") == "ad"


def test_a_list_that_a_category_ends_is_filled_with_what_is_popular_elsewhere(
    settings: Settings, live: tuple[LiveModel, Path]
) -> None:
    """Of one category alone there is one item; what nobody told a category of is not limited."""
    count(settings, x=9, g=7, a=50)
    categorise(settings, **{item: ["genre=news"] for item in "abcdefx"})
    rows = publish(ruled(settings, max_per_category=1, exclude_seen="history"), *live)
    assert items_of(rows, "u5") == "cG"  # x is news too, and there is nothing else
    assert [row["score"] for row in rows if row["user_id"] == "u5"][1:] == [7.0]


def test_what_the_items_table_says_nothing_of_is_not_limited(
    settings: Settings, live: tuple[LiveModel, Path]
) -> None:
    categorise(settings, a=["genre=news"], b=None, c=[])
    rows = publish(ruled(settings, max_per_category=1), *live)
    assert items_of(rows, "u0") == "bcd"


def test_new_users_have_the_same_limit(settings: Settings, live: tuple[LiveModel, Path]) -> None:
    news_and_sport(settings)
    count(settings, a=9, b=8, c=7, g=6, d=5)
    limited = ruled(settings, max_per_category=1, category="genre")
    assert items_of(publish(limited, *live, asked=asking("new")), "new") == "AGD"
    few = ruled(settings, max_per_category=1, category="genre", candidates=1)
    assert items_of(publish(few, *live, asked=asking("new")), "new") == "AGD"


def test_a_category_that_nobody_has_ends_the_command(
    settings: Settings, live: tuple[LiveModel, Path]
) -> None:
    limited = ruled(settings, max_per_category=1, category="gerne")
    with pytest.raises(UsageError, match="tells no category of any item"):
        publish(limited, *live)
    news_and_sport(settings)
    with pytest.raises(UsageError, match="no item has a column 'gerne': use one of genre, id"):
        publish(limited, *live)
    assert published(settings) == []


def test_popularity_and_freshness_move_the_lists(
    settings: Settings, live: tuple[LiveModel, Path]
) -> None:
    count(settings, d=40, e=90)
    assert items_of(publish(ruled(settings), *live), "u0") == "bcd"
    rows = publish(ruled(settings, popularity=2.0), *live)
    assert items_of(rows, "u0") == "edb"
    # The score stays the model's own: the rank tells the order.
    assert [row["score"] for row in rows if row["user_id"] == "u0"] == [2.0, 2.0, 4.0]
    assert items_of(publish(ruled(settings, popularity=-2.0), *live), "u0") == "bcf"
    born = [{"item_id": "f", "available_from": datetime(2016, 3, 14, 12, 55, tzinfo=UTC)}]
    lake_of(settings).overwrite(ITEMS, "true", pa.Table.from_pylist(born, ITEMS.schema), {})
    fresh = ruled(settings, freshness=30.0, freshness_half_life="1h")
    # f has been there for five minutes, the others since their first click 50 minutes ago; of d
    # and e, which are alike to the model, e was clicked two seconds later.
    assert items_of(publish(fresh, *live), "u0") == "fbc"
    slow = ruled(settings, freshness=1.0, freshness_half_life="1000h", k=6)
    assert items_of(publish(slow, *live), "u0") == "bcedf"


def test_items_without_an_age_gain_nothing(tmp_path: Path, settings: Settings) -> None:
    """An item whose first event is not among the histories, like an item of another vocabulary."""
    rows = {"u": [("a", AS_OF_S - 60.0), ("b", AS_OF_S - 50.0)]}
    folder = write_dataset(tmp_path / "data", rows, vocabulary="abc")
    live = learned("pop", folder, settings)
    fresh = ruled(settings, freshness=5.0, freshness_half_life="1h")
    assert items_of(publish(fresh, live, folder), "u") == "ac"


# Exploration


def explored_rows(settings: Settings, live: tuple[LiveModel, Path], **keys: Any) -> list[dict]:
    return publish(ruled(settings, **keys), *live)


def test_the_table_and_the_file_tell_the_propensity_of_each_item(
    settings: Settings, live: tuple[LiveModel, Path]
) -> None:
    rows = explored_rows(settings, live, exploration=0.5)
    chances = chances_of(0.5, 3, 5)  # five items may be offered: one of six was the last
    plain = {
        row["user_id"]: items_of(publish(ruled(settings), *live), row["user_id"]) for row in rows
    }
    for row in rows:
        own = plain[row["user_id"]]
        place = row["rank"] - 1
        is_listed = row["item_id"] in own
        expected = (
            chances.own if own[place] == row["item_id"]
            else chances.moved if is_listed else chances.below
        )  # fmt: skip
        assert row["propensity"] == pytest.approx(expected, abs=1e-12)
        assert row["source"] in ("model", "exploration")
        if row["source"] == "model":
            assert own[place] == row["item_id"]
    assert 0.3 < sum(row["source"] == "exploration" for row in rows) / len(rows) < 0.7
    explored_rows(settings, live, exploration=0.5)
    path = settings.path("recommendations") / AS_OF / "recommendations.parquet"
    file = pq.read_table(path).sort_by([("user_id", "ascending"), ("rank", "ascending")])
    assert file["propensity"].to_pylist() == [row["propensity"] for row in rows]


def test_the_frequencies_over_seeds_are_the_propensities_that_are_published(
    settings: Settings, live: tuple[LiveModel, Path]
) -> None:
    """The whole way, from the model to the table."""
    shown: Counter[tuple[int, str]] = Counter()
    logged: dict[tuple[int, str], float] = {}
    users = 0
    for seed in range(40):
        rows = explored_rows(settings, live, exploration=0.6, exploration_seed=seed)
        # Users whose last item was a have the same pool and list.
        mine = [row for row in rows if row["user_id"] in ("u0", "u1", "u2", "u3", "u4")]
        users += 5
        for row in mine:
            key = (row["rank"], row["item_id"])
            shown[key] += 1
            assert logged.setdefault(key, row["propensity"]) == row["propensity"]
    for rank in (1, 2, 3):
        assert sum(p for (r, _), p in logged.items() if r == rank) == pytest.approx(1.0)
    for key, propensity in logged.items():
        margin = 5 * np.sqrt(propensity * (1 - propensity) / users)
        assert abs(shown[key] / users - propensity) < margin, key


def test_an_hour_made_again_draws_the_same_and_another_seed_others(
    settings: Settings, live: tuple[LiveModel, Path]
) -> None:
    once = explored_rows(settings, live, exploration=1.0)
    assert explored_rows(settings, live, exploration=1.0) == once
    assert explored_rows(settings, live, exploration=1.0, exploration_seed=1) != once
    asked = publish(ruled(settings, exploration=1.0), *live, asked=asking("u3", "u7"))
    assert [row for row in asked if row["user_id"] in ("u3", "u7")] == [
        row for row in once if row["user_id"] in ("u3", "u7")
    ]
    chance = {round(row["propensity"], 12) for row in once}
    assert chance == {0.2}  # one of five, in every place


def test_drawn_lists_hold_the_limit_of_categories(
    settings: Settings, live: tuple[LiveModel, Path]
) -> None:
    news_and_sport(settings)
    genre = {"a": "n", "b": "n", "c": "n", "d": "s", "e": "s", "f": "d"}
    for seed in range(5):
        rows = explored_rows(
            settings, live, exploration=0.9, exploration_seed=seed, max_per_category=1,
            category="genre",
        )  # fmt: skip
        for user in {row["user_id"] for row in rows} - {"u16"}:
            listed = items_of(rows, user)
            assert len(listed) == len({genre[item] for item in listed}) == 3
        # The last of u16 was the only one of its genre.
        assert sorted(items_of(rows, "u16")) == ["a", "d"]


@pytest.mark.parametrize("k", [1, 5, 20])
def test_lists_longer_than_the_catalogue_and_lists_of_one(
    settings: Settings, live: tuple[LiveModel, Path], k: int
) -> None:
    rows = explored_rows(settings, live, exploration=0.5, k=k, candidates=2)
    by_user = Counter(row["user_id"] for row in rows)
    assert set(by_user.values()) == {min(k, 5)}
    assert all(len(set(items_of(rows, user))) == n for user, n in by_user.items())
    assert all(0 < row["propensity"] <= 1 for row in rows)


def test_a_model_of_one_item(tmp_path: Path, settings: Settings) -> None:
    folder = write_dataset(tmp_path / "data", {"u": [("a", AS_OF_S - 60.0)]}, vocabulary="a")
    live = learned("pop", folder, settings)
    count(settings, z=3)
    rows = publish(ruled(settings, exploration=0.5, popularity=1.0), live, folder)
    # What fills the list was not drawn.
    assert [(row["item_id"], row["propensity"]) for row in rows] == [("z", 1.0)]
    assert items_of(rows, "u") == "Z"


def test_new_users_explore_what_is_popular(
    settings: Settings, live: tuple[LiveModel, Path]
) -> None:
    count(settings, x=9, y=8, z=7)
    rows = publish(ruled(settings, exploration=1.0), *live, asked=asking("new"))
    assert [row["propensity"] for row in rows] == pytest.approx([1 / 9] * 3)
    assert {row["source"] for row in rows} == {"exploration"}


def test_lists_of_others_keep_their_propensity(
    settings: Settings, live: tuple[LiveModel, Path]
) -> None:
    before = explored_rows(settings, live, exploration=0.5)
    rows = publish(ruled(settings), *live, asked=asking("u1"))
    assert [row["propensity"] for row in rows if row["user_id"] == "u1"] == [None] * 3
    assert [row for row in rows if row["user_id"] != "u1"] == [
        row for row in before if row["user_id"] != "u1"
    ]
    publish(ruled(settings), *live)
    rows = publish(ruled(settings, exploration=0.5), *live, asked=asking("u1"))
    assert {row["propensity"] is None for row in rows if row["user_id"] == "u1"} == {False}
    assert {row["propensity"] for row in rows if row["user_id"] != "u1"} == {None}


def test_without_knobs_the_files_are_as_they_were(
    settings: Settings, live: tuple[LiveModel, Path]
) -> None:
    """No column more, and settings that mean nothing without a knob change no byte."""
    path = settings.path("recommendations") / AS_OF / "recommendations.parquet"
    publish(ruled(settings), *live)
    plain = path.read_bytes()
    assert pq.read_schema(path).names == [
        "user_id", "rank", "item_id", "score", "model", "model_version", "made_at", "source",
    ]  # fmt: skip
    summary = json.loads((path.parent / "summary.json").read_text())
    assert "popularity" not in summary["rules"]
    publish(ruled(settings, exploration=0, candidates=7, category="genre"), *live)
    assert path.read_bytes() == plain
    publish(ruled(settings, exploration=1e-12), *live)
    assert path.read_bytes() != plain
    publish(ruled(settings), *live)
    assert path.read_bytes() == plain


def test_a_knob_that_moves_nothing_lists_what_the_model_alone_lists(
    tmp_path: Path, settings: Settings
) -> None:
    """With a network too, whose scores are looked at in blocks."""
    rows = ring_walks(30, AS_OF_S - 3600.0, 0)
    folder = write_dataset(tmp_path / "data", rows)
    small = {"width": 8, "epochs": 1, "device": "cpu", "validation_share": 0.0}
    for name, parameters in (("hrnn", small), ("item_knn", {}), ("pop", {})):
        live = learned(name, folder, settings, **parameters)
        plain = publish(ruled(settings, k=5), live, folder)
        moved = publish(ruled(settings, k=5, max_per_category=None, popularity=1e-12), live, folder)
        assert [row["item_id"] for row in moved] == [row["item_id"] for row in plain], name


def test_an_older_lake_learns_what_a_propensity_is(
    settings: Settings, live: tuple[LiveModel, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    place = RECOMMENDATIONS.schema.get_field_index("propensity")
    former = TableSpec("recommendations", RECOMMENDATIONS.schema.remove(place), "hour")
    specs = tuple(former if spec.name == former.name else spec for spec in ALL_TABLES)
    with monkeypatch.context() as past:
        past.setattr("pipeline.lake.catalog.ALL_TABLES", specs)
        row = dict.fromkeys(former.schema.names)
        row |= {"hour": (NOW - 1).start, "user_id": "anna", "rank": 1, "item_id": "a"}
        lake_of(settings).append(former, pa.Table.from_pylist([row], former.schema), {})
    assert [row["propensity"] for row in published(settings)] == [None]
    rows = publish(ruled(settings, exploration=0.2), *live)
    assert [row["user_id"] for row in rows if row["propensity"] is None] == ["anna"]


def test_robots_and_hours_of_old_count_for_no_popularity(
    settings: Settings, live: tuple[LiveModel, Path]
) -> None:
    old = [{"hour": (NOW - 100).start, "item_id": "f", "events": 10**6, "users": 1}]
    step(settings, {ITEM_HOURS: old})
    rows = publish(ruled(settings, popularity=9.0, popular_hours="24h"), *live)
    assert items_of(rows, "u0") == "bcd"


@pytest.mark.parametrize(
    ("rows", "users", "sentence"),
    [(60, 3, ""), (0, 0, ""), (59, 3, ", 19.7 of 20 in a list"), (24, 3, ", 8.0 of 20 in a list")],
)
def test_lists_that_are_short_are_told(rows: int, users: int, sentence: str) -> None:
    assert short_lists(rows, users, 20) == sentence
