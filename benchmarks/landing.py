"""Time one hour: from the landing of its file to published recommendations, step by step.

Run as ``python -m benchmarks.landing --raw <wikipedia.csv> --work <folder>``;
``benchmarks/README.md`` says what is measured.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
from pathlib import Path
from typing import Any

import yaml

from benchmarks.hour_commands import (
    Cost,
    fork_server,
    hour_commands,
    measured,
    measured_here,
)
from pipeline.hours import HOUR_S, Hour
from pipeline.sources.known_logs import WIKIPEDIA_EPOCH

_TIME = 2  # the column of a record's seconds


def main(arguments: list[str]) -> int:
    """Fill a lake with all hours but the last, once; then land that one and time what follows."""
    options = _arguments(arguments)
    work = options.work.resolve()
    hour, last = _parted(options.raw, work)
    settings = _settings(work, options)
    config = work / "hourglass.yaml"
    config.write_text(yaml.safe_dump(settings), encoding="utf-8")
    base, place = work / "base", work / "run"
    if not base.is_dir():
        shutil.rmtree(base, ignore_errors=True)
        shutil.rmtree(place, ignore_errors=True)
        (work / "landing" / last.name).unlink(missing_ok=True)
        _fill(settings, work, hour)
        shutil.copytree(place, base)
    results: dict[str, Any] = {"hour": str(hour), "load": os.getloadavg()[0]}
    for mode in options.modes:
        # A lake knows where it lies: it is measured at one place and kept at another.
        shutil.rmtree(place, ignore_errors=True)
        shutil.copytree(base, place)
        shutil.copy(last, work / "landing" / last.name)
        costs = _costs(mode, config, hour)
        results[mode] = {name: vars(cost) for name, cost in costs}
        _show(mode, costs)
        (work / "landing" / last.name).unlink()
    if options.out:
        options.out.write_text(json.dumps(results, indent=1), encoding="utf-8")
    return 0


def _costs(mode: str, config: Path, hour: Hour) -> list[tuple[str, Cost]]:
    """Until the list is published; a gate may block, whatever else fails ends it all."""
    names = [name for name, _ in hour_commands(hour)]
    commands = hour_commands(hour)[: names.index("recommend") + 1]
    costs: list[tuple[str, Cost]] = []
    if mode == "process":
        costs += measured_here(config, commands)
    elif mode == "forks":
        with fork_server() as (server, start):
            costs.append(("start", start))
            costs += [(name, measured(config, line, server)) for name, line in commands]
    else:
        costs += [(name, measured(config, line)) for name, line in commands]
    for name, cost in costs:
        if cost.code and name != "gate":
            raise SystemExit(f"{name}: exit code {cost.code}: {cost.output[-2000:]}")
    return costs


def _arguments(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="benchmarks.landing", description=__doc__)
    parser.add_argument("--raw", type=Path, required=True, help="wikipedia.csv")
    parser.add_argument("--work", type=Path, required=True, help="folder for the lake")
    parser.add_argument("--out", type=Path, help="JSON file of the results")
    parser.add_argument(
        "--modes", type=lambda text: text.split(","), default=["commands", "forks", "process"]
    )
    parser.add_argument("--width", type=int, default=64)
    parser.add_argument("--epochs", type=int, default=2)
    return parser.parse_args(arguments)


def _parted(raw: Path, work: Path) -> tuple[Hour, Path]:
    """All but the last hour in the landing zone, the last beside it; and which hour that is."""
    header, *lines = raw.read_text(encoding="utf-8").splitlines()
    hours = [int(float(line.split(",")[_TIME])) // HOUR_S for line in lines]
    last = max(hours)
    landing = work / "landing"
    landing.mkdir(parents=True, exist_ok=True)
    if not (landing / "history.csv").is_file():
        before = [line for line, hour in zip(lines, hours, strict=True) if hour < last]
        (landing / "history.csv").write_text("\n".join([header, *before, ""]), encoding="utf-8")
    path = work / "last-hour.csv"
    new = [line for line, hour in zip(lines, hours, strict=True) if hour == last]
    path.write_text("\n".join([header, *new, ""]), encoding="utf-8")
    return Hour.parse(WIKIPEDIA_EPOCH) + last, path


def _settings(work: Path, options: argparse.Namespace) -> dict[str, Any]:
    small = {
        "width": options.width,
        "epochs": options.epochs,
        "validation_share": 0.0,
        "device": "cpu",
        "repeats": True,
    }
    return {
        "work": str(work / "run"),
        "source": {"name": "wikipedia", "path": str(work / "landing")},
        "dataset": {"window": "21d", "history": "7d", "popularity_window": "168h"},
        "evaluation": {"horizon": "1h", "repeats": "keep"},
        "candidate": "hrnn_trend",
        "models": [
            {"system": "recent_pop"},
            {"name": "hrnn_trend", "system": "hrnn_trend", "parameters": small},
        ],
    }


def _fill(settings: dict[str, Any], work: Path, hour: Hour) -> None:
    """The lake of all hours before, and a live network that was trained an hour ago."""
    first = work / "first.yaml"
    # The floor becomes the first champion, whatever it is.
    first.write_text(yaml.safe_dump({**settings, "gate": {"baseline": "hrnn_trend"}}), "utf-8")
    for line in (
        ["backfill"],
        ["validate", "--from", WIKIPEDIA_EPOCH, "--to", str(hour)],
        ["loop"],
    ):
        cost = measured(first, line)
        if cost.code:
            raise SystemExit(f"{line[0]}: {cost.output[-2000:]}")


def _show(mode: str, costs: list[tuple[str, Cost]]) -> None:
    print(f"\n{mode}: seconds (and seconds of CPU)")
    for name, cost in costs:
        print(f"  {name:<18}{cost.wall_s:>8.1f}{cost.cpu_s:>8.1f}")
    wall_s, cpu_s = sum(cost.wall_s for _, cost in costs), sum(cost.cpu_s for _, cost in costs)
    print(f"  {'together':<18}{wall_s:>8.1f}{cpu_s:>8.1f}", flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
