"""One measurement of training in a process of its own, so that its memory is its own.

Started by :mod:`benchmarks.train`, which hands in a JSON object on stdin and reads one from the
last line of stdout.
"""

from __future__ import annotations

import dataclasses
import json
import shutil
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from benchmarks.hgru import learner_of
from benchmarks.plan_waste import waste_of_each
from training.batching.targets import learnable
from training.data.memory_map import FOLDER as FLAT_FOLDER
from training.data.reader import read_dataset
from training.model_types import FitProgress
from training.models.gru4rec import Gru4Rec, Gru4RecParameters
from training.models.hrnn import Hrnn, HrnnParameters
from training.nn.build import plan_of
from training.nn.learner import RankingLearner
from training.nn.network import StepTensors
from training.trainer.interface import FitOptions, Plan
from training.trainer.trainer import Schedule, run_fit

_SYSTEMS: dict[str, tuple[Any, Any]] = {
    "gru4rec": (Gru4Rec, Gru4RecParameters),
    "hrnn": (Hrnn, HrnnParameters),
}
# Every event is learned from, and nothing is validated.
_PLAIN: dict[str, Any] = {"validation_share": 0.0, "repeats": True, "epochs": 1, "device": "cpu"}


class _EnoughError(Exception):
    """Ends a fit that was measured for long enough."""


class _Watch:
    """Takes the time of a fit from its first report, which follows a batch, to the last."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._seen: list[tuple[float, float, float]] = []

    def __call__(self, progress: FitProgress) -> None:
        self._seen.append((time.perf_counter(), time.process_time(), progress.fraction))
        # Big batches take longer than the time that is asked for: three tell something.
        if self._seen[-1][0] - self._seen[0][0] >= self._seconds and len(self._seen) > 3:
            raise _EnoughError

    def per_target(self, total: int) -> dict[str, float]:
        """Seconds for each target, by the clock and of the processors."""
        (first_s, first_cpu_s, first), *_, (last_s, last_cpu_s, last) = self._seen
        targets = (last - first) * total
        return {"s": (last_s - first_s) / targets, "cpu_s": (last_cpu_s - first_cpu_s) / targets}


def epoch(order: dict[str, Any]) -> dict[str, Any]:
    """A data set folder in, a trained model out: one epoch, decoding of the shards included."""
    folder = Path(order["folder"])
    shutil.rmtree(folder / FLAT_FOLDER, ignore_errors=True)
    system, parameters = _SYSTEMS[order["system"]]
    watch = _Watch(float("inf"))
    began_s, began_cpu_s = time.perf_counter(), time.process_time()
    data = read_dataset(folder)
    reading_s = time.perf_counter() - began_s
    system(parameters(**_PLAIN, **order["parameters"])).fit(data, 0, watch)
    took_s, cpu_s = time.perf_counter() - began_s, time.process_time() - began_cpu_s
    return {
        "events_per_s": data.manifest.n_targets / took_s,
        "events_per_cpu_s": data.manifest.n_targets / cpu_s,
        "steady_events_per_s": 1 / watch.per_target(data.manifest.n_targets)["s"],
        "took_s": took_s,
        "reading_s": reading_s,
    }


def step(order: dict[str, Any]) -> dict[str, Any]:
    """Seconds of a training step of a system, measured over some of them."""
    data = read_dataset(Path(order["folder"]))
    system, parameters = _SYSTEMS[order["system"]]
    chosen = parameters(**_PLAIN, **order["parameters"])
    watch = _Watch(order["seconds"])
    with suppress(_EnoughError):
        system(chosen).fit(data, 0, watch)
    return _per_step(watch, data.manifest.n_targets, chosen)


def levels(order: dict[str, Any]) -> dict[str, Any]:
    """Seconds of a training step, and of its states alone, of HRNN or of HGRU-style stepping."""
    data = read_dataset(Path(order["folder"]))
    chosen = HrnnParameters(**_PLAIN, **order["parameters"])
    learned = data.histories.is_target
    plan = plan_of(chosen, data.histories, learned, 0)
    learner = learner_of(data, chosen, order["stepping"], 0)
    watch = _Watch(order["seconds"])
    schedule = Schedule(epochs=1, learning_rate=chosen.learning_rate)
    with suppress(_EnoughError):
        run_fit("benchmark", learner, plan, schedule, 0, watch, FitOptions(), "benchmark")
    found = _per_step(watch, plan.n_targets, chosen)
    inputs, state, keep = _first_inputs(learner, plan)

    def states() -> None:
        learner.net(inputs, state, keep).sum().backward()

    states_s, states_cpu_s = _timed(states, order["seconds"])
    return found | {"states_s": states_s, "states_cpu_s": states_cpu_s}


def _first_inputs(learner: RankingLearner, plan: Plan) -> tuple[Tensor, Tensor, Tensor]:
    batches = plan.batches(1)
    next(batches)
    batch = next(batches)
    steps = StepTensors.of(learner._data.steps.at(batch.cells), torch.device("cpu"))
    net = learner.net
    inputs = net.inputs(net.items.vector(steps.item).detach(), steps, None).detach()
    return inputs.requires_grad_(), net.begin(len(inputs)), torch.from_numpy(batch.keep)


def bare(order: dict[str, Any]) -> dict[str, Any]:
    """A loop of tensors alone: nothing read or planned, PyTorch's GRU and sparse Adam.

    No dropout, no clipping, negatives drawn uniformly, no correction for them.
    """
    chosen = HrnnParameters(**order["parameters"])
    lanes, steps = chosen.batch_events // chosen.bptt_steps, chosen.bptt_steps
    torch.manual_seed(0)
    table = nn.Embedding(order["items"] + 1, chosen.width, sparse=True)
    bias = nn.Embedding(order["items"] + 1, 1, sparse=True)
    gru = nn.GRU(chosen.width, chosen.width, batch_first=True)
    rows = torch.optim.SparseAdam([*table.parameters(), *bias.parameters()], lr=0.001)
    dense = torch.optim.Adam(gru.parameters(), lr=0.001)
    share = 1 / np.arange(1, order["items"] + 1)
    items = np.random.default_rng(0).choice(
        order["items"], (50, lanes, steps + 1), p=share / share.sum()
    )
    told = torch.from_numpy(items + 1)
    state = torch.zeros(1, lanes, chosen.width)
    place = 0

    def learn() -> None:
        nonlocal state, place
        batch = told[place % len(told)]
        place += 1
        rows.zero_grad()
        dense.zero_grad()
        states, state = gru(table(batch[:, :-1]), state.detach())
        target = batch[:, 1:].flatten()
        negative = torch.randint(1, order["items"] + 1, (chosen.negatives,))
        flat = states.flatten(0, 1)
        own = (flat * table(target)).sum(-1, keepdim=True) + bias(target)
        others = functional.linear(flat, table(negative), bias(negative)[:, 0])
        scores = torch.cat([own, others], dim=1)
        functional.cross_entropy(scores, torch.zeros_like(target)).backward()
        rows.step()
        dense.step()

    step_s, step_cpu_s = _timed(learn, order["seconds"])
    events = lanes * steps
    return {"events_per_s": events / step_s, "events_per_cpu_s": events / step_cpu_s}


def reading(order: dict[str, Any]) -> dict[str, Any]:
    """Seconds from a folder to the first batch, from the shards and from their flat files."""
    folder = Path(order["folder"])
    shutil.rmtree(folder / FLAT_FOLDER, ignore_errors=True)
    chosen = HrnnParameters(**_PLAIN)
    found = {}
    for name in ("shards", "flat"):
        began_s = time.perf_counter()
        data = read_dataset(folder)
        read_s = time.perf_counter() - began_s
        learned = learnable("benchmark", data.histories, chosen.repeats)
        next(iter(plan_of(chosen, data.histories, learned, 0).batches(1)))
        found[name] = {"read_s": read_s, "first_batch_s": time.perf_counter() - began_s}
    return {"events": data.manifest.n_events, **found}


def padding(order: dict[str, Any]) -> dict[str, Any]:
    """What each plan computes in vain, and how fast it plans."""
    data = read_dataset(Path(order["folder"]))
    learned = data.histories.is_target
    found: dict[str, Any] = {}
    for name in ("users", "sessions", "windows"):
        chosen = HrnnParameters(**_PLAIN, plan=name)
        began_s = time.process_time()
        plan = plan_of(chosen, data.histories, learned, 0)
        batches = sum(1 for _ in plan.batches(1))
        cpu_s = time.process_time() - began_s
        found[name] = {"batches": batches, "events_per_cpu_s": data.manifest.n_events / cpu_s}
    waste = waste_of_each(
        data.histories,
        learned,
        batch_events=chosen.batch_events,
        bptt_steps=chosen.bptt_steps,
        max_len=chosen.max_len,
        min_batches=chosen.min_batches,
        seed=0,
    )
    return {name: row | dataclasses.asdict(waste[name]) for name, row in found.items()}


def _per_step(watch: _Watch, targets: int, chosen: HrnnParameters) -> dict[str, float]:
    batch = chosen.batch_events // chosen.bptt_steps * chosen.bptt_steps
    one = watch.per_target(targets)
    return {"step_s": one["s"] * batch, "step_cpu_s": one["cpu_s"] * batch, "batch": batch}


def _timed(call: Callable[[], None], seconds: float) -> tuple[float, float]:
    """Mean seconds of a call, by the clock and of the processors."""
    for _ in range(3):
        call()
    began_s, began_cpu_s, calls = time.perf_counter(), time.process_time(), 0
    while time.perf_counter() - began_s < seconds:
        call()
        calls += 1
    return (time.perf_counter() - began_s) / calls, (time.process_time() - began_cpu_s) / calls


def peak_mib() -> int:
    """The most memory this process ever had resident (its parent's does not count)."""
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) >> 10
    return 0


TASKS = {
    "epoch": epoch,
    "step": step,
    "levels": levels,
    "bare": bare,
    "reading": reading,
    "padding": padding,
}

if __name__ == "__main__":
    asked = json.loads(sys.stdin.read())
    torch.set_num_threads(asked["threads"])
    before = peak_mib()
    answer = TASKS[asked["task"]](asked)
    print(json.dumps({**answer, "peak_mib": peak_mib(), "before_mib": before}), flush=True)
