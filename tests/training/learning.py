"""A small learner and plan for tests of the training loop, and processes that train them."""

from __future__ import annotations

import contextlib
import json
import multiprocessing
import os
import socket
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional

from pipeline.errors import HourglassError
from training.model_types import FitProgress
from training.trainer.distributed import joined_group
from training.trainer.interface import Batch, FitOptions
from training.trainer.trainer import FitResult, Schedule, run_fit

N_ITEMS, WIDTH, NEGATIVES = 60, 8, 20


@dataclass(frozen=True)
class Lanes:
    """Lanes of events side by side, cut into batches of ``steps``; the state goes on in a lane."""

    lanes: int = 6
    per_lane: int = 60
    steps: int = 5
    padding: float = 0.0

    @property
    def n_targets(self) -> int:
        return self.lanes * self.per_lane

    def batches(self, epoch: int, rank: int = 0, world: int = 1) -> Iterator[Batch]:
        rows = np.random.default_rng(epoch).permutation(self.lanes)[rank::world]
        for first in range(0, self.per_lane, self.steps):
            cells = rows[:, None] * self.per_lane + np.arange(first, first + self.steps)
            yes = np.ones(cells.shape, np.bool_)
            keep = yes.copy()
            keep[:, 0] = first > 0
            yield Batch(cells, yes, yes, keep, first > 0, self.lanes * self.steps)


class Net(nn.Module):
    """Two tables with row-sparse gradients and a dense recurrence."""

    def __init__(self, dropout: float) -> None:
        super().__init__()
        self.item = nn.Embedding(N_ITEMS, WIDTH, sparse=True)
        self.bias = nn.Embedding(N_ITEMS, 1, sparse=True)
        self.step = nn.Linear(2 * WIDTH, WIDTH)
        self.dropout = nn.Dropout(dropout)


class NextItem:
    """Predicts items that mostly count up; the state of a lane flows from batch to batch."""

    def __init__(self, dropout: float = 0.2, n_events: int = 360) -> None:
        torch.manual_seed(7)
        self.net = Net(dropout)
        rng = np.random.default_rng(7)
        jumps = rng.random(n_events) < 0.2
        self.items = np.cumsum(np.where(jumps, rng.integers(N_ITEMS, size=n_events), 1)) % N_ITEMS
        self.state: Tensor | None = None
        self.drawn: list[tuple[float, float]] = []  # NumPy's and PyTorch's in each batch

    def loss(self, batch: Batch, rng: np.random.Generator) -> Tensor:
        self.drawn.append((float(rng.random()), float(torch.rand(()))))
        negatives = torch.from_numpy(rng.integers(N_ITEMS, size=NEGATIVES))
        before = torch.from_numpy(self.items[np.maximum(batch.cells - 1, 0)])  # (B, T)
        target = torch.from_numpy(self.items[batch.cells])  # (B, T)
        state = self.state if batch.carries else None
        if state is None:
            state = torch.zeros(len(batch.cells), WIDTH)
        states = []
        for step, keep in enumerate(torch.from_numpy(batch.keep).T):
            told = torch.cat([self.net.item(before[:, step]), state * keep[:, None]], dim=-1)
            state = torch.tanh(self.net.step(self.net.dropout(told)))
            states.append(state)
        self.state = state.detach()
        found = torch.stack(states, dim=1).flatten(0, 1)  # (n, D)
        wanted = target.flatten()
        right = (found * self.net.item(wanted)).sum(-1) + self.net.bias(wanted)[:, 0]
        others = functional.linear(found, self.net.item(negatives), self.net.bias(negatives)[:, 0])
        scores = torch.cat([right[:, None], others], dim=1)
        return functional.cross_entropy(scores, torch.zeros_like(wanted), reduction="sum")

    def carried_state(self) -> dict[str, Tensor]:
        return {} if self.state is None else {"state": self.state}

    def resume(self, carried: Mapping[str, Tensor]) -> None:
        self.state = carried.get("state")

    def validation_loss(self) -> float | None:
        return None


class BestInTheMiddle(NextItem):
    """Of four epochs at rate 0.02 the second is the best: the weights grow on after it."""

    def validation_loss(self) -> float | None:
        self.net.eval()
        return abs(float(self.net.step.weight.detach().norm()) - 1.68)


class Slow(BestInTheMiddle):
    """Leaves time to be killed."""

    def loss(self, batch: Batch, rng: np.random.Generator) -> Tensor:
        time.sleep(0.015)
        return super().loss(batch, rng)


def fit_quietly(
    learner: Any,
    plan: Lanes,
    schedule: Schedule,
    folder: Path | None = None,
    seed: int = 3,
    fingerprint: str = "these data",
    told: list[FitProgress] | None = None,
) -> FitResult:
    """Run a fit, and collect what it reports in ``told``."""
    told = [] if told is None else told
    options = FitOptions(checkpoints=folder)
    return run_fit("toy", learner, plan, schedule, seed, told.append, options, fingerprint)


def weights_of(learner: Any) -> dict[str, Tensor]:
    """The weights as they are now."""
    return {name: tensor.clone() for name, tensor in learner.net.state_dict().items()}


@dataclass(frozen=True)
class Outcome:
    """What a process came to: tensors and metrics, or a sentence."""

    tensors: dict[str, Tensor]
    metrics: dict[str, float]
    losses: list[float]  # at the end of each epoch


def train_into(
    result: Path,
    made: Callable[[], NextItem],
    plan: Lanes,
    schedule: Schedule,
    folder: Path | None,
) -> None:
    """Fit, in a process of its own, and write the outcome; beside it the sentence of a failure."""
    torch.set_num_threads(1)
    learner = made()  # here: tensors that are sent to processes are shared between them
    told: list[FitProgress] = []
    with joined_group() as processes:
        try:
            done = fit_quietly(learner, plan, schedule, folder, told=told)
        except HourglassError as error:
            result.with_suffix(f".{processes.rank}.txt").write_text(str(error))
            raise SystemExit(1) from None
        if not processes.is_main:
            assert not told
            return
        tensors = {f"optimiser/{k}": torch.from_numpy(v) for k, v in done.optimiser.items()}
        losses = {progress.epoch: progress.loss for progress in told}
        about = {"metrics": json.dumps(done.metrics), "losses": json.dumps(list(losses.values()))}
        save_file({**weights_of(learner), **tensors}, result, about)


def outcome_of(result: Path) -> Outcome:
    """What `train_into` wrote."""
    with safe_open(result, "pt") as file:
        about = file.metadata()
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    return Outcome(tensors, json.loads(about["metrics"]), json.loads(about["losses"]))


def started(target: Any, *arguments: Any) -> BaseProcess:
    """A fresh process, with PyTorch in it."""
    process = multiprocessing.get_context("forkserver").Process(target=target, args=arguments)
    process.start()
    return process


def started_together(world: int, target: Any, *arguments: Any) -> list[BaseProcess]:
    """Processes that find the environment variables which torchrun sets."""
    port = _free_port()
    return [started(_as_rank, rank, world, port, target, *arguments) for rank in range(world)]


def _free_port() -> int:
    """Of those that nobody is given unasked: it is bound only when all have started."""
    for port in range(20_000 + os.getpid() * 7 % 10_000, 32_000):
        with contextlib.suppress(OSError), socket.socket() as free:
            free.bind(("127.0.0.1", port))
            return port
    raise AssertionError("no port is free")


def _as_rank(rank: int, world: int, port: int, target: Any, *arguments: Any) -> None:
    os.environ |= {
        "RANK": str(rank),
        "LOCAL_RANK": str(rank),
        "WORLD_SIZE": str(world),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "GLOO_SOCKET_IFNAME": "lo0"
        if sys.platform == "darwin"
        else "lo",  # the name of this machine need not lead anywhere
    }
    target(*arguments)
