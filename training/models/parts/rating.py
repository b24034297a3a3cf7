"""The rating head, above any encoder: what value will the next event on an item have?

    value_j = mean + deviation * (leaning . state + bias_j + strength * state . vector_j)

Events without a value are told, but not learned from (HRNN 4.3, tables 4 and 5).
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import torch
from torch.nn import functional

from pipeline.array_types import Bools, Floats32, Ints, Ints32
from pipeline.errors import HourglassError, UsageError
from training.batching.targets import TargetSplit, validation_requests
from training.data.reader import DataSet, Histories, Requests
from training.models.parts.recurrent import RecurrentModel
from training.nn.learner import RatingLearner, RecurrentLearner
from training.nn.network import NetOptions
from training.nn.parameters import RecurrentParameters
from training.nn.steps import EncoderMaker


class RatingModel(RecurrentModel):
    """Predicts values; as a ranking, items come in the order of the values that are expected.

    Args:
        name: the type's name.
        parameters: of the engine, and the encoder's own; ``loss``, ``negatives`` and what goes with
            them mean nothing here.
        encoder: makes the encoder of the parameters.
    """

    _figure: ClassVar[str] = "validation_rmse"
    _figure_text: ClassVar[str] = "RMSE"

    def __init__(self, name: str, parameters: RecurrentParameters, encoder: EncoderMaker) -> None:
        if parameters.continue_distil or parameters.continue_anchor:
            raise UsageError(
                f"{name} does not rank: leave out continue_distil and continue_anchor, which hold "
                "rankings to those of the parent"
            )
        self.name = name
        super().__init__(parameters, encoder)

    def _learnable(self, histories: Histories) -> Bools:
        targets = super()._learnable(histories) & np.isfinite(histories.value)
        if not targets.any():
            raise HourglassError(
                f"{self.name}: no event has a value: name its column in source.columns.value"
            )
        return targets

    def _net_options(self, n_items: int) -> NetOptions:
        options = super()._net_options(n_items)
        return NetOptions(**{**vars(options), "rates": True, "sparse": True})

    def _learner(self, data: DataSet, split: TargetSplit) -> RecurrentLearner:
        scaled = self.input_encoding().scale.apply(np.asarray(data.histories.value))
        return RatingLearner(self.trained_net(), self._training_data(data, split), scaled)

    def _validation(self, histories: Histories, validation: Ints) -> float | None:
        """Root of the mean squared error on events that are not learned from."""
        if not len(validation):
            return None
        n_items = self.trained_net().items.n_items
        requests, event = validation_requests(histories, validation, n_items)
        predicted = self.predict(histories, requests, np.asarray(histories.item)[event])
        return float(np.sqrt(np.mean((predicted - np.asarray(histories.value)[event]) ** 2)))

    def _reported(self, validation_loss: float) -> float:
        return validation_loss

    def predict(self, histories: Histories, requests: Requests, item: Ints32) -> Floats32:
        """The value expected of item (n,), 1-based, at each request, (n,)."""
        values = np.empty(len(requests), np.float32)
        scale = self.input_encoding().scale
        with self.inference():
            vectors, biases = self.trained_net().items.everything(self.parameters.warm_mix)
            for rows, states in self.request_states(histories, requests):
                item_rows = torch.from_numpy(item[rows].astype(np.int64) - 1).to(vectors.device)
                products = (states * vectors[item_rows]).sum(-1)  # (b,)
                rated = self.trained_net().rate(states, products, biases[item_rows])
                values[rows] = rated.cpu().numpy()
        return (values * scale.deviation + scale.mean).astype(np.float32)

    def score(self, histories: Histories, requests: Requests) -> Floats32:
        """The value expected of every item at each request, (n, V)."""
        net, scale = self.trained_net(), self.input_encoding().scale
        scores = np.empty((len(requests), net.items.n_items), np.float32)
        with self.inference():
            vectors, biases = net.items.everything(self.parameters.warm_mix)
            for rows, states in self.request_states(histories, requests):
                rated = net.rate(states, functional.linear(states, vectors), biases)  # (b, V)
                scores[rows] = rated.cpu().numpy()
        return (scores * scale.deviation + scale.mean).astype(np.float32)
