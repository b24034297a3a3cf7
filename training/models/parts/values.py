"""Any network that predicts values, fitted on the squared errors of single events.

N events, n requests, V items, U users, R ratings of the training part.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from pipeline.array_types import Bools, Floats32, Ints, Ints32
from pipeline.errors import HourglassError
from training.batching.events import EventsPlan
from training.batching.targets import latest
from training.data.reader import DataSet, Histories, Requests
from training.model_types import Report, Tensors
from training.models.parts.base import require_items, take_tensor
from training.models.parts.rating_requests import (
    RatingNetwork,
    RatingRequests,
    Ratings,
    RatingSizes,
    RowsOfParent,
)
from training.nn.step_inputs import ValueScale
from training.nn.tables.user_table import learned_users
from training.nn.warm_start import TensorsOfParent, item_rows, user_rows
from training.parameters import require, require_choice
from training.trainer.device import device_of
from training.trainer.interface import Batch, FitOptions, ParentWeights
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
    or auto; ``checkpoint_s``: seconds between checkpoints.

    ``continue_h``: above 0, a model that is continued learns from values of this many latest hours
    only, for ``continue_epochs``, at ``continue_rate`` of the learning rate; 0: as if it were
    trained afresh.
    """

    width: int = 32
    epochs: int = 20
    batch_events: int = 256
    learning_rate: float = 0.005
    weight_decay: float = 0.01
    continue_h: int = 0
    continue_epochs: int = 2
    continue_rate: float = 1.0
    checkpoint_s: float = 120.0
    device: str = "auto"

    def __post_init__(self) -> None:
        for name in ("width", "epochs", "continue_epochs", "batch_events"):
            require(getattr(self, name) >= 1, name, getattr(self, name), "at least 1")
        for name in ("learning_rate", "continue_rate", "checkpoint_s"):
            require(getattr(self, name) > 0, name, getattr(self, name), "above 0")
        for name in ("weight_decay", "continue_h"):
            require(getattr(self, name) >= 0, name, getattr(self, name), "0 or more")
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
        self._optimiser: Tensors = {}
        self._known_users: Ints = np.zeros(0, np.int64)  # (U,) hashes, ascending

    def fit(self, data: DataSet, seed: int, report: Report) -> dict[str, float]:
        """Train from scratch; on the CPU equal seeds give equal weights."""
        return self.fit_with(data, seed, report, FitOptions())

    def fit_with(
        self, data: DataSet, seed: int, report: Report, options: FitOptions
    ) -> dict[str, float]:
        """Train, from scratch or from another model, perhaps going on with an earlier attempt.

        Raises:
            HourglassError: there is nothing to learn from, the loss is no longer a number, or the
                model to continue from has another shape.
        """
        require_items(self.name, data)
        histories, chosen, parent = data.histories, self.parameters, options.parent
        rated = histories.is_target & np.isfinite(histories.value)
        if not rated.any():
            raise HourglassError(
                f"{self.name}: no event has a value: name its column in source.columns.value"
            )
        learned, epochs, rate = rated, chosen.epochs, chosen.learning_rate
        if parent is not None and chosen.continue_h > 0:
            learned = latest(data, rated, chosen.continue_h)
            epochs, rate = chosen.continue_epochs, rate * chosen.continue_rate
        net, optimiser = self._built(data, rated, learned, seed, parent)
        self._net = net.to(device_of(options.device or chosen.device))
        if options.checkpoints is not None:
            options = dataclasses.replace(options, checkpoints=options.checkpoints / "fit")
        schedule = Schedule(
            epochs,
            rate,
            decay_epochs=chosen.epochs,
            weight_decay=chosen.weight_decay,
            checkpoint_s=chosen.checkpoint_s,
        )
        begun = "nothing" if parent is None else parent.model_id
        lasting = dataclasses.replace(chosen, checkpoint_s=1.0)  # what changes no weight
        result = run_fit(
            self.name,
            _ValueLearner(net, lambda event: self._squared_error(histories, event)),
            EventsPlan(np.flatnonzero(learned), chosen.batch_events, seed),
            schedule,
            seed,
            report,
            options,
            f"{data.manifest.dataset_id} from {begun}: {lasting}",
            optimiser,
        )
        self._optimiser = result.optimiser
        return {name: result.metrics[name] for name in ("loss", "epochs")}

    def optimiser_tensors(self) -> Tensors:
        """State of the optimiser after the last fit."""
        return self._optimiser

    def _built(
        self, data: DataSet, rated: Bools, learned: Bools, seed: int, parent: ParentWeights | None
    ) -> tuple[nn.Module, Tensors | None]:
        """A network with its first weights, which remembers all that is ``rated`` (N,).

        With it comes what the parent kept of its optimiser.
        """
        histories = data.histories
        users_before = None if parent is None else take_tensor(parent.tensors, _KNOWN_USERS)
        self._known_users = learned_users(histories, learned, users_before)
        if parent is None:
            self._scale = ValueScale.of(np.asarray(histories.value)[rated])
        else:
            self._scale = _scale_of(parent.tensors)
        ratings = Ratings.of(histories, rated, self._scale, self._known_users)
        self._sizes = RatingSizes(len(data.item_ids), len(self._known_users), len(ratings.item))
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            net = self._network(self._sizes, self.parameters)
        network = self._network_of(net)
        network.remember(ratings)
        if parent is None or users_before is None:
            return net, None
        rows = RowsOfParent(
            user_rows(self._known_users, users_before),
            item_rows(data.item_ids, parent.item_ids),
            parent.tensors,
        )
        continuation = TensorsOfParent(parent, network.places_in(rows))
        continuation.weights(net)
        return net, continuation.optimiser(net)

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
        scale = _scale_of(tensors)
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


def _scale_of(tensors: Mapping[str, NDArray[Any]]) -> ValueScale:
    return ValueScale(*(float(number) for number in take_tensor(tensors, _SCALE)))


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
