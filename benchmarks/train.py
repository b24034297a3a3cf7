"""Time training: whole epochs, sampled beside dense, small catalogues beside large, HRNN and HGRU.

Run as ``python -m benchmarks.train``; ``benchmarks/README.md`` says what is measured.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
from collections import defaultdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

import psutil

from benchmarks.train_data import dataset
from pipeline.errors import HourglassError

_GIB = 1 << 30
_PARTS = ("speed", "scale", "levels", "padding", "reading")

Runs = dict[str, list[dict[str, Any]]]


def main(arguments: list[str]) -> int:
    """Measure what the arguments ask for, print it, and write it as JSON."""
    asked = _arguments(arguments)
    asked.work = asked.work.resolve()
    results: dict[str, Any] = {
        "machine": machine(),
        "asked": {**vars(asked), "work": "", "out": ""},
    }
    print(json.dumps(results["machine"]), flush=True)
    measure = {
        "speed": _speed,
        "scale": _scale,
        "levels": _levels,
        "padding": _padding,
        "reading": _reading,
    }
    try:
        for part in asked.parts:
            results[part] = measure[part](asked)
    except HourglassError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    finally:
        if asked.out:
            asked.out.write_text(json.dumps(results, indent=1), encoding="utf-8")
    return 0


def _arguments(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="benchmarks.train", description=__doc__)
    parser.add_argument("--parts", type=lambda text: text.split(","), default=list(_PARTS))
    parser.add_argument("--events", type=_count, default=1_000_000)
    parser.add_argument("--items", type=_count, default=37_000)
    parser.add_argument("--many-items", type=_count, default=1_183_451)
    parser.add_argument("--width", type=_count, default=100)
    parser.add_argument("--negatives", type=_count, default=2048)
    parser.add_argument("--batch-events", type=_count, default=1024)
    parser.add_argument(
        "--dense-batch-events", type=_count, default=256, help="where all items are scored"
    )
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=10.0, help="that steps are measured for")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--quick", action="store_true", help="small sizes: does it run at all?")
    parser.add_argument("--work", type=Path, required=True, help="folder for data sets")
    parser.add_argument("--out", type=Path, help="JSON file of the results")
    asked = parser.parse_args(arguments)
    if unknown := set(asked.parts) - set(_PARTS):
        parser.error(f"unknown part {min(unknown)}: choose from {', '.join(_PARTS)}")
    if asked.quick:
        asked.events, asked.items, asked.many_items = 20_000, 2_000, 20_000
        asked.repeats, asked.seconds = 1, 0.5
    return asked


def _count(text: str) -> int:
    return int(float(text))


def _told(asked: argparse.Namespace) -> dict[str, Any]:
    """What was asked for, without the places of this machine."""
    return {name: value for name, value in vars(asked).items() if name not in ("work", "out")}


def machine() -> dict[str, Any]:
    """What the results were measured on."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text(encoding="utf-8").splitlines() if info.is_file() else []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return {
        "cpu": models[0] if models else platform.processor(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_gib": round(psutil.virtual_memory().total / _GIB, 1),
        "python": platform.python_version(),
        **{name: version(name) for name in ("torch", "numpy", "pyarrow")},
    }


def _speed(asked: argparse.Namespace) -> dict[str, Any]:
    """Events a second of whole epochs, shards to model, beside a bare loop of tensors."""
    folder = str(dataset(asked.work, asked.events, asked.items, 0))
    order = {"parameters": _sampled(asked, asked.batch_events), "items": asked.items}
    runs = _in_turns(
        asked,
        {
            "gru4rec": {**order, "task": "epoch", "system": "gru4rec", "folder": folder},
            "hrnn": {**order, "task": "epoch", "system": "hrnn", "folder": folder},
            "bare loop": {**order, "task": "bare", "seconds": asked.seconds},
        },
    )
    loop = _median(runs["bare loop"], "events_per_s")
    print(
        f"events/s, {asked.events:,} events, {asked.items:,} items, {asked.negatives} negatives, "
        f"width {asked.width}, {asked.threads} threads\n"
        f"{'':<12}{'median':>9}{'a CPU s':>9}{'x bare':>8}{'reading s':>11}  all runs"
    )
    for name, found in runs.items():
        read = f"{_median(found, 'reading_s'):.2f}" if "reading_s" in found[0] else "-"
        each = " ".join(f"{run['events_per_s']:,.0f}" for run in found)
        median = _median(found, "events_per_s")
        per_cpu_s = _median(found, "events_per_cpu_s")
        print(f"{name:<12}{median:>9,.0f}{per_cpu_s:>9,.0f}{median / loop:>8.2f}{read:>11}  {each}")
    return runs


def _scale(asked: argparse.Namespace) -> dict[str, Any]:
    """Steps of a small and a large catalogue, and of scoring all of the large one."""
    few = str(dataset(asked.work, asked.events, asked.items, 0))
    many = str(dataset(asked.work, asked.events, asked.many_items, 0))
    base = {"task": "step", "system": "gru4rec", "seconds": asked.seconds}
    wide, narrow = (
        {**_sampled(asked, size), "min_batches": 1}
        for size in (asked.batch_events, asked.dense_batch_events)
    )
    runs = _in_turns(
        asked,
        {
            "few items": {**base, "folder": few, "parameters": wide},
            "many items": {**base, "folder": many, "parameters": wide},
            "sampled": {**base, "folder": many, "parameters": narrow},
            "dense": {**base, "folder": many, "parameters": {**narrow, "negatives": 0}},
        },
    )
    print(
        f"seconds of a step, {asked.items:,} or {asked.many_items:,} items\n"
        f"{'':<12}{'batch':>6}{'median':>9}{'CPU s':>9}{'MiB':>7}{'less start':>12}  all runs"
    )
    for name, found in runs.items():
        each = " ".join(f"{run['step_s']:.4f}" for run in found)
        peak, start = (max(run[key] for run in found) for key in ("peak_mib", "before_mib"))
        print(
            f"{name:<12}{found[0]['batch']:>6}{_median(found, 'step_s'):>9.4f}"
            f"{_median(found, 'step_cpu_s'):>9.4f}{peak:>7}{peak - start:>12}  {each}"
        )
    _ratio(runs, "dense", "sampled", "step_s")
    _ratio(runs, "dense", "sampled", "step_cpu_s")
    _ratio(runs, "many items", "few items", "step_s")
    _ratio(runs, "many items", "few items", "step_cpu_s")
    return runs


def _levels(asked: argparse.Namespace) -> dict[str, Any]:
    """HRNN, which is told of sessions, beside a GRU of sessions above a GRU of events."""
    folder = str(dataset(asked.work, asked.events, asked.items, 0))
    base = {"task": "levels", "folder": folder, "seconds": asked.seconds}
    base["parameters"] = {**_sampled(asked, asked.batch_events), "min_batches": 1}
    runs = _in_turns(
        asked, {"HRNN": {**base, "stepping": False}, "HGRU": {**base, "stepping": True}}
    )
    keys = ("step_s", "step_cpu_s", "states_s", "states_cpu_s")
    print(
        f"{'a step of ' + str(runs['HRNN'][0]['batch']):<16}{'s':>9}{'CPU s':>9}"
        f"{'states s':>10}{'CPU s':>9}"
    )
    for name, found in runs.items():
        whole, whole_cpu, states, states_cpu = (_median(found, key) for key in keys)
        print(f"{name:<16}{whole:>9.4f}{whole_cpu:>9.4f}{states:>10.4f}{states_cpu:>9.4f}")
    for key in keys:
        _ratio(runs, "HGRU", "HRNN", key)
    return runs


def _padding(asked: argparse.Namespace) -> dict[str, Any]:
    """What plans of batches compute in vain."""
    folder = str(dataset(asked.work, asked.events, asked.items, 0))
    found = _in_process(asked, {"task": "padding", "folder": folder})
    print(f"\n{'plan':<10}{'batches':>8}{'padding':>9}{'targets':>9}{'planned a CPU s':>17}")
    for name in ("users", "sessions", "windows"):
        row = found[name]
        print(
            f"{name:<10}{row['batches']:>8}{row['padding']:>9.2%}{row['targets']:>9.2%}"
            f"{row['events_per_cpu_s']:>17,.0f}"
        )
    return found


def _reading(asked: argparse.Namespace) -> dict[str, Any]:
    """From a data set folder to the first batch."""
    folder = str(dataset(asked.work, asked.events, asked.items, 0))
    runs = _in_turns(asked, {"reading": {"task": "reading", "folder": folder}})
    print(f"seconds to read {asked.events:,} events, and to have the first batch")
    for name in ("shards", "flat"):
        read, first = (
            statistics.median(run[name][key] for run in runs["reading"])
            for key in ("read_s", "first_batch_s")
        )
        print(f"{name:<8}{read:>8.3f}{first:>8.3f}")
    return runs


def _sampled(asked: argparse.Namespace, batch_events: int) -> dict[str, Any]:
    return {"width": asked.width, "negatives": asked.negatives, "batch_events": batch_events}


def _in_turns(asked: argparse.Namespace, orders: dict[str, dict[str, Any]]) -> Runs:
    """Each measurement in its turn, ``repeats`` rounds."""
    runs: Runs = defaultdict(list)
    for _ in range(asked.repeats):
        for name, order in orders.items():
            runs[name].append(_in_process(asked, order))
    loads = [run["load"] for found in runs.values() for run in found]
    print(f"\nload while measuring: {min(loads)} to {max(loads)}, of which {asked.threads} our own")
    return dict(runs)


def _median(runs: list[dict[str, Any]], key: str) -> float:
    return float(statistics.median(run[key] for run in runs))


def _ratio(runs: Runs, one: str, other: str, key: str) -> None:
    ratio = _median(runs[one], key) / _median(runs[other], key)
    print(f"{one} / {other}, {key}: {ratio:.2f}", flush=True)


def _in_process(asked: argparse.Namespace, order: dict[str, Any]) -> dict[str, Any]:
    """The answer of :mod:`benchmarks.train_worker`.

    Raises:
        HourglassError: it ended without one.
    """
    found = subprocess.run(
        [sys.executable, "-m", "benchmarks.train_worker"],
        cwd=Path(__file__).resolve().parents[1],
        # As `hourglass train` has it: threads that wait do not keep a core from others.
        env={**os.environ, "OMP_NUM_THREADS": str(asked.threads), "OMP_WAIT_POLICY": "PASSIVE"},
        input=json.dumps({**order, "threads": asked.threads}),
        stdout=subprocess.PIPE,
        text=True,
        check=False,
    )
    said = found.stdout.strip().splitlines()
    if found.returncode or not said:
        raise HourglassError(
            f"{order['task']} ended with exit code {found.returncode}: what it said is above"
        )
    answer: dict[str, Any] = json.loads(said[-1])
    return answer | {"load": round(os.getloadavg()[0], 1)}


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
