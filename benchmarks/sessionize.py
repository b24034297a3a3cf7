"""Time sessionizing: ours beside DuckDB and Polars, and the hourly step after long history.

Run as ``python -m benchmarks.sessionize``; ``benchmarks/README.md`` says what is measured.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import threading
from collections import defaultdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

import psutil

from benchmarks.agreement import compare
from benchmarks.engines import ENGINES, cores
from benchmarks.event_log import generate
from pipeline.errors import HourglassError

_SAMPLE_S = 0.1
_MIB = 1 << 20
_GIB = 1 << 30
# What others are compared with.
_BASES = ("duckdb", "duckdb_one_file", "duckdb_loose", "polars")


def main(arguments: list[str]) -> int:
    """Measure what the arguments ask for, print it, and write it as JSON."""
    asked = _arguments(arguments)
    asked.work = asked.work.resolve()
    asked.work.mkdir(parents=True, exist_ok=True)
    results: dict[str, Any] = {"machine": machine(), "limits": _limits(asked)}
    print(json.dumps(results["machine"]), flush=True)
    try:
        if asked.events:
            results["full"] = [_full(asked, events) for events in asked.events]
        if asked.hourly or asked.hourly_by_the_hour:
            results["hourly"] = _hourly(asked)
    except HourglassError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    finally:
        if asked.out:
            asked.out.write_text(json.dumps(results, indent=1), encoding="utf-8")
    return 0


def _arguments(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="benchmarks.sessionize", description=__doc__)
    parser.add_argument("--events", type=_counts, default=[], help="1e6,10e6: full recomputes")
    parser.add_argument("--days", type=int, default=10, help="that the events are spread over")
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--engines", type=_names, default=list(ENGINES))
    parser.add_argument("--warm-events", type=_count, default=100_000)
    parser.add_argument("--hourly", type=_counts, default=[], help="1,10,60: days of history")
    parser.add_argument(
        "--hourly-by-the-hour", type=_counts, default=[], help="days of history, all hour by hour"
    )
    parser.add_argument("--events-per-hour", type=_count, default=5000)
    parser.add_argument("--steps", type=int, default=12, help="hours that are timed")
    parser.add_argument("--driver-memory", default="4g")
    parser.add_argument("--duckdb-memory", default="8GB")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--work", type=Path, required=True, help="folder for logs and tables")
    parser.add_argument("--out", type=Path, help="JSON file of the results")
    asked = parser.parse_args(arguments)
    unknown = set(asked.engines) - set(ENGINES)
    if unknown:
        parser.error(f"unknown engine {min(unknown)}: choose from {', '.join(ENGINES)}")
    return asked


def _count(text: str) -> int:
    return int(float(text))


def _counts(text: str) -> list[int]:
    return [_count(part) for part in text.split(",")]


def _names(text: str) -> list[str]:
    return text.split(",")


def _limits(asked: argparse.Namespace) -> dict[str, Any]:
    return {
        "driver_memory": asked.driver_memory,
        "duckdb_memory": asked.duckdb_memory,
        "threads": cores(),
    }


def machine() -> dict[str, Any]:
    """What the results were measured on."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text(encoding="utf-8").splitlines() if info.is_file() else []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    packages = ("pyspark", "pyiceberg", "pyarrow", "numpy", "duckdb", "polars")
    return {
        "cpu": models[0] if models else platform.processor(),
        "cores": cores(),
        "memory_gib": round(psutil.virtual_memory().total / _GIB, 1),
        "python": platform.python_version(),
        **{name: version(name) for name in packages},
    }


def _full(asked: argparse.Namespace, events: int) -> dict[str, Any]:
    """All engines on one log, taking turns; only the last output of each is looked at."""
    logs = asked.work / "logs"
    generate(logs, asked.warm_events, asked.days, asked.seed)
    log = generate(logs, events, asked.days, asked.seed)
    order = {
        "task": "full",
        "logs": str(logs),
        "events": events,
        "warm_events": asked.warm_events,
        "days": asked.days,
        "seed": asked.seed,
        "limits": _limits(asked),
    }
    runs: dict[str, list[dict[str, Any]]] = defaultdict(list)
    checksums = {}
    for repeat in range(asked.repeats):
        for name in asked.engines:
            scratch, out = asked.work / "scratch", asked.work / f"made-by-{name}"
            for folder in (scratch, out):
                shutil.rmtree(folder, ignore_errors=True)
            for file in log.files:
                # Nobody shall be the one who finds the log on disk alone ...
                Path(file.path).read_bytes()
            # ... nor write while what others made is still being written back.
            os.sync()
            found = _in_process({**order, "engine": name, "scratch": str(scratch), "out": str(out)})
            runs[name].append(found)
            if repeat + 1 == asked.repeats:
                checked = _in_process({**order, "task": "check", "paths": found["paths"]})
                del checked["peak_rss_mib"]
                checksums[name] = checked
            found["files"] = {table: len(paths) for table, paths in found.pop("paths").items()}
            print(
                f"{events:,} events, {name}: {found['stages_s']['all']:.2f} s, "
                f"{found['peak_rss_mib']} MiB",
                flush=True,
            )
            for folder in (scratch, out):
                shutil.rmtree(folder, ignore_errors=True)
    compare(checksums)
    summary = {name: _summary(events, found) for name, found in runs.items()}
    input_mib = sum(file.bytes for file in log.files) // _MIB
    print(_table(events, input_mib, summary), flush=True)
    first = next(iter(checksums.values()))
    for table, (rows, total, more) in first.items():
        print(f"  all agree on {table}: {rows:,} rows, sum of hashes {total}, {more}")
    return {
        "events": events,
        "days": asked.days,
        "input_mib": input_mib,
        "engines": summary,
        "checksums": checksums,
    }


def _summary(events: int, runs: list[dict[str, Any]]) -> dict[str, Any]:
    times_s = [run["stages_s"]["all"] for run in runs]
    median_s = statistics.median(times_s)
    return {
        "median_s": median_s,
        "times_s": times_s,
        "cpu_s": [run["cpu_s"] for run in runs],
        "stages_s": [run["stages_s"] for run in runs],
        "events_per_s": events / median_s,
        "peak_rss_mib": max(run["peak_rss_mib"] for run in runs),
        "files": runs[-1]["files"],
    }


def _table(events: int, input_mib: int, summary: dict[str, dict[str, Any]]) -> str:
    lines = [
        f"\n{events:,} events, {input_mib} MiB of Parquet, median seconds",
        f"{'engine':<16}{'median':>8}{'CPU s':>8}{'events/s':>12}{'MiB':>7}"
        + "".join(f"{'x ' + base:>18}" for base in _BASES)
        + "  all runs",
    ]
    for name, found in summary.items():
        ratios = [
            f"{found['median_s'] / summary[base]['median_s']:.2f}" if base in summary else "-"
            for base in _BASES
        ]
        runs = " ".join(f"{seconds:.2f}" for seconds in found["times_s"])
        lines.append(
            f"{name:<16}{found['median_s']:>8.2f}{statistics.median(found['cpu_s']):>8.1f}"
            f"{found['events_per_s']:>12,.0f}{found['peak_rss_mib']:>7}"
            + "".join(f"{ratio:>18}" for ratio in ratios)
            + f"  {runs}"
        )
    return "\n".join(lines)


def _hourly(asked: argparse.Namespace) -> dict[str, Any]:
    scratch = asked.work / "hourly"
    shutil.rmtree(scratch, ignore_errors=True)
    found = _in_process(
        {
            "task": "hourly",
            "logs": str(asked.work / "logs"),
            "scratch": str(scratch),
            "limits": _limits(asked),
            "history_days": asked.hourly,
            "by_the_hour": asked.hourly_by_the_hour,
            "events_per_hour": asked.events_per_hour,
            "steps": asked.steps,
            "seed": asked.seed,
        }
    )
    shutil.rmtree(scratch, ignore_errors=True)
    peak_rss_mib = found.pop("peak_rss_mib")
    base_s = next(iter(found.values()))["median_s"]
    print(f"\none hour of {asked.events_per_hour:,} events, median of {asked.steps}, seconds")
    for name, history in found.items():
        print(
            f"{name:<20}{history['median_s']:>7.3f}  x {history['median_s'] / base_s:.3f}"
            f"  {history['snapshots']} snapshots, history filled in {history['filling_s']:.0f} s"
        )
    return {"histories": found, "peak_rss_mib": peak_rss_mib}


def _in_process(order: dict[str, Any]) -> dict[str, Any]:
    """Run one task of :mod:`benchmarks.worker`; its answer, and the peak of its memory.

    Raises:
        HourglassError: it ended without an answer.
    """
    process = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.worker"],
        cwd=Path(__file__).resolve().parents[1],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    peak = [0]
    watcher = threading.Thread(target=_watch, args=(process, peak), daemon=True)
    watcher.start()
    said = process.communicate(json.dumps(order))[0].strip().splitlines()
    watcher.join()
    if process.returncode or not said:
        raise HourglassError(
            f"{order['task']} of {order.get('engine', 'the tables')} ended with exit code "
            f"{process.returncode}: what it said is above"
        )
    answer: dict[str, Any] = json.loads(said[-1])
    return answer | {"peak_rss_mib": peak[0] // _MIB}


def _watch(process: subprocess.Popen[str], peak: list[int]) -> None:
    """Resident memory of the process and all below it; pages that they share count for each."""
    root = psutil.Process(process.pid)
    while process.poll() is None:
        held = 0
        try:
            for each in [root, *root.children(recursive=True)]:
                try:
                    held += each.memory_info().rss
                except psutil.Error:
                    # It has ended meanwhile.
                    continue
        except psutil.Error:
            return
        peak[0] = max(peak[0], held)
        threading.Event().wait(_SAMPLE_S)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
