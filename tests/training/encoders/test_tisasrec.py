"""TiSASRec against a loop over rows, steps and memories."""

from __future__ import annotations

import math

import pytest
import torch
from encoding import encoder_of, random_steps, states_of
from stepwise import interval_s, segment_of
from torch import Tensor

from training.models.attention.tisasrec import Tisasrec, shortest_s
from training.nn.steps import Steps

STEPS = random_steps(n_steps=9, begins_at=((1, 4), (2, 2), (2, 5)))


def units_of(steps: Steps, row: int, step: int, memory: int, most: int) -> int:
    intervals = [float(steps.elapsed_s[row, each]) for each in segment_of(steps, row, step)]
    positive = [each for each in intervals if each > 0]
    unit = min(positive) if positive else math.inf
    return min(most, math.floor(interval_s(steps, row, step, memory) / unit))


@pytest.mark.parametrize(
    "options", [{"relation": "bias"}, {"intervals": 256}, {"intervals": 4, "max_len": 3}]
)
def test_tisasrec_step_by_step(options: dict[str, object]) -> None:
    encoder = encoder_of("tisasrec", width=8, **options)
    assert isinstance(encoder, Tisasrec)
    states = states_of(encoder, STEPS)

    def place(row: int, step: int) -> int:
        return min(len(segment_of(STEPS, row, step)) - 1, encoder.places.size - 1)

    with torch.no_grad():
        for row in range(3):
            x = [encoder.entry.weight @ each for each in STEPS.inputs[row]]
            for block in encoder.blocks:
                mapped = [block.maps(block.attention_norm(each)).chunk(3) for each in x]
                after = []
                for step, each in enumerate(x):
                    logits: list[Tensor] = []
                    values: list[Tensor] = []
                    for j in segment_of(STEPS, row, step):
                        key = mapped[j][1] + encoder.places.key.weight[place(row, j)]
                        value = mapped[j][2] + encoder.places.value.weight[place(row, j)]
                        bias = 0.0
                        if encoder.relation is None:
                            bias = math.log(interval_s(STEPS, row, step, j) + 1)
                        else:
                            units = units_of(STEPS, row, step, j, encoder.intervals)
                            key = key + encoder.relation.key.weight[units]
                            value = value + encoder.relation.value.weight[units]
                        logits.append((mapped[step][0] @ key + bias) / math.sqrt(8))
                        values.append(value)
                    weights = torch.softmax(torch.stack(logits), 0)
                    after.append(each + weights @ torch.stack(values))
                inner, _, outer = block.inner
                x = [y + outer(torch.relu(inner(block.inner_norm(y)))) for y in after]
            torch.testing.assert_close(states[row], torch.stack([encoder.out(y) for y in x]))


def test_the_shortest_interval_is_that_known_so_far() -> None:
    steps = Steps(
        inputs=torch.zeros(1, 6, 1),
        has_event=torch.ones(1, 6, dtype=torch.bool),
        time_s=torch.tensor([[0.0, 60, 60, 90, 190, 195]]),
        elapsed_s=torch.tensor([[0.0, 60, 0, 30, 0, 5]]),
        dwell=torch.zeros(1, 6),
        session_start=torch.zeros(1, 6, dtype=torch.bool),
        user=torch.zeros(1, 6, 0),
        begins=torch.tensor([[True, False, False, False, True, False]]),
        width=1,
    )
    assert shortest_s(steps).tolist() == [[math.inf, 60, 60, 30, math.inf, 5]]
