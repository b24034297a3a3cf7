"""ASARS: what was dwelt on weighs more in the state of a session, and whose it is (ASARS 2.2, 2.3).

    h_i = LSTM(what step i is told),  u_i = LSTM'(E_bin[dwell bin of the item that it is told])
    p_i = tanh(W u_i + b)                                                     (eq. 15)
    own:  w_j = p_j . h_j,   last:  w_kj = p_j . h_k
    alpha_k = softmax(w_k,1 .. w_k,k),  q_k = sum_j alpha_kj h_j              (eqs. 16-18)

    time_att:  s_k = V q_k + c              time_user:  s_k = V [q_k; E_user] + c, the whole model
    time_cat:  s_k = V h_k + c of one LSTM that is told the embedded bin beside the item
    user_cat:  s_k = V [h_k; E_user] + c
    user_att:  s_k = V q_k + c with p_j = tanh(W h_j + b), w_j = p_j . E_user         (eq. 19)

The paper leaves open whose h the weights ask; ``own`` is what eq. 18 prints.  That equation fills
what lies ahead with zeros before the softmax, which would give the future weight: it is left out
of the sums here.  Users that nothing was learned about have E_user = 0.

    dwell_bias = W: score_kj = s_k . Q_j + E'_bin[dwell bin of the last event] . F_j + b_j (eq. 14)

A bias of each item by dwell bin is such a product where the last W numbers of an item's vector are
F_j: no step is told them, and every state ends with E'_bin.  B rows, T steps, D width, H hidden
width; S segments of at most P steps.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from training.models.parts.sequence import SequenceParameters
from training.nn.blocks.segment_rows import SegmentRows
from training.nn.steps import Sizes, Steps
from training.parameters import require, require_choice

_WIDEST = 350
_OF_TIME, _OF_USERS = ("time_att", "time_cat"), ("user_att", "user_cat", "time_user")


@dataclass(frozen=True)
class AsarsParameters(SequenceParameters):
    """``variant``: time_att, attention by dwell time; time_cat, dwell time at the input; user_att,
    attention by the user; user_cat, the user beside the state; time_user, time_att and user_cat.
    Those with a user need ``user_width`` above 0, published: 32, and ``plan`` windows.

    ``query``: whether a position is weighed by its own state or by the last one (time_att alone).
    ``hidden``: width of the LSTMs.  ``bin_width``: of the embedded dwell bins.  ``dwell_bias``: how
    many of an item's ``width`` numbers say after which dwell times it comes (8 are many); 0: none.
    """

    plan: str = "session_windows"
    variant: str = "time_att"
    query: str = "own"
    hidden: int = 100
    bin_width: int = 16
    dwell_bias: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        require_choice("variant", self.variant, (*_OF_TIME, *_OF_USERS))
        has_user = self.variant in _OF_USERS
        rule = f"{'above 0' if has_user else '0'} with variant = {self.variant!r}"
        require((self.user_width > 0) == has_user, "user_width", self.user_width, rule)
        require_choice("query", self.query, ("own", "last"))
        rule = f"from 1 to {_WIDEST}"
        require(1 <= self.hidden <= _WIDEST, "hidden", self.hidden, rule)
        require(self.bin_width >= 1, "bin_width", self.bin_width, "at least 1")
        rule = f"0 or more and below width = {self.width}"
        require(0 <= self.dwell_bias < self.width, "dwell_bias", self.dwell_bias, rule)


class Asars(nn.Module):
    """An LSTM over items, and one over dwell times, or the user, to weigh its states."""

    reads_users: ClassVar[bool] = True

    def __init__(self, sizes: Sizes, parameters: AsarsParameters) -> None:
        super().__init__()
        hidden, bin_width = parameters.hidden, parameters.bin_width
        variant, self.query = parameters.variant, parameters.query
        biased = parameters.dwell_bias
        inputs, self.own_width = sizes.inputs - biased, sizes.width - biased
        self.bins = self.dwells = self.pull = None
        if variant in ("time_att", "time_user", "time_cat"):
            self.bins = nn.Embedding(sizes.dwell_bins + 1, bin_width)
        if variant == "time_cat":
            inputs += bin_width
        elif variant in ("time_att", "time_user"):
            self.dwells = nn.LSTM(bin_width, hidden, batch_first=True)
            self.pull = nn.Linear(hidden, hidden)
        elif variant == "user_att":
            self.pull = nn.Linear(hidden, sizes.user)
        self.ends_with_user = variant in ("user_cat", "time_user")
        self.items = nn.LSTM(inputs, hidden, batch_first=True)
        self.out = nn.Linear(hidden + sizes.user * self.ends_with_user, self.own_width)
        self.bias_bins = nn.Embedding(sizes.dwell_bins + 1, biased) if biased else None
        if self.bias_bins is not None:
            nn.init.zeros_(self.bias_bins.weight)  # what is not learned is no bias

    def forward(self, steps: Steps) -> Tensor:
        """States (B, T, D)."""
        rows = SegmentRows.of(steps.begins)
        inputs = rows.apart(torch.cat([steps.item[..., : self.own_width], steps.context], dim=-1))
        dwelt = None if self.bins is None else self.bins(rows.apart(steps.dwell))
        if dwelt is not None and self.dwells is None:
            inputs = torch.cat([inputs, dwelt], dim=-1)
        states, _ = self.items(inputs)  # (S, P, H)
        if self.dwells is not None and self.pull is not None:
            states = self._weighed(torch.tanh(self.pull(self.dwells(dwelt)[0])), states)
        elif self.pull is not None:
            logits = (torch.tanh(self.pull(states)) * rows.apart(steps.user)).sum(-1)
            states = weighted_prefixes(logits.clamp(-_WIDEST, _WIDEST), states)
        if self.ends_with_user:
            states = torch.cat([states, rows.apart(steps.user)], dim=-1)
        states = rows.together(self.out(states))
        if self.bias_bins is not None:
            states = torch.cat([states, self.bias_bins(steps.dwell)], dim=-1)
        return states

    def _weighed(self, pulls: Tensor, states: Tensor) -> Tensor:
        """Means of each prefix's states, (S, P, H); all prefixes at once."""
        if self.query == "own":
            return weighted_prefixes((pulls * states).sum(-1), states)
        logits = states @ pulls.transpose(1, 2)  # (S, P of prefixes, P of positions)
        ahead = torch.ones_like(logits, dtype=torch.bool).triu(1)
        return logits.masked_fill(ahead, -torch.inf).softmax(-1) @ states


def weighted_prefixes(logits: Tensor, values: Tensor) -> Tensor:
    """softmax(logits of each prefix) @ values, for all prefixes in O(P): (S, P), (S, P, H).

    In double precision, which holds weights down to e^-700 of the row's largest: logits are sums of
    H products of numbers within 1 of 0, H at most 350.
    """
    weights = (logits - logits.detach().amax(1, keepdim=True)).double().exp()
    sums = (weights[..., None] * values).cumsum(1) / weights.cumsum(1)[..., None]
    return sums.to(values.dtype)
