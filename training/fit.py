"""The training loop that gradient-trained systems share."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from pipeline.errors import HourglassError
from training.systems.base import FitProgress, Report

Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Schedule:
    """How long and how fast to learn; the rate falls linearly to 0."""

    epochs: int
    learning_rate: float
    max_gradient_norm: float


def run_epochs(
    system: str,
    net: nn.Module,
    *,
    batches: Callable[[], Iterator[Ints]],
    loss_of: Callable[[Ints], tuple[Tensor, int]],
    events_per_epoch: int,
    schedule: Schedule,
    report: Report,
) -> dict[str, float]:
    """Minimise the loss by Adam; tables with sparse gradients are updated row by row.

    Args:
        system: name for error messages.
        net: what learns; left in training mode.
        batches: starts an epoch and yields the rows of each of its batches.
        loss_of: mean loss over the targets of those rows, and how many targets they hold.
        events_per_epoch: targets of one epoch.
        schedule: epochs, learning rate, clipping.
        report: told after every batch.

    Returns:
        The last epoch's mean ``loss`` and the ``epochs``.

    Raises:
        HourglassError: the loss is no longer a number.
    """
    sparse = [table for table in net.modules() if isinstance(table, nn.Embedding) and table.sparse]
    rows = [table.weight for table in sparse]
    row_ids = {id(weight) for weight in rows}
    dense = [weight for weight in net.parameters() if id(weight) not in row_ids]
    optimizers: list[torch.optim.Optimizer] = [torch.optim.Adam(dense, schedule.learning_rate)]
    if rows:
        optimizers.append(torch.optim.SparseAdam(rows, schedule.learning_rate))

    # A stopwatch for the progress line only: nothing learned depends on it.
    started_s = time.perf_counter()
    done, mean_loss = 0, math.nan
    net.train()
    for epoch in range(1, schedule.epochs + 1):
        loss_sum, seen = 0.0, 0
        for batch in batches():
            fraction = done / (schedule.epochs * events_per_epoch)
            for optimizer in optimizers:
                for group in optimizer.param_groups:
                    group["lr"] = schedule.learning_rate * (1 - fraction)
                optimizer.zero_grad()
            loss, targets = loss_of(batch)
            if not math.isfinite(value := loss.item()):
                raise HourglassError(
                    f"{system}: the loss became {value} in epoch {epoch}: lower learning_rate, "
                    f"now {schedule.learning_rate}"
                )
            loss.backward()  # type: ignore[no-untyped-call]
            nn.utils.clip_grad_norm_(dense, schedule.max_gradient_norm)
            for optimizer in optimizers:
                optimizer.step()
            loss_sum, seen, done = loss_sum + value * targets, seen + targets, done + targets
            mean_loss = loss_sum / seen
            elapsed_s = time.perf_counter() - started_s
            report(
                FitProgress(
                    epoch=epoch,
                    loss=mean_loss,
                    events_per_s=done / max(elapsed_s, 1e-9),
                    fraction=done / (schedule.epochs * events_per_epoch),
                )
            )
    return {"loss": mean_loss, "epochs": float(schedule.epochs)}


def device_of(name: str) -> torch.device:
    """The device a parameter names: ``cpu``, ``cuda``, or ``auto`` for whichever there is.

    Raises:
        HourglassError: ``cuda`` was asked for on a machine without it.
    """
    available = torch.cuda.is_available()
    if name == "cuda" and not available:
        raise HourglassError("device = 'cuda', but this machine has no usable GPU: use 'auto'")
    return torch.device("cuda" if available and name != "cpu" else "cpu")
