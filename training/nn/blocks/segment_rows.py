"""Segments as rows of their own, for what cannot forget in the middle of a row.

PyTorch's own recurrences, convolutions and sums along time run over a whole row.  B rows, T steps,
S segments, P steps of the longest.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class SegmentRows:
    """Where each of B * T steps lies among the segments."""

    shape: tuple[int, int]  # B, T
    segment: Tensor  # (B * T,)
    step: Tensor  # (B * T,) within the segment

    @classmethod
    def of(cls, begins: Tensor) -> SegmentRows:
        """By where segments begin, (B, T); a first step always does."""
        rows, n_steps = begins.shape
        starts = begins.clone()
        starts[:, 0] = True
        starts = starts.flatten()
        segment = starts.long().cumsum(0) - 1
        first = starts.nonzero()[:, 0]  # (S,)
        step = torch.arange(len(starts), device=begins.device) - first[segment]
        return cls((rows, n_steps), segment, step)

    def apart(self, steps: Tensor) -> Tensor:
        """(B, T, ...) -> (S, P, ...), zeros behind the end of a segment."""
        sizes = int(self.segment[-1]) + 1, int(self.step.max()) + 1
        rows = steps.new_zeros(*sizes, *steps.shape[2:])
        return rows.index_put((self.segment, self.step), steps.flatten(0, 1))

    def together(self, rows: Tensor) -> Tensor:
        """(S, P, ...) -> (B, T, ...)."""
        return rows[self.segment, self.step].view(*self.shape, *rows.shape[2:])
