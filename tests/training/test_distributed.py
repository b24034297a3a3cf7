"""Processes that find each other as those do that torchrun starts."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from forked import write_missing
from torch import Tensor

from pipeline.errors import HourglassError
from tests.training.learning import (
    Lanes,
    NextItem,
    Outcome,
    outcome_of,
    started,
    started_together,
    train_into,
)
from training.trainer import device
from training.trainer.device import device_of
from training.trainer.distributed import ProcessGroup
from training.trainer.interface import Batch
from training.trainer.trainer import Schedule

SCHEDULE = Schedule(3, 0.02)


def ended(processes: list[Any]) -> list[int | None]:
    """Exit codes; a process that waits for one that is gone would show as None."""
    for process in processes:
        process.join(600)
    codes = [process.exitcode for process in processes]
    for process in processes:
        process.kill()
    return codes


def trained(
    folder: Path, world: int, plan: Lanes, made: Callable[[], NextItem], kept: Path | None = None
) -> Outcome:
    result = folder / f"of-{world}"
    arguments = (result, made, plan, SCHEDULE, kept)
    assert ended(started_together(world, train_into, *arguments)) == [0] * world
    return outcome_of(result)


@pytest.mark.parametrize("lanes", [5, 1], ids=["uneven parts", "a rank without rows"])
def test_two_processes_learn_what_one_learns(tmp_path: Path, lanes: int) -> None:
    plan = Lanes(lanes=lanes)
    one, two = (trained(tmp_path, world, plan, partial(NextItem, dropout=0.0)) for world in (1, 2))
    np.testing.assert_allclose(two.losses, one.losses, rtol=1e-5)
    assert len(one.losses) == 3
    assert one.losses[-1] < one.losses[0]
    assert two.tensors.keys() == one.tensors.keys()
    for name, tensor in one.tensors.items():
        torch.testing.assert_close(two.tensors[name], tensor, rtol=1e-4, atol=1e-6)


def test_children_find_imported_what_takes_long(tmp_path: Path) -> None:
    assert ended([started(write_missing, tmp_path / "missing")]) == [0]
    assert (tmp_path / "missing").read_text() == ""


class Interrupted(NextItem):
    """Dies in every process at a batch of the second epoch, which began with a carried state."""

    def loss(self, batch: Batch, rng: np.random.Generator) -> Tensor:
        if len(self.drawn) == 12 + 12 + 7:
            raise HourglassError("the power went off")
        return super().loss(batch, rng)


def test_two_processes_go_on_where_two_were_stopped(tmp_path: Path) -> None:
    often, kept = Schedule(3, 0.02, checkpoint_s=0.0), tmp_path / "kept"
    whole = trained(tmp_path, 2, Lanes(), NextItem)
    arguments = (tmp_path / "stopped", Interrupted, Lanes(), often, kept)
    assert ended(started_together(2, train_into, *arguments)) == [1, 1]
    arguments = (tmp_path / "resumed", NextItem, Lanes(), often, kept)
    assert ended(started_together(2, train_into, *arguments)) == [0, 0]
    resumed = outcome_of(tmp_path / "resumed")
    assert resumed.metrics == whole.metrics
    assert all(torch.equal(t, whole.tensors[name]) for name, t in resumed.tensors.items())


class Faulty(NextItem):
    """One rank's part of the 20th batch is broken in one of several ways."""

    def __init__(self, fault: str) -> None:
        super().__init__()
        self.fault = fault

    def loss(self, batch: Batch, rng: np.random.Generator) -> Tensor:
        loss = super().loss(batch, rng)
        if ProcessGroup.here().rank != 1 or len(self.drawn) != 20:
            return loss
        if self.fault == "loss":
            return loss * float("nan")
        if self.fault == "gradient":
            # The root of 0 has an infinite slope.
            return loss + (self.net.step.weight * 0.0).abs().sum().sqrt()
        raise HourglassError("toy: its own sentence")


@pytest.mark.parametrize(
    ("fault", "first", "second"),
    [
        ("loss", "the loss became nan in epoch 1, batch 8", "the loss became nan in epoch 1"),
        ("gradient", "the gradient became nan in epoch 1", "the gradient became nan in epoch 1"),
        ("error", "another process failed", "its own sentence"),
    ],
)
def test_what_breaks_one_rank_ends_all(tmp_path: Path, fault: str, first: str, second: str) -> None:
    arguments = (tmp_path / "result", partial(Faulty, fault), Lanes(), SCHEDULE, None)
    assert ended(started_together(2, train_into, *arguments)) == [1, 1]
    assert first in (tmp_path / "result.0.txt").read_text()
    assert second in (tmp_path / "result.1.txt").read_text()


def test_a_checkpoint_that_cannot_be_written_ends_all(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    arguments = (tmp_path / "result", NextItem, Lanes(), SCHEDULE, tmp_path / "file")
    assert ended(started_together(2, train_into, *arguments)) == [1, 1]
    assert "cannot write a checkpoint" in (tmp_path / "result.0.txt").read_text()
    assert "another process failed" in (tmp_path / "result.1.txt").read_text()


def _exchange(folder: Path) -> None:
    from training.trainer.distributed import joined_group

    with joined_group() as processes:
        assert (processes.world, processes.is_main) == (3, processes.rank == 0)
        matrix, number = torch.full((2, 2), float(processes.rank)), torch.tensor(1.0)
        processes.add([matrix, number])
        table = torch.zeros(5, 2)
        rows = [[3, 1], [], [1]][processes.rank]
        sparse = torch.sparse_coo_tensor(
            torch.tensor([rows], dtype=torch.int64), torch.ones(len(rows), 2), (5, 2)
        )
        (merged,) = processes.add_rows([sparse if rows else None], [table])
        said = processes.all_gather_bytes(b"x" * processes.rank)
        heard = processes.broadcast([float(processes.rank), 1 / 3])
        found = [
            matrix.tolist() == [[3.0, 3.0], [3.0, 3.0]],
            float(number) == 3.0,
            merged.to_dense().tolist() == [[0, 0], [2, 2], [0, 0], [1, 1], [0, 0]],
            said == [b"", b"x", b"xx"],
            heard == [0.0, 1 / 3],
            processes.all_equal("same"),
            not processes.all_equal(str(processes.rank)),
        ]
    (folder / str(processes.rank)).write_text(str(found))


def test_exchanges_between_three(tmp_path: Path) -> None:
    assert ended(started_together(3, _exchange, tmp_path)) == [0, 0, 0]
    told = {path.name: path.read_text() for path in tmp_path.iterdir()}
    assert told == dict.fromkeys("012", str([True] * 7))


def test_alone_every_exchange_gives_back_what_it_was_given() -> None:
    alone = ProcessGroup.here()
    number = torch.tensor(2.0)
    alone.add([number])
    assert alone.is_main
    assert float(number) == 2.0
    assert alone.all_gather_bytes(b"") == [b""]
    assert alone.broadcast([0.5]) == [0.5]
    assert alone.all_equal("anything")


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Iterator[Mapping[str, Any]]:
    """A machine with two GPUs, as far as PyTorch says."""
    monkeypatch.setattr(device.torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(device.torch.cuda, "device_count", lambda: 2)
    yield {"setenv": monkeypatch.setenv}


def test_each_process_of_a_machine_gets_its_own_gpu(machine: Mapping[str, Any]) -> None:
    assert device_of("auto") == torch.device("cuda", 0)
    machine["setenv"]("LOCAL_RANK", "1")
    assert device_of("cuda") == torch.device("cuda", 1)
    assert device_of("cpu") == torch.device("cpu")
    machine["setenv"]("LOCAL_RANK", "2")
    with pytest.raises(HourglassError, match="start torchrun with --nproc-per-node 2"):
        device_of("auto")


def test_a_machine_without_gpu_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device.torch.cuda, "is_available", lambda: False)
    assert device_of("auto") == torch.device("cpu")
    with pytest.raises(HourglassError, match="no usable GPU: use 'auto'"):
        device_of("cuda")
