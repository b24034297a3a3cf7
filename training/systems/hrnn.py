"""HRNN: one GRU that is told about sessions and time at its input (HRNN sections 2.1-2.2).

    state_k = GRU(state_{k-1}, [item_{k-1}; delta_k; session_start_k; dwell_{k-1}])
    score_j = state_k . item_j + bias_j                                        (HRNN 2.3)

Item embeddings are shared between input and output.  B rows, T steps, D width, V items.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from pipeline.errors import HourglassError
from training.batches import Windows, batches_of, padded, scoring_batches, training_windows
from training.fit import Schedule, device_of, run_epochs
from training.losses import dense_softmax_loss, sampled_softmax_loss
from training.reader import DataSet, Histories, Requests
from training.samplers import AliasSampler
from training.systems.base import Report, Tensors, require, require_items, take_tensor
from training.systems.inputs import (
    N_DELTA_BINS,
    SessionRule,
    StepInputs,
    event_inputs,
    request_inputs,
)

Ints = NDArray[np.int64]
_SCORING_CELLS = 8192  # padded steps scored together; bounds memory, not results
_RULE = "session_rule"
_MIN_BATCH_EVENTS = 64


@dataclass(frozen=True)
class HrnnParameters:
    """What is built and how it is trained.

    ``width``: of item embeddings and state.  ``max_len``: events a state may look back on.
    ``negatives``: sampled items per batch; all items when there are no more than that.
    ``session_input``, ``delta_input``, ``dwell_input``: what the network is told beside items.
    ``repeats``: whether an event on the item just seen is a target.
    ``batch_events``: steps per batch; small data sets get smaller batches, ``min_batches`` an
    epoch.  ``device``: cpu, cuda or auto.
    """

    width: int = 100
    max_len: int = 100
    epochs: int = 8
    batch_events: int = 1024
    min_batches: int = 40
    learning_rate: float = 0.008
    dropout: float = 0.4
    negatives: int = 2048
    negative_power: float = 0.75
    max_gradient_norm: float = 5.0
    session_input: bool = True
    delta_input: bool = True
    dwell_input: bool = True
    repeats: bool = False
    device: str = "auto"

    def __post_init__(self) -> None:
        for name in ("width", "max_len", "epochs", "batch_events", "min_batches", "negatives"):
            require(getattr(self, name) >= 1, name, getattr(self, name), "at least 1")
        for name in ("learning_rate", "max_gradient_norm"):
            require(getattr(self, name) > 0, name, getattr(self, name), "above 0")
        require(0 <= self.dropout < 1, "dropout", self.dropout, "0 or more and below 1")
        power = self.negative_power
        require(0 <= power <= 1, "negative_power", power, "between 0 and 1")
        devices = ("auto", "cpu", "cuda")
        require(self.device in devices, "device", self.device, "auto, cpu or cuda")


class HrnnNet(nn.Module):
    """The network; row 0 of the item tables is the start token."""

    def __init__(self, n_items: int, dwell_bins: int, chosen: HrnnParameters, prior: bool) -> None:
        super().__init__()
        sampled = chosen.negatives < n_items
        self.item = nn.Embedding(n_items + 1, chosen.width, sparse=sampled)
        self.bias = nn.Embedding(n_items + 1, 1, sparse=sampled)
        self.delta = nn.Embedding(N_DELTA_BINS, 16) if chosen.delta_input else None
        self.dwell = nn.Embedding(dwell_bins + 1, 8) if chosen.dwell_input else None
        self.session_input = chosen.session_input
        told = 16 * chosen.delta_input + 8 * chosen.dwell_input + chosen.session_input
        self.gru = nn.GRU(chosen.width + told, chosen.width, batch_first=True)
        self.dropout = nn.Dropout(chosen.dropout)
        # How strongly log q counts (HRNN 3.2); learned from a start at face value.
        self.temperature = nn.Parameter(torch.ones(())) if prior else None
        nn.init.normal_(self.item.weight, std=chosen.width**-0.5)
        nn.init.zeros_(self.bias.weight)

    def forward(self, items: Tensor, session_start: Tensor, delta: Tensor, dwell: Tensor) -> Tensor:
        """States (B, T, D) from item embeddings (B, T, D) and the context (B, T) each."""
        told = [self.dropout(items)]
        if self.delta is not None:
            told.append(self.delta(delta))  # (B, T, 16)
        if self.session_input:
            told.append(session_start[..., None])  # (B, T, 1)
        if self.dwell is not None:
            told.append(self.dwell(dwell))  # (B, T, 8)
        states, _ = self.gru(torch.cat(told, dim=-1))
        dropped: Tensor = self.dropout(states)
        return dropped


class Hrnn:
    """Learns from every prefix of every history whose next event is a target."""

    name: ClassVar[str] = "hrnn"
    _has_prior: ClassVar[bool] = False

    def __init__(self, parameters: HrnnParameters) -> None:
        self.parameters = parameters
        self._net: HrnnNet | None = None
        self._rule = SessionRule(gap_s=1, dwell_width_s=1.0, dwell_bins=1)

    def fit(self, data: DataSet, seed: int, report: Report) -> dict[str, float]:
        """Train from scratch; on the CPU equal seeds give equal weights.

        Raises:
            HourglassError: there is nothing to learn from, or the loss is no longer a number.
        """
        require_items(self.name, data)
        manifest, chosen = data.manifest, self.parameters
        self._rule = SessionRule(manifest.gap_s, manifest.dwell.width_s, manifest.dwell.bins)
        device = device_of(chosen.device)
        rng = np.random.default_rng(seed)
        with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
            torch.manual_seed(seed)
            net = HrnnNet(len(data.item_ids), self._rule.dwell_bins, chosen, self._has_prior)
            self._net = net.to(device)
            self._prepare(data)
            lesson = _Lesson.of(self.name, data.histories, self._rule, chosen)
            sampler = AliasSampler(np.maximum(data.item_events, 1) ** chosen.negative_power)

            return run_epochs(
                self.name,
                self._net,
                batches=lambda: lesson.batches(chosen, rng),
                loss_of=lambda rows: self._loss(lesson, rows, sampler, rng),
                events_per_epoch=lesson.n_targets,
                schedule=Schedule(chosen.epochs, chosen.learning_rate, chosen.max_gradient_norm),
                report=report,
            )

    def _prepare(self, data: DataSet) -> None:
        """Let a variant get ready before training starts."""

    def _with_prior(self, scores: Tensor, event: Ints, column: Ints | slice) -> Tensor:  # noqa: ARG002
        """Let a variant add to training scores of events' steps and the items column + 1.

        The two index a table (N, V) of all events and items: together, broadcast.
        """
        return scores

    def _with_request_prior(self, scores: Tensor, requests: Requests) -> Tensor:  # noqa: ARG002
        """Let a variant add to the scores (B, V) of requests."""
        return scores

    def _loss(
        self, lesson: _Lesson, rows: Ints, sampler: AliasSampler, rng: np.random.Generator
    ) -> tuple[Tensor, int]:
        net = self._fitted()
        cells, wanted = lesson.cells(rows)  # (B, T) both
        event = cells[wanted]  # (n,)
        target = torch.from_numpy(lesson.item[event]).to(net.item.weight.device)  # (n,)
        n_items = net.item.num_embeddings - 1
        inputs = _tensors_of(lesson.inputs.at(cells), net)
        is_target = torch.from_numpy(wanted).to(target.device)
        if self.parameters.negatives >= n_items:
            states = net(net.item(inputs[0]), *inputs[1:])[is_target]  # (n, D)
            scores = functional.linear(states, net.item.weight[1:], net.bias.weight[1:, 0])
            scores = self._with_prior(scores, event, slice(None))
            return dense_softmax_loss(scores, target - 1), len(event)

        drawn = sampler.draw(self.parameters.negatives, rng)
        sampled = torch.from_numpy(drawn + 1).to(target.device)  # (S,)
        # Each row that the batch touches is looked up once, so its gradient holds only those.
        asked = torch.cat([inputs[0].flatten(), target, sampled])
        touched, where = torch.unique(asked, return_inverse=True)
        table, bias = net.item(touched), net.bias(touched)[:, 0]
        at_input, at_target, at_sampled = where.split(
            [inputs[0].numel(), len(target), len(sampled)]
        )
        embedded = functional.embedding(at_input, table).view(*cells.shape, -1)  # (B, T, D)
        states = net(embedded, *inputs[1:])[is_target]  # (n, D)
        target_score = (states * table[at_target]).sum(-1) + bias[at_target]  # (n,)
        scores = functional.linear(states, table[at_sampled], bias[at_sampled])  # (n, S)
        target_score = self._with_prior(target_score, event, lesson.item[event] - 1)
        scores = self._with_prior(scores, event[:, None], drawn[None, :])
        log_q = torch.from_numpy(np.log(sampler.probability[drawn])).to(scores)
        loss = sampled_softmax_loss(target_score, scores, target, sampled, log_q)
        return loss, len(event)

    def score(self, histories: Histories, requests: Requests) -> NDArray[np.float32]:
        """Run the last ``max_len`` known steps of each request and score all items, (n, V)."""
        net = self._fitted()
        net.eval()
        scores = np.empty((len(requests), net.item.num_embeddings - 1), np.float32)
        last = request_inputs(histories, requests, self._rule)
        # Without any event every request is one step, its last, and nothing is earlier.
        earlier = event_inputs(histories, self._rule) if len(histories.item) else last
        # The last step comes from the request, the ones before it from known events.
        steps = np.minimum(requests.length, self.parameters.max_len - 1) + 1
        first = histories.offsets[requests.user] + requests.length + 1 - steps
        with torch.inference_mode():
            for rows in scoring_batches(steps, _SCORING_CELLS):
                cells, _ = padded(first[rows], steps[rows])  # (B, T)
                inside = np.minimum(cells, max(0, len(histories.item) - 1))
                at_end = (np.arange(len(rows)), steps[rows] - 1)
                inputs = _tensors_of(earlier.at(inside).with_steps(at_end, last.at(rows)), net)
                states = net(net.item(inputs[0]), *inputs[1:])  # (B, T, D)
                state = states[at_end]  # (B, D)
                ranked = functional.linear(state, net.item.weight[1:], net.bias.weight[1:, 0])
                ranked = self._with_request_prior(ranked, requests.take(rows))
                scores[rows] = ranked.cpu().numpy()
        return scores

    def _fitted(self) -> HrnnNet:
        if self._net is None:
            raise HourglassError(f"{self.name} has not been trained: fit or load it first")
        return self._net

    def tensors(self) -> Tensors:
        """Weights by their names in the network, and the session rule."""
        weights = {k: v.cpu().numpy() for k, v in self._fitted().state_dict().items()}
        rule = [self._rule.gap_s, self._rule.dwell_width_s, self._rule.dwell_bins]
        return {**weights, _RULE: np.array(rule, np.float64)}

    def load(self, tensors: Mapping[str, NDArray[Any]]) -> None:
        """Take over weights.

        Raises:
            HourglassError: a weight is missing or has another shape than the parameters say.
        """
        gap_s, width_s, bins = take_tensor(tensors, _RULE)
        self._rule = SessionRule(int(gap_s), float(width_s), int(bins))
        n_items = len(take_tensor(tensors, "item.weight")) - 1
        net = HrnnNet(n_items, int(bins), self.parameters, self._has_prior)
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
        self._net = net.to(device_of(self.parameters.device))


@dataclass(frozen=True)
class _Lesson:
    """All training steps of a data set: N events, W windows."""

    windows: Windows  # (W,)
    inputs: StepInputs  # (N,)
    item: Ints  # (N,)
    is_target: NDArray[np.bool_]  # (N,)
    n_targets: int

    @classmethod
    def of(
        cls, system: str, histories: Histories, rule: SessionRule, chosen: HrnnParameters
    ) -> _Lesson:
        inputs = event_inputs(histories, rule)
        item = histories.item.astype(np.int64)
        is_target = histories.is_target
        if not chosen.repeats:
            is_target &= inputs.item != item
        n_targets = int(is_target.sum())
        if not n_targets:
            raise HourglassError(
                f"{system}: every event repeats the user's previous item: set repeats to true"
            )
        windows = training_windows(histories, chosen.max_len)
        return cls(windows, inputs, item, is_target, n_targets)

    def batches(self, chosen: HrnnParameters, rng: np.random.Generator) -> Iterator[Ints]:
        """The window rows of each batch that holds a target."""
        small = int(self.windows.length.sum()) // chosen.min_batches
        size = min(chosen.batch_events, max(_MIN_BATCH_EVENTS, small))
        for rows in batches_of(self.windows.length, size, rng):
            if self.cells(rows)[1].any():
                yield rows

    def cells(self, rows: Ints) -> tuple[Ints, NDArray[np.bool_]]:
        """Event positions (B, T) of windows, and which of them are targets."""
        start, length = self.windows.start[rows], self.windows.length[rows]
        cells, real = padded(start, length)
        own = cells >= self.windows.first_target[rows][:, None]
        return cells, real & own & self.is_target[cells]


def _tensors_of(inputs: StepInputs, net: HrnnNet) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    device = net.item.weight.device
    return (
        torch.from_numpy(inputs.item).to(device),
        torch.from_numpy(inputs.session_start).to(device, torch.float32),
        torch.from_numpy(inputs.delta).to(device),
        torch.from_numpy(inputs.dwell).to(device),
    )
