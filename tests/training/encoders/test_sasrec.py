"""SASRec, time-aware SASRec and eSASRec against a loop over rows, steps and memories."""

from __future__ import annotations

import pytest
import torch
from encoding import encoder_of, random_steps, states_of
from stepwise import interval_s, read, segment_of
from torch import Tensor
from torch.nn import functional

from pipeline.errors import UsageError
from training.models import build
from training.models.attention.esasrec import Esasrec
from training.models.attention.sasrec import Sasrec
from training.nn.blocks.time_attention import TimeAttention
from training.nn.steps import Steps

STEPS = random_steps(n_steps=9, begins_at=((1, 4), (2, 2), (2, 5)))


def entered(encoder: Sasrec | Esasrec, steps: Steps, row: int) -> list[Tensor]:
    places = encoder.places.weight
    rows = []
    for step in range(steps.inputs.shape[1]):
        place = min(len(segment_of(steps, row, step)) - 1, len(places) - 1)
        rows.append(encoder.entry.weight @ steps.inputs[row, step] + places[place])
    return rows


def attended(
    attention: TimeAttention, steps: Steps, row: int, step: int, mapped: list[tuple[Tensor, ...]]
) -> Tensor:
    memory = [
        (mapped[j][1], mapped[j][2], step - j, interval_s(steps, row, step, j))
        for j in segment_of(steps, row, step)
    ]
    return read(attention, mapped[step][0], memory)


@pytest.mark.parametrize("time", ["none", "gate"])
@pytest.mark.parametrize("heads", [1, 2])
@pytest.mark.parametrize("max_len", [50, 3])
def test_sasrec_step_by_step(time: str, heads: int, max_len: int) -> None:
    encoder = encoder_of("sasrec", width=8, time=time, heads=heads, max_len=max_len)
    assert isinstance(encoder, Sasrec)
    states = states_of(encoder, STEPS)
    with torch.no_grad():
        for row in range(3):
            x = entered(encoder, STEPS, row)
            for block in encoder.blocks:
                mapped = [block.maps(block.attention_norm(each)).chunk(3) for each in x]
                x = [
                    each + attended(block.attention, STEPS, row, step, mapped)
                    for step, each in enumerate(x)
                ]
                inner, _, outer = block.inner
                x = [y + outer(torch.relu(inner(block.inner_norm(y)))) for y in x]
            torch.testing.assert_close(states[row], torch.stack([encoder.out(y) for y in x]))


def test_esasrec_step_by_step() -> None:
    for heads in (1, 4):
        encoder = encoder_of("esasrec", width=8, heads=heads, inner=3)
        assert isinstance(encoder, Esasrec)
        states = states_of(encoder, STEPS)
        with torch.no_grad():
            for row in range(3):
                x = entered(encoder, STEPS, row)
                for block in encoder.blocks:
                    mapped = [block.maps(block.attention_norm(each)).chunk(3) for each in x]
                    x = [
                        each
                        + torch.sigmoid(block.attention_gate(each))
                        * attended(block.attention, STEPS, row, step, mapped)
                        for step, each in enumerate(x)
                    ]
                    after = []
                    for y in x:
                        both = block.inner.weight @ block.inner_norm(y)
                        fed = block.inner_out(functional.silu(both[:24]) * both[24:])
                        after.append(y + torch.sigmoid(block.inner_gate(y)) * fed)
                    x = after
                torch.testing.assert_close(states[row], torch.stack([encoder.out(y) for y in x]))


@pytest.mark.parametrize("name", ["sasrec", "esasrec", "hstu"])
def test_heads_share_the_width_evenly(name: str) -> None:
    with pytest.raises(UsageError, match="heads = 3 must be a divisor of width = 8"):
        build(name, {"width": 8, "heads": 3})
