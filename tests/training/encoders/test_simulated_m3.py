"""S12: where a page says which range counts, gates that follow the page open the right encoder."""

from __future__ import annotations

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

N_ITEMS, N_FAVOURITES, N_TESTED = 40, 30, 60
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
    torch.set_num_threads(1)
    show_their_use(by_page(data, 0, "fixed"), by_page(data, 0, "contextual"))


@pytest.mark.nightly
def test_it_is_no_matter_of_the_seed(data: tuple[DataSet, DataSet]) -> None:
    torch.set_num_threads(1)
    fixed, contextual = (
        np.mean([by_page(data, seed, gates) for seed in range(3)], axis=0)
        for gates in ("fixed", "contextual")
    )
    print("detail, home, G_L on detail, G_L at home:", fixed.round(3), contextual.round(3))
    show_their_use(fixed, contextual)
