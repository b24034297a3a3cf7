"""Users with vectors of their own: BPR-MF and FM by hand, and the table from fit to fit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from encoding import SIZES, encoder_of, random_steps, states_of
from synthetic import AS_OF_S, write_dataset

from pipeline.errors import HourglassError, UsageError
from training.data.reader import DataSet, Requests, read_dataset
from training.models import build
from training.models.parts.base import GradientTrained
from training.models.shallow.bpr_mf import BprMf
from training.models.shallow.fm import Fm
from training.nn.blocks.past import mean_so_far
from training.nn.tables.user_table import NO_USER, UserTable, table_rows, user_hashes
from training.trainer.interface import FitOptions, ParentWeights

SMALL: dict[str, Any] = {
    "width": 8,
    "user_width": 8,
    "validation_share": 0.0,
    "device": "cpu",
    "max_len": 10,
}


def test_means_so_far_are_those_of_a_loop() -> None:
    steps = random_steps(begins_at=((0, 3), (1, 1), (1, 7)))
    means = mean_so_far(steps.item, steps)
    for row in range(3):
        so_far: list[torch.Tensor] = []
        for step in range(9):
            if steps.begins[row, step]:
                so_far = []
            so_far.append(steps.item[row, step])
            torch.testing.assert_close(means[row, step], torch.stack(so_far).mean(0))


def test_a_user_of_the_table_is_its_vector_and_a_new_one_the_mean_of_what_it_met() -> None:
    encoder = encoder_of("bpr_mf", user_width=100)
    assert isinstance(encoder, BprMf)
    steps = random_steps()
    states = states_of(encoder, steps)
    torch.testing.assert_close(states[1:], steps.user[1:])
    torch.testing.assert_close(states[0, 0], torch.zeros(8))  # the start token is no item
    for step in range(1, 9):
        folded_in = encoder.scale.detach() * steps.item[0, 1 : step + 1].mean(0)
        torch.testing.assert_close(states[0, step], folded_in)


def test_a_factorisation_machine_adds_the_vectors_of_what_is_active() -> None:
    encoder, steps = encoder_of("fm"), random_steps()
    assert isinstance(encoder, Fm) and encoder.context is not None
    states = states_of(encoder, steps)
    weight = encoder.context.weight.detach()  # (D, I - D)
    for row in range(3):
        for step in range(9):
            state = steps.user[row, step] + steps.item[row, step]
            for column in range(SIZES.inputs - SIZES.width):
                state = state + steps.context[row, step, column] * weight[:, column]
            torch.testing.assert_close(states[row, step], state)


@pytest.mark.parametrize("name", ["bpr_mf", "fm"])
def test_widths_that_cannot_be_multiplied_are_refused(name: str) -> None:
    with pytest.raises(UsageError, match="user_width"):
        build(name, {"width": 8, "user_width": 9})


def test_rows_of_users_by_hand() -> None:
    ids = np.array(["ann", "bob", "zoë", ""], np.object_)
    hashes = user_hashes(ids)
    assert len(set(hashes.tolist())) == 4
    known = np.sort(hashes[[0, 2]])
    rows = table_rows(hashes, known)
    assert rows[1] == rows[3] == NO_USER
    assert sorted([rows[0], rows[2]]) == [1, 2]
    assert table_rows(hashes, known[:0]).tolist() == [NO_USER] * 4


def test_users_are_forgotten_now_and_then_in_training_only() -> None:
    table = UserTable(n_users=2000, width=3, dropout=0.25)
    rows = torch.arange(2001)[:, None]
    with torch.no_grad():
        vectors = table(rows)[:, 0]
        gone = (vectors == 0).all(1)
        assert gone[NO_USER]
        assert 0.2 < float(gone[1:].float().mean()) < 0.3
        vectors = table.eval()(rows)[:, 0]
        assert torch.equal(vectors[1:], table.vector.weight[1:])
        assert (vectors[NO_USER] == 0).all()


def by_group(n_users: int, seed: int, first: int = 0, sessions: int = 6) -> dict[str, list[Any]]:
    """Sessions of two items: any of ten, then what follows it among users of the same kind (S6).

    The two kinds have followers of their own, which the first item of a session does not tell.
    """
    follows = np.random.default_rng(7).permuted([np.arange(10, 20), np.arange(20, 30)], axis=1)
    rng = np.random.default_rng(seed)
    users = {}
    for user in range(first, first + n_users):
        events = []
        for session in range(sessions):
            start = AS_OF_S - (sessions - session) * 9000.0
            item = int(rng.integers(10))
            after = int(follows[user % 2, item])
            events += [(f"i{item:02d}", start), (f"i{after:02d}", start + 60)]
        users[f"u{user:03d}"] = events
    return users


def second_hits(model: Any, data: DataSet) -> float:
    """Share of the sessions whose second item is the best one."""
    h = data.histories
    event = np.flatnonzero(h.is_target & ~h.session_start)
    best = model.score(h, Requests.before(h, event)).argmax(1) + 1
    return float((best == h.item[event]).mean())


@pytest.mark.parametrize(
    ("variant", "seeds"),
    [
        ("user_cat", (0,)),
        pytest.param("user_cat", (1, 2, 3), marks=pytest.mark.nightly),
        pytest.param("time_user", (1, 2, 3), marks=pytest.mark.nightly),
    ],
)
def test_who_it_is_tells_what_follows(tmp_path: Path, variant: str, seeds: tuple[int, ...]) -> None:
    gains, losses = [], []
    vocabulary = [f"i{item:02d}" for item in range(30)]
    for seed in seeds:
        folder = tmp_path / str(seed)
        path = write_dataset(folder / "a", by_group(60, seed), vocabulary=vocabulary)
        later = {
            user: [(item, time + 86_400) for item, time in events]
            for user, events in by_group(120, seed + 50).items()
        }
        test = [
            read_dataset(
                write_dataset(
                    folder / name,
                    {user: later[user] for user in later if (int(user[1:]) < 60) == is_known},
                    as_of="2016-03-15T13",
                    window_start="2016-03-14T13",
                    base=path,
                )
            )
            for name, is_known in (("known", True), ("strangers", False))
        ]
        hits = []
        for parameters in ({"variant": variant, "user_width": 8}, {"variant": "time_att"}):
            chosen = {
                "width": 32,
                "hidden": 32,
                "plan": "session_windows",
                "epochs": 15,
                "learning_rate": 0.01,
                "negatives": 0,
                "input_dropout": 0.0,
                "dropout": 0.0,
                "validation_share": 0.0,
                "device": "cpu",
                **parameters,
            }
            model = build("asars", chosen)
            model.fit(read_dataset(path), seed, lambda _: None)
            hits.append([second_hits(model, part) for part in test])
        print(f"{variant}, seed {seed}: known users and strangers, with and without: {hits}")
        gains.append(hits[0][0] - hits[1][0])
        losses.append(hits[1][1] - hits[0][1])
    assert np.mean(gains) > 0.3, gains
    assert np.mean(losses) < 0.1, losses


def two_tastes(n_users: int, seed: int, first: int = 0) -> dict[str, list[tuple[str, float]]]:
    """Users of two groups by their number; which items one draws from is all that is to learn."""
    rng = np.random.default_rng(seed)
    users = {}
    for user in range(first, first + n_users):
        offset = 10 * (user % 2)
        items = rng.integers(0, 10, 12) + offset
        times = AS_OF_S - 40_000 + np.arange(12) * 600.0
        users[f"u{user:03d}"] = [
            (f"i{item:02d}", float(time)) for item, time in zip(items, times, strict=True)
        ]
    return users


def last_event(data: DataSet) -> Requests:
    h = data.histories
    event = h.offsets[1:] - 1
    return Requests(
        np.arange(len(h.user_ids)), np.zeros(len(h.user_ids), np.int64), h.time_us[event]
    )


def own_share(model: Any, data: DataSet) -> float:
    """Share of users whose ten best items, without any history, are those of their own group."""
    best = np.argsort(-model.score(data.histories, last_event(data)), axis=1)[:, :10]
    group = np.array([int(str(user)[1:]) % 2 for user in data.histories.user_ids])
    own = (best // 10 == group[:, None]).mean(1)
    return float((own > 0.9).mean())


@pytest.mark.parametrize("name", ["bpr_mf", "fm"])
def test_users_are_known_again_after_saving_and_going_on(name: str, tmp_path: Path) -> None:
    vocabulary = [f"i{item:02d}" for item in range(20)]
    data = read_dataset(write_dataset(tmp_path / "a", two_tastes(40, 1), vocabulary=vocabulary))
    chosen = {**SMALL, "epochs": 30, "learning_rate": 0.03, "user_dropout": 0.0}
    model = build(name, chosen)
    model.fit(data, 0, lambda progress: None)
    assert own_share(model, data) > 0.9
    again = build(name, chosen)
    again.load(model.tensors())
    assert own_share(again, data) > 0.9

    # Other users before and between them: rows move, vectors stay.
    users = {**two_tastes(10, 5, first=900), **two_tastes(40, 1)}
    grown = read_dataset(write_dataset(tmp_path / "b", users, vocabulary=vocabulary))
    start = ParentWeights("parent", model.tensors(), data.item_ids)
    going_on = build(name, {**chosen, "epochs": 1, "learning_rate": 1e-6})
    assert isinstance(going_on, GradientTrained)
    going_on.fit_with(grown, 0, lambda progress: None, FitOptions(parent=start))
    old = read_dataset(tmp_path / "a")
    assert own_share(going_on, old) > 0.9
    # Whoever is not in the new data set is nobody to the new model.
    strangers = read_dataset(
        write_dataset(tmp_path / "c", two_tastes(10, 3, first=700), vocabulary=vocabulary)
    )
    scores = going_on.score(strangers.histories, last_event(strangers))
    assert np.ptp(scores, axis=0).max() < 1e-6


def test_going_on_from_a_model_without_users_is_refused(tmp_path: Path) -> None:
    data = read_dataset(write_dataset(tmp_path / "a", two_tastes(10, 1)))
    parent = build("fm", {**SMALL, "user_width": 0, "epochs": 1})
    parent.fit(data, 0, lambda progress: None)
    start = ParentWeights("parent", parent.tensors(), data.item_ids)
    model = build("fm", {**SMALL, "epochs": 1})
    assert isinstance(model, GradientTrained)
    with pytest.raises(HourglassError, match="known_users"):
        model.fit_with(data, 0, lambda progress: None, FitOptions(parent=start))


def test_who_was_not_learned_from_has_no_vector(tmp_path: Path) -> None:
    users = two_tastes(10, 1)
    # Two users whose events all lie before the window: context, from which nothing is learned.
    early = {
        user: [(item, time - 90_000) for item, time in users[user]] for user in ("u008", "u009")
    }
    data = read_dataset(
        write_dataset(tmp_path / "a", {**users, **early}, window_start="2016-03-13T22")
    )
    model = build("fm", {**SMALL, "epochs": 1})
    model.fit(data, 0, lambda _: None)
    assert len(model.tensors()["known_users"]) == 8
    assert model.tensors()["users.vector.weight"].shape == (9, 8)
