"""NARM, STAMP, MTAM and HSTU against loops over rows, steps and memories."""

from __future__ import annotations

import math

import pytest
import torch
from encoding import encoder_of, random_steps, states_of
from stepwise import interval_s, read, segment_of
from torch.nn import functional

from pipeline.errors import UsageError
from training.models import build
from training.models.attention.hstu import Hstu
from training.models.attention.mtam import Mtam
from training.models.attention.narm import Narm
from training.models.attention.stamp import Stamp
from training.models.recurrent.t_seqrec import TSeqrec
from training.nn.blocks.time_attention import TimeAttention

STEPS = random_steps(n_steps=9, begins_at=((1, 4), (2, 2), (2, 5)))


def latest(row: int, step: int, most: int) -> list[int]:
    return segment_of(STEPS, row, step)[-most:]


@pytest.mark.parametrize("attention", ["additive", "dot", "time"])
@pytest.mark.parametrize("unit", ["gru", "t_gru"])
def test_narm_step_by_step(attention: str, unit: str) -> None:
    encoder = encoder_of("narm", attention=attention, unit=unit, max_len=4)
    assert isinstance(encoder, Narm)
    states = states_of(encoder, STEPS)
    with torch.no_grad():
        h, _ = encoder.unit(STEPS, encoder.unit.begin(3))
        for row in range(3):
            for step in range(9):
                own = h[row, step]
                before = segment_of(STEPS, row, step)
                if isinstance(encoder.attention, TimeAttention):
                    memory = [
                        (h[row, j], h[row, j], step - j, interval_s(STEPS, row, step, j))
                        for j in before
                    ]
                    local = read(encoder.attention, own, memory)
                else:
                    weigh = encoder.attention
                    local = torch.zeros(8)
                    for j in before:
                        hidden = torch.sigmoid(
                            weigh.of_query.weight @ own + weigh.of_key.weight @ h[row, j]
                        )
                        local = local + (weigh.weigh.weight[0] @ hidden) * h[row, j]
                both = torch.cat([own, local])
                if attention == "dot":
                    both = functional.layer_norm(
                        both, (16,), encoder.norm.weight, encoder.norm.bias
                    )
                torch.testing.assert_close(states[row, step], encoder.out.weight @ both)


def test_stamp_step_by_step() -> None:
    encoder = encoder_of("stamp")
    assert isinstance(encoder, Stamp)
    states = states_of(encoder, STEPS)
    with torch.no_grad():
        for row in range(3):
            x = STEPS.item[row]
            for step in range(9):
                before = segment_of(STEPS, row, step)
                mean = torch.stack([x[j] for j in before]).mean(0)
                total = torch.zeros(8)
                for j in before:
                    hidden = torch.sigmoid(
                        encoder.of_each(x[j])
                        + encoder.of_last.weight @ x[step]
                        + encoder.of_mean.weight @ mean
                    )
                    total = total + (encoder.weigh.weight[0] @ hidden) * x[j]
                expected = torch.tanh(encoder.out_read(total)) * torch.tanh(
                    encoder.out_last(x[step])
                )
                torch.testing.assert_close(states[row, step], expected)


@pytest.mark.parametrize(
    "options",
    [
        {"hops": 0},
        {"hops": 1, "unit": "gru", "gate": "none"},
        {"hops": 2, "memory": "states", "gate": "decay"},
        {"hops": 3, "norm": True, "memory_len": 3},
        {"hops": 2, "memory": "states", "unit": "gru", "memory_len": 2, "norm": True},
        {"gate": "decay", "interval": "read"},
        {"unit": "t_seqrec"},
        {"unit": "t_seqrec", "memory": "states", "hops": 2},
    ],
)
def test_mtam_step_by_step(options: dict[str, object]) -> None:
    encoder = encoder_of("mtam", **options)
    assert isinstance(encoder, Mtam)
    states = states_of(encoder, STEPS)
    w_k, w_v = encoder.of_key.weight, encoder.of_value.weight
    with torch.no_grad():
        if isinstance(encoder.unit, TSeqrec):
            h = encoder.unit(STEPS)  # held to a loop in test_t_seqrec.py
        else:
            h, _ = encoder.unit(STEPS, encoder.unit.begin(3))
        for row in range(3):
            for step in range(9):
                memory = []
                for j in latest(row, step, encoder.length):
                    if encoder.recency is None:
                        behaviour = h[row, j]
                    else:
                        behaviour = STEPS.item[row, j] + encoder.recency[step - j]
                    after_s = interval_s(STEPS, row, step, j)
                    memory.append((w_k @ behaviour, w_v @ behaviour, step - j, after_s))
                c = h[row, step]
                for of_query, norm in zip(encoder.of_query, encoder.norms, strict=True):
                    c = norm(c + read(encoder.attention, of_query.weight @ c, memory))
                torch.testing.assert_close(states[row, step], c, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    "options", [{}, {"heads": 2, "max_len": 3}, {"time_bias": False, "blocks": 1}]
)
def test_hstu_step_by_step(options: dict[str, object]) -> None:
    encoder = encoder_of("hstu", width=8, **options)
    assert isinstance(encoder, Hstu)
    states = states_of(encoder, STEPS)
    with torch.no_grad():
        for row in range(3):
            x = [encoder.entry.weight @ each for each in STEPS.inputs[row]]
            for block in encoder.blocks:
                mapped = [functional.silu(block.maps(block.norm(each))).chunk(4) for each in x]
                after = []
                for step, each in enumerate(x):
                    u, _, q, _ = mapped[step]
                    before = segment_of(STEPS, row, step)
                    pieces = []
                    for head in range(block.heads):
                        total = 0.0
                        for j in before:
                            _, v, _, k = (vector.chunk(block.heads)[head] for vector in mapped[j])
                            age = min(step - j, block.recency_bias.shape[1] - 1)
                            logit = q.chunk(block.heads)[head] @ k + block.recency_bias[head, age]
                            if block.time_bias is not None:
                                half_octaves = 2 * math.log2(1 + interval_s(STEPS, row, step, j))
                                logit = logit + block.time_bias[head, min(63, int(half_octaves))]
                            total = total + functional.silu(logit) / len(before) * v
                        pieces.append(total)
                    after.append(each + block.out(block.read_norm(torch.cat(pieces)) * u))
                x = after
            torch.testing.assert_close(
                states[row], torch.stack([encoder.out(y) for y in x]), rtol=1e-4, atol=1e-5
            )


@pytest.mark.parametrize(
    ("name", "options", "sentence"),
    [
        ("narm", {"attention": "cosine"}, "attention = 'cosine' must be one of additive, dot"),
        ("narm", {"unit": "lstm"}, "unit = 'lstm' must be one of gru, t_gru"),
        ("mtam", {"hops": -1}, "hops = -1 must be 0 or more"),
        ("mtam", {"unit": "lstm"}, "unit = 'lstm' must be one of t_gru, t_seqrec, gru"),
        ("mtam", {"gate": "learnt"}, "gate = 'learnt' must be one of learned, decay, none"),
        ("mtam", {"memory": "items"}, "memory = 'items' must be one of behaviours, states"),
        ("t_gru", {"interval": "last"}, "interval = 'last' must be one of read, request"),
        ("sasrec", {"time": "decay"}, "time = 'decay' must be one of none, gate"),
        ("tisasrec", {"relation": "tables"}, "relation = 'tables' must be one of table, bias"),
        ("hstu", {"blocks": 0}, "blocks = 0 must be at least 1"),
    ],
)
def test_options_that_are_refused(name: str, options: dict[str, object], sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence):
        build(name, options)
