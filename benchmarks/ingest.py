"""Time ingest beside DuckDB and Polars doing the same work on the same raw files.

Run as ``python -m benchmarks.ingest --work FOLDER``; ``benchmarks/README.md`` says what is
measured.  The engines take turns in one run.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import psutil

from benchmarks.intake.raw_log import HOURS, Format, Layout, write_log
from benchmarks.sessionize import machine

ENGINES = ("hourglass", "duckdb", "polars")
_SAMPLE_S = 0.05
_GIB = 1 << 30


def measured(command: list[str], folder: Path) -> dict[str, Any]:
    """Run a command; what it prints, its clock, its CPU seconds and its peak memory.

    Both with those of all processes below it; memory is sampled.
    """
    peak = 0
    before = os.times()
    begun_s = time.perf_counter()
    with subprocess.Popen(  # noqa: S603 - our own commands
        command, stdout=subprocess.PIPE, text=True, cwd=folder
    ) as child:
        process = psutil.Process(child.pid)
        stopped = threading.Event()

        def watch() -> None:
            nonlocal peak
            while not stopped.wait(_SAMPLE_S):
                try:
                    family = [process, *process.children(recursive=True)]
                    peak = max(peak, sum(each.memory_info().rss for each in family))
                except psutil.Error:
                    continue

        sampler = threading.Thread(target=watch)
        sampler.start()
        output = child.communicate()[0]
        stopped.set()
        sampler.join()
    wall_s = time.perf_counter() - begun_s
    after = os.times()
    if child.returncode:
        raise SystemExit(f"{' '.join(command)}: exit {child.returncode}: {output}")
    return {
        "output": output,
        "wall_s": wall_s,
        "cpu_s": (
            after.children_user
            - before.children_user
            + after.children_system
            - before.children_system
        ),
        "peak_gib": peak / _GIB,
    }


def run(engine: str, form: Format, log: Path, out: Path, memory: str) -> dict[str, Any]:
    """One engine on one log, into a folder that is removed afterwards."""
    shutil.rmtree(out, ignore_errors=True)
    root = Path(__file__).resolve().parents[1]
    if engine == "hourglass":
        out.mkdir(parents=True)
        columns: dict[str, Any] = {
            "event_time": "ts",
            "user_id": "user",
            "item_id": "item",
            "event_type": "kind",
            "value": "price",
            "context": {"device": "ctx.device" if form == "json" else "device"},
        }
        name = {"csv": "delimited", "json": "json_lines"}.get(form, form)
        settings = {
            "work": str(out / "work"),
            "source": {
                "name": name,
                "path": str(log),
                "pattern": "**/*.*",
                "time_unit": "ms",
                "columns": columns,
            },
        }
        config = out / "hourglass.yaml"
        config.write_text(json.dumps(settings), encoding="utf-8")
        command = [sys.executable, "-m", "training", "--config", str(config), "--json", "ingest"]
        result = measured(command, root)
        result["events"] = json.loads(result["output"])["accepted"]
    else:
        own = [memory] if engine == "duckdb" else []
        module = [sys.executable, "-m", "benchmarks.intake.engines"]
        result = measured([*module, engine, form, str(log), str(out), *own], root)
        result["events"] = int(result["output"])
    shutil.rmtree(out, ignore_errors=True)
    return result


def table(results: list[dict[str, Any]], base: str = "duckdb") -> list[str]:
    """Lines of a table in Markdown."""
    lines = [
        f"| log | engine | records/s | records/CPU s | CPU s | times {base} | peak GiB |",
        "|---|---|---|---|---|---|---|",
    ]
    for result in results:
        base_s = result["engines"].get(base, {}).get("cpu_s")
        for engine, figures in result["engines"].items():
            times = f"{figures['cpu_s'] / base_s:.2f}" if base_s else ""
            records = result["records"]
            lines.append(
                f"| {result['log']} | {engine} | {records / figures['wall_s']:,.0f} "
                f"| {records / figures['cpu_s']:,.0f} | {figures['cpu_s']:.1f} | {times} "
                f"| {figures['peak_gib']:.2f} |"
            )
    return lines


def main(arguments: list[str]) -> None:
    """Measure each log by each engine, and print the medians."""
    parser = argparse.ArgumentParser(prog="benchmarks.ingest", description=__doc__)
    parser.add_argument("--work", type=Path, required=True, help="folder for logs and tables")
    parser.add_argument("--records", type=lambda text: int(float(text)), default=2_000_000)
    parser.add_argument("--formats", type=lambda text: text.split(","), default=["csv"])
    parser.add_argument("--layouts", type=lambda text: text.split(","), default=["hours"])
    parser.add_argument("--engines", type=lambda text: text.split(","), default=list(ENGINES))
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--memory", default="4GB", help="limit of DuckDB's memory")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    work = options.work.resolve()
    print(json.dumps({**machine(), "load": os.getloadavg()[0]}), flush=True)
    results = []
    layout: Layout
    for form in options.formats:
        for layout in options.layouts:
            log = write_log(work / "logs", form, layout, options.records, options.seed)
            runs: dict[str, list[dict[str, Any]]] = {}
            for _ in range(options.repeats):
                for engine in options.engines:
                    figures = run(engine, form, log, work / "out", options.memory)
                    runs.setdefault(engine, []).append(figures)
            counts = {figures["events"] for each in runs.values() for figures in each}
            if len(counts) > 1:
                raise SystemExit(
                    f"{log.name}: the engines disagree on how many are events: {counts}"
                )
            results.append(
                {
                    "log": f"{form}, {layout}, {options.records:,}",
                    "records": options.records // HOURS * HOURS,
                    "engines": {
                        engine: {
                            key: statistics.median(figures[key] for figures in each)
                            for key in ("wall_s", "cpu_s", "peak_gib")
                        }
                        for engine, each in runs.items()
                    },
                }
            )
            print("\n".join(table(results[-1:])), flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
