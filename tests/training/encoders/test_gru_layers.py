"""Stacked and normalised GRUs against a loop over rows, steps and layers."""

from __future__ import annotations

import pytest
import torch
from encoding import SIZES, encoder_of, random_steps, states_of
from torch import Tensor, nn

from training.models.recurrent.gru_layers import GruLayers
from training.nn.gru import Gru

SEGMENTS = ((1, 4), (2, 2), (2, 5))


def normalised(vector: Tensor, norm: nn.LayerNorm) -> Tensor:
    centred = vector - vector.mean()
    return norm.weight * centred / (centred.square().mean() + 1e-5).sqrt() + norm.bias


def step_of(layer: nn.Module, x: Tensor, state: Tensor, layer_norm: bool) -> Tensor:
    if layer_norm:
        read, recalled = layer.read.weight @ x, layer.recall.weight @ state
        gates = torch.sigmoid(
            normalised(read[:16], layer.norm_read_gates)
            + normalised(recalled[:16], layer.norm_recall_gates)
        )
        from_x = normalised(read[16:], layer.norm_read_fresh)
        from_state = normalised(recalled[16:], layer.norm_recall_fresh)
    else:
        read = layer.weight_ih @ x + layer.bias_ih
        recalled = layer.weight_hh @ state + layer.bias_hh
        gates = torch.sigmoid(read[:16] + recalled[:16])
        from_x, from_state = read[16:], recalled[16:]
    reset, update = gates[:8], gates[8:]
    fresh = torch.tanh(from_x + reset * from_state)
    return (1 - update) * fresh + update * state


@pytest.mark.parametrize("layer_norm", [False, True])
@pytest.mark.parametrize("layers", [1, 2, 3])
def test_layers_step_row_by_row(layers: int, layer_norm: bool) -> None:
    encoder = encoder_of("gru_layers", layers=layers, layer_norm=layer_norm)
    assert isinstance(encoder, GruLayers)
    steps = random_steps(begins_at=SEGMENTS)
    before = torch.randn(3, layers, 8)
    steps.begins[0, 0] = False  # this row goes on from what is carried
    with torch.no_grad():
        states, after = encoder(steps, {"layers": before})
    for row in range(3):
        levels = list(before[row])
        for step in range(9):
            x = steps.inputs[row, step]
            for level, layer in enumerate(encoder.layers):
                state = levels[level] * (not steps.begins[row, step])
                x = levels[level] = step_of(layer, x, state, layer_norm)
            torch.testing.assert_close(states[row, step], x, rtol=1e-4, atol=1e-5)
            torch.testing.assert_close(after["layers"][row, step], torch.stack(levels))


def test_one_plain_layer_is_the_gru_of_hrnn() -> None:
    encoder = encoder_of("gru_layers")
    assert isinstance(encoder, GruLayers)
    single = Gru(SIZES.inputs, SIZES.width)
    single.load_state_dict(encoder.layers[0].state_dict())
    steps = random_steps(begins_at=SEGMENTS)
    torch.testing.assert_close(states_of(encoder, steps), states_of(single, steps))
