"""T-GRU against a loop over users, one step at a time."""

from __future__ import annotations

import math

import pytest
import torch
from encoding import encoder_of, random_steps

from training.models.recurrent.t_gru import TGru


@pytest.mark.parametrize("interval", ["read", "request"])
def test_gates_step_row_by_row(interval: str) -> None:
    encoder = encoder_of("t_gru", interval=interval)
    assert isinstance(encoder, TGru)
    steps = random_steps(n_steps=12, begins_at=((1, 6), (2, 3)))
    # A row that goes on from before.
    steps.begins[0, 0] = False
    carried = {"state": torch.randn(3, 8), "elapsed_s": torch.tensor([40.0, 7.0, 0.0])}
    states, after = encoder(steps, carried)
    assert torch.equal(after["elapsed_s"], steps.elapsed_s)
    (w_z, w_r, w_rho, w_n), (b_z, b_r, b_rho, b_n) = (
        each.chunk(4) for each in (encoder.entry.weight, encoder.entry.bias)
    )
    u_z, u_r, u_rho = encoder.back.weight.chunk(3)
    for row in range(3):
        h, before_s = carried["state"][row], float(carried["elapsed_s"][row])
        for step in range(12):
            if steps.begins[row, step]:
                h = torch.zeros(8)
            x, own_s = steps.inputs[row, step], float(steps.elapsed_s[row, step])
            z = torch.sigmoid(w_z @ x + u_z @ h + b_z)
            r = torch.sigmoid(w_r @ x + u_r @ h + b_r)
            n = torch.tanh(w_n @ x + encoder.back_new.weight @ (h * r) + b_n)
            log_interval = math.log(1 + (before_s if interval == "read" else own_s))
            delta = torch.tanh(log_interval * encoder.interval_scale + encoder.interval_shift)
            rho = torch.tanh(w_rho @ x + u_rho @ h + b_rho)
            g = torch.sigmoid(
                delta * encoder.interval_pull + rho * encoder.content_pull + encoder.gate_shift
            )
            h = z * g * h + (1 - z) * n
            before_s = own_s
            torch.testing.assert_close(states[row, step], h)
