"""What holds a network to the model that it goes on from, while it learns from a few new events.

Two terms are added to the loss of each of n targets:

    distil * cross entropy of the network's softmax under the parent's     Li and Hoiem 2016, eq. 2
    anchor / 2 * sum over weights of importance * (weight - parent's) ** 2   Kirkpatrick 2017, eq. 3

The importance of a weight is its squared gradient at the parent, the mean over batches of what the
parent had learned from, divided by the mean of all weights' so that ``anchor`` has the same meaning
for every network.  Of tables with row-sparse gradients only the rows of a batch are held, as only
those move.

n targets of a batch, S negatives, V items.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from training.trainer.interface import Batch

_NOT_HELD = "users."  # a user's vector moves with the user's own events alone


@dataclass(frozen=True)
class Anchor:
    """The parent's weights, and how much each of them matters."""

    strength: float
    weights: Mapping[str, Tensor]
    importance: Mapping[str, Tensor]

    def penalty(self, net: nn.Module, rows: Mapping[str, Tensor]) -> Tensor:
        """A number; ``rows`` are those of tables of which only some are held."""
        total = torch.zeros((), device=next(net.parameters()).device)
        for name, weight in net.named_parameters():
            if name not in self.importance:
                continue
            now: Tensor = weight
            before, importance = self.weights[name], self.importance[name]
            if name in rows:
                # Looked up, so that the gradient is one of rows too.
                now = functional.embedding(rows[name], weight, sparse=True)
                before, importance = before[rows[name]], importance[rows[name]]
            total = total + (importance * (now - before).square()).sum()
        return self.strength / 2 * total


class Learns(Protocol):
    """Of a learner what the importance of its weights is measured by."""

    @property
    def net(self) -> nn.Module:
        """What learns."""
        ...

    def loss(self, batch: Batch, rng: np.random.Generator) -> Tensor:
        """Sum of the losses of the batch's targets."""
        ...


def anchored(
    learner: Learns, batches: Iterable[Batch], strength: float, rng: np.random.Generator
) -> Anchor:
    """Hold the learner's network to the weights that it has now, by batches that it knows.

    The network is left as it is, without gradients.
    """
    net = learner.net
    named = {
        name: weight
        for name, weight in net.named_parameters()
        if weight.requires_grad and not name.startswith(_NOT_HELD)
    }
    squares = {name: torch.zeros_like(weight) for name, weight in named.items()}
    was_training = net.training
    net.eval()
    for batch in batches:
        if not batch.target.any():
            continue
        net.zero_grad(set_to_none=True)
        (learner.loss(batch, rng) / batch.target.sum()).backward()
        for name, weight in named.items():
            if weight.grad is not None:
                squares[name] += weight.grad.to_dense().square()
    net.zero_grad(set_to_none=True)
    net.train(was_training)
    total = sum(float(square.sum()) for square in squares.values())
    scale = sum(square.numel() for square in squares.values()) / total if total > 0 else 0.0
    return Anchor(
        strength,
        {name: weight.detach().clone() for name, weight in named.items()},
        {name: square * scale for name, square in squares.items()},
    )


def distillation(scores: Tensor, teacher_scores: Tensor) -> Tensor:
    """Cross entropy (n,) of a softmax over candidates (n, C) under the teacher's."""
    shares = torch.softmax(teacher_scores.float(), dim=1)
    return -(shares * torch.log_softmax(scores.float(), dim=1)).sum(dim=1)
