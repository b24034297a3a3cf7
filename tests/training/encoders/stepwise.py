"""Time-aware attention for one query at a time, in loops: what vectorised states are held to."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from training.nn.blocks.time_attention import DecayGate, LearnedGate, TimeAttention
from training.nn.steps import Steps


def segment_of(steps: Steps, row: int, step: int) -> list[int]:
    """The steps that a step may look at, oldest first."""
    first = step
    while not steps.begins[row, first]:
        first -= 1
    return list(range(first, step + 1))


def interval_s(steps: Steps, row: int, query: int, memory: int) -> float:
    """From the event that step ``memory`` is told to the request of step ``query``."""
    event_s = float(steps.time_s[row, memory]) - float(steps.elapsed_s[row, memory])
    return abs(float(steps.time_s[row, query]) - event_s)


def gate(attention: TimeAttention, head: int, age: int, content: Tensor, after_s: float) -> Tensor:
    """g of one query and one memory."""
    rule = attention.gate
    if rule is None:
        return torch.ones(())
    age = min(age, attention.length - 1)
    if isinstance(rule, DecayGate):
        rate = torch.log1p(torch.exp(content + rule.content_shift[head, age]))
        return torch.exp(-rate * after_s / 3600)
    assert isinstance(rule, LearnedGate)
    log_s = math.log(after_s + 1) - 10
    delta = torch.tanh(rule.interval_scale[head, age] * log_s + rule.interval_shift[head, age])
    rho = torch.tanh(content + rule.content_shift[head, age])
    pulled = rule.interval_pull[head, age] * delta + rule.content_pull[head, age] * rho
    return torch.sigmoid(pulled + rule.shift[head, age])


def read(
    attention: TimeAttention,
    query: Tensor,
    memory: list[tuple[Tensor, Tensor, int, float]],
) -> Tensor:
    """What one query (D,) reads of keys, values, recencies and intervals."""
    pieces = []
    for head, q in enumerate(query.chunk(attention.heads)):
        logits, values = [], []
        for key, value, age, after_s in memory:
            k = key.chunk(attention.heads)[head]
            content = torch.zeros(()) if attention.gate is None else q @ attention.content[head] @ k
            g = gate(attention, head, age, content, after_s)
            logits.append((q @ k) * g / math.sqrt(len(q)))
            values.append(value.chunk(attention.heads)[head])
        weights = torch.softmax(torch.stack(logits), 0)
        pieces.append(weights @ torch.stack(values))
    return torch.cat(pieces)
