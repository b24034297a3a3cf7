"""A work folder with data sets and settings, in which `hourglass train` runs without Spark."""

from __future__ import annotations

import json
import os
import random
import signal
import sys
from collections.abc import Sequence
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
import yaml
from numpy.typing import NDArray
from safetensors.numpy import load_file
from synthetic import AS_OF, AS_OF_S, Event, write_dataset

from pipeline.hours import Hour
from training.cli.main import run
from training.trainer.checkpoint import Checkpoint, CheckpointManager, Identity, save_checkpoint

SMALL = {
    "width": 8,
    "epochs": 3,
    "device": "cpu",
    "dropout": 0.0,
    "input_dropout": 0.0,
    "validation_share": 0.0,
}


class Shop:
    """Settings in ``hourglass.yaml``, data sets in ``work/shards``."""

    def __init__(self, root: Path, models: Sequence[Any]) -> None:
        self.root, self.work = root, root / "work"
        root.mkdir(parents=True, exist_ok=True)
        self.config = root / "hourglass.yaml"
        self.configure(models)

    def configure(self, models: Sequence[Any]) -> None:
        """Write the settings anew."""
        said = {"work": str(self.work), "models": list(models), "gate": {"baseline": "pop"}}
        self.config.write_text(yaml.safe_dump(said))

    def add_dataset(
        self,
        name: str,
        *,
        hours_later: int = 0,
        new_items: Sequence[str] = (),
        users: int = 40,
        length: int = 24,
    ) -> Path:
        """Users who walk through 20 items and rate them; new items come first in the vocabulary."""
        rng = random.Random(1)
        stop_s = AS_OF_S + 3600 * hours_later
        items = [*new_items, *(f"i{number:02d}" for number in range(20))]
        events = {}
        for user in range(users):
            at = rng.randrange(len(items))
            walked = []
            for step in range(length):
                at = (at + rng.choice((1, 1, 2))) % len(items)
                time_s = stop_s - 20_000 + 300 * step
                walked.append(Event(items[at], time_s, value=float(1 + at % 5)))
            events[f"u{user}"] = walked
        as_of = str(Hour.parse(AS_OF) + hours_later)
        folder = write_dataset(self.work / "shards" / name, events, as_of=as_of, vocabulary=items)
        (folder / "lineage.json").write_text(json.dumps({"events": 42}))
        (folder / "quality.json").write_text(json.dumps({"verdict": "ok", "failed": []}))
        return folder

    def command(self, *arguments: str) -> list[str]:
        """The command line of ``hourglass train`` for another process."""
        return [sys.executable, "-m", "training.cli", *self.arguments(*arguments)]

    def arguments(self, *arguments: str) -> list[str]:
        """What follows the program's name."""
        return ["--config", str(self.config), "--json", "train", *arguments]

    def weights(self, model_id: str) -> dict[str, NDArray[Any]]:
        """Learned tensors of a model."""
        found: dict[str, NDArray[Any]] = load_file(
            self.work / "models" / model_id / "weights.safetensors"
        )
        return found

    def card(self, model_id: str) -> dict[str, Any]:
        """What the model's card says."""
        path = self.work / "models" / model_id / "model.json"
        found: dict[str, Any] = json.loads(path.read_text())
        return found


def run_into(log: Path, arguments: Sequence[str]) -> None:
    """Run a command as a child's whole work; what it prints is in a file, a rank's in its own."""
    torch.set_num_threads(1)
    own = log.with_name(log.name + os.environ.get("RANK", ""))
    with own.open("w") as printed, redirect_stdout(printed), redirect_stderr(printed):
        raise SystemExit(run(arguments))


def run_until_killed(epoch: int, log: Path, arguments: Sequence[str]) -> None:
    """The same, but killed for good when the fit's first checkpoint of an epoch is kept."""

    def kept(folder: Path, identity: Identity, checkpoint: Checkpoint) -> None:
        save_checkpoint(folder, identity, checkpoint)
        if checkpoint.state.epoch >= epoch:
            os.kill(os.getpid(), signal.SIGKILL)

    with (
        patch("training.trainer.checkpoint.save_checkpoint", kept),
        patch.object(CheckpointManager, "is_due", True),  # however fast this machine is
    ):
        run_into(log, arguments)


def one_thread() -> dict[str, str]:
    """The environment of another process that leaves the cores to others."""
    return {**os.environ, "OMP_NUM_THREADS": "1"}


def by_item(weights: dict[str, NDArray[Any]], items: Sequence[str]) -> dict[str, NDArray[Any]]:
    """Vectors of items by their ids."""
    vectors = np.asarray(weights["items.vector.weight"])[1:]
    return dict(zip(items, vectors, strict=True))
