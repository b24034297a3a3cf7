"""M3: encoders of tiny, short and long range side by side, each behind a gate (M3 section 4).

    z_k = F_in(what step k is told)                                   relu, or as it is
    T_k = z_k, or W z_k + b where widths differ
    S_k = W_R GRU(z)_k  (M3R),  or relu(conv(..)) of the latest steps, layer upon layer  (M3C)
    L_k = sum_i softmax_i<=k(v_k . v_i / sqrt(d)) v_i,  v_i = z_i, or W_A z_i where widths differ
    G_k = sigmoid(F_g(context_k or z_k)), or 1
    s_k = relu(W_out [G_T T_k ; G_S S_k ; G_L L_k ; context_k] + b), or of their sum

Sigmoids, as gates that share a whole let one encoder win.  Steps are told of the coming request
beside the item, which serves as c_in and c_out; the context of events before it reaches the state
by way of the encoders.  B rows, T steps, D width, C context, d encoder width, N encoders.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from pipeline.errors import UsageError
from training.models.parts.sequence import SequenceParameters
from training.nn.blocks.segment_rows import SegmentRows
from training.nn.gru import GruCell
from training.nn.steps import Sizes, Steps
from training.parameters import require, require_choice

_SUBSETS = ("T", "S", "L", "TS", "TL", "SL", "TSL")


@dataclass(frozen=True)
class M3Parameters(SequenceParameters):
    """What is built; items have a table to be read from and one to be scored with.

    ``encoders``: which of T, S and L there are.  ``unit``: gru (M3R) or conv (M3C); the latter has
    ``layers`` of convolutions over the latest ``reach`` steps each.  ``gates``: bottom (of z),
    contextual (of what steps are told beside the item) or fixed (always open).  ``mix``: concat or
    sum.  ``entrance``: F_in, relu to width ``d_in`` or identity.  ``d_enc``: width of encoders.
    """

    tied: bool = False
    encoders: str = "TSL"
    unit: str = "gru"
    layers: int = 2
    reach: int = 5
    gates: str = "bottom"
    mix: str = "concat"
    entrance: str = "relu"
    d_in: int = 32
    d_enc: int = 32

    def __post_init__(self) -> None:
        super().__post_init__()
        require_choice("encoders", self.encoders, _SUBSETS)
        require_choice("unit", self.unit, ("gru", "conv"))
        require_choice("gates", self.gates, ("bottom", "contextual", "fixed"))
        require_choice("mix", self.mix, ("concat", "sum"))
        require_choice("entrance", self.entrance, ("relu", "identity"))
        for name in ("layers", "reach", "d_in", "d_enc"):
            require(getattr(self, name) >= 1, name, getattr(self, name), "at least 1")


class M3(nn.Module):
    """A mixture of encoders.

    Raises:
        UsageError: gates are to follow the context, and steps are told of none.
    """

    def __init__(self, sizes: Sizes, parameters: M3Parameters) -> None:
        super().__init__()
        context = sizes.inputs - sizes.width
        if parameters.gates == "contextual" and not context:
            raise UsageError(
                "m3: gates = 'contextual', but steps are told of items alone: switch on "
                "context_input, session_input, delta_input, dwell_input or feedback_input"
            )
        d_in, d_enc = parameters.d_in, parameters.d_enc
        self.entrance: nn.Module = nn.Sequential(nn.Linear(sizes.inputs, d_in), nn.ReLU())
        if parameters.entrance == "identity":
            self.entrance, d_in = nn.Identity(), sizes.inputs
        short: nn.Module = _Recurrent(d_in, d_enc)
        if parameters.unit == "conv":
            short = _Convolutions(d_in, d_enc, parameters.layers, parameters.reach)
        every = {"T": _Tiny(d_in, d_enc), "S": short, "L": _Long(d_in, d_enc)}
        self.encoders = nn.ModuleDict({letter: every[letter] for letter in parameters.encoders})
        n_encoders = len(self.encoders)
        self.follows_context = parameters.gates == "contextual"
        self.gate: nn.Linear | None = None
        if parameters.gates != "fixed":
            self.gate = nn.Linear(context if self.follows_context else d_in, n_encoders)
        self.sums = parameters.mix == "sum"
        mixed = d_enc if self.sums else d_enc * n_encoders
        self.out = nn.Linear(mixed + context, sizes.width)

    def forward(self, steps: Steps) -> Tensor:
        """States (B, T, D)."""
        entered = self.entrance(steps.inputs)
        encoded = [encoder(entered, steps) for encoder in self.encoders.values()]
        gated = self._open(steps, entered)[..., None] * torch.stack(encoded, dim=2)  # (B, T, N, d)
        mixed = gated.sum(2) if self.sums else gated.flatten(2)
        return functional.relu(self.out(torch.cat([mixed, steps.context], dim=-1)))

    def gates(self, steps: Steps) -> Tensor:
        """How far each encoder's gate is open, (B, T, N), in the order of ``encoders``."""
        return self._open(steps, self.entrance(steps.inputs))

    def _open(self, steps: Steps, entered: Tensor) -> Tensor:
        if self.gate is None:
            return steps.inputs.new_ones(*steps.inputs.shape[:2], len(self.encoders))
        asks = steps.context if self.follows_context else entered
        return torch.sigmoid(self.gate(asks))


def _mapped(d_in: int, d_enc: int, bias: bool) -> nn.Module:
    return nn.Identity() if d_in == d_enc else nn.Linear(d_in, d_enc, bias=bias)


class _Tiny(nn.Module):
    """The last item."""

    def __init__(self, d_in: int, d_enc: int) -> None:
        super().__init__()
        self.map = _mapped(d_in, d_enc, bias=True)

    def forward(self, entered: Tensor, steps: Steps) -> Tensor:  # noqa: ARG002
        encoded: Tensor = self.map(entered)
        return encoded


class _Recurrent(nn.Module):
    """The latest steps, by a GRU."""

    def __init__(self, d_in: int, d_enc: int) -> None:
        super().__init__()
        self.gru = GruCell(d_in, d_enc)
        self.map = nn.Linear(d_enc, d_enc, bias=False)

    def forward(self, entered: Tensor, steps: Steps) -> Tensor:
        before = entered.new_zeros(len(entered), self.gru.hidden_size)
        encoded: Tensor = self.map(self.gru.scan(entered, before, ~steps.begins))
        return encoded


class _Convolutions(nn.Module):
    """The latest steps, by causal convolutions, with zeros before a segment's first step."""

    def __init__(self, d_in: int, d_enc: int, layers: int, reach: int) -> None:
        super().__init__()
        widths = [d_in] + [d_enc] * (layers - 1)
        self.layers = nn.ModuleList(nn.Conv1d(width, d_enc, reach) for width in widths)
        self.reach = reach

    def forward(self, entered: Tensor, steps: Steps) -> Tensor:
        rows = SegmentRows.of(steps.begins)
        encoded = rows.apart(entered).transpose(1, 2)  # (S, d, P)
        for layer in self.layers:
            encoded = functional.relu(layer(functional.pad(encoded, (self.reach - 1, 0))))
        return rows.together(encoded.transpose(1, 2))


class _Long(nn.Module):
    """All steps of the segment by how alike they are to the last one, which is among them."""

    def __init__(self, d_in: int, d_enc: int) -> None:
        super().__init__()
        self.map = _mapped(d_in, d_enc, bias=False)

    def forward(self, entered: Tensor, steps: Steps) -> Tensor:
        mapped = self.map(entered)
        alike = mapped @ mapped.transpose(1, 2) / mapped.shape[-1] ** 0.5  # (B, T, T)
        weights = alike.masked_fill(~steps.visible(), -torch.inf).softmax(-1)
        encoded: Tensor = weights @ mapped
        return encoded
