"""A GRU over whole rectangles of steps, whose state may be forgotten in mid-row.

    r = sigmoid(x W_r + h U_r),  z = sigmoid(x W_z + h U_z),  n = tanh(x W_n + r * (h U_n))
    h' = (1 - z) * n + z * h                                    (biases left out)

PyTorch's GRU cannot drop the state between two steps of a row, which lanes of histories laid end
to end need, and on the CPU it records every operation of every step for the way back.  Here the
way back is written out: what does not depend on the next step is computed for all steps at once.
B rows, T steps, D width, I inputs.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from training.nn.parameters import RecurrentParameters
from training.nn.steps import Carried, Sizes, Steps


class GruCell(nn.GRUCell):
    """The weights of one GRU; `nn.GRUCell` computes a single step, `scan` many."""

    def scan(self, inputs: Tensor, state: Tensor, keep: Tensor | None) -> Tensor:
        """States after each step, (B, T, D).

        Args:
            inputs: (B, T, I).
            state: (B, D) before the first step.
            keep: (B, T) 1 where the state flows into the step, 0 where it is forgotten first;
                None keeps all.
        """
        projected = functional.linear(inputs, self.weight_ih, self.bias_ih)  # (B, T, 3D)
        # The recurrence sums over many steps, which half precision does not bear.
        with torch.autocast(inputs.device.type, enabled=False):
            by_step = projected.float().transpose(0, 1).contiguous()  # (T, B, 3D)
            keep_by_step = (
                None if keep is None else keep.t()[:, :, None].to(by_step.dtype).contiguous()
            )
            states: Tensor = _Scan.apply(  # type: ignore[no-untyped-call]
                by_step, state.float(), self.weight_hh, self.bias_hh, keep_by_step
            )
        return states.transpose(0, 1)


class Gru(GruCell):
    """The encoder of HRNN and GRU4Rec: whatever a step is told enters at the input.

    The reset is applied after the product, as in cuDNN; the papers print it before, which is of
    equal power.
    """

    def begin(self, rows: int) -> Carried:
        """A state of zeros, (rows, D)."""
        return {"state": self.weight_hh.new_zeros(rows, self.hidden_size)}

    def forward(self, steps: Steps, carried: Carried) -> tuple[Tensor, Carried]:  # type: ignore[override]
        """States after each step (B, T, D), which are also what is carried."""
        states = self.scan(steps.inputs, carried["state"], ~steps.begins)
        return states, {"state": states}


def gru(sizes: Sizes, parameters: RecurrentParameters) -> Gru:  # noqa: ARG001
    """The encoder of a GRU that is as wide as item vectors."""
    return Gru(sizes.inputs, sizes.width)


class _Scan(torch.autograd.Function):
    """``inputs`` (T, B, 3D) and ``before`` (B, D) -> states (T, B, D)."""

    @staticmethod
    def forward(
        ctx: Any,  # noqa: ANN401 - PyTorch gives its context no type
        inputs: Tensor,
        before: Tensor,
        weight: Tensor,
        bias: Tensor,
        keep: Tensor | None,
    ) -> Tensor:
        n_steps, n_rows, wide = inputs.shape
        width = wide // 3
        transposed = weight.t()
        states = inputs.new_empty(n_steps, n_rows, width)
        entering = inputs.new_empty(n_steps, n_rows, width)  # states as the steps receive them
        recalled = inputs.new_empty(n_steps, n_rows, wide)
        gates = inputs.new_empty(n_steps, n_rows, 2 * width)  # r and z
        fresh = inputs.new_empty(n_steps, n_rows, width)  # n
        state = before
        for t in range(n_steps):
            enters = entering[t]
            if keep is None:
                enters.copy_(state)
            else:
                torch.mul(state, keep[t], out=enters)
            torch.addmm(bias, enters, transposed, out=recalled[t])
            torch.add(inputs[t, :, : 2 * width], recalled[t, :, : 2 * width], out=gates[t])
            gates[t].sigmoid_()
            reset, update = gates[t, :, :width], gates[t, :, width:]
            torch.addcmul(
                inputs[t, :, 2 * width :], reset, recalled[t, :, 2 * width :], out=fresh[t]
            )
            fresh[t].tanh_()
            state = torch.lerp(fresh[t], enters, update, out=states[t])
        ctx.save_for_backward(entering, recalled, gates, fresh, weight, keep)
        return states

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:  # noqa: ANN401 - as above
        entering, recalled, gates, fresh, weight, keep = ctx.saved_tensors
        n_steps, n_rows, width = fresh.shape
        reset, update = gates[..., :width], gates[..., width:]
        # How the three sums before the gates move the new state: factors of its gradient.
        to_fresh = (1 - update) * (1 - fresh * fresh)
        factors = fresh.new_empty(n_steps, n_rows, 3, width)
        factors[:, :, 0] = to_fresh * recalled[..., 2 * width :] * reset * (1 - reset)
        factors[:, :, 1] = (entering - fresh) * update * (1 - update)
        factors[:, :, 2] = to_fresh * reset
        moved = torch.empty_like(fresh)  # gradient of each state
        to_recalled = torch.empty_like(recalled)
        by_gate = to_recalled.view(n_steps, n_rows, 3, width)
        back = fresh.new_zeros(n_rows, width)
        for t in range(n_steps - 1, -1, -1):
            torch.add(back, grad[t], out=moved[t])
            torch.mul(factors[t], moved[t][:, None, :], out=by_gate[t])
            back = torch.addmm(moved[t] * update[t], to_recalled[t], weight)
            if keep is not None:
                back = back * keep[t]
        to_told = to_recalled.clone()
        torch.mul(moved, to_fresh, out=to_told[..., 2 * width :])
        flat = to_recalled.view(-1, 3 * width)
        to_weight = flat.t() @ entering.view(-1, width)
        return to_told, back, to_weight, flat.sum(0), None
