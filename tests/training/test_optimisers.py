from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import Tensor, nn

from pipeline.errors import HourglassError
from training.trainer.optimisers import OPTIMISERS, Optimiser, rows_of

V, D = 6, 3
RATE = 0.1


class Tables(nn.Module):
    """A table with sparse gradients and a dense layer."""

    def __init__(self, sparse: bool = True) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.item = nn.Embedding(V, D, sparse=sparse)
        self.layer = nn.Linear(D, 2)


def learn(net: Tables, optimiser: Optimiser, rows: list[int], rate: float = RATE) -> None:
    optimiser.clear()
    net.layer(net.item(torch.tensor(rows, dtype=torch.int64))).square().sum().backward()
    optimiser.step(rate)


def slowly(
    kind: str, weight: NDArray[np.float64], gradients: list[dict[int, NDArray[np.float64]]]
) -> NDArray[np.float64]:
    """Number by number, from the papers; a row that is not touched does not move."""
    weight = weight.copy()
    mean, square = np.zeros_like(weight), np.zeros_like(weight)
    for step, touched in enumerate(gradients, start=1):
        for row, gradient in touched.items():
            for column, g in enumerate(gradient):
                at = row, column
                if kind == "adagrad":
                    square[at] += g * g
                    weight[at] -= RATE * g / (square[at] ** 0.5 + 1e-10)
                    continue
                mean[at] = 0.9 * mean[at] + 0.1 * g
                square[at] = 0.999 * square[at] + 0.001 * g * g
                corrected = square[at] / (1 - 0.999**step)
                weight[at] -= RATE * mean[at] / (1 - 0.9**step) / (corrected**0.5 + 1e-8)
    return weight


@pytest.mark.parametrize("kind", OPTIMISERS)
@settings(deadline=None, max_examples=60)
@given(
    batches=st.lists(
        st.lists(st.tuples(st.integers(0, V - 1), st.floats(-3, 3)), max_size=8),
        min_size=1,
        max_size=5,
    )
)
def test_rows_move_as_the_papers_say_and_the_others_stay(
    kind: str, batches: list[list[tuple[int, float]]]
) -> None:
    net = Tables()
    before = net.item.weight.detach().double().numpy().copy()
    optimiser = Optimiser(net, kind)
    expected = []
    for batch in batches:
        rows = torch.tensor([row for row, _ in batch], dtype=torch.int64)
        values = torch.tensor([[g, -g, 2 * g] for _, g in batch]).reshape(-1, D)
        optimiser.clear()
        net.item.weight.grad = torch.sparse_coo_tensor(
            rows[None], values, (V, D), check_invariants=True
        )
        optimiser.step(RATE)
        touched: dict[int, NDArray[np.float64]] = {}
        for row, value in zip(rows.tolist(), values.double().numpy(), strict=True):
            touched[row] = touched.get(row, np.zeros(D)) + value
        # Values that cancel to almost nothing would compare roundings.
        if any(0 < abs(g) < 1e-3 for value in touched.values() for g in value):
            return
        expected.append(touched)
    after = net.item.weight.detach().numpy()
    np.testing.assert_allclose(after, slowly(kind, before, expected), rtol=1e-4, atol=1e-5)
    untouched = sorted(set(range(V)) - {row for batch in batches for row, _ in batch})
    np.testing.assert_array_equal(after[untouched], before[untouched].astype(np.float32))


@pytest.mark.parametrize("kind", OPTIMISERS)
@pytest.mark.parametrize("weight_decay", [0.0, 0.1])
def test_touching_all_rows_in_every_step_is_the_dense_optimiser(
    kind: str, weight_decay: float
) -> None:
    sparse, dense = Tables(sparse=True), Tables(sparse=False)
    ours = Optimiser(sparse, kind, weight_decay)
    kinds = {"adam": torch.optim.Adam, "adagrad": torch.optim.Adagrad}
    theirs = kinds[kind](dense.parameters(), lr=RATE, weight_decay=weight_decay)
    for _ in range(5):
        learn(sparse, ours, [3, 1, 0, 5, 5, 2, 4])
        theirs.zero_grad()
        dense.layer(dense.item(torch.tensor([3, 1, 0, 5, 5, 2, 4]))).square().sum().backward()
        theirs.step()
    for one, other in zip(sparse.parameters(), dense.parameters(), strict=True):
        torch.testing.assert_close(one, other)


def test_a_step_that_does_not_look_into_a_table_counts_for_it() -> None:
    """So that equal batches give equal steps, whether a table was looked into for no row or not."""
    net = Tables()
    optimiser = Optimiser(net, "adam")
    learn(net, optimiser, [0])
    optimiser.clear()
    optimiser.step(RATE)
    assert float(optimiser.tensors()["item.weight/step"]) == 2.0


def test_rows_are_merged_only_if_they_repeat() -> None:
    values = torch.tensor([[1.0], [2.0], [4.0]])

    def gradient(rows: list[int]) -> Tensor:
        return torch.sparse_coo_tensor(torch.tensor([rows]), values, (V, 1), check_invariants=True)

    rows, merged = rows_of(gradient([0, 3, 4]))
    assert rows.tolist() == [0, 3, 4]
    assert merged.data_ptr() == values.data_ptr()
    rows, merged = rows_of(gradient([4, 0, 4]))
    assert rows.tolist() == [0, 4]
    assert merged.tolist() == [[2.0], [5.0]]
    rows, merged = rows_of(torch.ones(2, 1))
    assert rows.tolist() == [0, 1]


@pytest.mark.parametrize("kind", OPTIMISERS)
def test_going_on_from_a_kept_state_changes_nothing(kind: str) -> None:
    whole, first, second = Tables(), Tables(), Tables()
    undisturbed = Optimiser(whole, kind)
    early, late = Optimiser(first, kind), Optimiser(second, kind)
    batches = [[0, 1], [2], [1, 1, 5], [0, 2]]
    for rows in batches:
        learn(whole, undisturbed, rows)
    for rows in batches[:2]:
        learn(first, early, rows)
    second.load_state_dict(first.state_dict())
    late.load(early.tensors())
    for rows in batches[2:]:
        learn(second, late, rows)
    ours, theirs = whole.state_dict(), second.state_dict()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    kept, expected = late.tensors(), undisturbed.tensors()
    assert kept.keys() == expected.keys()
    assert all(torch.equal(kept[name], expected[name]) for name in kept)


def test_the_state_of_another_network_is_refused() -> None:
    optimiser = Optimiser(Tables(), "adam")
    with pytest.raises(HourglassError, match=r"'item\.weight/exp_avg' is missing: continue with"):
        optimiser.load(Optimiser(Tables(), "adagrad").tensors())
    smaller = {**optimiser.tensors(), "item.weight/exp_avg": torch.zeros(2, D)}
    with pytest.raises(HourglassError, match=r"has shape \(2, 3\), the network needs \(6, 3\)"):
        optimiser.load(smaller)


def test_a_dense_parameter_that_a_batch_does_not_use_has_gradient_zero() -> None:
    """Alone or with others: a process without rows gives zeros to the sum of gradients."""
    net = Tables()
    optimiser = Optimiser(net, "adam")
    learn(net, optimiser, [0])
    momentum = net.layer.weight.detach().clone()
    optimiser.clear()
    optimiser.step(RATE)
    assert not torch.equal(net.layer.weight, momentum)
    assert net.layer.weight.grad is not None
    assert not net.layer.weight.grad.any()
