"""Going on from a trained model: its weights, with rows of new items and codes appended.

V items of the new data set, W of the model; U users of the new network.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from pipeline.array_types import Bools, Ints, Objects
from pipeline.errors import HourglassError
from training.metrics.vocabulary_alignment import index_of
from training.model_types import Tensors
from training.nn.input_encoding import InputEncoding
from training.nn.tables.user_table import NO_USER, table_rows
from training.trainer.interface import ParentWeights

_BY_ITEM = ("items.vector.weight", "items.bias.weight", "items.entry.weight")
_METADATA = ("items.offsets", "items.token", "items.numbers", "items.token_weight", "items.cold")


@dataclass(frozen=True)
class Places:
    """Where rows and columns of a network's tensors stand in those of its parent; -1 = new.

    A tensor that is in none of these is taken over whole.
    """

    rows: Mapping[str, Ints]
    columns: Mapping[str, Ints] = field(default_factory=dict)
    own: Collection[str] = ()  # tensors that are not taken over
    former_names: Mapping[str, str] = field(default_factory=dict)  # where the parent's differ


class TensorsOfParent:
    """Places an earlier model's tensors in those of a new network.

    Args:
        parent: the model to go on from.
        places: of its rows and columns.
    """

    def __init__(self, parent: ParentWeights, places: Places) -> None:
        self._parent, self._places = parent, places

    def weights(self, net: nn.Module) -> None:
        """Write the model's weights into the network; rows that it lacks stay as they are.

        Raises:
            HourglassError: a tensor is missing or has another shape.
        """
        with torch.no_grad():
            for name, weight in net.state_dict().items():
                if name not in self._places.own:
                    parent = self._tensor_of(name, self._parent.tensors)
                    placed = self._aligned(name, parent, weight.cpu().numpy().copy())
                    weight.copy_(torch.from_numpy(placed))

    def optimiser(self, net: nn.Module) -> Tensors | None:
        """The state of the model's optimiser for the network; new rows begin at 0.

        Raises:
            HourglassError: a part has another shape.
        """
        state = self._parent.optimiser
        if not state:  # a step without an epoch has none to keep
            return None
        parts = {key.rsplit("/", 1)[1] for key in state}
        placed: Tensors = {}
        for name, weight in net.named_parameters():
            if not weight.requires_grad:
                continue
            for moment in parts:
                parent = self._tensor_of(name, state, f"/{moment}")
                fresh = np.zeros(tuple(weight.shape), parent.dtype)
                # A count of steps has no rows.
                placed[f"{name}/{moment}"] = (
                    parent if parent.ndim == 0 else self._aligned(name, parent, fresh)
                )
        return placed

    def _aligned(self, name: str, stored: NDArray[Any], fresh: NDArray[Any]) -> NDArray[Any]:
        rows, columns = self._places.rows.get(name), self._places.columns.get(name)
        if columns is not None:
            return self._by_column(name, columns, stored, fresh)
        if rows is None or stored.ndim == 0:
            if stored.shape != fresh.shape:
                raise self._refusal(name, stored, fresh)
            return np.array(stored)
        if stored.shape[1:] != fresh.shape[1:] or len(rows) > len(fresh):
            raise self._refusal(name, stored, fresh)
        inherited = np.flatnonzero(rows >= 0)
        fresh[inherited] = stored[rows[inherited]]
        return fresh

    def _by_column(
        self, name: str, columns: Ints, stored: NDArray[Any], fresh: NDArray[Any]
    ) -> NDArray[Any]:
        if not len(columns):  # a map of no numbers has one column, of zeros
            return fresh
        if stored.shape[0] != fresh.shape[0] or len(columns) != fresh.shape[1]:
            raise self._refusal(name, stored, fresh)
        inherited = np.flatnonzero((columns >= 0) & (columns < stored.shape[1]))
        fresh[:, inherited] = stored[:, columns[inherited]]
        return fresh

    def _tensor_of(self, name: str, tensors: Mapping[str, Any], kind: str = "") -> NDArray[Any]:
        name = self._places.former_names.get(name, name) + kind
        if name not in tensors:
            raise HourglassError(
                f"{self._parent.model_id} has no tensor {name!r}, so it cannot be continued by "
                "these parameters: use its own parameters, or --init-from none"
            )
        tensor: NDArray[Any] = tensors[name]
        return tensor

    def _refusal(self, name: str, stored: NDArray[Any], fresh: NDArray[Any]) -> HourglassError:
        return HourglassError(
            f"{self._parent.model_id} cannot be continued: its tensor {name!r} has shape "
            f"{stored.shape}, these parameters and data need {fresh.shape}: use its own "
            "parameters, or --init-from none"
        )


class WarmStart(TensorsOfParent):
    """Goes on from a sequence model.

    Args:
        parent: the model to go on from.
        before: what its codes mean.
        item_ids: (V,) of the new data set.
        now: what the new codes mean.
        users: hashes of the users that the model and the new network know, where they do.

    Raises:
        HourglassError: the item ids are not unique.
    """

    def __init__(
        self,
        parent: ParentWeights,
        before: InputEncoding,
        item_ids: Objects,
        now: InputEncoding,
        users: tuple[Ints, Ints] | None = None,
    ) -> None:
        self._items = item_rows(item_ids, parent.item_ids)
        rows: dict[str, Ints] = dict.fromkeys(_BY_ITEM, self._items)
        rows["feedback.weight"] = _codes(before.terms.event_types, now.terms.event_types)
        theirs = {f.name: f.values for f in before.terms.context_fields}
        theirs_at = {f.name: at for at, f in enumerate(before.terms.context_fields)}
        former_names: dict[str, str] = {}
        for at, now_field in enumerate(now.terms.context_fields):
            name = f"context.{at}.weight"
            rows[name] = _codes(theirs.get(now_field.name, ()), now_field.values)
            if now_field.name in theirs_at:
                former_names[name] = f"context.{theirs_at[now_field.name]}.weight"
        for encoder in ("items.encoder", "items.entry_encoder"):
            rows[f"{encoder}.token.weight"] = _places(before.item_tokens, now.item_tokens)
        rows["user.token.weight"] = _places(before.user_tokens, now.user_tokens)
        if users is not None:
            theirs_by_hash, own_by_hash = users
            rows["users.vector.weight"] = user_rows(own_by_hash, theirs_by_hash)
        columns = {
            "items.encoder.number.weight": _places(before.item_numbers, now.item_numbers),
            "items.entry_encoder.number.weight": _places(before.item_numbers, now.item_numbers),
            "user.number.weight": _places(before.user_numbers, now.user_numbers),
        }
        super().__init__(parent, Places(rows, columns, _METADATA, former_names))

    @property
    def new_items(self) -> Bools:
        """Which rows (V + 1,) of the new network the model does not know."""
        is_new: Bools = self._items < 0
        return is_new

    def cold(self, events: Ints) -> Bools:
        """Which rows (V + 1,) neither the model nor the data set learned from."""
        cold = np.concatenate([[False], events == 0])
        if "items.cold" in self._parent.tensors:
            theirs = self._parent.tensors["items.cold"]
            inherited = self._items >= 0
            cold[inherited] &= theirs[self._items[inherited]]
        else:
            cold &= self._items < 0
        return cold


def item_rows(item_ids: Objects, before: Objects) -> Ints:
    """Row of the parent's tables for each row (V + 1,) of the new ones; row 0 stands for no item.

    Raises:
        HourglassError: the item ids are not unique.
    """
    parent_index = index_of(item_ids, before)  # (V,) -1 = new
    return np.concatenate([[0], np.where(parent_index < 0, -1, parent_index + 1)])


def user_rows(hashes: Ints, before: Ints) -> Ints:
    """The same of tables of users (U + 1,); row 0, of unknown users, stays what it is."""
    rows = table_rows(hashes, before)
    return np.concatenate([[0], np.where(rows == NO_USER, -1, rows)])


def _codes(before: tuple[str, ...], now: tuple[str, ...]) -> Ints:
    """Rows of a table whose row 0 is the unknown code."""
    places = _places(before, now)
    return np.concatenate([[0], np.where(places < 0, -1, places + 1)])


def _places(before: tuple[str, ...] | None, now: tuple[str, ...] | None) -> Ints:
    """Where each name now stood before, -1 where it did not."""
    stood = {name: at for at, name in enumerate(before or ())}
    return np.array([stood.get(name, -1) for name in now or ()], np.int64)
