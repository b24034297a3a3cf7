"""Turns batches of steps into losses: of the items that come next, or of their values.

B rows, T steps, n targets of a batch, S negatives, V items, D width, R rows of the item table.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from pipeline.array_types import Bools, Floats32, Ints, Ints32
from training.nn.build import Drawn, Negatives
from training.nn.losses import NEVER, Loss, weighted
from training.nn.network import StateNet, StepTensors, UserRows
from training.nn.retention import Anchor, distillation
from training.nn.step_inputs import EventSteps
from training.nn.steps import Carried, Steps
from training.trainer.interface import Batch

_OF_TEACHER = "teacher."
_ITEM_TABLES = ("items.vector.weight", "items.bias.weight", "items.entry.weight")


class Prior(Protocol):
    """What is added to the scores of training targets (HRNN eq. 5)."""

    def of(self, event: Ints, column: Ints | slice) -> Floats32:
        """log q at events' times of the items column + 1; the two are broadcast together."""
        ...


@dataclass(frozen=True)
class TrainingData:
    """What is learned from: N events of users whose features may be known."""

    steps: EventSteps
    item: Ints32  # (N,) 1-based
    users: UserRows
    validate: Callable[[], float | None]  # what `Learner.validation_loss` gives


@dataclass(frozen=True)
class _Predictions:
    """What a batch gives before any loss."""

    states: Tensor  # (n, D) at the targets
    vectors: Tensor  # (R, D) of the items that the batch touches
    biases: Tensor  # (R,)
    target: Tensor  # (n,) rows of the targets
    other: Tensor  # rows of whatever else was asked for
    items: Tensor  # (R,) 1-based


class RecurrentLearner(ABC):
    """What learners of a state net share: the lookup of items, and the state that is carried."""

    def __init__(self, net: StateNet, data: TrainingData) -> None:
        self.net = net
        self._data = data
        self._carried: Carried = {}

    @property
    def _device(self) -> torch.device:
        return self.net.items.vector.weight.device

    def loss(self, batch: Batch, rng: np.random.Generator) -> Tensor:
        """Sum of the losses of the batch's targets."""
        if not batch.cells.size:
            return torch.zeros((), device=self._device)
        return self._loss_of(batch, rng)

    @abstractmethod
    def _loss_of(self, batch: Batch, rng: np.random.Generator) -> Tensor: ...

    def carried_state(self) -> dict[str, Tensor]:
        """The states after the last batch."""
        return self._carried

    def resume(self, carried: Mapping[str, Tensor]) -> None:
        """Take over states."""
        self._carried = {name: tensor.to(self._device) for name, tensor in carried.items()}

    def validation_loss(self) -> float | None:
        """Whatever the maker of this learner measures on events that are not learned from."""
        self.net.eval()
        try:
            return self._data.validate()
        finally:
            self.net.train()

    def _predictions(self, batch: Batch, other: Tensor, mix: float) -> _Predictions:
        """States at the targets, and the rows of all items that the batch touches.

        Each row is looked up once, so that its gradient holds only those.
        """
        net, device = self.net, self._device
        steps = StepTensors.of(self._data.steps.at(batch.cells), device)
        event = batch.cells[batch.target]  # (n,)
        target = torch.from_numpy(self._data.item[event].astype(np.int64)).to(device)
        lookups = [steps.item.flatten(), target, other]
        touched, where = torch.unique(torch.cat(lookups), return_inverse=True)
        at_input, at_target, at_other = torch.split(where, [len(items) for items in lookups])
        vectors, biases = net.items.rows(touched, mix)
        entries = functional.embedding(at_input, net.items.entries(touched, vectors))
        begins = ~_mask(batch.keep, device)
        entered = entries.view(*batch.cells.shape, -1)
        states = self._states(batch, net.steps(entered, steps, self._data.users, begins))
        states = states[_mask(batch.target, device)]
        return _Predictions(net.dropout(states), vectors, biases, at_target, at_other, touched)

    def _states(self, batch: Batch, steps: Steps) -> Tensor:
        """States of all steps (B, T, D); what is carried is kept for the next batch."""
        carried = self._carried if batch.carries else {}
        if any(len(tensor) != len(batch.cells) for tensor in carried.values()):
            carried = {}
        states, after = self.net(steps, carried or self.net.begin(len(batch.cells)))
        self._carried = {name: tensor[:, -1].detach() for name, tensor in after.items()}
        result: Tensor = states
        return result


def _mask(cells: Bools, device: torch.device) -> Tensor:
    # A plan may hand out views that cannot be written to, which PyTorch does not take.
    return torch.from_numpy(np.array(cells)).to(device)


@dataclass(frozen=True)
class Teacher:
    """The parent, as far as its scores are taught.

    ``unmet``: items that it never met, (V + 1,) from the start token on: it says nothing of them.
    """

    learner: RankingLearner  # over the parent's network
    strength: float
    unmet: Tensor


@dataclass(frozen=True)
class Retention:
    """What a network that goes on is held to, `training.nn.retention`; nothing by default."""

    teacher: Teacher | None = None
    anchor: Anchor | None = None


@dataclass(frozen=True)
class _Scores:
    """What the loss of a batch is made of."""

    own: Tensor  # (n,) of the targets
    others: Tensor  # (n, S) of draws, or (n, V) of all items
    items: Tensor  # (R,) 1-based, that the batch touches


class RankingLearner(RecurrentLearner):
    """The loss of next-item prediction.

    Args:
        net: the network.
        data: inputs and targets.
        user_of: rows of the users of events.
        loss: how scores of target and others become a number.
        negatives: what is drawn instead of all items; None scores all items.
        prior: log q of the targets' times; scaled by the network's temperature, or taken as it is
            where the network has none.
        reward: (N,) r of HRNN 3.3; None is 1.
    """

    def __init__(
        self,
        net: StateNet,
        data: TrainingData,
        user_of: Callable[[Ints], Ints],
        loss: Loss,
        negatives: Negatives | None,
        prior: Prior | None,
        reward: Floats32 | None,
    ) -> None:
        super().__init__(net, data)
        self._user_of, self._loss, self._negatives = user_of, loss, negatives
        self._prior, self._reward = prior, reward
        self.retention = Retention()

    def carried_state(self) -> dict[str, Tensor]:
        """The states after the last batch, those of the teacher too."""
        teacher = self.retention.teacher
        if teacher is None:
            return super().carried_state()
        of_teacher = {
            _OF_TEACHER + name: each for name, each in teacher.learner.carried_state().items()
        }
        return {**super().carried_state(), **of_teacher}

    def resume(self, carried: Mapping[str, Tensor]) -> None:
        """Take over states."""
        own = {name: each for name, each in carried.items() if not name.startswith(_OF_TEACHER)}
        super().resume(own)
        if self.retention.teacher is not None:
            start = len(_OF_TEACHER)
            self.retention.teacher.learner.resume(
                {name[start:]: each for name, each in carried.items() if name not in own}
            )

    def _loss_of(self, batch: Batch, rng: np.random.Generator) -> Tensor:
        # Drawn for the batch, so that features and vectors each learn to stand alone (HRNN 2.3).
        mix = float(rng.random()) if self.net.items.encoder is not None else 0.0
        event = batch.cells[batch.target]  # (n,)
        drawn = self._drawn(batch, event, rng)
        scores = self._scores(batch, event, drawn, mix)
        rewards = self._rewards(event)
        if drawn is None:
            target = self._column(event)
            losses = self._loss.dense(scores.others, target, rewards)
        else:
            weights = (drawn.log_weight, drawn.excluded)
            losses = self._loss.sampled(scores.own, scores.others, *weights, rewards)
        return losses.sum() + self._held(batch, event, drawn, mix, scores)

    def _drawn(self, batch: Batch, event: Ints, rng: np.random.Generator) -> Drawn | None:
        if self._negatives is None:
            return None
        item = self._data.item
        return self._negatives.draw(
            self._user_of(event),
            event,
            item[event].astype(np.int64),
            item[batch.cells[batch.real]].astype(np.int64),
            rng,
        ).to(self._device)

    def _column(self, event: Ints) -> Tensor:
        """Columns of the targets, (n,)."""
        return torch.from_numpy(self._data.item[event].astype(np.int64) - 1).to(self._device)

    def _scores(self, batch: Batch, event: Ints, drawn: Drawn | None, mix: float) -> _Scores:
        if drawn is None:
            target = self._column(event)
            answers = self._predictions(batch, target[:0], mix)
            scores = functional.linear(answers.states, *self.net.items.everything(mix))  # (n, V)
            if self._prior is not None:
                scores = scores + self._log_q(event, slice(None))
            return _Scores(scores.gather(1, target[:, None])[:, 0], scores, answers.items)
        answers = self._predictions(batch, drawn.item, mix)
        vectors, biases = answers.vectors, answers.biases
        own = (answers.states * vectors[answers.target]).sum(-1) + biases[answers.target]  # (n,)
        others = functional.linear(
            answers.states, vectors[answers.other], biases[answers.other]
        )  # (n, S)
        if self._prior is not None:
            own = own + self._log_q(event, self._data.item[event].astype(np.int64) - 1)
            others = others + self._log_q(event[:, None], drawn.item.cpu().numpy()[None, :] - 1)
        return _Scores(own, others, answers.items)

    def _held(
        self, batch: Batch, event: Ints, drawn: Drawn | None, mix: float, scores: _Scores
    ) -> Tensor:
        """What the batch's targets pay for being away from the parent."""
        teacher, anchor = self.retention.teacher, self.retention.anchor
        paid = torch.zeros((), device=self._device)
        if teacher is not None:
            with torch.no_grad():
                taught = teacher.learner._scores(batch, event, drawn, mix)
            untaught = self._untaught(teacher, event, drawn)
            own, others = (
                _candidates(each, drawn).masked_fill(untaught, NEVER) for each in (scores, taught)
            )
            paid = paid + teacher.strength * distillation(own, others).sum()
        if anchor is not None:
            tables = _ITEM_TABLES if self.net.items.vector.sparse else ()
            rows = dict.fromkeys(tables, scores.items)
            paid = paid + len(event) * anchor.penalty(self.net, rows)
        return paid

    def _untaught(self, teacher: Teacher, event: Ints, drawn: Drawn | None) -> Tensor:
        """Which candidates, as `_candidates` has them, the parent never met."""
        if drawn is None:
            return teacher.unmet[1:]  # (V,)
        own = teacher.unmet[1:][self._column(event)]  # (n,)
        others = teacher.unmet[drawn.item].expand(len(own), -1)
        return torch.cat([own[:, None], others], dim=1)  # (n, 1 + S)

    def _log_q(self, event: Ints, column: Ints | slice) -> Tensor:
        assert self._prior is not None  # noqa: S101 - the callers looked
        log_q = torch.from_numpy(self._prior.of(event, column)).to(self._device)
        return log_q if self.net.temperature is None else self.net.temperature * log_q

    def _rewards(self, event: Ints) -> Tensor | None:
        return (
            None if self._reward is None else torch.from_numpy(self._reward[event]).to(self._device)
        )


def _candidates(scores: _Scores, drawn: Drawn | None) -> Tensor:
    """Logits (n, C) of the items that a target is told from, the target first where drawn."""
    if drawn is None:
        return scores.others
    others = weighted(scores.others, drawn.log_weight, drawn.excluded)
    return torch.cat([scores.own[:, None].to(others.dtype), others], dim=1)


class RatingLearner(RecurrentLearner):
    """Squared errors of the values of events (HRNN tables 4 and 5); ``value`` (N,) standardised."""

    def __init__(self, net: StateNet, data: TrainingData, value: Floats32) -> None:
        super().__init__(net, data)
        self._value = value

    def _loss_of(self, batch: Batch, rng: np.random.Generator) -> Tensor:
        mix = float(rng.random()) if self.net.items.encoder is not None else 0.0
        none = torch.zeros(0, dtype=torch.int64, device=self._device)
        answers = self._predictions(batch, none, mix)
        products = (answers.states * answers.vectors[answers.target]).sum(-1)  # (n,)
        rated = self.net.rate(answers.states, products, answers.biases[answers.target])
        wanted = torch.from_numpy(self._value[batch.cells[batch.target]]).to(self._device)
        return (rated - wanted).square().sum()
