"""What lies before each step within its own segment.  B rows, T steps, C channels, L ages."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from training.nn.steps import Steps


def steps_since_begin(begins: Tensor) -> Tensor:
    """How many steps of its segment came before each step, (B, T)."""
    step = torch.arange(begins.shape[1], device=begins.device)
    return step - (step * begins).cummax(1).values


def mean_so_far(values: Tensor, steps: Steps) -> Tensor:
    """Means of values (B, T, C) over the steps that each step may look at, itself included."""
    visible = steps.visible().to(values.dtype)  # (B, T, T)
    return visible @ values / visible.sum(-1, keepdim=True)


def steps_ago(values: Tensor, steps: Steps, ages: Sequence[int]) -> Tensor:
    """Values (B, T, C) of so many steps before each step, (B, T, L, C); 0 where its segment ends.

    Args:
        values: of all steps.
        steps: say where segments begin.
        ages: L of them; 0 is the step itself.
    """
    n_steps = values.shape[1]
    within = steps_since_begin(steps.begins)
    earlier = functional.pad(values, (0, 0, max(ages), 0))  # (B, max age + T, C)
    picked = [
        earlier[:, max(ages) - age :][:, :n_steps] * (within >= age)[..., None] for age in ages
    ]
    return torch.stack(picked, dim=2)
