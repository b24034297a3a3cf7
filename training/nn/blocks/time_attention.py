"""Attention over a row's past whose logits a gate of time may weigh: T-Attention (MTAM 4.3).

Query i at time theta_i, memory j at time t_j, r = min(i - j, L - 1) its recency, d the width of a
head.  Numbers w, b, u ... are looked up by recency, which for queries that read their own past is
the table by places of the paper.

    delta_ij = tanh(w_r (log(1 + |theta_i - t_j|) - C) + b_r)                     (MTAM eq. 14)
    rho_ij   = tanh(q_i W k_j + c_r)                                              (MTAM eq. 15)
    g_ij     = sigmoid(u_r delta_ij + v_r rho_ij + a_r)                           (MTAM eq. 16)
    decay:     g_ij = exp(-softplus(q_i W k_j + c_r) |theta_i - t_j|), in hours   (MTAM eq. 21)
    A_ij     = softmax_j(g_ij q_i . k_j / sqrt(d)),  out_i = sum_j A_ij v_j

C, the log of six hours, is inside the paper's b: of equal power, but learning would begin where
tanh is flat.  A gate near 0 does not hide a memory, it makes its share the average.

B rows, T steps, H heads.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from training.nn.steps import Steps

GATES = ("learned", "decay", "none")
_HOUR_S = 3600.0
_LOG_S = 10.0  # C
_SLOW = -4.0  # softplus of it is .018 an hour: half is left after a day and a half


def recency(n_steps: int, length: int, device: torch.device) -> Tensor:
    """How many steps a memory (second T) is older than a query (first T), (T, T) below L."""
    step = torch.arange(n_steps, device=device)
    return (step[:, None] - step[None, :]).clamp(0, length - 1)


def intervals_s(steps: Steps) -> Tensor:
    """From the event that a step (second T) is told to the request of a step, (B, T, T)."""
    return (steps.time_s[:, :, None] - steps.event_time_s[:, None, :]).abs().float()


def looked_up(products: Tensor, index: Tensor) -> Tensor:
    """Of products with each entry of a table (..., T, L) those of each pair, (..., T, T)."""
    return products.gather(-1, index.expand(*products.shape[:-1], index.shape[-1]))


def summed_by(weights: Tensor, index: Tensor, length: int) -> Tensor:
    """Weights of pairs (..., T, T) added up by entry of a table, (..., T, L)."""
    sums = weights.new_zeros(*weights.shape[:-1], length)
    return sums.scatter_add(-1, index.expand(weights.shape), weights)


def by_head(vectors: Tensor, heads: int) -> Tensor:
    """Vectors (..., T, D) as (..., H, T, d)."""
    return vectors.reshape(*vectors.shape[:-1], heads, -1).transpose(-2, -3)


class LearnedGate(nn.Module):
    """g of content and interval."""

    def __init__(self, heads: int, length: int) -> None:
        super().__init__()
        self.interval_scale = nn.Parameter(torch.ones(heads, length))  # w
        self.interval_shift = nn.Parameter(torch.zeros(heads, length))  # b
        self.interval_pull = nn.Parameter(torch.ones(heads, length))  # u
        self.content_shift = nn.Parameter(torch.zeros(heads, length))  # c
        self.content_pull = nn.Parameter(torch.ones(heads, length))  # v
        self.shift = nn.Parameter(torch.zeros(heads, length))  # a

    def forward(self, content: Tensor, interval_s: Tensor, age: Tensor) -> Tensor:
        """What logits are multiplied with, (B, H, T, T).

        Args:
            content: q W k, (B, H, T, T).
            interval_s: (B, 1, T, T).
            age: recency (T, T).
        """
        log_s = torch.log1p(interval_s) - _LOG_S
        delta = torch.tanh(self.interval_scale[:, age] * log_s + self.interval_shift[:, age])
        rho = torch.tanh(content + self.content_shift[:, age])
        return torch.sigmoid(
            self.interval_pull[:, age] * delta
            + self.content_pull[:, age] * rho
            + self.shift[:, age]
        )


class DecayGate(nn.Module):
    """g that falls with the interval, at a rate that content decides."""

    def __init__(self, heads: int, length: int) -> None:
        super().__init__()
        self.content_shift = nn.Parameter(torch.full((heads, length), _SLOW))  # c

    def forward(self, content: Tensor, interval_s: Tensor, age: Tensor) -> Tensor:
        """As that of `LearnedGate`."""
        rate = functional.softplus(content + self.content_shift[:, age])
        return torch.exp(-rate * interval_s / _HOUR_S)


class TimeAttention(nn.Module):
    """Attention of every step to itself and what came before.

    Args:
        width: D of queries, keys and values.
        length: L, recencies that are told apart.
        gate: one of `GATES`; ``none`` is scaled dot-product attention.
        heads: each attends with its own D / heads numbers, and has its own gate.
    """

    def __init__(self, width: int, length: int, gate: str, heads: int = 1) -> None:
        super().__init__()
        self.length, self.heads = length, heads
        self.gate: LearnedGate | DecayGate | None = None
        if gate != "none":
            self.gate = (LearnedGate if gate == "learned" else DecayGate)(heads, length)
            own = width // heads
            self.content = nn.Parameter(torch.randn(heads, own, own) / own)  # W

    def forward(
        self,
        query: Tensor,
        keys: Tensor,
        values: Tensor,
        interval_s: Tensor | None,
        visible: Tensor,
        by_recency: tuple[Tensor, Tensor] | None = None,
    ) -> Tensor:
        """What each query reads, (B, T, D).

        Args:
            query: (B, T, D).
            keys: (B, T, D).
            values: (B, T, D).
            interval_s: between queries and memories, (B, T, T); what has no gate needs none.
            visible: which memories a query may look at, (B, T, T).
            by_recency: what a memory of each recency adds to its key and value, (L, D) each.
        """
        age = recency(query.shape[1], self.length, query.device)
        q, k, v = (by_head(each, self.heads) for each in (query, keys, values))  # (B, H, T, d)
        added = None if by_recency is None else [by_head(each, self.heads) for each in by_recency]

        def product(left: Tensor) -> Tensor:
            with_keys = left @ k.transpose(-1, -2)  # (B, H, T, T)
            if added is None:
                return with_keys
            return with_keys + looked_up(left @ added[0].transpose(-1, -2), age)

        logits = product(q)
        if self.gate is not None:
            assert interval_s is not None  # noqa: S101 - whoever builds a gate hands in intervals
            logits = logits * self.gate(product(q @ self.content), interval_s[:, None], age)
        logits = (logits / q.shape[-1] ** 0.5).masked_fill(~visible[:, None], -torch.inf)
        weights = torch.softmax(logits, dim=-1)
        read = weights @ v
        if added is not None:
            read = read + summed_by(weights, age, self.length) @ added[1]
        return read.transpose(1, 2).flatten(2)
