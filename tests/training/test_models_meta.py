"""HRNN-meta: each thing it is told answers a question that nothing else can answer."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from synthetic import AS_OF_S, Known, write_dataset

from pipeline.errors import HourglassError, UsageError
from training.data.reader import DataSet, Requests, read_dataset
from training.models import build
from training.models.parts.base import Model
from training.nn.build import rewards_of

N_ITEMS = 20
LEARN: dict[str, Any] = {
    "width": 24,
    "epochs": 6,
    "learning_rate": 0.03,
    "dropout": 0.1,
    "input_dropout": 0.1,
    "validation_share": 0.0,
    "device": "cpu",
    "trend": False,
}
NOTHING = {
    "feedback_input": False,
    "context_input": False,
    "user_features": False,
    "item_features": False,
}


def fit(data: DataSet, **parameters: Any) -> Model:
    system = build("hrnn_meta", {**LEARN, **parameters})
    system.fit(data, 0, lambda progress: None)
    return system


def asked(data: DataSet) -> tuple[Requests, NDArray[np.int32]]:
    h = data.histories
    event = np.flatnonzero(h.is_target & (np.arange(len(h.item)) > 0))
    user = h.user_of_event[event]
    context = h.context[event]
    return Requests(user, event - h.offsets[user], h.time_us[event], context), h.item[event]


def first_hits(system: Model, data: DataSet) -> float:
    requests, item = asked(data)
    return float(np.mean(system.score(data.histories, requests).argmax(axis=1) + 1 == item))


def two_followers(
    folder: Path, which: str, seed: int = 3, n_users: int = 140
) -> tuple[DataSet, DataSet]:
    """Every item has two followers; ``which`` of value, type, device or user tells the one."""
    rng = np.random.default_rng(seed)
    followers = [rng.permutation(N_ITEMS) for _ in range(2)]
    users: dict[str, list[tuple[Any, ...]]] = {}
    known: dict[str, Known] = {}
    for user in range(n_users):
        name, item, time, events = (
            f"u{user:03d}",
            int(rng.integers(N_ITEMS)),
            AS_OF_S - 90_000.0,
            [],
        )
        own = int(rng.integers(2))
        known[name] = Known((f"group:{own}",), {})
        told = 0
        for _ in range(16):
            coin = int(rng.integers(2))
            side = {"user": own, "device": coin}.get(which, told)
            item = int(followers[side][item] if rng.random() < 0.95 else rng.integers(N_ITEMS))
            told = coin
            time += float(rng.uniform(20, 40))
            events.append(
                (
                    f"i{item:02d}",
                    time,
                    ("view", "like")[told] if which == "type" else "view",
                    (1.0, 5.0)[told] if which == "value" else None,
                    {"device": ("phone", "desk")[coin]},
                )
            )
        users[name] = events
    names = [f"i{item:02d}" for item in range(N_ITEMS)]
    held = dict(list(users.items())[: n_users // 4])
    base = {user: events for user, events in users.items() if user not in held}
    told_of = known if which == "user" else None
    made = write_dataset(
        folder / "base", base, vocabulary=names, context=["device"], users_known=told_of
    )
    test = write_dataset(folder / "test", held, base=made, context=["device"], users_known=told_of)
    return read_dataset(made), read_dataset(test)


@pytest.mark.parametrize(
    ("which", "told"),
    [
        ("value", "feedback_input"),
        ("type", "feedback_input"),
        ("device", "context_input"),
        ("user", "user_features"),
    ],
)
def test_each_input_tells_what_items_alone_cannot(tmp_path: Path, which: str, told: str) -> None:
    base, test = two_followers(tmp_path, which)
    system = fit(base, **{**NOTHING, told: True})
    assert first_hits(system, test) > 0.7
    if which == "device":  # each log hides the same coin
        assert first_hits(fit(base, **NOTHING), test) < 0.6


def test_an_unknown_context_is_read_as_such(tmp_path: Path) -> None:
    base, test = two_followers(tmp_path, "device")
    system = fit(base, **{**NOTHING, "context_input": True})
    requests, item = asked(test)
    silent = Requests(requests.user, requests.length, requests.now_us)
    said = system.score(test.histories, silent)
    assert np.isfinite(said).all()
    hit = float(np.mean(said.argmax(axis=1) + 1 == item))
    assert hit < first_hits(system, test)


def test_codes_of_another_data_set_are_read_by_their_names(tmp_path: Path) -> None:
    """The same log, frozen with the devices and event types numbered the other way round."""
    base, test = two_followers(tmp_path, "device")
    system = fit(base, **{**NOTHING, "context_input": True})
    requests, _ = asked(test)
    h = test.histories
    (field,) = h.context_fields
    turned = type(field)(name=field.name, values=tuple(reversed(field.values)))
    renumbered = np.where(h.context > 0, len(field.values) + 1 - h.context, 0).astype(np.int32)
    other = type(h)(**{**vars(h), "context": renumbered, "context_fields": (turned,)})
    event = h.offsets[requests.user] + requests.length
    again = Requests(requests.user, requests.length, requests.now_us, renumbered[event])
    assert np.array_equal(system.score(other, again), system.score(h, requests))


def described_log(folder: Path) -> tuple[DataSet, DataSet]:
    """Users stay with one of four kinds of items; half of the items have never been met."""
    rng = np.random.default_rng(5)
    kinds = 4
    names = [f"i{item:02d}" for item in range(40)]
    known = {name: Known((f"kind:{item % kinds}",), {}) for item, name in enumerate(names)}
    warm, cold = names[:20], names[20:]
    users, later = {}, {}
    for user in range(80):
        kind = int(rng.integers(kinds))
        mine = [name for item, name in enumerate(names) if item % kinds == kind]
        time = AS_OF_S - 90_000.0
        events = [
            (str(rng.choice([m for m in mine if m in warm])), time + 50 * step)
            for step in range(12)
        ]
        users[f"u{user:02d}"] = events
        chosen = str(rng.choice([m for m in mine if m in cold]))
        later[f"u{user:02d}"] = [*events, (chosen, AS_OF_S + 60.0)]
    base = write_dataset(folder / "base", users, vocabulary=names, items_known=known)
    test = write_dataset(
        folder / "test",
        later,
        base=base,
        window_start="2016-03-14T13",
        as_of="2016-03-14T14",
        items_known=known,
    )
    return read_dataset(base), read_dataset(test)


def test_cold_items_are_found_by_what_is_known_of_them(tmp_path: Path) -> None:
    base, test = described_log(tmp_path)
    requests, item = asked(test)
    requests, item = requests.take(item > 20), item[item > 20]
    cold = np.arange(21, 41)
    right = (cold[None, :] - item[:, None]) % 4 == 0  # (n, 20) items of the kind asked for

    def right_before_wrong(system: Model) -> float:
        """Share of pairs of a right and a wrong item that stand in the right order."""
        scores = system.score(test.histories, requests)[:, 20:]
        pairs = [
            np.mean(scores[row][right[row]][:, None] > scores[row][~right[row]][None, :])
            for row in range(len(item))
        ]
        return float(np.mean(pairs))

    assert right_before_wrong(fit(base, repeats=True, epochs=10)) > 0.95
    assert right_before_wrong(fit(base, repeats=True, epochs=10, item_features=False)) < 0.75


@pytest.mark.parametrize("seeds", [(0,), pytest.param((0, 1, 2), marks=pytest.mark.nightly)])
def test_what_two_fields_say_together_is_read_by_a_hidden_layer(
    tmp_path: Path, seeds: tuple[int, ...]
) -> None:
    """Taste is for red squares and blue circles, or for the others; each word alone says nothing.

    Asked are items that nobody has met, of which all that is known are their words.
    """
    rng = np.random.default_rng(5)
    names = [f"i{item:02d}" for item in range(48)]
    looks = [(("red", "blue")[at % 2], ("square", "circle")[at // 2 % 2]) for at in range(48)]
    known = {
        name: Known((f"colour={colour}", f"form={form}"))
        for name, (colour, form) in zip(names, looks, strict=True)
    }
    kind = np.array([(at % 2 + at // 2 % 2) % 2 for at in range(48)])
    users = {
        f"u{user:02d}": [
            (names[rng.choice(np.flatnonzero(kind[:32] == user % 2))], AS_OF_S - 9000.0 + 60 * step)
            for step in range(12)
        ]
        for user in range(100)
    }
    data = read_dataset(write_dataset(tmp_path / "d", users, vocabulary=names, items_known=known))
    requests = asked(data)[0]
    requests = requests.take(requests.length > 2)
    right = kind[None, 32:] == requests.user[:, None] % 2

    def in_order(seed: int, hidden: int) -> float:
        """Share of pairs of a right and a wrong item that stand in the right order."""
        told = {**NOTHING, "item_features": True, "feature_hidden": hidden, "repeats": True}
        system = build("hrnn_meta", {**LEARN, **told})
        system.fit(data, seed, lambda progress: None)
        scores = system.score(data.histories, requests)[:, 32:]
        pairs = [
            np.mean(row[good][:, None] > row[~good][None, :])
            for row, good in zip(scores, right, strict=True)
        ]
        return float(np.mean(pairs))

    with_layer, without = ([in_order(seed, hidden) for seed in seeds] for hidden in (32, 0))
    print(f"with {np.round(with_layer, 3)}, without {np.round(without, 3)}")
    assert np.mean(with_layer) > 0.9
    assert np.mean(without) < 0.65


def test_a_hidden_layer_is_kept_and_learned_in_half_precision(tmp_path: Path) -> None:
    base, test = described_log(tmp_path)
    requests, _ = asked(test)
    chosen = {"feature_hidden": 6, "metadata_input": True, "precision": "bfloat16", "epochs": 1}
    system = fit(base, **chosen)
    scores = system.score(test.histories, requests)
    again = build("hrnn_meta", {**LEARN, **chosen})
    again.load(system.tensors())
    assert "items.encoder.out.weight" in system.tensors()
    assert "items.encoder.field" not in system.tensors()
    assert np.array_equal(again.score(test.histories, requests), scores)


def test_exposure_is_taken_out_of_what_is_learned(tmp_path: Path) -> None:
    """Items are met in proportion to exposure; taste does not prefer any: scores should not."""
    rng = np.random.default_rng(7)
    share = 1 / np.arange(1, N_ITEMS + 1)
    users = {
        f"u{user:03d}": [
            (f"i{rng.choice(N_ITEMS, p=share / share.sum()):02d}", AS_OF_S - 9000.0 + 60 * step)
            for step in range(12)
        ]
        for user in range(120)
    }
    names = [f"i{item:02d}" for item in range(N_ITEMS)]
    data = read_dataset(write_dataset(tmp_path / "d", users, vocabulary=names))
    requests = asked(data)[0].take(np.arange(0, 900, 9))

    def leaning(temperature: float) -> float:
        told = {**NOTHING, "ips_temperature": temperature, "repeats": True}
        scores = fit(data, **told).score(data.histories, requests).mean(axis=0)
        return float(np.corrcoef(scores, np.log(share))[0, 1] * scores.std())

    assert leaning(0.0) > 0.5
    assert abs(leaning(1.0)) < 0.35 * leaning(0.0)


def test_rewards_push_down_what_disappoints(tmp_path: Path) -> None:
    """After x come y and z equally often; y is skipped over, z is bought."""
    users = {
        f"u{user:02d}": [
            ("x", AS_OF_S - 9000.0, "buy"),
            (("y", "z")[user % 2], AS_OF_S - 8000.0, ("skip", "buy")[user % 2]),
        ]
        for user in range(60)
    }
    data = read_dataset(write_dataset(tmp_path / "d", users))
    told = {**NOTHING, "loss": "one_against_all", "rewards": {"skip": 0.0, "buy": 1.0}}
    system = fit(data, **told, min_batches=2)
    (after_x,) = system.score(data.histories, asked(data)[0].take(np.array([0])))
    assert after_x[2] > after_x[1] + 1
    # With any other loss they weigh targets: what weighs nothing is as if it had not happened.
    weighed = fit(data, **NOTHING, rewards={"skip": 0.0, "buy": 1.0}, min_batches=2)
    (after_x,) = weighed.score(data.histories, asked(data)[0].take(np.array([0])))
    assert after_x[2] > after_x[1] + 1
    even = fit(data, **NOTHING, min_batches=2)
    (after_x,) = even.score(data.histories, asked(data)[0].take(np.array([0])))
    assert abs(after_x[2] - after_x[1]) < 0.5


def test_rewards_follow_values_along_straight_lines(tmp_path: Path) -> None:
    values = [None, -1.0, 0.0, 5.0, 12.5, 20.0, 60.0]
    events = [
        ("x", AS_OF_S - 900 + at, ("view", "skip")[at % 2], value)
        for at, value in enumerate(values)
    ]
    data = read_dataset(write_dataset(tmp_path / "d", {"u": events}))
    points = [[0, 0.2], [10.0, 0.4], [20, 1]]
    parameters = build("hrnn", {"value_rewards": points, "rewards": {"skip": 0.5}}).parameters
    rewards = rewards_of(parameters, data.histories)
    assert rewards is not None
    for at, value in enumerate(values):
        expected = 1.0
        if value is not None:
            for (low, before), (high, after) in pairwise(points):
                if low <= value <= high:
                    expected = before + (after - before) * (value - low) / (high - low)
            if value < 0 or value > 20:
                expected = 0.2 if value < 0 else 1.0
        assert rewards[at] == pytest.approx(expected * (0.5 if at % 2 else 1.0))


@pytest.mark.parametrize("loss", ["cross_entropy", "one_against_all", "bpr", "hinge"])
def test_what_was_left_at_once_is_recommended_less(tmp_path: Path, loss: str) -> None:
    """After x come y, for a moment, and z, for long, equally often."""
    users = {
        f"u{user:02d}": [
            ("x", AS_OF_S - 9000.0, "play", 300.0),
            (("y", "z")[user % 2], AS_OF_S - 8000.0, "play", (3.0, 240.0)[user % 2]),
            ("w", AS_OF_S - 7000.0, "play", 100.0),
        ]
        for user in range(60)
    }
    data = read_dataset(write_dataset(tmp_path / "d", users))
    after = asked(data)[0].take(np.array([0]))

    def lead(**told: Any) -> float:
        """By how much z is scored above y."""
        system = fit(data, **NOTHING, loss=loss, min_batches=2, **told)
        (scores,) = system.score(data.histories, after)
        return float(scores[3] - scores[2])

    assert lead(value_rewards=[[0, 0.0], [200, 1.0]]) > abs(lead()) + 0.5


@pytest.mark.parametrize(
    "points", [[3], [[1]], [[0, "1"]], [[0, 1.5]], [[5, 1], [0, 0]], [[0, float("nan")]]]
)
def test_points_that_are_refused(points: list[Any]) -> None:
    with pytest.raises(UsageError, match=r"value_rewards = .* must be pairs"):
        build("hrnn", {"value_rewards": points})


def test_rewards_by_value_need_values(tmp_path: Path) -> None:
    users = {"u": [("a", AS_OF_S - 50), ("b", AS_OF_S - 10)]}
    data = read_dataset(write_dataset(tmp_path / "d", users))
    with pytest.raises(UsageError, match="value_rewards: no event has a value"):
        fit(data, **NOTHING, value_rewards=[[0, 0.0], [1, 1.0]])


def test_values_are_predicted_and_feedback_is_what_tells(tmp_path: Path) -> None:
    """Kind users give 5, stern ones 1, whatever the item: only earlier ratings tell which."""
    rng = np.random.default_rng(1)
    users = {}
    for user in range(80):
        level = (1.5, 4.5)[user % 2]
        users[f"u{user:02d}"] = [
            (
                f"i{rng.integers(10)}",
                AS_OF_S - 90_000.0 + 90 * s,
                "rate",
                level + rng.normal(0, 0.3),
            )
            for s in range(12)
        ]
    data = read_dataset(write_dataset(tmp_path / "d", users))
    requests, item = asked(data)
    value = data.histories.value[data.histories.offsets[requests.user] + requests.length]
    late = requests.length >= 4

    def rmse(**told: Any) -> float:
        chosen = {k: v for k, v in LEARN.items() if k != "trend"}
        system = build("hrnn_rating", {**chosen, **told})
        system.fit(data, 0, lambda progress: None)
        found = system.predict(data.histories, requests.take(late), item[late])
        return float(np.sqrt(np.mean((found - value[late]) ** 2)))

    assert rmse() < 0.6
    assert rmse(feedback_input=False) > 1.2


def test_ratings_need_values(tmp_path: Path) -> None:
    users = {"u": [("a", AS_OF_S - 50), ("b", AS_OF_S - 10)]}
    data = read_dataset(write_dataset(tmp_path / "d", users))
    with pytest.raises(HourglassError, match="hrnn_rating: no event has a value"):
        build("hrnn_rating", {}).fit(data, 0, lambda progress: None)


def test_two_corrections_at_once_are_refused() -> None:
    with pytest.raises(UsageError, match="trend and ips_temperature both take popularity out"):
        build("hrnn_meta", {"trend": True, "ips_temperature": 0.5})


def test_rewards_of_events_that_do_not_exist(tmp_path: Path) -> None:
    users = {"u": [("a", AS_OF_S - 50), ("b", AS_OF_S - 10)]}
    data = read_dataset(write_dataset(tmp_path / "d", users))
    told = {**NOTHING, "loss": "one_against_all", "rewards": {"purchase": 1.0}}
    with pytest.raises(UsageError, match=r"rewards\.purchase: there are no such events, only view"):
        fit(data, **told)
