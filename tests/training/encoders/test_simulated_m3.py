"""M3: the page says how far back to look (S12); what was seen once, long ago, is found (S11)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from simulated_asars import fitted, hits, parts
from synthetic import AS_OF_S, Event
from torch import Tensor, nn

from training.data.reader import DataSet
from training.models.attention.m3 import M3
from training.models.parts.recurrent import RecurrentModel
from training.nn.steps import Steps

N_TESTED = 60
N_ITEMS, N_FAVOURITES = 40, 30
N_NAMES = N_ITEMS + N_FAVOURITES
DETAIL, HOME = 1, 2  # codes of the pages
# A sum shows what gates are for: next to one another, encoders are told apart without them.
LEARN = {
    "unit": "conv",
    "entrance": "identity",
    "mix": "sum",
    "context_input": True,
    "max_len": 100,
    "epochs": 8,
    "learning_rate": 0.02,
    "dropout": 0.0,
    "input_dropout": 0.0,
}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> tuple[DataSet, DataSet]:
    """160 learned users and 60 others: on detail pages what follows the last, at home a favourite.

    The user's favourite is what the history begins with; 20 detail pages later it is asked for.
    """
    rng = np.random.default_rng(1)
    follower = np.concatenate(
        [
            np.random.default_rng(9).permutation(N_ITEMS),
            np.random.default_rng(8).integers(0, N_ITEMS, N_FAVOURITES),
        ]
    )
    users = {}
    for user in range(160 + N_TESTED):
        favourite = item = N_ITEMS + int(rng.integers(N_FAVOURITES))
        events = [Event(f"i{item:02d}", AS_OF_S - 50_000.0, context={"page": "home"})]
        for step in range(1, 61):
            is_home = step > 20 and item < N_ITEMS and rng.random() < 0.3
            follows = follower[item] if rng.random() < 0.9 else rng.integers(N_ITEMS)
            item = favourite if is_home else int(follows)
            page = {"page": "home" if is_home else "detail"}
            events.append(Event(f"i{item:02d}", AS_OF_S - 50_000.0 + 30 * step, context=page))
        users[f"u{user:03d}"] = events
    names = [f"i{item:02d}" for item in range(N_NAMES)]
    return parts(tmp_path_factory.mktemp("pages"), users, N_TESTED, names, context=["page"])


def by_page(data: tuple[DataSet, DataSet], seed: int, gates: str) -> NDArray[np.float64]:
    """hit@1 on detail pages and at home, and how far the long encoder's gate is open on each."""
    test = data[1].histories
    is_first = np.zeros(len(test.item), np.bool_)
    is_first[test.offsets[:-1]] = True
    page = np.asarray(test.context)[:, 0]
    model = fitted("m3", data, seed, **LEARN, gates=gates)
    assert isinstance(model, RecurrentModel)
    net = model.trained_net()
    opened: list[tuple[Tensor, Tensor]] = []  # of all steps: what they are told of the page; G_L

    def look(cell: nn.Module, given: tuple[Steps], _: Tensor) -> None:
        assert isinstance(cell, M3)
        opened.append((given[0].context.flatten(0, 1), cell.gates(given[0])[..., -1].flatten()))

    net.cell.register_forward_hook(look)
    shares = [hits(model, data[1], ~is_first & (page == code)) for code in (DETAIL, HOME)]
    context, gate = (torch.cat(tensors) for tensors in zip(*opened, strict=True))
    vectors = net.context[0].weight
    gates_of = [gate[(context == vectors[code]).all(-1)].mean().item() for code in (DETAIL, HOME)]
    return np.array(shares + gates_of)


def show_their_use(fixed: NDArray[np.float64], contextual: NDArray[np.float64]) -> None:
    (detail, home, *_), (gated_detail, gated_home, open_detail, open_home) = fixed, contextual
    # Of 10 detail pages, 9 can be known: nothing is lost there.
    assert gated_detail > max(detail, 0.9) - 0.02
    assert gated_home > home + 0.1
    assert open_home > open_detail + 0.2


def test_gates_open_the_long_encoder_where_it_counts(data: tuple[DataSet, DataSet]) -> None:
    show_their_use(by_page(data, 0, "fixed"), by_page(data, 0, "contextual"))


@pytest.mark.nightly
def test_it_is_no_matter_of_the_seed(data: tuple[DataSet, DataSet]) -> None:
    fixed, contextual = (
        np.mean([by_page(data, seed, gates) for seed in range(3)], axis=0)
        for gates in ("fixed", "contextual")
    )
    print("detail, home, G_L on detail, G_L at home:", fixed.round(3), contextual.round(3))
    show_their_use(fixed, contextual)


N_CATEGORIES, N_BRANDS, N_BETWEEN = 8, 4, 80
# The long encoder's match of a page with an item begins as one of a hundred: it takes many epochs,
# in which a longer reach of the short one would learn the order of pages by heart.
LEARN_LONG = {
    "unit": "conv",
    "layers": 1,
    "reach": 3,
    "entrance": "identity",
    "gates": "fixed",
    "max_len": 256,
    "epochs": 50,
    "batch_events": 1000,
    "min_batches": 34,
    "learning_rate": 0.02,
    "dropout": 0.0,
    "input_dropout": 0.0,
}


def brand_log(folder: Path) -> tuple[DataSet, DataSet]:
    """340 learned users and 60 others, who see one brand of each category once.

    80 to 89 events later each category's page is followed by the brand of the user; only what is
    that late is learned from.
    """
    rng = np.random.default_rng(1)
    item_of = np.array([[f"c{c}b{b}" for b in range(N_BRANDS)] for c in range(N_CATEGORIES)])
    pages = [f"page{c}" for c in range(N_CATEGORIES)]
    users = {}
    for user in range(340 + N_TESTED):
        own = item_of[np.arange(N_CATEGORIES), rng.integers(N_BRANDS, size=N_CATEGORIES)]
        early = [*rng.permutation(own), *["between"] * (N_BETWEEN + int(rng.integers(10)))]
        late = [name for c in rng.permutation(N_CATEGORIES) for name in (pages[c], own[c])]
        since = AS_OF_S - 3600.0
        users[f"u{user:03d}"] = [
            Event(str(name), since + 30 * (at - len(early)))
            for at, name in enumerate([*early, *late])
        ]
    names = [*item_of.flatten().tolist(), *pages, "between"]
    return parts(folder, users, N_TESTED, names, window_start="2016-03-14T12")


@pytest.mark.nightly
def test_what_was_seen_once_long_ago_is_found(tmp_path: Path) -> None:
    data = brand_log(tmp_path)
    item, n_items = data[1].histories.item - 1, N_CATEGORIES * N_BRANDS
    is_page = (item >= n_items) & (item < n_items + N_CATEGORIES)
    asked = np.append(False, is_page[:-1])
    with_long, without = (
        [
            hits(fitted("m3", data, seed, **LEARN_LONG, encoders=letters), data[1], asked)
            for seed in range(3)
        ]
        for letters in ("TSL", "TS")
    )
    print(f"TSL {np.round(with_long, 3)}, TS {np.round(without, 3)}")
    assert np.mean(without) < 1 / N_BRANDS + 0.1
    assert np.mean(with_long) > np.mean(without) + 0.2
