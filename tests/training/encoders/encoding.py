"""Random steps, and encoders with random weights, for tests of encoders."""

from __future__ import annotations

import dataclasses
from importlib import import_module
from typing import Any

import torch
from torch import Tensor, nn

from training.models import ENCODERS, parameters_class
from training.nn.steps import Carried, RecurrentEncoder, Sizes, Steps
from training.parameters import parse_parameters

ENCODER_NAMES = tuple(ENCODERS)
SIZES = Sizes(inputs=12, width=8, dwell_bins=5, user=8)


def encoder_of(name: str, sizes: Sizes = SIZES, seed: int = 0, **parameters: Any) -> nn.Module:
    """An encoder that nothing is dropped in; every weight is random, also those that begin at 0."""
    folder, class_name = ENCODERS[name]
    maker = getattr(import_module(f"training.models.{folder}.{name}"), class_name)
    chosen = parse_parameters(parameters_class(name), name, parameters)
    torch.manual_seed(seed)
    encoder: nn.Module = maker(sizes, chosen)
    with torch.no_grad():
        for weight in encoder.parameters():
            weight.add_(torch.randn_like(weight) * 0.3)
    return encoder.eval()


def random_steps(
    rows: int = 3, n_steps: int = 9, seed: int = 1, begins_at: tuple[tuple[int, int], ...] = ()
) -> Steps:
    """Steps of histories with minutes to days between events.

    ``begins_at``: rows and steps where whatever came before is forgotten, beside every first step.
    """
    rng = torch.Generator().manual_seed(seed)
    elapsed_s = torch.exp(torch.rand(rows, n_steps, generator=rng) * 8).round()
    begins = torch.zeros(rows, n_steps, dtype=torch.bool)
    begins[:, 0] = True
    for row, step in begins_at:
        begins[row, step] = True
    user = torch.randn(rows, 1, SIZES.user, generator=rng).expand(-1, n_steps, -1).clone()
    user[0] = 0.0  # nobody that is known
    time_s = (elapsed_s * (torch.arange(n_steps) > 0)).cumsum(1)
    return Steps(
        inputs=torch.randn(rows, n_steps, SIZES.inputs, generator=rng),
        has_event=~begins,
        time_s=time_s.double(),
        elapsed_s=torch.where(begins, 0.0, elapsed_s),
        dwell=torch.randint(0, SIZES.dwell_bins + 1, (rows, n_steps), generator=rng),
        session_start=begins | (torch.rand(rows, n_steps, generator=rng) < 0.3),
        user=user,
        begins=begins,
        width=SIZES.width,
    )


def steps_between(steps: Steps, first: int, stop: int) -> Steps:
    """Some of the steps, on a clock that begins with the first of them."""
    part = {
        field.name: getattr(steps, field.name)[:, first:stop]
        for field in dataclasses.fields(steps)
        if field.name != "width"
    }
    part["time_s"] = part["time_s"] - part["time_s"][:, :1]
    return Steps(**part, width=steps.width)


def states_of(encoder: nn.Module, steps: Steps, carried: Carried | None = None) -> Tensor:
    """States (B, T, D) without a gradient."""
    with torch.no_grad():
        if isinstance(encoder, RecurrentEncoder):
            states, _ = encoder(steps, carried or encoder.begin(len(steps.inputs)))
            return states
        return encoder(steps)
