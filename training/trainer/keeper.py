"""Writes and finds the checkpoints of a fit that several processes may share."""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from pipeline.errors import HourglassError
from training.trainer.checkpoint import (
    Checkpoint,
    Identity,
    Place,
    load_checkpoint,
    save_checkpoint,
)
from training.trainer.distributed import Processes, stop_together
from training.trainer.interface import Learner
from training.trainer.optimisers import Optimiser

_WORTH = 10.0  # times its own cost must have passed since the last checkpoint


class Keeper:
    """The checkpoints of one fit.

    Args:
        system: name for error messages.
        folder: of the checkpoints; None keeps none.
        identity: of the fit.
        processes: that share it; the first one writes.
        every_s: seconds between checkpoints within an epoch.
    """

    def __init__(
        self,
        system: str,
        folder: Path | None,
        identity: Identity,
        processes: Processes,
        every_s: float,
    ) -> None:
        self._system, self._folder, self._identity = system, folder, identity
        self._processes, self._every_s = processes, every_s
        self._kept_s = time.monotonic()
        self._cost_s = 0.0  # of the last checkpoint

    @property
    def is_due(self) -> bool:
        """Whether the last checkpoint is long enough ago; only the first process says so."""
        if self._folder is None or not self._processes.leads:
            return False
        return time.monotonic() - self._kept_s >= self._every_s

    def is_worth_it(self) -> bool:
        """Whether another checkpoint would cost little beside the work since the last; all agree.

        Of a large catalogue a checkpoint takes seconds, and an epoch of an hour's events no more.
        """
        if self._folder is None:
            return False
        since_s = time.monotonic() - self._kept_s
        (said,) = self._processes.told_by_first([float(since_s >= _WORTH * self._cost_s)])
        return bool(said)

    def keep(
        self, place: Place, learner: Learner, optimiser: Optimiser, best: Mapping[str, Tensor]
    ) -> None:
        """Write a checkpoint of this place.

        Raises:
            HourglassError: it cannot be written, here or by the first process.
        """
        if self._folder is None:
            return
        # Between epochs nothing is carried, whatever the learner still remembers.
        carried = self._of_all(learner.carried() if place.batch else {})
        failure: Exception | None = None
        began_s = time.monotonic()
        if self._processes.leads:
            weights = learner.net.state_dict()
            found = Checkpoint(place, weights, optimiser.tensors(), carried, best)
            try:
                save_checkpoint(self._folder, self._identity, found)
            except HourglassError as error:
                failure = error
        (failed,) = self._processes.told_by_first([float(failure is not None)])
        stop_together(self._system, failure, bool(failed))
        self._kept_s = time.monotonic()
        self._cost_s = self._kept_s - began_s

    def find(self) -> Checkpoint | None:
        """The checkpoint to go on from, with what this rank carried; None starts afresh.

        Raises:
            HourglassError: it is damaged or of another fit, or not all processes see it.
        """
        if self._folder is None:
            return None
        found: Checkpoint | None = None
        failure: Exception | None = None
        try:
            found = load_checkpoint(self._folder, self._identity)
        except HourglassError as error:
            failure = error
        said = json.dumps(dataclasses.asdict(found.place)) if found else str(failure)
        agreed = self._processes.agree(said)
        if failure is not None:
            raise failure
        if not agreed:
            raise HourglassError(
                f"{self._folder}: the processes do not find the same checkpoint there: name a "
                "folder that all of them share"
            )
        return found and dataclasses.replace(found, carried=self._own(found.carried))

    def _of_all(self, carried: Mapping[str, Tensor]) -> dict[str, Tensor]:
        from safetensors.torch import load, save

        own = save({name: tensor.detach().contiguous() for name, tensor in carried.items()})
        return {
            f"{rank}/{name}": tensor
            for rank, content in enumerate(self._processes.bytes_of_all(own))
            for name, tensor in load(content).items()
        }

    def _own(self, carried: Mapping[str, Tensor]) -> dict[str, Tensor]:
        mine = f"{self._processes.rank}/"
        return {
            name.removeprefix(mine): tensor
            for name, tensor in carried.items()
            if name.startswith(mine)
        }
