"""Convolutions against loops over steps, filters and what lies under them."""

from __future__ import annotations

import pytest
import torch
from encoding import encoder_of, random_steps, states_of
from torch import Tensor

from training.nn.steps import Steps

SEGMENTS = ((1, 4), (2, 2), (2, 5))


def value_before(values: Tensor, steps: Steps, row: int, step: int, age: int) -> Tensor:
    """Values of so many steps ago; zeros before the segment begins."""
    for _ in range(age):
        if step == 0 or steps.begins[row, step]:
            return torch.zeros_like(values[0, 0])
        step -= 1
    return values[row, step]


@pytest.mark.parametrize(("window", "heights"), [(1, [1]), (2, [2]), (5, [3, 5]), (9, [3, 5, 7])])
def test_caser_slides_filters_over_each_window(window: int, heights: list[int]) -> None:
    encoder = encoder_of("caser", window=window, horizontal=3, vertical=2).requires_grad_(False)
    steps = random_steps(begins_at=SEGMENTS)
    states = states_of(encoder, steps)
    assert [len(filters.weight[0]) // 12 for filters in encoder.horizontal] == heights
    for row in range(3):
        for step in range(9):
            ages = range(window - 1, -1, -1)
            picture = [value_before(steps.inputs, steps, row, step, age) for age in ages]
            extracted = []
            for vertical in encoder.vertical.weight:
                extracted += list(sum(vertical[at] * line for at, line in enumerate(picture)))
            for height, filters in zip(heights, encoder.horizontal, strict=True):
                for weight, bias in zip(filters.weight, filters.bias, strict=True):
                    fits = []
                    for first in range(window - height + 1):
                        under = torch.cat(picture[first : first + height])
                        fits.append(float((weight * under).sum() + bias))
                    extracted.append(torch.tensor(max(0.0, *fits)))
            hidden = (encoder.mix.weight @ torch.stack(extracted) + encoder.mix.bias).clamp_min(0)
            expected = encoder.out.weight @ hidden
            torch.testing.assert_close(states[row, step], expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("unit", ["relu", "gated"])
@pytest.mark.parametrize(("kernel", "layers"), [(3, 2), (2, 3), (1, 1)])
def test_wavenet_adds_a_dilated_convolution_with_each_layer(
    unit: str, kernel: int, layers: int
) -> None:
    encoder = encoder_of("wavenet", unit=unit, kernel=kernel, layers=layers).requires_grad_(False)
    steps = random_steps(begins_at=SEGMENTS)
    states = states_of(encoder, steps)
    values = torch.stack(
        [
            torch.stack([encoder.enter.weight @ x + encoder.enter.bias for x in row])
            for row in steps.inputs
        ]
    )
    for level, convolution in enumerate(encoder.convolutions):
        after = values.clone()
        for row in range(3):
            for step in range(9):
                total = convolution.bias.clone()
                for place in range(kernel):
                    weight = convolution.weight[:, place * 8 : place * 8 + 8]
                    total += weight @ value_before(values, steps, row, step, place * 2**level)
                if unit == "gated":
                    after[row, step] += torch.tanh(total[:8]) * torch.sigmoid(total[8:])
                else:
                    after[row, step] += total.clamp_min(0)
        values = after
    torch.testing.assert_close(states, values, rtol=1e-4, atol=1e-4)
