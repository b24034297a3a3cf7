"""CPU seconds and memory of each command of an hour on a small lake: mostly Python that starts.

Run as ``python -m benchmarks.commands --work <folder>``; ``benchmarks/README.md`` says what is
measured.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import yaml

from benchmarks.small_site import FIRST, HOURS, filling, site_settings
from pipeline.hours import Hour

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
    costs: dict[tuple[str, str], list[Cost]] = {}
    for _ in range(options.repeats):
        for state in _STATES:
            if state != "done":
                _lay_out(work, "bare" if state == "bare" else "base")
            if state == "to do":
                measured(config, ["simulate", "--hours", str(HOURS + 1)])
            for name, line in _commands(FIRST + HOURS):
                if state == "bare" and name not in _IDLE:
                    continue
                cost = measured(config, line)
                costs.setdefault((name, state), []).append(cost)
                if cost.code and state != "bare":
                    print(f"{name}: exit code {cost.code}: {cost.output[-500:]}", file=sys.stderr)
    rows = _rows(costs)
    _show(rows)
    if options.out:
        options.out.write_text(json.dumps(rows, indent=1), encoding="utf-8")
    return 0


def _lay_out(work: Path, name: str) -> None:
    """A lake knows where it lies: it is measured at one place and kept at another."""
    shutil.rmtree(work / "run", ignore_errors=True)
    shutil.copytree(work / name, work / "run")


def measured(config: Path, line: Sequence[str]) -> Cost:
    """Run one command in a process of its own; CPU seconds include those of its children."""
    command = [sys.executable, "-m", "training", "--config", str(config), "--json", *line]
    with subprocess.Popen(  # noqa: S603 - our own module in our own interpreter
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        assert process.stdout is not None
        output = process.stdout.read()
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    cpu_s = usage.ru_utime + usage.ru_stime
    return Cost(cpu_s, usage.ru_maxrss / 1024, process.returncode, output)


def _options(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="benchmarks.commands", description=__doc__)
    parser.add_argument("--work", type=Path, required=True, help="folder for the lake")
    parser.add_argument("--repeats", type=int, default=3, help="the median is shown")
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


def _fill(config: Path, work: Path) -> None:
    """Lakes of the hours before: with a network that was trained an hour ago, and with none."""
    run = work / "run"
    shutil.rmtree(run, ignore_errors=True)
    work.mkdir(parents=True, exist_ok=True)
    config.write_text(yaml.safe_dump(site_settings(run)), encoding="utf-8")

    def run_each(*lines: list[str]) -> None:
        for line in lines:
            cost = measured(config, line)
            if cost.code:
                raise SystemExit(f"{line[0]}: {cost.output[-2000:]}")

    run_each(
        ["simulate", "--hours", str(HOURS)],
        *filling(FIRST, FIRST + HOURS),
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
            f"{cost['cpu_s']:>10.2f}{cost['rss_mib']:>10.0f}" if cost else " " * 20
            for cost in (row.get(state) for state in _STATES)
        )
        print(f"{row['command']:<20}{columns}")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
