"""Recommendations: the best items of every user, published whole."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from recommending import (
    NOW,
    asking,
    count,
    describe,
    items_of,
    lake_of,
    learned,
    publish,
    published,
    ruled,
    step,
)
from synthetic import AS_OF, AS_OF_S, write_dataset

from pipeline.errors import HourglassError
from pipeline.lake.tables import (
    ALL_TABLES,
    ITEM_HOURS,
    OPEN_SESSIONS,
    RECOMMENDATIONS,
    SESSIONS,
    TableSpec,
)
from pipeline.settings.settings import Settings, load_settings
from training.data.reader import Histories, Requests, read_dataset
from training.models import build
from training.recommend.publish import one_at_a_time
from training.recommend.recommend import last_context, recommend
from training.registry.mlflow_registry import LiveModel


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
    return learned("pop", folder, settings), folder


def test_what_a_step_has_not_finished_counts_nowhere(
    settings: Settings, live: tuple[LiveModel, Path]
) -> None:
    """It commits its tables one by one, and may be killed between."""
    count(settings, a=1)
    half = [{"hour": (NOW - 1).start, "item_id": "d", "events": 9, "users": 1}]
    lake_of(settings).append(ITEM_HOURS, pa.Table.from_pylist(half, ITEM_HOURS.schema), {})
    rows = publish(ruled(settings, max_item_silence="1h"), *live)
    assert items_of(rows, "anna") == "a"


def test_others_may_write_until_the_lists_are_published(
    settings: Settings, live: tuple[LiveModel, Path]
) -> None:
    acts: list[str] = []

    @contextmanager
    def alone() -> Iterator[None]:
        acts.append("publishing")
        yield

    def report(done: int, _: int) -> None:
        acts.append(f"{done} users")

    recommend(settings, lake_of(settings), *live, NOW, report, None, alone)
    assert acts == ["3 users", "publishing"]


def test_one_process_recommends_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What another left unfinished is taken for that of a killed one."""
    monkeypatch.setattr("training.recommend.publish._LOCK_WAIT_S", 0.0)
    lines: list[str] = []
    with (
        one_at_a_time(tmp_path, lines.append),
        pytest.raises(HourglassError, match=rf"\(pid {os.getpid()} on .*, since .*\) is rec"),
        one_at_a_time(tmp_path, lines.append),
    ):
        pytest.fail("both are in")
    with one_at_a_time(tmp_path, lines.append):
        assert lines == []


def test_every_user_gets_what_is_popular_but_not_what_was_just_seen(
    settings: Settings, live: tuple[LiveModel, Path]
) -> None:
    rows = publish(settings, *live)
    assert {user: items_of(rows, user) for user in ("anna", "bert", "cora")} == {
        "anna": "acd",  # the last was b
        "bert": "abd",
        "cora": "abc",
    }
    assert {(row["model"], row["model_version"]) for row in rows} == {(live[0].model_id, "1")}
    assert {row["made_at"] for row in rows} == {row["hour"] for row in rows} == {NOW.start}


def test_what_was_seen_before_is_left_out_by_rule(
    settings: Settings, live: tuple[LiveModel, Path]
) -> None:
    for said in ("history", True):
        rows = publish(ruled(settings, exclude_seen=said), *live)
        assert [items_of(rows, user) for user in ("anna", "bert", "cora")] == ["cd", "d", "abc"]


def test_a_session_is_left_out_while_it_goes_on(
    settings: Settings, live: tuple[LiveModel, Path]
) -> None:
    strict = ruled(settings, exclude_seen="session")
    # The last events were 58 and 60 minutes ago; an hour of silence ends a session.
    rows = publish(strict, *live)
    assert [items_of(rows, user) for user in ("anna", "cora")] == ["cd", "abc"]
    rows = publish(strict, *live, as_of=NOW.start + timedelta(minutes=30))
    assert [items_of(rows, user) for user in ("anna", "cora")] == ["acd", "abc"]


def test_only_the_latest_session_is_left_out(tmp_path: Path, settings: Settings) -> None:
    rows = {"anna": [("a", AS_OF_S - 9000), ("b", AS_OF_S - 600), ("c", AS_OF_S - 300)]}
    folder = write_dataset(tmp_path / "data", rows, vocabulary="abcd")
    live = learned("pop", folder, settings)
    assert items_of(publish(ruled(settings, exclude_seen="session"), live, folder), "anna") == "ad"


def test_items_that_cannot_be_had_are_left_out(
    settings: Settings, live: tuple[LiveModel, Path]
) -> None:
    day = "2016-03-14"
    describe(
        settings,
        a=(None, f"{day}T13:30"),
        b=(f"{day}T13:15", None),
        c=(f"{day}T10:00", f"{day}T23:00"),
    )

    def offered(minute: int, **rules: object) -> str:
        at = NOW.start + timedelta(minutes=minute)
        return items_of(publish(ruled(settings, **rules), *live, as_of=at), "cora")

    assert offered(0) == "ac"  # b is not there yet
    assert offered(15) == "ac"  # nor is it in the instant in which it comes
    assert offered(16) == "abc"
    assert offered(30) == "bc"
    assert offered(30, exclude_unavailable=False) == "abc"
    assert offered(16, max_item_age="2h") == "ab"


def test_items_on_which_nothing_happens_are_left_out(
    settings: Settings, live: tuple[LiveModel, Path]
) -> None:
    count(settings, a=1, d=2)
    rows = publish(ruled(settings, max_item_silence="1h"), *live)
    assert [items_of(rows, user) for user in ("anna", "cora")] == ["ad", "a"]


def test_popularity_fills_what_the_rules_leave_empty(
    settings: Settings, live: tuple[LiveModel, Path]
) -> None:
    count(settings, y=3, z=5, x=3, a=9)
    strict = ruled(settings, exclude_seen="history")
    rows = publish(strict, *live)
    assert [items_of(rows, user) for user in ("anna", "bert", "cora")] == ["cdZ", "dZX", "abc"]
    assert [row["score"] for row in rows if row["user_id"] == "bert"][1:] == [5.0, 3.0]
    describe(settings, z=(None, "2016-03-14T12:00"))
    assert items_of(publish(strict, *live), "bert") == "dXY"


def test_new_users_get_what_is_popular_now(
    settings: Settings, live: tuple[LiveModel, Path]
) -> None:
    count(settings, z=5, d=2)
    rows = publish(settings, *live, asked=asking("dora", "anna"))
    assert {row["user_id"] for row in rows} == {"anna", "dora"}
    assert items_of(rows, "dora") == "ZDA"  # a has no recent event, but most in the window
    assert items_of(rows, "anna") == "acd"


def test_a_context_has_its_own_popularity_where_it_is_thick_enough(
    settings: Settings, live: tuple[LiveModel, Path]
) -> None:
    count(settings, z=5, d=4)
    happened = [("z", "de", "desk")] * 5 + [("d", "at", "phone")] * 3 + [("c", "at", "desk")]
    rows = [
        {
            **{"hour": (NOW - 1).start, "event_time": (NOW - 1).start, "item_id": item},
            "context": [("land", land), ("device", device)],
        }
        for item, land, device in happened
    ]
    # Some sessions have closed; a robot's clicks, and those of another time, count nowhere.
    robots = [{**rows[5], "is_robot": True}] * 9
    before = [{**rows[8], "event_time": (NOW - 1000).start}] * 9
    step(settings, {SESSIONS: [*rows[:6], *robots, *before], OPEN_SESSIONS: rows[6:]})
    asked = asking(
        "u1", "u2", "u3", "u4",
        land=["at", "at", None, "fr"],
        device=["phone", "desk", None, None],
    )  # fmt: skip
    found = publish(ruled(settings, min_context_events=3), *live, asked=asked)
    assert items_of(found, "u1") == "DZA"
    assert items_of(found, "u2") == "DCZ"  # one event of both: those of the country
    assert items_of(found, "u3") == items_of(found, "u4") == "ZDA"


def test_time_since_the_last_event_matters(tmp_path: Path, settings: Settings) -> None:
    rng = np.random.default_rng(0)
    rows = {
        f"u{n}": [
            ("abcdefgh"[int(rng.integers(8))], AS_OF_S - 6000 + 300 * step) for step in range(18)
        ]
        for n in range(12)
    }
    folder = write_dataset(tmp_path / "data", rows)
    small = {"width": 8, "epochs": 4, "device": "cpu", "validation_share": 0.0, "repeats": True}
    live = learned("hrnn", folder, settings, **small)
    wide = ruled(settings, k=7)
    soon, later = (
        publish(wide, live, folder, as_of=NOW.start + timedelta(minutes=minutes))
        for minutes in (0, 55)
    )
    assert [row["score"] for row in soon] != [row["score"] for row in later]
    assert {row["made_at"] for row in later} == {NOW.start + timedelta(minutes=55)}
    assert {row["hour"] for row in later} == {NOW.start}


def test_publishing_again_replaces_the_hour(
    settings: Settings, live: tuple[LiveModel, Path]
) -> None:
    once = publish(settings, *live)
    assert publish(settings, *live) == once
    path = settings.path("recommendations") / AS_OF / "recommendations.parquet"
    whole = pa.Table.from_pylist(once, RECOMMENDATIONS.schema)
    whole = whole.drop_columns(["hour", "propensity"])
    order = [("user_id", "ascending"), ("rank", "ascending")]
    assert pq.read_table(path).sort_by(order).equals(whole)
    assert sorted(p.name for p in path.parent.iterdir()) == [path.name, "summary.json"]


def test_users_who_are_asked_for_replace_only_their_own(
    settings: Settings, live: tuple[LiveModel, Path]
) -> None:
    before = publish(settings, *live)
    rows = publish(ruled(settings, k=1), *live, asked=asking("bert", "dora"))
    assert {user: items_of(rows, user) for user in ("anna", "bert", "cora", "dora")} == {
        "anna": "acd",
        "bert": "a",
        "cora": "abc",
        "dora": "A",
    }
    assert [r for r in rows if r["user_id"] == "anna"] == [
        r for r in before if r["user_id"] == "anna"
    ]
    said = json.loads((settings.path("recommendations") / AS_OF / "summary.json").read_text())
    assert (said["users"], said["new_users"], said["rows"]) == (2, 1, 2)
    assert said["others_kept"] is True
    assert said["model_id"] == live[0].model_id
    assert said["users_per_s"] > 0


class KilledError(Exception):
    """Where a process would have died."""


@pytest.mark.parametrize("at", ["pipeline.lake.lake.Lake.replace", "os.replace"])
def test_a_reader_never_finds_half_of_an_hour(
    settings: Settings, live: tuple[LiveModel, Path], monkeypatch: pytest.MonkeyPatch, at: str
) -> None:
    before = publish(settings, *live)
    path = settings.path("recommendations") / AS_OF / "recommendations.parquet"
    old = pq.read_table(path)

    def die(*_arguments: object, **_options: object) -> None:
        raise KilledError

    other = ruled(settings, k=2)
    with monkeypatch.context() as killing, pytest.raises(KilledError):
        killing.setattr(at, die)
        # A killed process cleans nothing up.
        killing.setattr("training.recommend.publish.Publication.abandon", lambda _self: None)
        publish(other, *live)
    found = published(settings)
    assert found in (before, [row for row in before if row["rank"] <= 2])
    assert pq.read_table(path).equals(old)
    assert publish(other, *live) == [row for row in before if row["rank"] <= 2]
    assert sorted(p.name for p in path.parent.iterdir()) == [path.name, "summary.json"]


def test_what_fails_leaves_nothing_behind(
    settings: Settings, live: tuple[LiveModel, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_arguments: object, **_options: object) -> None:
        raise KilledError

    monkeypatch.setattr("pipeline.lake.lake.Lake.replace", fail)
    with pytest.raises(KilledError):
        publish(settings, *live)
    assert not list((settings.path("recommendations") / AS_OF).iterdir())
    assert not list(lake_of(settings).warehouse.rglob("*.parquet"))


def test_an_older_lake_learns_where_an_item_comes_from(
    settings: Settings, live: tuple[LiveModel, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    place = RECOMMENDATIONS.schema.get_field_index("source")
    former = TableSpec("recommendations", RECOMMENDATIONS.schema.remove(place), "hour")
    specs = tuple(former if spec.name == former.name else spec for spec in ALL_TABLES)
    with monkeypatch.context() as past:
        past.setattr("pipeline.lake.catalog.ALL_TABLES", specs)
        lake = lake_of(settings)
        row = dict.fromkeys(former.schema.names)
        row |= {"hour": (NOW - 1).start, "user_id": "anna", "rank": 1, "item_id": "a"}
        lake.append(former, pa.Table.from_pylist([row], former.schema), {})
    assert [row["source"] for row in published(settings)] == [None]
    sources = [row["source"] for row in publish(settings, *live)]
    assert sorted(sources, key=str) == [None, *["model"] * 9]


def test_a_model_never_recommends_for_a_time_before_its_own(
    settings: Settings, live: tuple[LiveModel, Path]
) -> None:
    with pytest.raises(
        HourglassError, match="was trained as of 2016-03-14T13, after 2016-03-14T12"
    ):
        publish(settings, *live, as_of=NOW - 1)


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
