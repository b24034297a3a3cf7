"""T-SeqRec against a loop over prefixes, each read from its beginning."""

from __future__ import annotations

import math

import pytest
import torch
from encoding import encoder_of, random_steps, states_of
from torch import Tensor, nn

from training.nn.steps import Steps


def time_feature(gate: nn.Module, seconds: float) -> Tensor:
    return torch.tanh(gate.feature.weight[:, 0] * math.log(seconds + 1) + gate.feature.bias)


def opened(gate: nn.Module, x: Tensor, feature: Tensor) -> Tensor:
    from_x = gate.from_inputs.weight @ x + gate.from_inputs.bias
    return torch.sigmoid(from_x + gate.from_feature.weight @ feature)


def state_of_prefix(encoder: nn.Module, steps: Steps, row: int, last: int, gates: str) -> Tensor:
    first = last
    while not steps.begins[row, first]:
        first -= 1
    hidden = cell = torch.zeros(8)
    for step in range(first, last + 1):
        x = steps.inputs[row, step]
        happened_s = float(steps.time_s[row, step] - steps.elapsed_s[row, step])
        before_s = happened_s
        if step > first:
            before_s = float(steps.time_s[row, step - 1] - steps.elapsed_s[row, step - 1])
        sums = encoder.read.weight @ x + encoder.read.bias + encoder.recall.weight @ hidden
        enters, stays, leaves, fresh = sums.split(8)
        kept, added = torch.sigmoid(stays + 1) * cell, torch.sigmoid(enters) * torch.tanh(fresh)
        if gates != "none":
            feature = time_feature(encoder.interval, happened_s - before_s)
            kept = kept * opened(encoder.interval, x, feature)
            leaves = leaves + encoder.interval.to_output.weight @ feature
        if gates == "both":
            feature = time_feature(encoder.span, float(steps.time_s[row, last]) - happened_s)
            added = added * opened(encoder.span, x, feature)
            leaves = leaves + encoder.span.to_output.weight @ feature
        cell = kept + added
        hidden = torch.sigmoid(leaves) * torch.tanh(cell)
    return hidden


@pytest.mark.parametrize("gates", ["both", "interval", "none"])
def test_every_prefix_has_a_pass_of_its_own(gates: str) -> None:
    encoder = encoder_of("t_seqrec", gates=gates)
    steps = random_steps(begins_at=((1, 4), (2, 2), (2, 5)))
    states = states_of(encoder, steps)
    for row in range(3):
        for last in range(9):
            expected = state_of_prefix(encoder, steps, row, last, gates)
            torch.testing.assert_close(states[row, last], expected, rtol=1e-4, atol=1e-5)
