"""The training loop of every gradient-trained system.

Every random choice depends on seed, epoch and batch number only, so a fit that was killed goes on
from its place, carried state, weights and optimiser to the very weights it would have reached.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass
from itertools import islice

import torch
from torch import Tensor

from pipeline.errors import HourglassError
from training.model_types import FitProgress, Report, Tensors
from training.trainer.checkpoint import Checkpoint, Identity, Keeper, Place
from training.trainer.distributed import Processes
from training.trainer.divergence import Guards, Step
from training.trainer.interface import Batch, FitOptions, Learner, Plan
from training.trainer.optimisers import Optimiser
from training.trainer.progress import Meter
from training.trainer.schedule import Schedule
from training.trainer.step import Stepper

__all__ = ["FitResult", "Schedule", "run_fit"]


@dataclass(frozen=True)
class FitResult:
    """What came out of a fit, apart from the weights.

    ``metrics`` are the same whenever the same fit is run again on the CPU: ``loss``, the mean of
    the last epoch; ``epochs`` that were run; where there is a validation part, ``best_epoch`` and
    its ``validation_loss``.  Speed depends on the machine and is kept apart from them.
    """

    metrics: dict[str, float]
    best_epoch: int  # the one whose weights the network has now
    optimiser: Tensors  # after the last epoch
    events_per_s: float  # targets learned from, since this process began or resumed


def run_fit(
    system: str,
    learner: Learner,
    plan: Plan,
    schedule: Schedule,
    seed: int,
    report: Report,
    options: FitOptions,
    fingerprint: str,
    optimiser: Tensors | None = None,
) -> FitResult:
    """Minimise the learner's loss over the plan's batches; its network has the weights at the end.

    With a validation loss those are the weights of the best epoch.  Where `torchrun` started
    several processes, each is to call this with equal arguments.

    Args:
        system: name for error messages.
        learner: on its device.
        plan: batches of each epoch.
        schedule: epochs, learning rate, optimiser.
        seed: of every random choice.
        report: told about ten times a second and at the end of every epoch, by the first process.
        options: ``checkpoints`` is used: what lies there is resumed.  The caller removes it with
            `forget_checkpoint` once the model is safe.
        fingerprint: of everything that decides what comes out: data, parameters, code.
        optimiser: state to begin with, in the shapes of the network's parameters.

    Raises:
        HourglassError: there is nothing to learn from, the loss or a gradient is not a number,
            the fit diverges, a checkpoint is damaged or of another fit or cannot be written.
    """
    if plan.n_targets < 1:
        raise HourglassError(
            f"{system}: no event is left to learn from: lengthen the data set's window, or lower "
            "its support thresholds"
        )
    processes = Processes.here()
    identity = Identity(fingerprint, seed, schedule.name, processes.world)
    keeper = Keeper(system, options.checkpoints, identity, processes, schedule.checkpoint_s)
    fit = _Fit(system, learner, plan, schedule, seed, report, processes, keeper)
    device = fit.stepper.device
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        fit.begin(optimiser)
        while not fit.place.finished:
            fit.run_epoch()
        return fit.result()


class _Fit:
    def __init__(
        self,
        system: str,
        learner: Learner,
        plan: Plan,
        schedule: Schedule,
        seed: int,
        report: Report,
        processes: Processes,
        keeper: Keeper,
    ) -> None:
        self._system, self._learner, self._plan, self._schedule = system, learner, plan, schedule
        self._report, self._processes, self._keeper = report, processes, keeper
        self._optimiser = Optimiser(learner.net, schedule.optimiser)
        self.stepper = Stepper(system, learner, self._optimiser, processes, schedule, seed)
        self._guards = Guards(system, schedule.advice)
        self._total = schedule.epochs * plan.n_targets
        self._decay = (schedule.decay_epochs or schedule.epochs) * plan.n_targets
        self.place = Place()
        self._best: dict[str, Tensor] = {}
        self._pending: deque[tuple[Step, int, Tensor]] = deque()
        # A GPU is not waited for: it works on a batch while the figures of the last are read.
        self._in_flight = 1 if self.stepper.device.type == "cuda" else 0

    def begin(self, optimiser: Tensors | None) -> None:
        """Go on from a checkpoint, or get ready for the first batch."""
        found = self._keeper.find()
        if found is not None:
            self._take(found)
        else:
            if optimiser is not None:
                self._optimiser.load({k: torch.from_numpy(v) for k, v in optimiser.items()})
            self._learner.net.train()
            self._learner.resume({})
            self.place.opening_loss = self.stepper.opening_loss(self._plan)
            self._guards.opening(self.place.opening_loss)
        self._meter = Meter(self.place.done, self._total)

    def _take(self, found: Checkpoint) -> None:
        try:
            self._learner.net.load_state_dict(found.weights)
        except RuntimeError as error:
            raise HourglassError(
                f"{self._system}: the checkpoint's weights do not fit the network: delete it to "
                "start afresh"
            ) from error
        self._optimiser.load(found.optimiser)
        self._learner.resume(found.carried)
        self.place, self._best = found.place, dict(found.best)

    def run_epoch(self) -> None:
        """Learn from the batches of an epoch that are left, validate, and keep a checkpoint."""
        place, processes = self.place, self._processes
        self._learner.net.train()
        if not place.batch:
            self._learner.resume({})
        batches = self._plan.batches(place.epoch, processes.rank, processes.world)
        for batch in islice(batches, place.batch, None):
            self._learn(batch)
            if self._meter.is_due():
                self._tell()
        self._settle(0)
        self._guards.epoch(place)
        self._validate()
        self._tell()
        place.finished = place.epoch == self._schedule.epochs or self._is_stale()
        if not place.finished:
            place.epoch, place.batch = place.epoch + 1, 0
            place.loss_sum, place.loss_targets = 0.0, 0
        if place.finished or self._keeper.is_worth_it():
            self._keeper.keep(place, self._learner, self._optimiser, self._best)

    def result(self) -> FitResult:
        """Leave the best epoch's weights in the network, and say how it went."""
        place = self.place
        if self._best and place.best_epoch != place.epoch:
            self._learner.net.load_state_dict(self._best)
        loss = place.loss_sum / place.loss_targets if place.loss_targets else math.nan
        metrics = {"loss": loss, "epochs": float(place.epoch)}
        if place.best_epoch:
            metrics |= {"best_epoch": float(place.best_epoch), "validation_loss": place.best_loss}
        state = self._optimiser.tensors()
        return FitResult(
            metrics=metrics,
            best_epoch=place.best_epoch or place.epoch,
            optimiser={name: tensor.cpu().numpy() for name, tensor in state.items()},
            events_per_s=self._meter.average(place.done),
        )

    def _learn(self, batch: Batch) -> None:
        place, targets = self.place, batch.n_targets
        rate = self._schedule.rate(place.done, targets, self._decay)
        figures = self.stepper.learn(batch, place.epoch, place.batch, self._keeper.is_due)
        place.batch += 1
        place.done += targets
        self._pending.append((Step(place.epoch, place.batch, rate), targets, figures.values))
        self._settle(self._in_flight)
        # Some steps only bring the carried state up to date.
        if targets:
            self._optimiser.step(rate)
        if figures.is_due:
            self._settle(0)
            self._keeper.keep(place, self._learner, self._optimiser, self._best)

    def _settle(self, in_flight: int) -> None:
        """Count the batches whose figures are there, up to the latest few."""
        place = self.place
        while len(self._pending) > in_flight:
            step, targets, values = self._pending.popleft()
            loss, gradient = values.tolist()
            self._guards.batch(step, loss, gradient)
            place.loss_sum += loss
            place.loss_targets += targets
            if targets:
                self._guards.divergence(step, loss / targets, place)

    def _validate(self) -> None:
        """Ask for the validation loss, and remember the weights if it is the best so far."""
        place = self.place
        place.validation_loss = loss = self.stepper.validation_loss()
        if loss is None:
            return
        self._guards.validation(place.epoch, loss)
        if not place.best_epoch or loss < place.best_loss:
            place.best_epoch, place.best_loss = place.epoch, loss
            weights = self._learner.net.state_dict()
            self._best = {k: w.detach().to("cpu", copy=True) for k, w in weights.items()}

    def _is_stale(self) -> bool:
        place, patience = self.place, self._schedule.patience
        waited = place.epoch - place.best_epoch
        return bool(patience and place.best_epoch) and waited >= patience

    def _tell(self) -> None:
        place = self.place
        if not (self._processes.leads and place.loss_targets):
            return
        per_s, left_s = self._meter.tell(place.done)
        self._report(
            FitProgress(
                epoch=place.epoch,
                loss=place.loss_sum / place.loss_targets,
                events_per_s=per_s,
                fraction=min(1.0, place.done / self._total),
                seconds_left=left_s,
                validation_loss=place.validation_loss,
                learning_rate=self._schedule.rate(place.done, 0, self._decay),
            )
        )
