"""CPU seconds and memory of each command of an hour on a small lake: mostly Python that starts.

Run as ``python -m benchmarks.commands --work <folder>``, with ``--fork-server`` as Airflow has it;
``benchmarks/README.md`` says what is measured.
"""

from __future__ import annotations

import argparse
import json
import math
import shutil
import sys
from pathlib import Path
from statistics import median
from typing import Any

import psutil
import yaml

from benchmarks.hour_commands import Cost, fork_server, hour_commands, measured
from benchmarks.small_site import FIRST, HOURS, filling, site_settings

_STATES = {"to do": "one hour to do", "done": "done again", "bare": "nothing to do"}
# What an hour begins with where nothing was ever trained; the last two are refused then.
_IDLE = ("ingest", "judge", "stale", "monitor", "gate", "refit", "recommend", "where")


def main(arguments: list[str]) -> int:
    """Fill a lake once; then let one more hour land, run its commands, and run them again."""
    options = _options(arguments)
    work = options.work.resolve()
    config = work / "hourglass.yaml"
    if not (work / "base").is_dir():
        _fill(config, work, options.users)
    if options.fork_server:
        with fork_server() as (server, start):
            print(f"{'fork server':<20}{start.cpu_s:>10.2f}")
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
                measured(config, ["simulate", "--hours", str(HOURS + 1)])
            for name, line in hour_commands(FIRST + HOURS):
                if state == "bare" and name not in _IDLE:
                    continue
                cost = measured(config, line, server)
                costs.setdefault((name, state), []).append(cost)
                if cost.code and state != "bare":
                    print(f"{name}: exit code {cost.code}: {cost.output[-500:]}", file=sys.stderr)
    return costs


def _lay_out(work: Path, name: str) -> None:
    """A lake knows where it lies: it is measured at one place and kept at another."""
    shutil.rmtree(work / "run", ignore_errors=True)
    shutil.copytree(work / name, work / "run")


def _options(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="benchmarks.commands", description=__doc__)
    parser.add_argument("--work", type=Path, required=True, help="folder for the lake")
    parser.add_argument("--users", type=int, default=1500, help="of the site; some four an event")
    parser.add_argument("--repeats", type=int, default=3, help="the median is shown")
    parser.add_argument("--fork-server", action="store_true", help="as with Airflow")
    parser.add_argument("--out", type=Path, help="JSON file of the results")
    return parser.parse_args(arguments)


def _fill(config: Path, work: Path, users: int) -> None:
    """Lakes of the hours before: with a network that was trained an hour ago, and with none."""
    run = work / "run"
    shutil.rmtree(run, ignore_errors=True)
    work.mkdir(parents=True, exist_ok=True)
    config.write_text(yaml.safe_dump(site_settings(run, users)), encoding="utf-8")

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
                    "wall_s": median(cost.wall_s for cost in measurements),
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
    for title, measure in (("all", "cpu_s"), ("all, by the clock", "wall_s")):
        sums = (sum(row[state][measure] for row in rows if state in row) for state in _STATES)
        print(f"{title:<20}" + "".join(f"{sum_s:>10.2f}{'':>10}" for sum_s in sums))


def _mib(rss_mib: float) -> str:
    return "" if math.isnan(rss_mib) else f"{rss_mib:.0f}"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
