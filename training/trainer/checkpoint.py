"""Checkpoints of a fit: named tensors and the place, in one safetensors file that is never torn."""

from __future__ import annotations

import dataclasses
import json
import time
import zlib
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from pipeline.errors import HourglassError, explaining_full_disk
from pipeline.files import flush
from training.trainer.distributed import ProcessGroup, stop_together
from training.trainer.interface import Learner
from training.trainer.optimisers import Optimiser

_NAME = "fit.safetensors"
_UNFINISHED = "fit.unfinished"
_FORMAT = "1"
_WORTH = 10.0  # times its own cost must have passed since the last checkpoint


@dataclass
class TrainState:
    """How far a fit has come, and what it has counted on its way."""

    epoch: int = 1  # being learned; 1 is the first
    batch: int = 0  # batches of the epoch that are learned
    done: int = 0  # targets learned from, of all epochs
    loss_sum: float = 0.0  # over this epoch
    loss_targets: int = 0
    opening_loss: float = 0.0  # mean before anything was learned
    window_batches: int = 0  # latest batches, for the guard against divergence
    window_above: int = 0  # of these, the ones with a loss that is far too high
    best_epoch: int = 0  # 0 = no epoch was validated
    best_loss: float = 0.0  # validation loss of that epoch
    validation_loss: float | None = None  # of the epoch before
    finished: bool = False


@dataclass(frozen=True)
class Identity:
    """Which fit a checkpoint belongs to; only the same fit may go on from it."""

    fingerprint: str  # of data, parameters and code
    seed: int
    schedule: str
    processes: int


@dataclass(frozen=True)
class Checkpoint:
    """Everything that a fit needs to go on as if nothing had happened."""

    state: TrainState
    weights: Mapping[str, Tensor]
    optimiser: Mapping[str, Tensor]
    carried: Mapping[str, Tensor]  # of all ranks
    best: Mapping[str, Tensor]  # weights of the best epoch; empty where none was validated


_PARTS = ("weights", "optimiser", "carried", "best")


def save_checkpoint(folder: Path, identity: Identity, checkpoint: Checkpoint) -> None:
    """Replace the folder's checkpoint, whole or not at all.

    Raises:
        HourglassError: the disk is full, or the folder cannot be written; the checkpoint that was
            there before is as it was.
    """
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    tensors = {
        f"{section}/{name}": tensor.detach()
        for section in _PARTS
        for name, tensor in getattr(checkpoint, section).items()
    }
    tensors = _unshared(tensors)
    about = {
        "format": _FORMAT,
        "place": json.dumps(dataclasses.asdict(checkpoint.state)),
        "identity": json.dumps(dataclasses.asdict(identity)),
        "checksum": str(_checksum(tensors)),
    }
    unfinished = folder / _UNFINISHED
    try:
        with explaining_full_disk(folder):
            folder.mkdir(parents=True, exist_ok=True)
            save_file(tensors, unfinished, about)
            flush(unfinished)
            unfinished.replace(folder / _NAME)
            flush(folder)
    except (OSError, SafetensorError) as error:
        raise HourglassError(
            f"{folder}: cannot write a checkpoint: {error}: make the folder writable, or name "
            "another one"
        ) from error
    finally:
        with suppress(OSError):
            unfinished.unlink()


def load_checkpoint(folder: Path, identity: Identity) -> Checkpoint | None:
    """The checkpoint of this fit, its tensors on the CPU; None where there is no checkpoint.

    Raises:
        HourglassError: it is damaged, or of another fit.
    """
    from safetensors import SafetensorError, safe_open

    path = folder / _NAME
    if not path.is_file():
        return None
    try:
        with safe_open(path, "pt") as file:
            about = file.metadata() or {}
            _verify_identity(path, about, identity)
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        state = TrainState(**json.loads(about["place"]))
        whole = str(_checksum(tensors)) == about["checksum"]
    except (SafetensorError, OSError, ValueError, KeyError, TypeError) as error:
        raise _damaged(path) from error
    if not whole:
        raise _damaged(path)
    parts: dict[str, dict[str, Tensor]] = {section: {} for section in _PARTS}
    for name, tensor in tensors.items():
        section, _, rest = name.partition("/")
        parts[section][rest] = tensor
    return Checkpoint(state=state, **parts)


def _verify_identity(path: Path, about: Mapping[str, str], identity: Identity) -> None:
    if about.get("format") != _FORMAT:
        raise HourglassError(
            f"{path}: the checkpoint has format {about.get('format')}, not {_FORMAT}: delete it to "
            "start afresh"
        )
    theirs, ours = json.loads(about["identity"]), dataclasses.asdict(identity)
    for name, value in ours.items():
        if theirs[name] != value:
            raise HourglassError(
                f"{path}: the checkpoint is of another fit, its {name} is {theirs[name]!r}, not "
                f"{value!r}: resume with what it was begun with, or delete it to start afresh"
            )


def _damaged(path: Path) -> HourglassError:
    return HourglassError(f"{path}: the checkpoint is damaged: delete it to start afresh")


def _checksum(tensors: Mapping[str, Tensor]) -> int:
    """CRC-32 over all values, by name."""
    total = 0
    for name in sorted(tensors):
        content = tensors[name].cpu().contiguous().reshape(-1).view(torch.uint8)
        total = zlib.crc32(content.numpy().data, zlib.crc32(name.encode(), total))
    return total


def _unshared(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The same values, each in memory of its own, as the format wants it."""
    addresses: set[int] = set()
    apart = {}
    for name, tensor in tensors.items():
        address = tensor.data_ptr()
        apart[name] = tensor.clone() if address in addresses else tensor.contiguous()
        addresses.add(address)
    return apart


# Writes and finds the checkpoints of a fit that several processes may share.


class CheckpointManager:
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
        model_name: str,
        folder: Path | None,
        identity: Identity,
        group: ProcessGroup,
        every_s: float,
    ) -> None:
        self._model_name, self._folder, self._identity = model_name, folder, identity
        self._group, self._every_s = group, every_s
        self._saved_s = time.monotonic()
        self._cost_s = 0.0  # of the last checkpoint

    @property
    def is_due(self) -> bool:
        """Whether the last checkpoint is long enough ago; only the first process says so."""
        if self._folder is None or not self._group.is_main:
            return False
        return time.monotonic() - self._saved_s >= self._every_s

    def should_save(self) -> bool:
        """Whether another checkpoint would cost little beside the work since the last; all agree.

        Of a large catalogue a checkpoint takes seconds, and an epoch of an hour's events no more.
        """
        if self._folder is None:
            return False
        since_s = time.monotonic() - self._saved_s
        (is_due,) = self._group.broadcast([float(since_s >= _WORTH * self._cost_s)])
        return bool(is_due)

    def save(
        self, state: TrainState, learner: Learner, optimiser: Optimiser, best: Mapping[str, Tensor]
    ) -> None:
        """Write a checkpoint of this place.

        Raises:
            HourglassError: it cannot be written, here or by the first process.
        """
        if self._folder is None:
            return
        # Between epochs nothing is carried, whatever the learner still remembers.
        carried = self._of_all(learner.carried_state() if state.batch else {})
        failure: Exception | None = None
        began_s = time.monotonic()
        if self._group.is_main:
            weights = learner.net.state_dict()
            checkpoint = Checkpoint(state, weights, optimiser.tensors(), carried, best)
            try:
                save_checkpoint(self._folder, self._identity, checkpoint)
            except HourglassError as error:
                failure = error
        (failed,) = self._group.broadcast([float(failure is not None)])
        stop_together(self._model_name, failure, bool(failed))
        self._saved_s = time.monotonic()
        self._cost_s = self._saved_s - began_s

    def load(self) -> Checkpoint | None:
        """The checkpoint to go on from, with what this rank carried; None starts afresh.

        Raises:
            HourglassError: it is damaged or of another fit, or not all processes see it.
        """
        if self._folder is None:
            return None
        checkpoint: Checkpoint | None = None
        failure: Exception | None = None
        try:
            checkpoint = load_checkpoint(self._folder, self._identity)
        except HourglassError as error:
            failure = error
        summary = json.dumps(dataclasses.asdict(checkpoint.state)) if checkpoint else str(failure)
        agreed = self._group.all_equal(summary)
        if failure is not None:
            raise failure
        if not agreed:
            raise HourglassError(
                f"{self._folder}: the processes do not find the same checkpoint there: name a "
                "folder that all of them share"
            )
        return checkpoint and dataclasses.replace(checkpoint, carried=self._own(checkpoint.carried))

    def _of_all(self, carried: Mapping[str, Tensor]) -> dict[str, Tensor]:
        from safetensors.torch import load, save

        own = save({name: tensor.detach().contiguous() for name, tensor in carried.items()})
        return {
            f"{rank}/{name}": tensor
            for rank, content in enumerate(self._group.all_gather_bytes(own))
            for name, tensor in load(content).items()
        }

    def _own(self, carried: Mapping[str, Tensor]) -> dict[str, Tensor]:
        mine = f"{self._group.rank}/"
        return {
            name.removeprefix(mine): tensor
            for name, tensor in carried.items()
            if name.startswith(mine)
        }
