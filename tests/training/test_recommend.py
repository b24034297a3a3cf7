"""Recommendations: the best items of every user, published whole."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from numpy.typing import NDArray
from synthetic import AS_OF, AS_OF_S, write_dataset

from pipeline.errors import HourglassError
from pipeline.hours import Hour
from pipeline.lake import Lake
from pipeline.schemas import RECOMMENDATIONS
from pipeline.settings import Settings, load_settings
from training.artefact import save_model
from training.reader import Histories, Requests, read_dataset
from training.recommend import last_context, recommend, top_k
from training.registry import LiveModel
from training.systems import build


def best_one_by_one(scores: NDArray[np.float32], k: int) -> list[list[float]]:
    """Slow reference: the k largest scores of each row."""
    return [sorted((float(s) for s in row), reverse=True)[:k] for row in scores]


@pytest.mark.parametrize("k", [1, 3, 50])
def test_top_k_gives_the_largest_scores_in_order(k: int) -> None:
    scores = np.random.default_rng(k).normal(size=(7, 20)).astype(np.float32)
    columns, found = top_k(scores, k)
    assert found.tolist() == best_one_by_one(scores, k)
    assert np.take_along_axis(scores, columns, axis=1).tolist() == found.tolist()


def test_a_user_is_expected_in_the_context_of_the_last_event(tmp_path: Path) -> None:
    rows = {
        "anna": [("a", AS_OF_S - 9, "view", None, {"c": "x"}), ("b", AS_OF_S - 8)],
        "bert": [("a", AS_OF_S - 9), ("b", AS_OF_S - 8, "view", None, {"c": "x"})],
    }
    known = read_dataset(write_dataset(tmp_path / "data", rows, context=("c", "d"))).histories
    assert last_context(known, np.array([1, 0])).tolist() == [[1, 0], [0, 0]]
    nothing = replace(known, offsets=np.array([0, 0, 4]))
    assert last_context(nothing, np.array([0, 1])).tolist() == [[0, 0], [1, 0]]


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return load_settings(None, {"work": str(tmp_path / "work"), "recommend": {"k": 3}})


@pytest.fixture
def live(tmp_path: Path, settings: Settings) -> tuple[LiveModel, Path]:
    """A popularity model (a 3, b 2, c 1, d 1 events) and the histories of its users."""
    events = {"anna": "aab", "bert": "abc", "cora": "d"}
    rows = {
        user: [(item, AS_OF_S - 3600 + 60 * place) for place, item in enumerate(items)]
        for user, items in events.items()
    }
    folder = write_dataset(tmp_path / "data", rows, vocabulary="abcd")
    data = read_dataset(folder)
    system = build("pop", {})
    metrics = system.fit(data, 0, lambda _progress: None)
    models = settings.path("models")
    model_id = save_model(models, system, {}, data, 0, metrics, "test")
    return LiveModel(model_id, "1", models / model_id, None), folder


def lake_of(settings: Settings) -> Lake:
    return Lake(settings.resolved_catalog_uri, settings.resolved_warehouse)


def publish(settings: Settings, live: LiveModel, known: Path, as_of: str = AS_OF) -> list[dict]:
    hour = Hour.parse(as_of)
    recommend(settings, lake_of(settings), live, known, hour, lambda _done, _all: None)
    rows = lake_of(settings).arrow(RECOMMENDATIONS)
    return rows.sort_by([("user_id", "ascending"), ("rank", "ascending")]).to_pylist()


def items_of(rows: list[dict], user: str) -> list[str]:
    return [row["item_id"] for row in rows if row["user_id"] == user]


def test_every_user_gets_what_is_popular_but_not_what_was_just_seen(
    settings: Settings, live: tuple[LiveModel, Path]
) -> None:
    rows = publish(settings, *live)
    assert items_of(rows, "anna")[0] == "a"  # the last was b
    assert "b" not in items_of(rows, "anna")
    assert items_of(rows, "bert")[:2] == ["a", "b"]
    assert items_of(rows, "cora") == ["a", "b", "c"]
    assert {(row["model"], row["model_version"]) for row in rows} == {(live[0].model_id, "1")}
    assert {row["made_at"] for row in rows} == {Hour.parse(AS_OF).start}


def test_seen_items_are_left_out_on_request(
    settings: Settings, live: tuple[LiveModel, Path]
) -> None:
    strict = load_settings(
        None, {"work": str(settings.work), "recommend": {"k": 3, "exclude_seen": True}}
    )
    rows = publish(strict, *live)
    assert items_of(rows, "anna") == ["c", "d"] or items_of(rows, "anna") == ["d", "c"]
    assert items_of(rows, "bert") == ["d"]


def test_publishing_again_replaces_the_hour(
    settings: Settings, live: tuple[LiveModel, Path]
) -> None:
    once = publish(settings, *live)
    assert publish(settings, *live) == once
    path = settings.path("recommendations") / AS_OF / "recommendations.parquet"
    assert pq.read_table(path).num_rows == len(once)
    assert [p.name for p in path.parent.iterdir()] == [path.name]


def test_a_model_never_recommends_for_a_time_before_its_own(
    settings: Settings, live: tuple[LiveModel, Path]
) -> None:
    with pytest.raises(
        HourglassError, match="was trained as of 2016-03-14T13, after 2016-03-14T12"
    ):
        publish(settings, *live, as_of="2016-03-14T12")


def test_a_model_whose_items_are_all_unknown_here_still_answers(tmp_path: Path) -> None:
    """An old champion on a site where items live for hours."""
    rows = {"anna": [("x", AS_OF_S - 120), ("y", AS_OF_S - 60)]}
    data = read_dataset(write_dataset(tmp_path / "data", rows))
    nobody = Histories(
        np.array(["bert"], object),
        np.array([0, 0]),
        np.zeros(1, np.int32),
        *(np.empty(0, kind) for kind in (np.int32, np.int64, np.bool_)),
        *(np.empty(0, kind) for kind in (np.float32, np.int16, np.int16, np.float32)),
        context=np.empty((0, 0), np.int32),
    )
    request = Requests(np.zeros(1, np.int64), np.zeros(1, np.int64), np.array([AS_OF_S * 10**6]))
    quick = {"hrnn": {"epochs": 1}, "hrnn_trend": {"epochs": 1}}
    for name in ("pop", "recent_pop", "p_pop", "item_knn", "vsknn", "hrnn", "hrnn_trend"):
        system = build(name, quick.get(name, {}))
        system.fit(data, 0, lambda _progress: None)
        scores = system.score(nobody, request)
        assert scores.shape == (1, 2), name
        assert np.isfinite(scores).all(), name
