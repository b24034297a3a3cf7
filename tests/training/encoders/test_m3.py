"""M3 against a loop over rows, steps and the steps before them."""

from __future__ import annotations

import math

import pytest
import torch
from encoding import SIZES, encoder_of, random_steps, states_of
from torch import Tensor, nn

from pipeline.errors import UsageError
from training.models import build
from training.models.attention.m3 import M3, M3Parameters
from training.nn.steps import Sizes

CLOSE = {"rtol": 0.0, "atol": 1e-5}


def mapped(module: nn.Module, vector: Tensor) -> Tensor:
    if not hasattr(module, "weight"):
        return vector
    bias = 0.0 if module.bias is None else module.bias
    return module.weight @ vector + bias


def recurrent(encoder: nn.Module, entered: list[Tensor]) -> Tensor:
    gru, width = encoder.gru, encoder.gru.hidden_size
    state = torch.zeros(width)
    for z in entered:
        x = (gru.weight_ih @ z + gru.bias_ih).view(3, width)
        h = (gru.weight_hh @ state + gru.bias_hh).view(3, width)
        reset, update = torch.sigmoid(x[0] + h[0]), torch.sigmoid(x[1] + h[1])
        state = (1 - update) * torch.tanh(x[2] + reset * h[2]) + update * state
    return encoder.map.weight @ state


def convolved(encoder: nn.Module, entered: list[Tensor]) -> Tensor:
    sequence = entered
    for layer in encoder.layers:
        above = []
        for step in range(len(sequence)):
            total = layer.bias
            for back in range(encoder.reach):
                if step - back >= 0:
                    total = (
                        total
                        + layer.weight[:, :, encoder.reach - 1 - back] @ (sequence[step - back])
                    )
            above.append(torch.relu(total))
        sequence = above
    return sequence[-1]


def attended(encoder: nn.Module, entered: list[Tensor]) -> Tensor:
    values = [mapped(encoder.map, z) for z in entered]
    alike = [math.exp(float(values[-1] @ v) / math.sqrt(len(v))) for v in values]
    return sum(weight / sum(alike) * v for weight, v in zip(alike, values, strict=True))


@pytest.mark.parametrize(
    "parameters",
    [
        {},
        {"d_in": 5, "d_enc": 6},
        {"unit": "conv"},
        {"unit": "conv", "layers": 3, "reach": 3, "d_in": 5, "d_enc": 4},
        {"gates": "contextual"},
        {"gates": "fixed", "mix": "sum"},
        {"entrance": "identity"},
        {"entrance": "identity", "d_enc": 12, "mix": "sum", "unit": "conv", "layers": 1},
        *({"encoders": letters} for letters in ("T", "S", "L", "TS", "TL", "SL")),
        {"encoders": "SL", "mix": "sum", "gates": "contextual", "d_in": 7, "d_enc": 9},
    ],
    ids=str,
)
def test_states_and_gates_are_the_published_ones(parameters: dict[str, object]) -> None:
    encoder = encoder_of("m3", **parameters)
    assert isinstance(encoder, M3)
    p = M3Parameters(**parameters)
    steps = random_steps(n_steps=12, begins_at=((0, 5), (1, 6), (1, 7)))
    states = states_of(encoder, steps)
    with torch.no_grad():
        gates = encoder.gates(steps)
        assert gates.shape == (3, 12, len(p.encoders))
        for row in range(3):
            for step in range(12):
                if steps.begins[row, step]:
                    entered: list[Tensor] = []
                z = steps.inputs[row, step]
                context = steps.inputs[row, step, SIZES.width :]
                if p.entrance == "relu":
                    z = torch.relu(mapped(encoder.entrance[0], z))
                entered.append(z)
                short = convolved if p.unit == "conv" else recurrent
                encoded = []
                for at, letter in enumerate(p.encoders):
                    inner = encoder.encoders[letter]
                    if letter == "T":
                        vector = mapped(inner.map, z)
                    else:
                        vector = (short if letter == "S" else attended)(inner, entered)
                    gate = torch.ones(())
                    if p.gates != "fixed":
                        asks = context if p.gates == "contextual" else z
                        gate = torch.sigmoid(encoder.gate.weight[at] @ asks + encoder.gate.bias[at])
                    torch.testing.assert_close(gates[row, step, at], gate, **CLOSE)
                    encoded.append(gate * vector)
                mixed = sum(encoded) if p.mix == "sum" else torch.cat(encoded)
                expected = torch.relu(mapped(encoder.out, torch.cat([mixed, context])))
                torch.testing.assert_close(states[row, step], expected, **CLOSE)


def test_gates_follow_a_context_that_there_is() -> None:
    with pytest.raises(UsageError, match=r"m3: gates = 'contextual', but .*: switch on context"):
        M3(Sizes(inputs=8, width=8, dwell_bins=5), M3Parameters(gates="contextual"))
    alone = M3(Sizes(inputs=8, width=8, dwell_bins=5), M3Parameters(d_enc=4))
    assert alone.out.in_features == 12  # no room for context


@pytest.mark.parametrize(
    ("parameters", "sentence"),
    [
        ({"encoders": "LT"}, "one of T, S, L, TS, TL, SL, TSL"),
        ({"unit": "lstm"}, "one of gru, conv"),
        ({"gates": "softmax"}, "one of bottom, contextual, fixed"),
        ({"mix": "mean"}, "one of concat, sum"),
        ({"entrance": "tanh"}, "one of relu, identity"),
        ({"d_enc": 0}, "d_enc = 0 must be at least 1"),
    ],
)
def test_values_that_are_refused(parameters: dict[str, object], sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence):
        build("m3", parameters)
