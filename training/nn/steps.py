"""What a sequence encoder is given and what it gives back; the one place where models differ.

Step k is told event k - 1 and the coming request, and its state predicts event k.  State k sees
steps up to k only: `tests/training/encoders/` holds every encoder to that.

B rows, T steps, I numbers that a step is told, D width of item vectors and states, W of a user's
vector.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, TypeAlias, runtime_checkable

import torch
from torch import Tensor, nn

from training.nn.parameters import RecurrentParameters

# Named tensors: (B, ...) before a step, or (B, T, ...) after each step.
Carried: TypeAlias = dict[str, Tensor]


@dataclass(frozen=True)
class Steps:
    """All that is known at each step of B rows."""

    inputs: Tensor  # (B, T, I) the item's vector first, then time, feedback, context, user
    has_event: Tensor  # (B, T) False where a step is told no event, but the start token
    time_s: Tensor  # (B, T) float64, of the request, since that of the row's first step
    elapsed_s: Tensor  # (B, T) from the event that the step is told to the request; 0 without one
    dwell: Tensor  # (B, T) bin of the last event's dwell time, 0 = unknown
    session_start: Tensor  # (B, T) True where the request begins a session
    user: Tensor  # (B, T, W) vector of the user; W = 0 where users are not told apart
    begins: Tensor  # (B, T) True: whatever came before this step is forgotten
    width: int  # D

    @property
    def item(self) -> Tensor:
        """Vectors of the items that the steps are told, (B, T, D)."""
        return self.inputs[..., : self.width]

    @property
    def context(self) -> Tensor:
        """What the steps are told beside the item, (B, T, I - D)."""
        return self.inputs[..., self.width :]

    @property
    def event_time_s(self) -> Tensor:
        """When the event that a step is told happened, on the clock of ``time_s``, (B, T)."""
        return self.time_s - self.elapsed_s

    def visible(self, reach: int | None = None) -> Tensor:
        """Which steps (second T) each step (first T) may look at, (B, T, T).

        Itself and earlier ones of the same segment; the ``reach`` latest, where that is given.
        """
        segment = self.begins.long().cumsum(1)  # (B, T)
        n_steps = segment.shape[1]
        step = torch.arange(n_steps, device=segment.device)
        age = step[:, None] - step[None, :]  # (T, T)
        is_past = age >= 0 if reach is None else (age >= 0) & (age < reach)
        return is_past & (segment[:, :, None] == segment[:, None, :])


@dataclass(frozen=True)
class Sizes:
    """What the shapes of an encoder follow from."""

    inputs: int  # I
    width: int  # D
    dwell_bins: int  # bins 0 to this
    user: int = 0  # W


@runtime_checkable
class RecurrentEncoder(Protocol):
    """Goes on from a carried state, however long ago it began."""

    def begin(self, rows: int) -> Carried:
        """What is carried before a history, tensors (rows, ...)."""
        ...

    def __call__(self, steps: Steps, carried: Carried) -> tuple[Tensor, Carried]:
        """States (B, T, D), and what is carried after each step, (B, T, ...)."""
        ...


# An encoder that is not recurrent is a module of ``forward(steps) -> states (B, T, D)``.  One that
# reads ``steps.user`` says so: ``reads_users: ClassVar[bool] = True``.
EncoderMaker: TypeAlias = Callable[[Sizes, RecurrentParameters], nn.Module]
