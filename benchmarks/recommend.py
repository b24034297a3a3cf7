"""Time recommending: from frozen histories to the published table and file, by catalogue size.

Run as ``python -m benchmarks.recommend --work <folder>``; ``benchmarks/README.md`` says what is
measured.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

import psutil

_GIB = 1 << 30
_SIZES = ((1_000, 100_000), (30_000, 20_000), (1_000_000, 2_000))


def main(arguments: list[str]) -> int:
    """Measure each system at each size, in a process each, and print one line of JSON for each."""
    asked = _arguments(arguments)
    machine = {
        "cpu": cpu_name(),
        "cores": len(os.sched_getaffinity(0)),
        "threads": asked.threads,
        "memory_gib": round(psutil.virtual_memory().total / _GIB, 1),
        "python": platform.python_version(),
        "torch": version("torch"),
        "load": round(os.getloadavg()[0], 1),
    }
    print(json.dumps(machine), flush=True)
    results: list[dict[str, Any]] = []
    for items, users in asked.sizes:
        for system in asked.systems:
            runs = [_run(asked, system, items, users) for _ in range(asked.repeats)]
            best = max(runs, key=lambda run: run["users_per_s"])
            speeds = [run["users_per_s"] for run in runs]
            results.append({**best, "median_users_per_s": statistics.median(speeds)})
            print(json.dumps(results[-1]), flush=True)
    if asked.out:
        told = {"machine": machine, "results": results}
        asked.out.write_text(json.dumps(told, indent=1), encoding="utf-8")
    return 0


def _arguments(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="benchmarks.recommend", description=__doc__)
    parser.add_argument(
        "--sizes", type=_sizes, default=_SIZES, help="items:users, like 1e6:2000, with commas"
    )
    parser.add_argument("--systems", type=lambda text: text.split(","),
                        default=["hrnn_trend", "recent_pop"])  # fmt: skip
    parser.add_argument("--width", type=int, default=100)
    parser.add_argument("--similar-sessions", type=int, default=0, help="of hrnn_trend's mixture")
    parser.add_argument("--k", type=int, default=20)
    parser.add_argument("--exclude-seen", default="history")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--work", type=Path, required=True, help="folder for data sets and lakes")
    parser.add_argument("--out", type=Path, help="JSON file of the results")
    return parser.parse_args(arguments)


def _sizes(text: str) -> tuple[tuple[int, int], ...]:
    pairs = (part.split(":") for part in text.split(","))
    return tuple((int(float(items)), int(float(users))) for items, users in pairs)


def _run(asked: argparse.Namespace, system: str, items: int, users: int) -> dict[str, Any]:
    order = {
        "system": system,
        "items": items,
        "users": users,
        "width": asked.width,
        "similar_sessions": asked.similar_sessions,
        "k": asked.k,
        "exclude_seen": asked.exclude_seen,
        "work": str(asked.work.resolve()),
        "threads": asked.threads,
    }
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.recommend_worker"],
        input=json.dumps(order), capture_output=True, text=True, check=False,
        env={**os.environ, "OMP_NUM_THREADS": str(asked.threads)},
    )  # fmt: skip
    if done.returncode:
        raise SystemExit(f"{order}: {done.stderr[-2000:]}")
    answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return answer


def cpu_name() -> str:
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
