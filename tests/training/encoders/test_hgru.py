"""HGRU against a loop over users, one step at a time."""

from __future__ import annotations

import torch
from encoding import encoder_of, random_steps

from training.models.recurrent.hgru import Hgru


def test_levels_step_row_by_row() -> None:
    for rerun in (True, False):
        encoder = encoder_of("hgru", rerun=rerun)
        assert isinstance(encoder, Hgru)
        steps = random_steps(n_steps=12, begins_at=((1, 6),))
        carried = {name: torch.randn(3, 8) for name in ("lower", "upper")}
        states, after = encoder(steps, carried)
        for row in range(3):
            lower, upper = carried["lower"][row : row + 1], carried["upper"][row : row + 1]
            for step in range(12):
                forgets = bool(steps.begins[row, step])
                if forgets:
                    lower, upper = torch.zeros_like(lower), torch.zeros_like(upper)
                x = steps.inputs[row : row + 1, step]
                lower = encoder.events(x, lower)
                if steps.session_start[row, step] and not forgets:
                    upper = encoder.sessions(lower, upper)
                    lower = torch.tanh(encoder.opening(upper))
                    if rerun:
                        lower = encoder.events(x, lower)
                torch.testing.assert_close(states[row, step], lower[0])
                torch.testing.assert_close(after["upper"][row, step], upper[0])
