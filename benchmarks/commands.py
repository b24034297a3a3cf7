"""CPU seconds and memory of each command of an hour on a small lake: mostly Python that starts.

Run as ``python -m benchmarks.commands --work <folder>``, with ``--fork-server`` as Airflow has it;
``benchmarks/README.md`` says what is measured.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import psutil
import yaml

from pipeline.hours import Hour
from pipeline.process.fork_server.address import address_of
from training.__main__ import IDLE_VARIABLE

_FIRST = Hour.parse("2026-01-05T00")
_HOURS = 20  # that the lake has before the hour that is measured
_STATES = {"to do": "one hour to do", "done": "done again", "bare": "nothing to do"}
# What an hour begins with where nothing was ever trained; the last two are refused then.
_IDLE = ("ingest", "judge", "stale", "monitor", "gate", "refit", "recommend", "where")


@dataclass(frozen=True)
class Cost:
    """What a process came to, and what it printed."""

    cpu_s: float
    rss_mib: float
    code: int
    output: str


def main(arguments: list[str]) -> int:
    """Fill a lake once; then let one more hour land, run its commands, and run them again."""
    options = _options(arguments)
    work = options.work.resolve()
    config = work / "hourglass.yaml"
    if not (work / "base").is_dir():
        _fill(config, work)
    if options.fork_server:
        with _fork_server() as server:
            costs = _costs(config, work, options.repeats, server)
    else:
        costs = _costs(config, work, options.repeats)
    rows = _rows(costs)
    _show(rows)
    if options.out:
        options.out.write_text(json.dumps(rows, indent=1), encoding="utf-8")
    return 0


def _costs(
    config: Path, work: Path, repeats: int, server: psutil.Process | None = None
) -> dict[tuple[str, str], list[Cost]]:
    """Of each command in each state, as often as it was measured."""
    costs: dict[tuple[str, str], list[Cost]] = {}
    for _ in range(repeats):
        for state in _STATES:
            if state != "done":
                _lay_out(work, "bare" if state == "bare" else "base")
            if state == "to do":
                measured(config, ["simulate", "--hours", str(_HOURS + 1)])
            for name, line in _commands(_FIRST + _HOURS):
                if state == "bare" and name not in _IDLE:
                    continue
                cost = measured(config, line, server)
                costs.setdefault((name, state), []).append(cost)
                if cost.code and state != "bare":
                    print(f"{name}: exit code {cost.code}: {cost.output[-500:]}", file=sys.stderr)
    return costs


@contextmanager
def _fork_server() -> Iterator[psutil.Process]:
    """The server that commands of this environment look for; what it takes to start is printed."""
    root = Path(__file__).resolve().parents[1]
    address = address_of(os.environ, (root / "pipeline", root / "training"))
    if address is None:
        raise SystemExit("no fork server here")
    command = [sys.executable, "-m", "training.fork_server", *map(str, address), "600"]
    with subprocess.Popen(command, cwd=root) as started:  # noqa: S603 - as above
        server = psutil.Process(started.pid)
        print(f"{'fork server':<20}{measured(None, ['--help'], server).cpu_s:>10.2f}")
        yield server
        started.terminate()


def _cpu_s(server: psutil.Process | None) -> float:
    return 0.0 if server is None else sum(server.cpu_times()[:4])


def _lay_out(work: Path, name: str) -> None:
    """A lake knows where it lies: it is measured at one place and kept at another."""
    shutil.rmtree(work / "run", ignore_errors=True)
    shutil.copytree(work / name, work / "run")


def measured(
    config: Path | None, line: Sequence[str], server: psutil.Process | None = None
) -> Cost:
    """Run one command in a process of its own; CPU seconds include those of its children.

    With a fork server, they include what it and its forks take, and nobody knows their memory.
    """
    settings = [] if config is None else ["--config", str(config)]
    command = [sys.executable, "-m", "training", *settings, "--json", *line]
    environ = {**os.environ, IDLE_VARIABLE: "" if server is None else "600"}
    before_s = _cpu_s(server)
    with subprocess.Popen(  # noqa: S603 - our own module in our own interpreter
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environ
    ) as process:
        assert process.stdout is not None
        output = process.stdout.read()
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    cpu_s = usage.ru_utime + usage.ru_stime + _cpu_s(server) - before_s
    rss_mib = usage.ru_maxrss / 1024 if server is None else float("nan")
    return Cost(cpu_s, rss_mib, process.returncode, output)


def _options(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="benchmarks.commands", description=__doc__)
    parser.add_argument("--work", type=Path, required=True, help="folder for the lake")
    parser.add_argument("--repeats", type=int, default=3, help="the median is shown")
    parser.add_argument("--fork-server", action="store_true", help="as with Airflow")
    parser.add_argument("--out", type=Path, help="JSON file of the results")
    return parser.parse_args(arguments)


def _commands(hour: Hour) -> list[tuple[str, list[str]]]:
    """What Airflow runs for an hour, in its order."""
    hours = ["--from", str(hour), "--to", str(hour + 1)]
    return [
        ("ingest", ["ingest"]),
        ("validate events", ["validate", *hours, "--only", "events"]),
        ("sessionize", ["sessionize", *hours]),
        ("validate sessions", ["validate", *hours, "--only", "sessions"]),
        ("dataset", ["dataset", "--judged-until", "last"]),
        ("judge", ["judge"]),
        ("stale", ["stale"]),
        ("train", ["train", "--as-needed"]),
        ("evaluate", ["evaluate"]),
        ("monitor", ["monitor"]),
        ("gate", ["gate"]),
        ("refit", ["refit"]),
        ("promote", ["promote"]),
        ("recommend", ["recommend"]),
        ("report", ["report"]),
        ("where", ["where"]),
    ]


def _settings(run: Path) -> dict[str, Any]:
    landing = run / "landing"
    small = {"width": 32, "epochs": 2, "validation_share": 0.0, "device": "cpu"}
    return {
        "work": str(run),
        "source": {
            "name": "simulator",
            "path": str(landing),
            "items_path": str(landing / "items.jsonl"),
        },
        "dataset": {"window": "12h", "history": "6h", "min_item_events": 5},
        "evaluation": {"horizon": "1h"},
        "simulator": {"users": 1500, "start": str(_FIRST)},
        "candidate": "hrnn_trend",
        "models": [
            {"system": "recent_pop"},
            {"system": "item_knn"},
            {"name": "hrnn_trend", "system": "hrnn_trend", "parameters": small},
        ],
    }


def _fill(config: Path, work: Path) -> None:
    """Lakes of the hours before: with a network that was trained an hour ago, and with none."""
    run = work / "run"
    shutil.rmtree(run, ignore_errors=True)
    work.mkdir(parents=True, exist_ok=True)
    config.write_text(yaml.safe_dump(_settings(run)), encoding="utf-8")
    start, last = str(_FIRST), str(_FIRST + _HOURS)

    def run_each(*lines: list[str]) -> None:
        for line in lines:
            cost = measured(config, line)
            if cost.code:
                raise SystemExit(f"{line[0]}: {cost.output[-2000:]}")

    run_each(
        ["simulate", "--hours", str(_HOURS)],
        ["backfill"],
        ["validate", "--from", start, "--to", last],
        ["dataset", "--judged-until", "last"],
    )
    shutil.copytree(run, work / "bare")
    run_each(["loop"])
    shutil.copytree(run, work / "base")


def _rows(costs: dict[tuple[str, str], list[Cost]]) -> list[dict[str, Any]]:
    rows = []
    for name in dict.fromkeys(name for name, _ in costs):
        row: dict[str, Any] = {"command": name}
        for state in _STATES:
            if measurements := costs.get((name, state)):
                row[state] = {
                    "cpu_s": median(cost.cpu_s for cost in measurements),
                    "rss_mib": median(cost.rss_mib for cost in measurements),
                    "code": measurements[0].code,
                    "output": measurements[0].output,
                }
        rows.append(row)
    return rows


def _show(rows: list[dict[str, Any]]) -> None:
    print(f"{'':<20}" + "".join(f"{title:>20}" for title in _STATES.values()))
    print(f"{'':<20}" + "     CPU s       MiB" * len(_STATES))
    for row in rows:
        columns = "".join(
            f"{cost['cpu_s']:>10.2f}{_mib(cost['rss_mib']):>10}" if cost else " " * 20
            for cost in (row.get(state) for state in _STATES)
        )
        print(f"{row['command']:<20}{columns}")
    sums = (sum(row[state]["cpu_s"] for row in rows if state in row) for state in _STATES)
    print(f"{'all':<20}" + "".join(f"{cpu_s:>10.2f}{'':>10}" for cpu_s in sums))


def _mib(rss_mib: float) -> str:
    return "" if math.isnan(rss_mib) else f"{rss_mib:.0f}"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
