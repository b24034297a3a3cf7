"""The written-out GRU against PyTorch's cell, one step at a time, forward and back."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from training.nn.gru import GruCell


def step_by_step(cell: GruCell, inputs: Tensor, state: Tensor, keep: Tensor | None) -> Tensor:
    states = []
    for t in range(inputs.shape[1]):
        if keep is not None:
            state = state * keep[:, t, None]
        state = cell(inputs[:, t], state)
        states.append(state)
    return torch.stack(states, dim=1)


@settings(deadline=None, max_examples=25)
@given(
    rows=st.integers(1, 4),
    steps=st.integers(1, 6),
    keeps=st.booleans(),
    seed=st.integers(0, 2**16),
)
def test_states_and_gradients_are_those_of_the_cell(
    rows: int, steps: int, keeps: bool, seed: int
) -> None:
    torch.manual_seed(seed)
    cell = GruCell(3, 5)
    keep = (torch.rand(rows, steps) < 0.6).float() if keeps else None
    inputs = torch.randn(rows, steps, 3, requires_grad=True)
    state = torch.randn(rows, 5, requires_grad=True)
    weight = torch.randn(rows, steps, 5)
    leaves = [inputs, state, *cell.parameters()]

    slow = step_by_step(cell, inputs, state, keep)
    expected = torch.autograd.grad((slow * weight).sum(), leaves)
    fast = cell.scan(inputs, state, keep)
    found = torch.autograd.grad((fast * weight).sum(), leaves)

    torch.testing.assert_close(fast, slow)
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-4)


def test_a_forgotten_state_leaves_no_trace() -> None:
    torch.manual_seed(0)
    cell = GruCell(2, 4)
    inputs = torch.randn(1, 3, 2)
    keep = torch.tensor([[1.0, 0.0, 1.0]])
    one = cell.scan(inputs, torch.zeros(1, 4), keep)
    other = cell.scan(inputs, torch.randn(1, 4), keep)
    assert not torch.equal(one[:, 0], other[:, 0])
    assert torch.equal(one[:, 1:], other[:, 1:])


def test_the_state_is_carried_in_full_precision_under_autocast() -> None:
    cell = GruCell(2, 4)
    with torch.autocast("cpu", torch.bfloat16):
        states = cell.scan(torch.randn(1, 3, 2), torch.zeros(1, 4), None)
    assert states.dtype == torch.float32


@pytest.mark.parametrize("steps", [0, 1])
def test_short_rectangles(steps: int) -> None:
    cell = GruCell(2, 4)
    assert cell.scan(torch.randn(3, steps, 2), torch.zeros(3, 4), None).shape == (3, steps, 4)
