"""HM-LSTM: layers that learn where units end, and rest in between (LSTR 3.2.2; Chung et al. 2016).

    rec = U_l h^l_{t-1},  top = z^l_{t-1} V_l h^{l+1}_{t-1},  bot = z^{l-1}_t W_l h^{l-1}_t
    [f; i; o; g; v] = rec + top + bot + b                 (each of the three normalised, if wanted)
    z^l_t = 1 if clip((a v + 1) / 2, 0, 1) > 1/2 else 0              a boundary; h^0 = x, z^0 = 1
    c^l_t = i * g                  FLUSH    where z^l_{t-1} = 1
          = f * c^l_{t-1} + i * g  UPDATE   where z^l_{t-1} = 0 and z^{l-1}_t = 1
          = c^l_{t-1}              COPY     where both are 0, and then h^l_t = h^l_{t-1}
    h^l_t = o * tanh(c^l_t)        after FLUSH and UPDATE
    s_t   = relu(sum over l of sigmoid(w_l [h^1; ..; h^L]) E_l h^l_t)

f, i and o are sigmoids, g is a tanh.  The gradient passes the step of z as if it were not there,
while a, the slope, grows from 1 to 5, so that what is learned is ever more like a step.  The top
layer has no boundary.  B rows, T steps, L layers, H width.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from training.models.parts.sequence import SequenceParameters
from training.nn.steps import Carried, Sizes, Steps
from training.parameters import require

_STEEPEST = 5.0
_STEEPER = 0.04  # an epoch


@dataclass(frozen=True)
class HmLstmParameters(SequenceParameters):
    """``layers``: 2 or more; ``layer_norm``: whether sums of products are normalised.

    ``anneal_batches``: passes in training mode, after which the slope has grown by .04.
    """

    plan: str = "sessions"
    layers: int = 2
    layer_norm: bool = False
    anneal_batches: int = 40

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.layers >= 2, "layers", self.layers, "at least 2")  # noqa: PLR2004
        require(self.anneal_batches >= 1, "anneal_batches", self.anneal_batches, "at least 1")


class HmLstm(nn.Module):
    """The carried ``boundary`` of a layer says whether its unit ended at the step."""

    batches: Tensor

    def __init__(self, sizes: Sizes, parameters: HmLstmParameters) -> None:
        super().__init__()
        n_layers, width = parameters.layers, sizes.width
        self.width, self.anneal_batches = width, parameters.anneal_batches
        self.layers = nn.ModuleList(
            HmLstmLayer(
                width if level else sizes.inputs,
                width,
                is_top=level == n_layers - 1,
                layer_norm=parameters.layer_norm,
            )
            for level in range(n_layers)
        )
        self.gate = nn.Linear(n_layers * width, n_layers, bias=False)
        self.out = nn.ModuleList(nn.Linear(width, width, bias=False) for _ in range(n_layers))
        # Kept with the weights: whoever goes on from them goes on with their slope.
        self.register_buffer("batches", torch.zeros((), dtype=torch.int64))

    def begin(self, rows: int) -> Carried:
        """Zeros: h and c (rows, L, H), z (rows, L)."""
        zeros = self.gate.weight.new_zeros(rows, len(self.layers), self.width)
        return {"hidden": zeros, "cell": zeros, "boundary": zeros[..., 0]}

    def forward(self, steps: Steps, carried: Carried) -> tuple[Tensor, Carried]:
        """States (B, T, H), and h, c and z of all layers after each step."""
        slope = (1 + _STEEPER * self.batches / self.anneal_batches).clamp_max(_STEEPEST)
        if self.training:
            self.batches += 1
        hidden, cell = carried["hidden"].unbind(1), carried["cell"].unbind(1)
        boundary = carried["boundary"].unbind(1)
        after = []
        for step, keep in enumerate((~steps.begins).to(cell[0].dtype).unbind(1)):
            level = [
                (h * keep[:, None], c * keep[:, None], z * keep)
                for h, c, z in zip(hidden, cell, boundary, strict=True)
            ]
            below, ended_below = steps.inputs[:, step], torch.ones_like(keep)
            for at, layer in enumerate(self.layers):
                above = None if at + 1 == len(level) else level[at + 1][0]
                level[at] = layer(level[at], above, below, ended_below, slope)
                below, _, ended_below = level[at]
            hidden, cell, boundary = zip(*level, strict=True)
            after.append(tuple(torch.stack(parts, dim=1) for parts in (hidden, cell, boundary)))
        hiddens, cells, boundaries = (
            torch.stack(parts, dim=1) for parts in zip(*after, strict=True)
        )
        gates = torch.sigmoid(self.gate(hiddens.flatten(2)))  # (B, T, L)
        states = torch.relu(
            sum(gates[..., at, None] * out(hiddens[:, :, at]) for at, out in enumerate(self.out))
        )
        return states, {"hidden": hiddens, "cell": cells, "boundary": boundaries}


class HmLstmLayer(nn.Module):
    """One layer; the top one has nothing above and no boundary."""

    def __init__(self, inputs: int, width: int, is_top: bool, layer_norm: bool) -> None:
        super().__init__()
        sums = 4 * width + (not is_top)
        self.read = nn.Linear(inputs, sums, bias=False)
        self.recall = nn.Linear(width, sums, bias=False)
        self.hear = None if is_top else nn.Linear(width, sums, bias=False)
        norms = [nn.LayerNorm(sums) if layer_norm else nn.Identity() for _ in range(3 - is_top)]
        self.norms = nn.ModuleList(norms)
        self.bias = nn.Parameter(torch.zeros(sums))

    def forward(
        self,
        before: tuple[Tensor, Tensor, Tensor],
        above: Tensor | None,
        below: Tensor,
        ended_below: Tensor,
        slope: Tensor,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """h (B, H), c (B, H) and z (B,) after a step.

        Args:
            before: the same before the step.
            above: h of the layer above before the step, (B, H).
            below: h of the layer below after the step, or the inputs.
            ended_below: (B,) 1 where a unit of the layer below has ended.
            slope: of the boundary's sigmoid.
        """
        hidden, cell, ended = before
        width = hidden.shape[1]
        sums = self.norms[0](self.recall(hidden)) + self.bias
        sums = sums + ended_below[:, None] * self.norms[1](self.read(below))
        if self.hear is not None:
            sums = sums + ended[:, None] * self.norms[2](self.hear(above))
        forget, enter, leave = torch.sigmoid(sums[:, : 3 * width]).chunk(3, dim=-1)
        fresh = enter * torch.tanh(sums[:, 3 * width : 4 * width])
        flush, stays = ended[:, None], 1 - ended[:, None]
        update, copy = stays * ended_below[:, None], stays * (1 - ended_below[:, None])
        cell = flush * fresh + update * (forget * cell + fresh) + copy * cell
        hidden = copy * hidden + (1 - copy) * leave * torch.tanh(cell)
        if self.hear is None:
            return hidden, cell, torch.zeros_like(ended)
        share = ((slope * sums[:, -1] + 1) / 2).clamp(0, 1)
        # The value of the step with the gradient of what it was made from.
        return hidden, cell, share.round() + (share - share.detach())
