"""Any network that predicts values, fitted on the squared errors of single events.

N events, n requests, V items, U users, R ratings of the training part.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from pipeline.array_types import Floats32, Ints, Ints32
from pipeline.errors import HourglassError
from training.batching.events import EventsPlan
from training.data.reader import DataSet, Histories, Requests
from training.model_types import Report, Tensors
from training.models.parts.base import require_items, take_tensor
from training.models.parts.rating_requests import (
    RatingNetwork,
    RatingRequests,
    Ratings,
    RatingSizes,
)
from training.nn.step_inputs import ValueScale
from training.nn.tables.user_table import user_hashes
from training.parameters import require, require_choice
from training.trainer.device import device_of
from training.trainer.interface import Batch, FitOptions
from training.trainer.trainer import Schedule, run_fit

_KNOWN_USERS, _SCALE, _SIZES = "known_users", "scale", "sizes"
_PREDICTED = 4096  # requests together
_SCORED_FLOATS = 1 << 22
_DEVICES = ("auto", "cpu", "cuda")


@dataclass(frozen=True)
class ValueParameters:
    """How a network is fitted on single events with values.

    ``width`` of vectors; ``batch_events`` of a batch; ``learning_rate`` falls to 0 over ``epochs``;
    ``weight_decay``: L2 on all weights, of tables on the rows of the batch; ``device``: cpu, cuda
    or auto.
    """

    width: int = 32
    epochs: int = 20
    batch_events: int = 256
    learning_rate: float = 0.005
    weight_decay: float = 0.01
    device: str = "auto"

    def __post_init__(self) -> None:
        for name in ("width", "epochs", "batch_events"):
            require(getattr(self, name) >= 1, name, getattr(self, name), "at least 1")
        require(self.learning_rate > 0, "learning_rate", self.learning_rate, "above 0")
        require(self.weight_decay >= 0, "weight_decay", self.weight_decay, "0 or more")
        require_choice("device", self.device, _DEVICES)


class ValueModel:
    """What is fitted, kept and asked around a network that predicts values.

    Args:
        name: the type's name.
        parameters: of the fit, and the network's own.
        network: makes a `RatingNetwork` of sizes and parameters.
    """

    def __init__(
        self,
        name: str,
        parameters: ValueParameters,
        network: Callable[[RatingSizes, ValueParameters], nn.Module],
    ) -> None:
        self.name, self.parameters = name, parameters
        self._network = network
        self._net: nn.Module | None = None
        self._sizes = RatingSizes(0, 0, 0)
        self._scale = ValueScale()
        self._known_users: Ints = np.zeros(0, np.int64)  # (U,) hashes, ascending

    def fit(self, data: DataSet, seed: int, report: Report) -> dict[str, float]:
        """Train from scratch; on the CPU equal seeds give equal weights.

        Raises:
            HourglassError: there is nothing to learn from, or the loss is no longer a number.
        """
        require_items(self.name, data)
        histories, chosen = data.histories, self.parameters
        learned = histories.is_target & np.isfinite(histories.value)
        if not learned.any():
            raise HourglassError(
                f"{self.name}: no event has a value: name its column in source.columns.value"
            )
        users = histories.user_ids[np.unique(histories.user_of_event[learned])]
        self._known_users = np.unique(user_hashes(users))
        self._scale = ValueScale.of(np.asarray(histories.value)[learned])
        ratings = Ratings.of(histories, learned, self._scale, self._known_users)
        self._sizes = RatingSizes(len(data.item_ids), len(users), len(ratings.item))
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            net = self._network(self._sizes, chosen)
        self._net = net
        self._network_of(net).remember(ratings)
        net.to(device_of(chosen.device))
        schedule = Schedule(chosen.epochs, chosen.learning_rate, weight_decay=chosen.weight_decay)
        result = run_fit(
            self.name,
            _ValueLearner(net, lambda event: self._squared_error(histories, event)),
            EventsPlan(np.flatnonzero(learned), chosen.batch_events, seed),
            schedule,
            seed,
            report,
            FitOptions(),
            f"{data.manifest.dataset_id}: {chosen}",
        )
        return {name: result.metrics[name] for name in ("loss", "epochs")}

    def predict(self, histories: Histories, requests: Requests, item: Ints32) -> Floats32:
        """The value expected of item (n,), 1-based, at each request, (n,)."""
        values = np.empty(len(requests), np.float32)
        with self._inference() as net:
            for first in range(0, len(requests), _PREDICTED):
                rows = slice(first, first + _PREDICTED)
                read = self._read(histories, requests.take(rows))
                items = torch.from_numpy(item[rows].astype(np.int64)).to(read.user.device)
                values[rows] = net(read, items).cpu().numpy()
        return (values * self._scale.deviation + self._scale.mean).astype(np.float32)

    def score(self, histories: Histories, requests: Requests) -> Floats32:
        """The value expected of every item at each request, (n, V)."""
        n_items = self._sizes.items
        scores = np.empty((len(requests), n_items), np.float32)
        block = max(1, _SCORED_FLOATS // max(1, n_items * self.parameters.width))
        with self._inference() as net:
            for first in range(0, len(requests), block):
                rows = slice(first, first + block)
                read = self._read(histories, requests.take(rows))
                scores[rows] = net.all_items(read).cpu().numpy()
        return (scores * self._scale.deviation + self._scale.mean).astype(np.float32)

    def tensors(self) -> Tensors:
        """Weights and what is remembered, by their names in the network; users; scale; sizes."""
        weights = {name: w.cpu().numpy() for name, w in self._trained().state_dict().items()}
        sizes = self._sizes
        return {
            **weights,
            _KNOWN_USERS: self._known_users,
            _SCALE: np.array([self._scale.mean, self._scale.deviation]),
            _SIZES: np.array([sizes.items, sizes.users, sizes.ratings]),
        }

    def load(self, tensors: Mapping[str, NDArray[Any]]) -> None:
        """Take over weights.

        Raises:
            HourglassError: a weight is missing or has another shape than the parameters say.
        """
        sizes = RatingSizes(*(int(size) for size in take_tensor(tensors, _SIZES)))
        scale = ValueScale(*(float(number) for number in take_tensor(tensors, _SCALE)))
        known_users = take_tensor(tensors, _KNOWN_USERS)
        net = self._network(sizes, self.parameters)
        weights = {}
        for name, expected in net.state_dict().items():
            weight = take_tensor(tensors, name)
            if weight.shape != tuple(expected.shape):
                raise HourglassError(
                    f"{self.name}: tensor {name!r} has shape {weight.shape}, its parameters say "
                    f"{tuple(expected.shape)}: train it again"
                )
            weights[name] = torch.from_numpy(np.array(weight))
        net.load_state_dict(weights)
        self._sizes, self._scale, self._known_users = sizes, scale, known_users
        self._net = net.to(device_of("cpu" if self.parameters.device == "cpu" else "auto"))

    def _squared_error(self, histories: Histories, event: Ints) -> Tensor:
        """Sum over events (n,), each asked at its time with what its user did before."""
        net = self._network_of(self._trained())
        read = self._read(histories, Requests.before(histories, event))
        device = read.user.device
        item = torch.from_numpy(np.asarray(histories.item)[event].astype(np.int64)).to(device)
        value = torch.from_numpy(self._scale.apply(np.asarray(histories.value)[event])).to(device)
        return (net(read, item) - value).square().sum()

    def _read(self, histories: Histories, requests: Requests) -> RatingRequests:
        net = self._trained()
        device = next(net.parameters()).device
        reach = self._network_of(net).reach
        return RatingRequests.of(histories, requests, self._scale, self._known_users, reach, device)

    @contextmanager
    def _inference(self) -> Iterator[RatingNetwork]:
        net = self._trained().eval()
        with torch.inference_mode():
            yield self._network_of(net)

    def _trained(self) -> nn.Module:
        if self._net is None:
            raise HourglassError(f"{self.name} has not been trained: fit or load it first")
        return self._net

    @staticmethod
    def _network_of(net: nn.Module) -> RatingNetwork:
        network: Any = net  # PyTorch's modules say nothing of their methods' types
        checked: RatingNetwork = network
        return checked


class _ValueLearner:
    def __init__(self, net: nn.Module, loss: Callable[[Ints], Tensor]) -> None:
        self.net, self._loss = net, loss

    def loss(self, batch: Batch, rng: np.random.Generator) -> Tensor:  # noqa: ARG002
        """Sum of the losses of the batch's events."""
        if not batch.cells.size:
            return next(self.net.parameters()).new_zeros(())
        return self._loss(batch.cells[:, 0])

    def carried_state(self) -> dict[str, Tensor]:
        """Nothing is carried."""
        return {}

    def resume(self, carried: Mapping[str, Tensor]) -> None:
        """Nothing is carried."""

    def validation_loss(self) -> float | None:
        """There is no validation part."""
        return None
