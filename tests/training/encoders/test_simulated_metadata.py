"""Categories follow one another, and single items are rare: whoever is told of categories knows."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from simulated_asars import fitted
from synthetic import AS_OF_S, Event, Known, write_dataset

from training.data.reader import DataSet, Requests, read_dataset
from training.models.parts.base import GradientTrained
from training.trainer.interface import FitOptions, ParentWeights

N_CATEGORIES, N_ITEMS, N_TESTED = 8, 160, 60
NAMES = [f"i{item:03d}" for item in range(N_ITEMS)]
KNOWN = {name: Known((f"category:{at % N_CATEGORIES}",)) for at, name in enumerate(NAMES)}
LEARN = {
    "hops": 1,
    "epochs": 8,
    "learning_rate": 0.01,
    "batch_events": 128,
    "dropout": 0.1,
    "input_dropout": 0.1,
    "max_len": 12,
}


def walks(n_users: int, seed: int) -> dict[str, list[Event]]:
    """From category to category, nine times of ten; any item of it."""
    rng = np.random.default_rng(seed)
    follower = np.random.default_rng(9).permutation(N_CATEGORIES)
    users = {}
    for user in range(n_users):
        category, events = int(rng.integers(N_CATEGORIES)), []
        for step in range(10):
            drawn = rng.random() < 0.1
            category = int(rng.integers(N_CATEGORIES) if drawn else follower[category])
            item = category + N_CATEGORIES * int(rng.integers(N_ITEMS // N_CATEGORIES))
            events.append(Event(NAMES[item], AS_OF_S - 9000.0 + 60 * step))
        users[f"u{user:03d}"] = events
    return users


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> tuple[DataSet, DataSet]:
    folder = tmp_path_factory.mktemp("walks")
    users = walks(40 + N_TESTED, 1)
    learned = {user: users[user] for user in list(users)[N_TESTED:]}
    tested = {user: users[user] for user in list(users)[:N_TESTED]}
    base = write_dataset(folder / "base", learned, vocabulary=NAMES, items_known=KNOWN)
    test = write_dataset(folder / "test", tested, base=base, items_known=KNOWN)
    return read_dataset(base), read_dataset(test)


def right_categories(data: tuple[DataSet, DataSet], seed: int, **parameters: object) -> float:
    """Share of the best items that are of the category of what came."""
    model, h = fitted("mtam", data, seed, **LEARN, **parameters), data[1].histories
    event = np.flatnonzero(np.arange(len(h.item)) % 10 > 0)
    best = model.score(h, Requests.before(h, event)).argmax(1)
    return float(np.mean(best % N_CATEGORIES == (h.item[event] - 1) % N_CATEGORIES))


@pytest.mark.parametrize("seeds", [(0,), pytest.param((0, 1, 2), marks=pytest.mark.nightly)])
def test_steps_that_are_told_categories_know_the_next(
    data: tuple[DataSet, DataSet], seeds: tuple[int, ...]
) -> None:
    with_categories, without = (
        [right_categories(data, seed, metadata_input=tells) for seed in seeds]
        for tells in (True, False)
    )
    print(f"with {np.round(with_categories, 3)}, without {np.round(without, 3)}")
    assert np.mean(with_categories) > np.mean(without) + 0.2


def test_what_is_told_of_items_is_kept_and_continued(
    data: tuple[DataSet, DataSet], tmp_path: Path
) -> None:
    base, test = data
    chosen = {**LEARN, "epochs": 1, "metadata_input": True}
    model = fitted("mtam", data, 0, **chosen)
    tensors = model.tensors()
    assert "items.entry_encoder.token.weight" in tensors
    assert "items.encoder.token.weight" not in tensors
    h = test.histories
    requests = Requests.before(h, np.arange(1, len(h.item), 7))
    scores = model.score(h, requests)
    again = fitted("mtam", data, 1, **chosen)
    again.load(tensors)
    np.testing.assert_array_equal(again.score(h, requests), scores)

    # More items and a category before the others: vectors of categories go by name.
    more = [*NAMES, "j0"]
    known = {**KNOWN, "j0": Known(("a new one",))}
    users = {**walks(40, 1), "v": [Event("j0", AS_OF_S - 50), Event(NAMES[0], AS_OF_S - 10)]}
    grown = read_dataset(write_dataset(tmp_path / "d", users, vocabulary=more, items_known=known))
    start = ParentWeights("parent", tensors, base.item_ids)
    going_on = fitted("mtam", data, 1, **{**chosen, "learning_rate": 1e-9})
    assert isinstance(going_on, GradientTrained)
    going_on.fit_with(grown, 0, lambda progress: None, FitOptions(parent=start))
    assert grown.item_features is not None and base.item_features is not None
    names = [list(each.item_features.token_names) for each in (base, grown)]  # type: ignore[union-attr]
    assert names[0] != names[1]
    row = {name: at for at, name in enumerate(names[1])}
    moved = going_on.tensors()["items.entry_encoder.token.weight"]
    np.testing.assert_allclose(
        moved[[row[name] for name in names[0]]],
        tensors["items.entry_encoder.token.weight"],
        atol=1e-6,
    )
