"""What happens to one batch: losses and gradients, summed over all processes.

Nothing here changes a weight.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from training.trainer.distributed import ProcessGroup, stop_together
from training.trainer.divergence import OPENING_TARGETS
from training.trainer.interface import Batch, Learner, Plan
from training.trainer.optimisers import Optimiser, merged
from training.trainer.schedule import Schedule, seeded


class StepResult(NamedTuple):
    """What came of a batch, perhaps still being computed by the device."""

    values: Tensor  # (2,) sum of losses; a number that is finite only if the gradient is
    is_due: bool  # the first process asks for a checkpoint


class TrainStep:
    """Computes the gradients of batches, the same on every rank.

    Args:
        system: name for error messages.
        learner: gives the loss.
        optimiser: knows which gradients are dense.
        processes: that share each batch.
        schedule: clipping and precision.
        seed: of every random choice.
    """

    def __init__(
        self,
        model_name: str,
        learner: Learner,
        optimiser: Optimiser,
        group: ProcessGroup,
        schedule: Schedule,
        seed: int,
    ) -> None:
        self._model_name, self._learner, self._optimiser = model_name, learner, optimiser
        self._group, self._schedule, self._seed = group, schedule, seed
        self.device = next(learner.net.parameters()).device

    def learn(self, batch: Batch, epoch: int, number: int, is_due: bool) -> StepResult:
        """Leave the clipped gradient of a batch's mean loss in the parameters.

        Raises:
            HourglassError: another process failed; whatever failed in this one is raised as it is.
        """
        optimiser, processes = self._optimiser, self._group
        optimiser.clear()
        loss, failure = self._attempt(batch, epoch, number, learn=True)
        tables = list(optimiser.tables.values())
        if processes.world > 1:
            exchanged = torch.stack(
                [loss, *(loss.new_tensor(float(flag)) for flag in (failure is not None, is_due))]
            )
            dense = [p.grad for p in optimiser.dense.values() if p.grad is not None]
            processes.add([*dense, exchanged])
            stop_together(self._model_name, failure, bool(exchanged[1]))
            loss, is_due = exchanged[0], bool(exchanged[2])
            gradients = processes.add_rows([table.grad for table in tables], tables)
            for table, gradient in zip(tables, gradients, strict=True):
                table.grad = gradient
        return StepResult(torch.stack([loss, self._clip().to(loss)]), is_due)

    def _clip(self) -> Tensor:
        """Shorten the gradient to its largest norm, tables and all; its norm before that."""
        gradients = [p.grad for p in self._optimiser.dense.values() if p.grad is not None]
        for table in self._optimiser.tables.values():
            if table.grad is not None:
                if table.grad.is_sparse:
                    table.grad = merged(table.grad)
                gradients.append(table.grad._values() if table.grad.is_sparse else table.grad)
        norm = nn.utils.get_total_norm(gradients)
        # A factor of at most 1, without asking the device what the norm is.
        factor = (self._schedule.max_gradient_norm / (norm + 1e-6)).clamp(max=1.0)
        for gradient in gradients:
            gradient.mul_(factor)
        return norm

    def opening_loss(self, plan: Plan) -> float:
        """Mean loss of the first batches before anything is learned.

        Raises:
            HourglassError: another process failed; whatever failed in this one is raised as it is.
        """
        processes = self._group
        exchanged = torch.zeros(2, device=self.device)
        failure, targets = None, 0
        for number, batch in enumerate(plan.batches(1, processes.rank, processes.world)):
            loss, failure = self._attempt(batch, 1, number, learn=False)
            exchanged[0] += loss
            targets += batch.n_targets
            if failure is not None or targets >= OPENING_TARGETS:
                break
        exchanged[1] = failure is not None
        processes.add([exchanged])
        stop_together(self._model_name, failure, bool(exchanged[1]))
        return float(exchanged[0]) / max(1, targets)

    def validation_loss(self) -> float | None:
        """The learner's, with the same random choices each time; the first process computes it.

        Raises:
            HourglassError: another process failed; whatever failed in this one is raised as it is.
        """
        value: float | None = None
        failure: Exception | None = None
        if self._group.is_main:
            seeded(self._seed, 0, 0, self.device)  # epochs count from 1: no batch has this seed
            try:
                # As in serving: in full precision.
                value = self._learner.validation_loss()
            except Exception as error:
                failure = error
        exchanged = [float(failure is not None), float(value is not None), value or 0.0]
        failed, exists, loss = self._group.broadcast(exchanged)
        stop_together(self._model_name, failure, bool(failed))
        return loss if exists else None

    def _attempt(
        self, batch: Batch, epoch: int, number: int, learn: bool
    ) -> tuple[Tensor, Exception | None]:
        """The sum of a batch's losses, and, to learn, its gradients; or why there are none."""
        nothing = torch.zeros((), device=self.device)
        if not len(batch.cells):
            return nothing, None
        rng = seeded(self._seed, epoch, number, self.device, self._group.rank)
        try:
            with self._autocast():
                loss = self._learner.loss(batch, rng)
            if learn and loss.requires_grad:
                (loss / max(1, batch.n_targets)).backward()  # type: ignore[no-untyped-call]
        except Exception as error:
            if self._group.world == 1:
                raise
            # The other processes wait for this one, and have to be told.
            return nothing, error
        return loss.detach().float(), None

    def _autocast(self) -> torch.autocast:
        low = self._schedule.precision == "bfloat16"
        return torch.autocast(self.device.type, torch.bfloat16, enabled=low)
