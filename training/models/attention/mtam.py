"""MTAM: a memory of behaviours, read again and again with time-aware attention (MTAM 5).

    c^0_k = h_k, the state of T-GRU (or of T-SeqRec, or of a GRU) over x_1 .. x_k
    memory of step k: m_j = item vector + embedding of its recency, of the latest L behaviours
    o^i = T-Attention((c^{i-1} W_Q^i, time of the request), (m W_K, t), (m W_V, t))    (eqs. 22-24)
    c^i = c^{i-1} + o^i,   state = c^hops                                              (eq. 25)

W_Q is of each hop, all else is shared.  The recency of a behaviour differs from query to query, so
its embedding enters products by a table and never makes a (B, T, T, D) tensor.  ``metadata_input``
adds the embedded category of each item to its vector.

Ablations (table 3): with T-SeqRec, ``unit: t_seqrec``; without time-aware RNN, ``unit: gru``;
without time-aware attention, ``gate: none``; via T-GRU, ``memory: states``, which keeps h_j in
place of m_j; via GRU, ``memory: states`` and ``unit: gru``; time-aware self-attention is `sasrec`
with ``time: gate``.  B rows, T steps, D width.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from training.models.parts.sequence import SequenceParameters
from training.models.recurrent.t_gru import INTERVALS, TGru, TGruParameters
from training.models.recurrent.t_seqrec import TSeqrec, TSeqrecParameters
from training.nn.blocks.time_attention import GATES, TimeAttention, intervals_s
from training.nn.gru import Gru
from training.nn.steps import Sizes, Steps
from training.parameters import require, require_choice


@dataclass(frozen=True)
class MtamParameters(SequenceParameters):
    """``hops``: readings of the memory; ``gate``: learned, decay or none; ``unit``: t_gru, gru, or
    t_seqrec, which steps every prefix on its own: keep ``max_len`` short there.

    ``memory``: of behaviours or states; ``memory_len``: L; ``norm``: whether every hop ends with a
    layer normalisation, which the paper does not print and its released code has; ``interval``: of
    t_gru, before the event that is read or before the request.
    """

    hops: int = 4
    unit: str = "t_gru"
    gate: str = "learned"
    memory: str = "behaviours"
    memory_len: int = 50
    norm: bool = False
    interval: str = "request"

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.hops >= 0, "hops", self.hops, "0 or more")
        require(self.memory_len >= 1, "memory_len", self.memory_len, "at least 1")
        require_choice("unit", self.unit, ("t_gru", "t_seqrec", "gru"))
        require_choice("gate", self.gate, GATES)
        require_choice("memory", self.memory, ("behaviours", "states"))
        require_choice("interval", self.interval, INTERVALS)


class Mtam(nn.Module):
    """A unit whose state asks the memory."""

    def __init__(self, sizes: Sizes, parameters: MtamParameters) -> None:
        super().__init__()
        width, length = sizes.width, parameters.memory_len
        self.length = length
        self.unit: Gru | TGru | TSeqrec
        if parameters.unit == "t_gru":
            self.unit = TGru(sizes, TGruParameters(interval=parameters.interval))
        elif parameters.unit == "t_seqrec":
            self.unit = TSeqrec(sizes, TSeqrecParameters())
        else:
            self.unit = Gru(sizes.inputs, width)
        self.of_query = nn.ModuleList(  # W_Q
            nn.Linear(width, width, bias=False) for _ in range(parameters.hops)
        )
        self.of_key = nn.Linear(width, width, bias=False)  # W_K
        self.of_value = nn.Linear(width, width, bias=False)  # W_V
        self.recency = (
            nn.Parameter(torch.randn(length, width) * width**-0.5)
            if parameters.memory == "behaviours"
            else None
        )
        self.attention = TimeAttention(width, length, parameters.gate)
        self.norms = nn.ModuleList(
            nn.LayerNorm(width) if parameters.norm else nn.Identity()
            for _ in range(parameters.hops)
        )

    def forward(self, steps: Steps) -> Tensor:
        """States (B, T, D)."""
        states: Tensor
        if isinstance(self.unit, TSeqrec):
            states = self.unit(steps)
        else:
            states, _ = self.unit(steps, self.unit.begin(len(steps.begins)))
        memory, by_recency = states, None
        if self.recency is not None:
            memory = steps.item
            by_recency = self.of_key(self.recency), self.of_value(self.recency)
        keys, values = self.of_key(memory), self.of_value(memory)
        interval_s, visible = intervals_s(steps), steps.visible(self.length)
        for of_query, norm in zip(self.of_query, self.norms, strict=True):
            query = of_query(states)
            read = self.attention(query, keys, values, interval_s, visible, by_recency)
            states = norm(states + read)
        return states
