from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Never

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from judging import RULE, Card, Loaded, ranks_of
from synthetic import AS_OF, AS_OF_S, write_dataset

from pipeline.errors import HourglassError
from pipeline.settings.learning import EvaluationSettings
from training.data.reader import DataSet, Histories, Popularity, Requests, read_dataset
from training.evaluation.slices import slice_masks
from training.gate.artefact_checks import check_artefact
from training.metrics.ranking import blocks, find_targets, rank_of_target, rank_targets
from training.metrics.ranks import check_same_targets, read_ranks, summary, write_ranks
from training.metrics.vocabulary_alignment import (
    index_of,
    reencode,
    reencode_popularity,
    reencode_requests,
    reorder_columns,
)

EVERYTHING = EvaluationSettings(bootstrap_samples=100, repeats="keep")


class Follower:
    """Scores the item after the last seen one highest; items sink with their distance."""

    def __init__(self, n_items: int) -> None:
        self.n_items = n_items
        self.largest = 0
        self.calls: list[int] = []

    def score(self, histories: Histories, requests: Requests) -> np.ndarray:
        self.calls.append(len(requests))
        self.largest = max(self.largest, len(requests) * self.n_items)
        last = histories.item[np.maximum(histories.offsets[requests.user] + requests.length - 1, 0)]
        last = np.where(requests.length > 0, last, 0)
        return -((np.arange(self.n_items) - last[:, None]) % self.n_items).astype(np.float32)


def walk(items: str, start_s: float = AS_OF_S, step_s: float = 60) -> list[tuple[str, float]]:
    """Events on one-letter items, a minute apart."""
    return [(item, start_s + step * step_s) for step, item in enumerate(items)]


@pytest.fixture
def frozen(tmp_path: Path) -> DataSet:
    """Ann has two context events; Bob is new and repeats b; Cid has one event."""
    base = write_dataset(tmp_path / "base", {"old": walk("abcdeabcde", AS_OF_S - 7200)})
    folder = write_dataset(
        tmp_path / "frozen",
        {
            "ann": [("a", AS_OF_S - 5000), ("b", AS_OF_S - 4900), *walk("cda")],
            "bob": walk("abbc"),
            "cid": walk("e"),
        },
        as_of="2016-03-14T14",
        window_start=AS_OF,
        base=base,
    )
    return read_dataset(folder)


def slow_targets(data: Histories, rule: EvaluationSettings) -> list[tuple[int, int, int, int]]:
    """(user, length, position, item) read off event by event."""
    found = []
    for user in range(len(data.user_ids)):
        first, stop = int(data.offsets[user]), int(data.offsets[user + 1])
        for position in range(first, stop):
            index = position - first
            if index < data.n_context[user]:
                continue
            if rule.repeats == "drop" and index and data.item[position] == data.item[position - 1]:
                continue
            if rule.targets == "within_session" and data.session_start[position]:
                continue
            found.append((user, index, position, int(data.item[position])))
    return found


def histories(rows: list[tuple[int, list[tuple[int, bool]]]]) -> Histories:
    """Users as (n_context, [(item, session_start)])."""
    flat = [event for _, events in rows for event in events]
    n = len(flat)
    return Histories(
        user_ids=np.array([f"u{row}" for row in range(len(rows))], dtype=object),
        offsets=np.cumsum([0, *(len(events) for _, events in rows)]).astype(np.int64),
        n_context=np.array([min(c, len(events)) for c, events in rows], dtype=np.int32),
        item=np.array([item for item, _ in flat], dtype=np.int32),
        time_us=np.arange(n, dtype=np.int64),
        session_start=np.array([start for _, start in flat], dtype=bool),
        dwell_s=np.full(n, np.nan, dtype=np.float32),
        dwell_bin=np.zeros(n, dtype=np.int16),
        event_type=np.zeros(n, dtype=np.int16),
        value=np.full(n, np.nan, dtype=np.float32),
        context=np.arange(2 * n, dtype=np.int32).reshape(n, 2),
    )


ROWS = st.lists(
    st.tuples(
        st.integers(0, 3),
        st.lists(st.tuples(st.integers(1, 4), st.booleans()), min_size=0, max_size=6),
    ),
    min_size=1,
    max_size=5,
)


@given(ROWS, st.sampled_from(["drop", "keep"]), st.sampled_from(["all", "within_session"]))
def test_targets_equal_reading_event_by_event(
    rows: list[tuple[int, list[tuple[int, bool]]]], repeats: str, kind: str
) -> None:
    rule = EvaluationSettings(repeats=repeats, targets=kind)
    data = histories(rows)
    found = find_targets(data, rule)
    columns = (found.requests.user, found.requests.length, found.position, found.item)
    assert [tuple(map(int, row)) for row in zip(*columns, strict=True)] == slow_targets(data, rule)
    np.testing.assert_array_equal(found.requests.now_us, data.time_us[found.position])
    np.testing.assert_array_equal(found.requests.context, data.context[found.position])


def test_targets_of_three_users(frozen: DataSet) -> None:
    assert slow_targets(frozen.histories, RULE) == [
        (0, 2, 2, 3),
        (0, 3, 3, 4),
        (0, 4, 4, 1),
        (1, 0, 5, 1),
        (1, 1, 6, 2),
        (1, 3, 8, 3),  # Bob's second b is left out: he was looking at b
        (2, 0, 9, 5),
    ]
    assert find_targets(frozen.histories, RULE).position.tolist() == [2, 3, 4, 5, 6, 8, 9]
    within = EvaluationSettings(targets="within_session")
    assert find_targets(frozen.histories, within).position.tolist() == [3, 4, 6, 8]


@given(
    st.lists(st.lists(st.integers(0, 3), min_size=5, max_size=5), min_size=1, max_size=8),
    st.data(),
)
def test_rank_counts_every_item_that_is_not_worse(
    rows: list[list[int]], data: st.DataObject
) -> None:
    """Ties against the model: sort so that the target comes after all its equals."""
    scores = np.array(rows, dtype=np.float32)
    item = np.array([data.draw(st.integers(1, 5)) for _ in rows], dtype=np.int32)
    expected = []
    for row, target in zip(rows, item, strict=True):
        order = sorted(range(1, 6), key=lambda i: (-row[i - 1], i == target))
        expected.append(order.index(target) + 1)
    assert rank_of_target(scores, item).tolist() == expected


def test_what_was_just_seen_takes_no_place_where_repeats_are_no_targets(frozen: DataSet) -> None:
    """A model whose best item is always the last one loses nothing by it, nor gains."""

    class Echo(Follower):
        def score(self, histories: Histories, requests: Requests) -> np.ndarray:
            scores = np.array(super().score(histories, requests))
            for row, (user, length) in enumerate(zip(requests.user, requests.length, strict=True)):
                if length:
                    scores[row, histories.item[histories.offsets[user] + length - 1] - 1] = 1e6
            return scores

    found = {
        kind: rank_targets(
            kind(frozen.item_ids.size),
            frozen,
            EvaluationSettings(),
            model_id="m",
            item_ids=frozen.item_ids,
        ).rank.tolist()
        for kind in (Follower, Echo)
    }
    assert found[Echo] == found[Follower]


def test_a_constant_model_is_ranked_last_not_first() -> None:
    assert rank_of_target(np.zeros((2, 50), dtype=np.float32), np.array([1, 50])).tolist() == [
        50,
        50,
    ]


@given(st.lists(st.integers(0, 6), min_size=1, max_size=40), st.integers(1, 8))
def test_blocks_cover_all_rows_in_order_within_the_bound(users: list[int], max_rows: int) -> None:
    user = np.sort(np.array(users))
    found = list(blocks(user, max_rows))
    assert [row for rows in found for row in range(rows.start, rows.stop)] == list(range(user.size))
    assert all(rows.stop - rows.start <= max_rows for rows in found)
    for rows in found:
        cut = rows.stop < user.size and user[rows.stop - 1] == user[rows.stop]
        assert not cut or user[rows.start] == user[rows.stop]  # only a long user is cut


def test_ranks_of_the_follower(frozen: DataSet) -> None:
    model = Follower(5)
    ranks = rank_targets(model, frozen, RULE, model_id="follower-1", item_ids=frozen.item_ids)
    # a b | c d a   then | a b . c   then | e : after d the follower expects e, and a comes second
    assert ranks.rank.tolist() == [1, 1, 2, 1, 1, 1, 5]
    assert ranks.frozen_id == "frozen"
    assert ranks.n_users == 3
    assert ranks.session.tolist() == [1, 1, 1, 2, 2, 2, 3]


def test_memory_is_bounded_and_the_bound_changes_nothing(frozen: DataSet) -> None:
    whole, small, progress = Follower(5), Follower(5), []
    one = rank_targets(whole, frozen, RULE, model_id="m", item_ids=frozen.item_ids)
    two = rank_targets(
        small,
        frozen,
        RULE,
        model_id="m",
        item_ids=frozen.item_ids,
        max_floats=15,
        progress=lambda done, total: progress.append((done, total)),
    )
    assert one.rank.tolist() == two.rank.tolist()
    assert small.largest <= 15
    assert small.calls == [3, 3, 1]
    assert progress == [(3, 7), (6, 7), (7, 7)]


@pytest.mark.parametrize("poison", [np.nan, np.inf, -np.inf])
def test_scores_that_are_not_finite_name_model_and_target(frozen: DataSet, poison: float) -> None:
    class Poisoned(Follower):
        def score(self, histories: Histories, requests: Requests) -> np.ndarray:
            scores = super().score(histories, requests)
            scores[1, 2] = poison
            return scores

    with pytest.raises(HourglassError, match=r"hrnn-bad: 1 of 7 requests .* first at target 3"):
        rank_targets(Poisoned(5), frozen, RULE, model_id="hrnn-bad", item_ids=frozen.item_ids)


def test_scores_that_miss_items_are_refused(frozen: DataSet) -> None:
    with pytest.raises(HourglassError, match=r"do not cover a vocabulary of 5 items"):
        rank_targets(Follower(4), frozen, RULE, model_id="m", item_ids=frozen.item_ids)


def test_a_test_hour_without_targets_has_no_ranks_and_no_summary(frozen: DataSet) -> None:
    only_context = replace(
        frozen,
        histories=replace(frozen.histories, n_context=frozen.histories.lengths.astype(np.int32)),
    )
    ranks = rank_targets(Follower(5), only_context, RULE, model_id="m", item_ids=frozen.item_ids)
    assert ranks.n_targets == 0
    assert summary({"m": ranks}, RULE, seed=0) == []


# Models with another vocabulary


def ids(text: str) -> np.ndarray:
    return np.array(list(text), dtype=object)


def align(scores: np.ndarray, model_items: np.ndarray, frozen_items: np.ndarray) -> np.ndarray:
    columns = index_of(frozen_items, model_items)
    return reorder_columns(scores, columns, len(model_items))


def test_align_moves_scores_by_item_id_and_puts_unknown_items_last() -> None:
    scores = np.array([[0.1, 0.2, 0.3]], dtype=np.float32)
    assert align(scores, ids("abc"), ids("abc")) is scores
    np.testing.assert_allclose(align(scores, ids("abc"), ids("abcd")), [[0.1, 0.2, 0.3, -np.inf]])
    np.testing.assert_allclose(align(scores, ids("cxa"), ids("abc")), [[0.3, -np.inf, 0.1]])


def test_a_target_the_model_does_not_know_ranks_last() -> None:
    scores = align(np.array([[0.1, 0.2]], dtype=np.float32), ids("ab"), ids("abcd"))
    assert rank_of_target(scores, np.array([3])).tolist() == [4]
    assert rank_of_target(scores, np.array([1])).tolist() == [2]


def test_a_vocabulary_that_names_an_item_twice_is_refused() -> None:
    with pytest.raises(HourglassError, match="'b' occurs twice"):
        index_of(ids("ab"), ids("abb"))


@given(ROWS, st.lists(st.sampled_from("abcd"), unique=True, min_size=1))
def test_translation_equals_dropping_unknown_events_one_by_one(
    rows: list[tuple[int, list[tuple[int, bool]]]], vocabulary: list[str]
) -> None:
    data = histories(rows)
    found, kept = reencode(data, index_of(ids("abcd"), np.array(vocabulary, dtype=object)))
    for user, (n_context, events) in enumerate(rows):
        left, start_pending = [], False
        for place, (item, start) in enumerate(events):
            start_pending = start if (start or place == 0) else start_pending
            letter = "abcd"[item - 1]
            if letter in vocabulary:
                left.append((vocabulary.index(letter) + 1, start_pending, place))
                start_pending = False
        mine = slice(found.offsets[user], found.offsets[user + 1])
        assert found.item[mine].tolist() == [item for item, _, _ in left]
        assert found.session_start[mine].tolist() == [start for _, start, _ in left]
        context = min(n_context, len(events))
        assert found.n_context[user] == sum(place < context for _, _, place in left)
        for length in range(len(events) + 1):
            asked = Requests(np.array([user]), np.array([length]), np.array([0]))
            translated = reencode_requests(asked, data.offsets, kept)
            assert translated.length[0] == sum(place < length for _, _, place in left)


def test_popularity_is_counted_in_the_models_own_numbers() -> None:
    counts = Popularity(np.array([1, 2, 3]), np.array([7, 7, 8]), np.array([10, 20, 30]))
    found = reencode_popularity(counts, index_of(ids("abc"), ids("cxa")))
    assert found.item.tolist() == [3, 1]  # b is unknown to the model
    assert found.hour_index.tolist() == [7, 8]
    assert found.events.tolist() == [10, 30]


def test_a_shuffled_vocabulary_gives_the_same_ranks_as_the_same_model_unshuffled(
    frozen: DataSet,
) -> None:
    """Follower orders items by their own number, so give each model the order it means."""

    class Alphabet:
        def __init__(self, order: str) -> None:
            self.order = order

        def score(self, histories: Histories, requests: Requests) -> np.ndarray:
            last = np.array(
                [
                    self.order[histories.item[histories.offsets[u] + n - 1] - 1] if n else "a"
                    for u, n in zip(requests.user, requests.length, strict=True)
                ]
            )
            return np.array(
                [[-abs(ord(i) - ord(x) - 1) for i in self.order] for x in last], dtype=np.float32
            )

    plain = rank_targets(Alphabet("abcde"), frozen, RULE, model_id="m", item_ids=ids("abcde"))
    mixed = rank_targets(Alphabet("dbeca"), frozen, RULE, model_id="m", item_ids=ids("dbeca"))
    assert plain.rank.tolist() == mixed.rank.tolist()


def test_an_older_model_is_asked_about_what_it_knows_only(frozen: DataSet) -> None:
    model = Follower(3)
    ranks = rank_targets(model, frozen, RULE, model_id="old-1", item_ids=ids("abc"))
    # Ann's fifth event: her d is unknown, so the model still expects what follows c, which is a.
    assert ranks.rank.tolist() == [1, 5, 1, 1, 1, 1, 5]
    assert ranks.item.tolist() == [3, 4, 1, 1, 2, 3, 5]  # always in the frozen numbers


# Files and comparisons


def test_ranks_survive_a_round_trip(frozen: DataSet, tmp_path: Path) -> None:
    ranks = rank_targets(Follower(5), frozen, RULE, model_id="m-1", item_ids=frozen.item_ids)
    folder = tmp_path / "evaluations"
    path = write_ranks(ranks, folder)
    assert path == folder / "frozen" / "m-1.parquet"
    again = read_ranks(path)
    for field, value in vars(ranks).items():
        np.testing.assert_array_equal(getattr(again, field), value)
    before = path.read_bytes()
    write_ranks(ranks, folder)
    assert path.read_bytes() == before
    assert [p.name for p in path.parent.iterdir()] == ["m-1.parquet"]


def test_a_write_that_dies_leaves_the_old_ranks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_ranks(ranks_of("m", [1], [0]), tmp_path)
    before = path.read_bytes()

    def die(*_args: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(pq, "write_table", die)
    with pytest.raises(KeyboardInterrupt):
        write_ranks(ranks_of("m", [2], [0]), tmp_path)
    assert path.read_bytes() == before
    assert len(os.listdir(path.parent)) == 1  # noqa: PTH208


def test_damaged_foreign_and_missing_ranks_are_named(tmp_path: Path) -> None:
    path = write_ranks(ranks_of("m", [1], [0]), tmp_path)
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(HourglassError, match="cannot be read"):
        read_ranks(path)
    pq.write_table(pa.table({"rank": [1]}), path)
    with pytest.raises(HourglassError, match="not a file of ranks"):
        read_ranks(path)
    path.unlink()
    with pytest.raises(HourglassError, match="no ranks of this model"):
        read_ranks(path)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"frozen_id": "other"}, "differ in frozen_id"),
        ({"rule": "repeats=keep targets=all"}, "differ in rule"),
        ({"user": np.array([0, 9])}, "the user of target 1"),
        ({"position": np.array([5, 1])}, "the position of target 0"),
        ({"item": np.array([1, 2])}, "the item of target 1"),
        ({"rank": np.array([1])}, "2 targets and b has 1"),
    ],
)
def test_models_are_never_compared_on_different_targets(
    changes: dict[str, object], message: str
) -> None:
    a = ranks_of("a", [1, 2], [0, 1])
    with pytest.raises(HourglassError, match=message):
        check_same_targets({"a": a, "b": replace(a, **changes)})


def test_summary_has_every_metric_of_every_model_and_slice() -> None:
    a, b = ranks_of("a", [1, 2, 30, 1], [0, 0, 1, 2]), ranks_of("b", [2, 2, 2, 2], [0, 0, 1, 2])
    masks = {"item/head": np.array([True, True, False, False]), "item/none": np.zeros(4, bool)}
    rows = {
        (row.model_id, row.metric, row.slice_name): row
        for row in summary({"a": a, "b": b}, RULE, seed=1, masks=masks)
    }
    assert len(rows) == 2 * 3 * 2
    one = rows["a", "recall", "all"]
    assert (one.mean, one.n_targets, one.n_users, one.k) == (0.75, 4, 3, 20)
    assert one.lower < one.mean < one.upper
    assert rows["a", "mrr", "item/head"].mean == pytest.approx(0.75)
    assert rows["a", "mrr", "item/head"].n_users == 1
    assert rows["b", "mrr", "all"].lower == rows["b", "mrr", "all"].upper == 0.5


def test_summary_repeats_with_its_seed() -> None:
    a = ranks_of("a", np.arange(1, 41), np.arange(40))
    assert summary({"a": a}, RULE, seed=1) == summary({"a": a}, RULE, seed=1)
    assert summary({"a": a}, RULE, seed=1) != summary({"a": a}, RULE, seed=2)


def test_slices_of_three_users(frozen: DataSet) -> None:
    ranks = rank_targets(Follower(5), frozen, RULE, model_id="m", item_ids=frozen.item_ids)
    masks = {name: mask.tolist() for name, mask in slice_masks(frozen, ranks).items()}
    assert masks["session_length/2-5"] == [True] * 6 + [False]
    assert masks["session_length/1"] == [False] * 6 + [True]
    assert masks["session_place/first"] == [True, False, False, True, False, False, True]
    assert sum(masks["item/head"]) + sum(masks["item/tail"]) == 7


# Soundness: what the gate learns about an artefact before anything is compared


def examined(
    frozen: DataSet,
    system: Follower,
    *,
    card: Card | None = None,
    item_ids: np.ndarray | None = None,
    error: Exception | None = None,
) -> list[str]:
    def load(folder: Path) -> Loaded:
        if error:
            raise error
        return Loaded(
            system,
            card or Card("m-1", dataset_id="base"),
            frozen.item_ids if item_ids is None else item_ids,
        )

    result = check_artefact(Path("models/m-1"), frozen, RULE, load, seed=0)
    return [defect.code for defect in result.defects]


class Peeker(Follower):
    """Looks at the answer."""

    def score(self, histories: Histories, requests: Requests) -> np.ndarray:
        scores = super().score(histories, requests)
        place = histories.offsets[requests.user] + requests.length
        answer = histories.item[np.minimum(place, histories.item.size - 1)] - 1
        scores[np.arange(len(requests)), answer] += 10
        return scores


class Dice(Follower):
    def score(self, histories: Histories, requests: Requests) -> np.ndarray:
        self.calls.append(0)
        return np.random.default_rng(len(self.calls)).random((len(requests), 5), np.float32)


class Broken(Follower):
    def score(self, histories: Histories, requests: Requests) -> Never:
        raise RuntimeError("CUDA\nout of memory")


class NotANumber(Follower):
    def score(self, histories: Histories, requests: Requests) -> np.ndarray:
        return np.full((len(requests), 5), np.nan, np.float32)


@pytest.mark.parametrize(
    ("system", "codes"),
    [
        (Follower(5), []),
        (Follower(4), ["scores_incomplete"]),
        (Peeker(5), ["sees_the_future"]),
        (Dice(5), ["not_deterministic"]),
        (Broken(5), ["scores_failed"]),
        (NotANumber(5), ["scores_not_finite"]),
    ],
)
def test_examination_of_systems(frozen: DataSet, system: Follower, codes: list[str]) -> None:
    assert examined(frozen, system) == codes


def test_examination_of_artefacts(frozen: DataSet) -> None:
    good = Follower(5)
    shuffled = frozen.item_ids[::-1].copy()
    assert examined(frozen, good, error=HourglassError("truncated")) == ["not_loadable"]
    assert examined(frozen, good, error=MemoryError()) == ["not_loadable"]
    assert examined(frozen, good, card=Card("m-2")) == ["wrong_model"]
    assert examined(frozen, good, item_ids=shuffled) == ["vocabulary_mismatch"]
    older = Card("m-1", dataset_id="older")
    assert examined(frozen, Follower(3), card=older, item_ids=ids("abc")) == []
    assert examined(frozen, Peeker(3), card=older, item_ids=ids("abc")) == ["sees_the_future"]


def test_examination_is_on_one_line(frozen: DataSet) -> None:
    result = check_artefact(
        Path("models/m-1"),
        frozen,
        RULE,
        lambda _: Loaded(Broken(5), Card("m-1"), frozen.item_ids),
        seed=0,
    )
    assert result.defects[0].sentence == "m-1 cannot score: RuntimeError: CUDA out of memory"
    assert result.card_sha256 is None
    assert not result.is_sound


def many_users(folder: Path, hour: int = 0, n_users: int = 40) -> DataSet:
    """Each user has one event before and some in the hour; of every third all repeat the first."""
    base = write_dataset(folder / "base", {"old": walk("abcdeabcde", AS_OF_S - 7200)})
    users = {}
    for user in range(n_users):
        items = "aaaa" if user % 3 == 0 else "bcde"[: 1 + user % 4]
        earlier = walk("a", AS_OF_S - 3600)
        users[f"user {user:02d}"] = earlier + walk(items, AS_OF_S + hour * 3600 + user)
    return read_dataset(
        write_dataset(folder / "test", users, as_of="2016-03-15T00", window_start=AS_OF, base=base)
    )


def asked_users(data: DataSet, rule: EvaluationSettings) -> dict[str, int]:
    """How many targets each user has who has any."""
    targets = find_targets(data.histories, rule)
    names, counts = np.unique(
        data.histories.user_ids[targets.requests.user].astype(str), return_counts=True
    )
    return dict(zip(names.tolist(), counts.tolist(), strict=True))


def test_of_many_users_some_are_drawn_and_asked_all_that_they_would_be(tmp_path: Path) -> None:
    """Who is left without a target by another rule takes nobody's place."""
    rule = EvaluationSettings(repeats="drop")
    data = many_users(tmp_path)
    everybody = asked_users(data, rule)
    assert len(everybody) == 26
    some = asked_users(data, rule.model_copy(update={"max_users": 7}))
    assert len(some) == 7
    assert some.items() <= everybody.items()
    assert asked_users(data, rule.model_copy(update={"max_users": 7})) == some
    more = asked_users(data, rule.model_copy(update={"max_users": 12}))
    assert some.items() <= more.items()
    assert asked_users(data, rule.model_copy(update={"max_users": 26})) == everybody


def test_the_next_hour_draws_others(tmp_path: Path) -> None:
    rule = EvaluationSettings(max_users=7)
    hours = [set(asked_users(many_users(tmp_path / str(hour), hour), rule)) for hour in range(4)]
    assert len(set.union(*hours)) > 7 * 2


def test_all_models_are_asked_the_same_and_records_tell_the_sample(tmp_path: Path) -> None:
    data = many_users(tmp_path)
    rule = EvaluationSettings(max_users=7)
    models = [
        rank_targets(Follower(5), data, rule, model_id=name, item_ids=data.item_ids)
        for name in ("one", "two")
    ]
    check_same_targets({"one": models[0], "two": models[1]})
    assert {ranks.rule for ranks in models} == {"repeats=drop targets=all max_users=7"}
    assert len(np.unique(models[0].user)) == 7
    whole = rank_targets(
        Follower(5), data, EvaluationSettings(), model_id="one", item_ids=data.item_ids
    )
    assert whole.rule == "repeats=drop targets=all"
    by_place = dict(zip(whole.position.tolist(), whole.rank.tolist(), strict=True))
    assert models[0].rank.tolist() == [by_place[place] for place in models[0].position.tolist()]
