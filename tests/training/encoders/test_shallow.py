"""Shallow encoders against a loop over rows and steps, one prefix at a time."""

from __future__ import annotations

import math

import pytest
import torch
from encoding import encoder_of, random_steps, states_of
from torch import Tensor

from training.nn.steps import Steps

SEGMENTS = ((1, 4), (2, 2), (2, 5))


def prefix(steps: Steps, row: int, step: int) -> list[int]:
    """Steps of the same segment up to this one, oldest first."""
    first = step
    while not steps.begins[row, first]:
        first -= 1
    return list(range(first, step + 1))


def mean_of_items(steps: Steps, row: int, step: int) -> Tensor:
    total = torch.zeros(steps.width)
    visible = prefix(steps, row, step)
    for earlier in visible:
        total = total + steps.item[row, earlier]
    return total / len(visible)


def test_fmc_maps_the_last_item() -> None:
    encoder, steps = encoder_of("fmc"), random_steps(begins_at=SEGMENTS)
    states = states_of(encoder, steps)
    for row in range(3):
        for step in range(9):
            expected = encoder.out.weight @ steps.inputs[row, step, :8]
            torch.testing.assert_close(states[row, step], expected)


def test_coevent_mf_is_the_vector_of_the_last_item() -> None:
    steps = random_steps(begins_at=SEGMENTS)
    states = states_of(encoder_of("coevent_mf"), steps)
    torch.testing.assert_close(states, steps.inputs[..., :8])


def test_context_fmc_mixes_the_last_item_and_the_context() -> None:
    encoder, steps = encoder_of("context_fmc"), random_steps(begins_at=SEGMENTS)
    states = states_of(encoder, steps)
    weight, bias = encoder.mix.weight, encoder.mix.bias
    for row in range(3):
        for step in range(9):
            item, context = steps.item[row, step], steps.context[row, step]
            expected = weight[:, :8] @ item + weight[:, 8:] @ context + bias
            torch.testing.assert_close(states[row, step], expected.clamp_min(0))


@pytest.mark.parametrize("hidden", [1, 5])
def test_deep_bow_averages_each_prefix(hidden: int) -> None:
    encoder, steps = encoder_of("deep_bow", hidden=hidden), random_steps(begins_at=SEGMENTS)
    states = states_of(encoder, steps)
    for row in range(3):
        for step in range(9):
            mean = mean_of_items(steps, row, step)
            middle = (encoder.mix.weight @ mean + encoder.mix.bias).clamp_min(0)
            assert middle.shape == (hidden,)
            torch.testing.assert_close(states[row, step], encoder.out.weight @ middle)


@pytest.mark.parametrize("layers", [1, 2, 3])
def test_youtube_dnn_stacks_layers_over_all_that_is_told(layers: int) -> None:
    encoder = encoder_of("youtube_dnn", layers=layers, hidden=6)
    steps = random_steps(begins_at=SEGMENTS)
    states = states_of(encoder, steps)
    assert len(encoder.layers) == layers
    for row in range(3):
        for step in range(9):
            age = torch.tensor([math.log(1 + float(steps.elapsed_s[row, step]))])
            told = [
                steps.item[row, step],
                steps.context[row, step],
                mean_of_items(steps, row, step),
                age,
            ]
            expected = torch.cat(told)
            for layer in encoder.layers:
                expected = (layer.weight @ expected + layer.bias).clamp_min(0)
            torch.testing.assert_close(states[row, step], expected, rtol=1e-4, atol=1e-5)
