"""HM-LSTM against a loop with branches, and its slope against a count of batches."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from encoding import encoder_of, random_steps
from torch import Tensor, nn

from training.models.recurrent.hm_lstm import HmLstm
from training.nn.steps import Steps

Level = tuple[Tensor, Tensor, bool]


@pytest.fixture
def doubles() -> Iterator[None]:
    """Sums in another order must not matter: how a processor adds up is its own affair."""
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def normalised(vector: Tensor, norm: nn.Module) -> Tensor:
    if isinstance(norm, nn.Identity):
        return vector
    centred = vector - vector.mean()
    return norm.weight * centred / (centred.square().mean() + 1e-5).sqrt() + norm.bias


def stepped(
    layer: nn.Module, level: Level, above: Tensor | None, below: Tensor, ended: bool, slope: float
) -> tuple[Level, str]:
    hidden, cell, had_ended = level
    sums = normalised(layer.recall.weight @ hidden, layer.norms[0]) + layer.bias
    if ended:
        sums = sums + normalised(layer.read.weight @ below, layer.norms[1])
    if above is not None and had_ended:
        sums = sums + normalised(layer.hear.weight @ above, layer.norms[2])
    forget, enter, leave = (torch.sigmoid(sums[first : first + 8]) for first in (0, 8, 16))
    fresh = torch.tanh(sums[24:32])
    ends = above is not None and min(1.0, max(0.0, (slope * sums[32].item() + 1) / 2)) > 0.5
    if had_ended:
        cell, operation = enter * fresh, "flush"
    elif ended:
        cell, operation = forget * cell + enter * fresh, "update"
    else:
        return (hidden, cell, ends), "copy"
    return (leave * torch.tanh(cell), cell, ends), operation


def expected_states(
    encoder: HmLstm, steps: Steps, row: int, levels: list[Level], slope: float
) -> tuple[list[Tensor], list[list[Level]], set[str]]:
    states, after, operations = [], [], set()
    for step in range(steps.inputs.shape[1]):
        if steps.begins[row, step]:
            levels = [(torch.zeros(8), torch.zeros(8), False)] * len(levels)
        below, ended = steps.inputs[row, step], True
        now: list[Level] = []
        for at, layer in enumerate(encoder.layers):
            above = levels[at + 1][0] if at + 1 < len(levels) else None
            level, operation = stepped(layer, levels[at], above, below, ended, slope)
            now.append(level)
            operations.add(operation)
            below, _, ended = level
        levels = now
        everything = torch.cat([hidden for hidden, _, _ in levels])
        total = torch.zeros(8)
        for at, (hidden, _, _) in enumerate(levels):
            gate = torch.sigmoid(encoder.gate.weight[at] @ everything)
            total = total + gate * (encoder.out[at].weight @ hidden)
        states.append(total.clamp_min(0))
        after.append(levels)
    return states, after, operations


@pytest.mark.usefixtures("doubles")
@pytest.mark.parametrize("layer_norm", [False, True])
@pytest.mark.parametrize("layers", [2, 3])
def test_layers_flush_update_and_copy(layers: int, layer_norm: bool) -> None:
    encoder = encoder_of("hm_lstm", layers=layers, layer_norm=layer_norm, anneal_batches=10)
    assert isinstance(encoder, HmLstm)
    encoder.batches.fill_(500)  # a slope of 3
    steps = random_steps(rows=4, n_steps=12, begins_at=((1, 4), (2, 2), (2, 5)))
    steps.begins[0, 0] = False  # this row goes on from what is carried
    carried = {name: torch.randn(4, layers, 8) for name in ("hidden", "cell")}
    carried["boundary"] = torch.randint(0, 2, (4, layers)).float()
    carried["boundary"][:, -1] = 0
    with torch.no_grad():
        states, after = encoder(steps, carried)
    met = set()
    for row in range(4):
        levels = [
            (carried["hidden"][row, at], carried["cell"][row, at], carried["boundary"][row, at] > 0)
            for at in range(layers)
        ]
        expected, levels_after, operations = expected_states(encoder, steps, row, levels, 3.0)
        met |= operations
        torch.testing.assert_close(states[row], torch.stack(expected), rtol=1e-4, atol=1e-5)
        for step, now in enumerate(levels_after):
            for at, (hidden, cell, ends) in enumerate(now):
                torch.testing.assert_close(after["hidden"][row, step, at], hidden)
                torch.testing.assert_close(after["cell"][row, step, at], cell)
                assert after["boundary"][row, step, at] == float(ends)
    assert met == {"flush", "update", "copy"}


def test_the_slope_grows_with_batches_of_training_alone() -> None:
    encoder = encoder_of("hm_lstm")
    assert isinstance(encoder, HmLstm)
    steps = random_steps()
    encoder(steps, encoder.begin(3))
    assert encoder.batches == 0
    encoder.train()
    for _ in range(3):
        encoder(steps, encoder.begin(3))
    assert encoder.batches == 3
    assert encoder.state_dict()["batches"] == 3


def test_gradients_pass_a_boundary_as_if_it_were_no_step() -> None:
    encoder = encoder_of("hm_lstm")
    assert isinstance(encoder, HmLstm)
    layer = encoder.layers[0]
    with torch.no_grad():
        for weight in layer.parameters():
            weight.zero_()
        layer.bias[-1] = 0.2  # (0.2 + 1) / 2 is above a half
    none = torch.zeros(1, 8)
    before = (none, none, torch.zeros(1))
    _, _, ended = layer(before, none, torch.zeros(1, 12), torch.ones(1), torch.ones(()))
    ended.sum().backward()
    assert ended.item() == 1.0
    assert layer.bias.grad[-1] == 0.5  # the slope of the sigmoid: slope / 2
