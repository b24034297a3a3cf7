"""The network of all sequence models: step inputs -> user states -> scores of items.

    state_k = encoder([item_0; what step 1 is told] ... [item_{k-1}; what step k is told])
    score_j = state_k . vector_j + bias_j                                     (HRNN eq. 2)

B rows, T steps, D width, C context fields.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from pipeline.hours import US_PER_S
from training.nn.step_inputs import N_DELTA_BINS, StepInputs
from training.nn.steps import Carried, RecurrentEncoder, Sizes, Steps
from training.nn.tables.item_embedding import FeatureEncoder, FeatureRows, FeatureShape, ItemTable
from training.nn.tables.user_table import UserTable

_DELTA_WIDTH, _DWELL_WIDTH, _CODE_WIDTH, _USER_WIDTH = 16, 8, 8, 16


@dataclass(frozen=True)
class NetShape:
    """Sizes that a data set brings with it."""

    n_items: int
    dwell_bins: int
    n_event_types: int
    context_sizes: tuple[int, ...]  # (C,) values of each field
    items: FeatureShape | None
    users: FeatureShape | None
    n_users: int = 0  # in the table of users


@dataclass(frozen=True)
class NetOptions:
    """What is built; ``session``, ``delta`` ... say what steps are told."""

    width: int
    tied: bool
    sparse: bool
    input_dropout: float
    sequence_dropout: float
    dropout: float
    session: bool
    delta: bool
    dwell: bool
    feedback: bool
    prior: bool
    item_features: bool = False  # whether items are scored by what is known of them
    metadata: bool = False  # whether steps are told what is known of items
    feature_hidden: int = 0  # of what is known of items and users
    temperature: float = 0.0  # of the prior; 0 is learned
    rates: bool = False
    user_width: int = 0
    user_dropout: float = 0.0
    compiled: bool = False


@dataclass(frozen=True)
class UserRows:
    """What is known of the users of histories, by their rows there."""

    features: FeatureRows | None = None
    table: Tensor | None = None  # (users,) rows of the table of users


@dataclass(frozen=True)
class StepTensors:
    """`StepInputs` on a device."""

    item: Tensor
    user: Tensor
    session_start: Tensor
    delta: Tensor
    dwell: Tensor
    feedback: Tensor
    value: Tensor
    context: Tensor  # (..., C)
    elapsed_s: Tensor
    time_s: Tensor  # since the first step of the row

    @classmethod
    def of(cls, steps: StepInputs, device: torch.device) -> StepTensors:
        """The same on a device."""

        def moved(array: NDArray[np.generic]) -> Tensor:
            return to_tensor(np.ascontiguousarray(array), device)

        return cls(
            item=moved(steps.item),
            user=moved(steps.user),
            session_start=moved(steps.session_start).float(),
            delta=moved(steps.delta),
            dwell=moved(steps.dwell),
            feedback=moved(steps.feedback),
            value=moved(steps.value),
            context=moved(steps.context.astype(np.int64)),
            elapsed_s=moved(steps.elapsed_s).float(),
            # Not in 32 bits, which do not tell seconds of one another after half a year.
            time_s=moved((steps.time_us - steps.time_us[..., :1]) / US_PER_S),
        )


def to_tensor(array: NDArray[np.generic], device: torch.device) -> Tensor:
    """The same on a device."""
    return torch.from_numpy(array).to(device)


class StateNet(nn.Module):
    """Item tables, tables of what else steps are told, and an encoder that makes states of them.

    Args:
        shape: sizes that come with the data.
        options: what is built.
        encoder: makes the encoder, whose weights are called ``cell`` in artefacts.
    """

    def __init__(
        self, shape: NetShape, options: NetOptions, encoder: Callable[[Sizes], nn.Module]
    ) -> None:
        super().__init__()
        self.options = options
        width = options.width
        self.items = ItemTable(
            shape.n_items,
            width,
            options.sparse,
            options.tied,
            shape.items if options.item_features else None,
            shape.items if options.metadata else None,
            options.feature_hidden,
        )
        self.delta = nn.Embedding(N_DELTA_BINS, _DELTA_WIDTH) if options.delta else None
        self.dwell = nn.Embedding(shape.dwell_bins + 1, _DWELL_WIDTH) if options.dwell else None
        self.feedback = (
            nn.Embedding(shape.n_event_types + 1, _CODE_WIDTH) if options.feedback else None
        )
        self.context = nn.ModuleList(
            nn.Embedding(size + 1, _CODE_WIDTH) for size in shape.context_sizes
        )
        self.user = None
        if shape.users is not None:
            self.user = FeatureEncoder(shape.users, _USER_WIDTH, options.feature_hidden)
        # As small as item vectors: PyTorch's own start would drown what they say.
        for table in (self.delta, self.dwell, self.feedback, *self.context):
            if table is not None:
                nn.init.normal_(table.weight, std=width**-0.5)
        extra = (
            options.session
            + _DELTA_WIDTH * options.delta
            + _DWELL_WIDTH * options.dwell
            + (_CODE_WIDTH + 2) * options.feedback
            + _CODE_WIDTH * len(shape.context_sizes)
            + _USER_WIDTH * (shape.users is not None)
        )
        wide = options.user_width
        self.users = UserTable(shape.n_users, wide, options.user_dropout) if wide else None
        self.cell = encoder(Sizes(width + extra, width, shape.dwell_bins, wide))
        self.input_dropout = nn.Dropout(options.input_dropout)
        self.dropout = nn.Dropout(options.dropout)
        # For values of events: what a state says of all items, and how much it says of each.
        self.leaning = nn.Linear(width, 1) if options.rates else None
        self.strength = nn.Parameter(torch.full((), 0.1)) if options.rates else None
        # How strongly log q counts (HRNN 3.2); learned from a start at face value.
        self.temperature = nn.Parameter(torch.ones(())) if options.prior else None
        self.fix_temperature()
        # The GRU is written out already; what is left to fuse is what leads up to it.
        self.tell = torch.compile(self.inputs, dynamic=True) if options.compiled else self.inputs

    def fix_temperature(self) -> None:
        """Set the temperature to what was told, where it is not learned."""
        if self.temperature is not None and self.options.temperature:
            self.temperature.requires_grad_(False).fill_(self.options.temperature)

    @property
    def recurrent(self) -> RecurrentEncoder | None:
        """The encoder, where it carries a state from step to step."""
        return self.cell if isinstance(self.cell, RecurrentEncoder) else None

    def begin(self, rows: int) -> Carried:
        """What is carried before a history, of so many rows; nothing where nothing is carried."""
        return {} if self.recurrent is None else self.recurrent.begin(rows)

    def steps(self, items: Tensor, steps: StepTensors, users: UserRows, begins: Tensor) -> Steps:
        """What an encoder is given.

        Args:
            items: what is told of items, (B, T, D).
            steps: what else is told.
            users: what is known of them.
            begins: (B, T) where whatever came before is forgotten.
        """
        return Steps(
            inputs=self.tell(items, steps, users.features),
            has_event=steps.item > 0,
            time_s=steps.time_s,
            elapsed_s=steps.elapsed_s,
            dwell=steps.dwell,
            session_start=steps.session_start > 0,
            user=self._user_vectors(steps.user, users.table),
            begins=begins,
            width=self.options.width,
        )

    def inputs(self, items: Tensor, steps: StepTensors, users: FeatureRows | None) -> Tensor:
        """What the encoder is told, (..., I), given what is told of items, (..., D)."""
        pieces = [self._thinned(items)]
        if self.options.session:
            pieces.append(steps.session_start[..., None])
        if self.delta is not None:
            pieces.append(self.delta(steps.delta))
        if self.dwell is not None:
            pieces.append(self.dwell(steps.dwell))
        if self.feedback is not None:
            pieces.append(self.feedback(steps.feedback))
            is_rated = torch.isfinite(steps.value)
            value = torch.where(is_rated, steps.value, 0.0)
            pieces.append(torch.stack([value, is_rated.to(value.dtype)], dim=-1))
        pieces += [table(steps.context[..., at]) for at, table in enumerate(self.context)]
        if self.user is not None:
            pieces.append(self._described(steps.user, users))
        return torch.cat(pieces, dim=-1)

    def forward(self, steps: Steps, carried: Carried) -> tuple[Tensor, Carried]:
        """States (B, T, D), and what is carried after each step, tensors (B, T, ...)."""
        if self.recurrent is not None:
            return self.recurrent(steps, carried)
        states: Tensor = self.cell(steps)
        return states, {}

    def rate(self, states: Tensor, products: Tensor, biases: Tensor) -> Tensor:
        """Standardised values of items at states (n, D), in the shape of ``products``.

            value_j = leaning . state + bias_j + strength * state . vector_j

        Args:
            states: (n, D).
            products: state . vector of one item each (n,), or of all (n, V).
            biases: of those items, (n,) or (V,).
        """
        assert self.leaning is not None  # noqa: S101 - only networks that rate are asked
        assert self.strength is not None  # noqa: S101 - likewise
        own: Tensor = self.leaning(states)  # (n, 1)
        own = own if products.dim() > 1 else own[:, 0]
        return own + biases + self.strength * products

    def _thinned(self, items: Tensor) -> Tensor:
        share = self.options.sequence_dropout
        if self.training and share > 0:
            # Whole steps lose their item, so that no single click is relied on (ASARS 2.4).
            survives = torch.rand(items.shape[:-1], device=items.device) >= share
            items = items * survives[..., None]
        thinned: Tensor = self.input_dropout(items)
        return thinned

    def _user_vectors(self, user: Tensor, table_row: Tensor | None) -> Tensor:
        if self.users is None or table_row is None:
            return self.items.bias.weight.new_zeros(*user.shape, self.options.user_width)
        vectors: Tensor = self.users(table_row[user])
        return vectors

    def _described(self, user: Tensor, users: FeatureRows | None) -> Tensor:
        assert self.user is not None  # noqa: S101 - the caller looked
        if users is None:
            return self.items.bias.weight.new_zeros(*user.shape, _USER_WIDTH)
        met, where = torch.unique(user, return_inverse=True)
        described: Tensor = self.user(users.take(met))[where]
        return described
