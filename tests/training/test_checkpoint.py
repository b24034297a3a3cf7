from __future__ import annotations

import dataclasses
import errno
import json
import os
import random
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from pipeline.errors import HourglassError
from tests.training.learning import (
    BestInTheMiddle,
    Lanes,
    NextItem,
    Slow,
    fit_quietly,
    outcome_of,
    started,
    train_into,
    weights_of,
)
from training.trainer.checkpoint import (
    Checkpoint,
    Identity,
    TrainState,
    load_checkpoint,
    save_checkpoint,
)
from training.trainer.interface import Batch
from training.trainer.trainer import Schedule

KILLS = int(os.environ.get("HOURGLASS_TEST_KILLS", "3"))
FIT = Identity("these data", 1, "four epochs", 1)


def a_checkpoint(batch: int = 5) -> Checkpoint:
    shared = torch.arange(6.0)
    return Checkpoint(
        state=TrainState(epoch=2, batch=batch, loss_sum=1 / 3, validation_loss=None, best_loss=0.1),
        weights={"item.weight": shared, "tied.weight": shared, "scale": torch.tensor(2.5)},
        optimiser={"item.weight/step": torch.tensor(7.0)},
        carried={"0/state": torch.ones(2, 3, dtype=torch.bfloat16).T},
        best={},
    )


def same(one: Checkpoint, other: Checkpoint) -> bool:
    parts = ("weights", "optimiser", "carried", "best")
    return one.state == other.state and all(
        getattr(one, part).keys() == getattr(other, part).keys()
        and all(torch.equal(t, getattr(other, part)[k]) for k, t in getattr(one, part).items())
        for part in parts
    )


def test_what_was_kept_is_found(tmp_path: Path) -> None:
    assert load_checkpoint(tmp_path / "none", FIT) is None
    save_checkpoint(tmp_path / "new" / "folder", FIT, a_checkpoint())
    found = load_checkpoint(tmp_path / "new" / "folder", FIT)
    assert found is not None
    assert same(found, a_checkpoint())


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"fingerprint": "other data"}, "its fingerprint is 'these data', not 'other data'"),
        ({"seed": 2}, "its seed is 1, not 2"),
        ({"schedule": "five epochs"}, "its schedule is 'four epochs', not 'five epochs'"),
        ({"processes": 2}, "its processes is 1, not 2"),
    ],
)
def test_only_the_same_fit_goes_on(tmp_path: Path, change: dict[str, str], said: str) -> None:
    save_checkpoint(tmp_path, FIT, a_checkpoint())
    with pytest.raises(HourglassError, match="of another fit") as refused:
        load_checkpoint(tmp_path, dataclasses.replace(FIT, **change))
    assert said in str(refused.value)
    assert "delete it to start afresh" in str(refused.value)


@pytest.mark.parametrize("place", [0, 4, 60, -200, -3])
def test_any_changed_byte_is_noticed(tmp_path: Path, place: int) -> None:
    save_checkpoint(tmp_path, FIT, a_checkpoint())
    (path,) = tmp_path.iterdir()
    content = bytearray(path.read_bytes())
    content[place] ^= 0x55
    path.write_bytes(content)
    with pytest.raises(HourglassError, match="delete it to start afresh"):
        load_checkpoint(tmp_path, FIT)


@pytest.mark.parametrize("kept", [0, 7, 300, -1])
def test_a_shortened_file_is_noticed(tmp_path: Path, kept: int) -> None:
    save_checkpoint(tmp_path, FIT, a_checkpoint())
    (path,) = tmp_path.iterdir()
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(HourglassError, match="damaged: delete it to start afresh"):
        load_checkpoint(tmp_path, FIT)


def test_a_full_disk_leaves_the_old_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_checkpoint(tmp_path, FIT, a_checkpoint(batch=5))

    def full(handle: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(HourglassError, match="no space is left on the disk of"):
        save_checkpoint(tmp_path, FIT, a_checkpoint(batch=6))
    found = load_checkpoint(tmp_path, FIT)
    assert found is not None
    assert found.state.batch == 5
    assert len(list(tmp_path.iterdir())) == 1


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(HourglassError, match=r"cannot write a checkpoint: .*name another one"):
        save_checkpoint(tmp_path / "file", FIT, a_checkpoint())


@pytest.mark.parametrize("checkpoint_s", [0.0, pytest.param(0.03, marks=pytest.mark.nightly)])
def test_killed_at_any_instants_a_fit_ends_as_if_undisturbed(
    tmp_path: Path, checkpoint_s: float
) -> None:
    schedule = Schedule(4, 0.02, checkpoint_s=checkpoint_s)
    undisturbed = started(train_into, tmp_path / "whole", BestInTheMiddle, Lanes(), schedule, None)
    undisturbed.join(600)
    whole = outcome_of(tmp_path / "whole")

    rng, kills, folder, result = random.Random(5), 0, tmp_path / "kept", tmp_path / "killed"
    for _ in range(40):
        process = started(train_into, result, Slow, Lanes(), schedule, folder)
        # Wait for the fit to come this far, then for any instant.
        last = _kept_at(folder)
        while process.is_alive() and _kept_at(folder) == last:
            time.sleep(0.001)
        process.join(rng.uniform(0, 0.1))
        # Where a checkpoint takes long, every kill costs about what was gained since the last.
        if process.exitcode is None and kills < KILLS:
            process.kill()
            kills += 1
        process.join()
        if process.exitcode == 0:
            break
    assert process.exitcode == 0
    assert kills >= 3
    killed = outcome_of(result)
    assert killed.metrics == whole.metrics
    assert whole.metrics["best_epoch"] == 2.0
    assert killed.tensors.keys() == whole.tensors.keys()
    assert all(torch.equal(t, whole.tensors[name]) for name, t in killed.tensors.items())


def _kept_at(folder: Path) -> int:
    try:
        return max(path.stat().st_mtime_ns for path in folder.glob("fit.safetensors"))
    except (OSError, ValueError):
        return 0


class Counting(NextItem):
    """Fails at a batch, and remembers how many it computed."""

    def __init__(self, last: int = 10**9) -> None:
        super().__init__()
        self.last = last

    def loss(self, batch: Batch, rng: np.random.Generator) -> Tensor:
        if len(self.drawn) == self.last:
            raise KeyboardInterrupt
        return super().loss(batch, rng)


def test_batches_that_were_learned_are_not_computed_again(tmp_path: Path) -> None:
    schedule = Schedule(2, 0.02, checkpoint_s=0.0)
    opening = 12  # all batches of an epoch are fewer targets than the opening loss asks for
    with pytest.raises(KeyboardInterrupt):
        fit_quietly(Counting(last=opening + 17), Lanes(), schedule, tmp_path)
    rest = Counting()
    fit_quietly(rest, Lanes(), schedule, tmp_path)
    assert len(rest.drawn) == 24 - 17


def test_a_finished_fit_that_lost_its_result_only_reads_it(tmp_path: Path) -> None:
    first, second = BestInTheMiddle(), BestInTheMiddle()
    schedule = Schedule(4, 0.02)
    done = fit_quietly(first, Lanes(), schedule, tmp_path)
    again = fit_quietly(second, Lanes(), schedule, tmp_path)
    assert again.metrics == done.metrics
    assert second.drawn == []
    assert all(torch.equal(t, weights_of(first)[k]) for k, t in weights_of(second).items())


def test_a_fit_refuses_another_ones_checkpoint(tmp_path: Path) -> None:
    fit_quietly(NextItem(), Lanes(), Schedule(1, 0.02), tmp_path)
    with pytest.raises(HourglassError, match=r"its schedule is .*epochs=1.*not .*epochs=2"):
        fit_quietly(NextItem(), Lanes(), Schedule(2, 0.02), tmp_path)
    with pytest.raises(HourglassError, match="its fingerprint is"):
        fit_quietly(NextItem(), Lanes(), Schedule(1, 0.02), tmp_path, fingerprint="newer data")
    rarely = Schedule(1, 0.02, checkpoint_s=1e9)
    assert fit_quietly(NextItem(), Lanes(), rarely, tmp_path).metrics["epochs"] == 1.0


def test_the_checkpoint_says_what_it_is_in_plain_words(tmp_path: Path) -> None:
    from safetensors import safe_open

    fit_quietly(NextItem(), Lanes(), Schedule(1, 0.02), tmp_path)
    with safe_open(tmp_path / "fit.safetensors", "pt") as file:
        place = json.loads(file.metadata()["place"])
        names = set(file.keys())
    assert place["epoch"] == 1
    assert place["done"] == Lanes().n_targets
    assert {"weights/item.weight", "optimiser/item.weight/exp_avg", "carried/0/state"} <= names
