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
from training.trainer.checkpoint import Checkpoint, CheckpointManager, Identity, TrainState
from training.trainer.distributed import ProcessGroup
from training.trainer.divergence import DivergenceGuard, Step
from training.trainer.interface import Batch, FitOptions, Learner, Plan
from training.trainer.optimisers import Optimiser
from training.trainer.progress import Meter
from training.trainer.schedule import Schedule
from training.trainer.step import TrainStep

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
    model_name: str,
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
        model_name: name for error messages.
        learner: on its device.
        plan: batches of each epoch.
        schedule: epochs, learning rate, optimiser.
        seed: of every random choice.
        report: told about ten times a second and at the end of every epoch, by the first process.
        options: ``checkpoints`` is used: what lies there is resumed.  The caller removes it once
            the model is safe.
        fingerprint: of everything that decides what comes out: data, parameters, code.
        optimiser: state to begin with, in the shapes of the network's parameters.

    Raises:
        HourglassError: there is nothing to learn from, the loss or a gradient is not a number,
            the fit diverges, a checkpoint is damaged or of another fit or cannot be written.
    """
    if plan.n_targets < 1:
        raise HourglassError(
            f"{model_name}: no event is left to learn from: lengthen the data set's window, or "
            "lower its support thresholds"
        )
    processes = ProcessGroup.here()
    identity = Identity(fingerprint, seed, schedule.name, processes.world)
    keeper = CheckpointManager(
        model_name, options.checkpoints, identity, processes, schedule.checkpoint_s
    )
    fit = _Fit(model_name, learner, plan, schedule, seed, report, processes, keeper)
    device = fit.stepper.device
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        fit.begin(optimiser)
        while not fit.state.finished:
            fit.run_epoch()
        return fit.result()


class _Fit:
    def __init__(
        self,
        model_name: str,
        learner: Learner,
        plan: Plan,
        schedule: Schedule,
        seed: int,
        report: Report,
        group: ProcessGroup,
        checkpoints: CheckpointManager,
    ) -> None:
        self._model_name, self._learner, self._plan, self._schedule = (
            model_name,
            learner,
            plan,
            schedule,
        )
        self._report, self._processes, self._checkpoints = report, group, checkpoints
        self._optimiser = Optimiser(learner.net, schedule.optimiser, schedule.weight_decay)
        self.stepper = TrainStep(model_name, learner, self._optimiser, group, schedule, seed)
        self._guard = DivergenceGuard(model_name, schedule.advice)
        self._total = schedule.epochs * plan.n_targets
        self._decay = (schedule.decay_epochs or schedule.epochs) * plan.n_targets
        self.state = TrainState()
        self._best: dict[str, Tensor] = {}
        self._pending: deque[tuple[Step, int, Tensor]] = deque()
        # A GPU is not waited for: it works on a batch while the figures of the last are read.
        self._in_flight = 1 if self.stepper.device.type == "cuda" else 0

    def begin(self, optimiser: Tensors | None) -> None:
        """Go on from a checkpoint, or get ready for the first batch."""
        checkpoint = self._checkpoints.load()
        if checkpoint is not None:
            self._continue_from(checkpoint)
        else:
            if optimiser is not None:
                self._optimiser.load({k: torch.from_numpy(v) for k, v in optimiser.items()})
            self._learner.net.train()
            self._learner.resume({})
            self.state.opening_loss = self.stepper.opening_loss(self._plan)
            self._guard.check_opening(self.state.opening_loss)
        self._meter = Meter(self.state.done, self._total)

    def _continue_from(self, checkpoint: Checkpoint) -> None:
        try:
            self._learner.net.load_state_dict(checkpoint.weights)
        except RuntimeError as error:
            raise HourglassError(
                f"{self._model_name}: the checkpoint's weights do not fit the network: delete it "
                "to start afresh"
            ) from error
        self._optimiser.load(checkpoint.optimiser)
        self._learner.resume(checkpoint.carried)
        self.state, self._best = checkpoint.state, dict(checkpoint.best)

    def run_epoch(self) -> None:
        """Learn from the batches of an epoch that are left, validate, and keep a checkpoint."""
        state, processes = self.state, self._processes
        self._learner.net.train()
        if not state.batch:
            self._learner.resume({})
        batches = self._plan.batches(state.epoch, processes.rank, processes.world)
        for batch in islice(batches, state.batch, None):
            self._learn(batch)
            if self._meter.is_due():
                self._report_progress()
        self._count(0)
        self._guard.check_epoch(state)
        self._validate()
        self._report_progress()
        state.finished = state.epoch == self._schedule.epochs or self._is_stale()
        if not state.finished:
            state.epoch, state.batch = state.epoch + 1, 0
            state.loss_sum, state.loss_targets = 0.0, 0
        if state.finished or self._checkpoints.should_save():
            self._checkpoints.save(state, self._learner, self._optimiser, self._best)

    def result(self) -> FitResult:
        """Leave the best epoch's weights in the network, and say how it went."""
        state = self.state
        if self._best and state.best_epoch != state.epoch:
            self._learner.net.load_state_dict(self._best)
        loss = state.loss_sum / state.loss_targets if state.loss_targets else math.nan
        metrics = {"loss": loss, "epochs": float(state.epoch)}
        if state.best_epoch:
            metrics |= {"best_epoch": float(state.best_epoch), "validation_loss": state.best_loss}
        tensors = self._optimiser.tensors()
        return FitResult(
            metrics=metrics,
            best_epoch=state.best_epoch or state.epoch,
            optimiser={name: tensor.cpu().numpy() for name, tensor in tensors.items()},
            events_per_s=self._meter.average(state.done),
        )

    def _learn(self, batch: Batch) -> None:
        state, targets = self.state, batch.n_targets
        rate = self._schedule.rate(state.done, targets, self._decay)
        figures = self.stepper.learn(batch, state.epoch, state.batch, self._checkpoints.is_due)
        state.batch += 1
        state.done += targets
        self._pending.append((Step(state.epoch, state.batch, rate), targets, figures.values))
        self._count(self._in_flight)
        # Some steps only bring the carried state up to date.
        if targets:
            self._optimiser.step(rate)
        if figures.is_due:
            self._count(0)
            self._checkpoints.save(state, self._learner, self._optimiser, self._best)

    def _count(self, in_flight: int) -> None:
        """Count the batches whose figures are there, up to the latest few."""
        state = self.state
        while len(self._pending) > in_flight:
            step, targets, values = self._pending.popleft()
            loss, gradient = values.tolist()
            self._guard.check_batch(step, loss, gradient)
            state.loss_sum += loss
            state.loss_targets += targets
            if targets:
                self._guard.divergence(step, loss / targets, state)

    def _validate(self) -> None:
        """Ask for the validation loss, and remember the weights if it is the best so far."""
        state = self.state
        state.validation_loss = loss = self.stepper.validation_loss()
        if loss is None:
            return
        self._guard.check_validation(state.epoch, loss)
        if not state.best_epoch or loss < state.best_loss:
            state.best_epoch, state.best_loss = state.epoch, loss
            weights = self._learner.net.state_dict()
            self._best = {k: w.detach().to("cpu", copy=True) for k, w in weights.items()}

    def _is_stale(self) -> bool:
        state, patience = self.state, self._schedule.patience
        waited = state.epoch - state.best_epoch
        return bool(patience and state.best_epoch) and waited >= patience

    def _report_progress(self) -> None:
        state = self.state
        if not (self._processes.is_main and state.loss_targets):
            return
        per_s, left_s = self._meter.measure(state.done)
        self._report(
            FitProgress(
                epoch=state.epoch,
                loss=state.loss_sum / state.loss_targets,
                events_per_s=per_s,
                fraction=min(1.0, state.done / self._total),
                seconds_left=left_s,
                validation_loss=state.validation_loss,
                learning_rate=self._schedule.rate(state.done, 0, self._decay),
            )
        )
