"""What one more hour costs by how much history lies behind it: CPU seconds of each command.

Run as ``python -m benchmarks.history_growth --work <folder> --days 1,60,365``;
``benchmarks/README.md`` says what is measured.
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import io
import json
import os
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import yaml

from benchmarks.hour_commands import Commands, hour_commands, measured
from benchmarks.recommend import cpu_name
from pipeline.hours import DAY_H, Hour, HourRange
from pipeline.lake.lake import Lake
from pipeline.lake.tables import ALL_TABLES
from pipeline.process.garbage import look_rarely
from pipeline.settings.settings import load_settings

_END = Hour.parse("2026-01-05T00")  # a Monday; all histories end here
_USERS, _ITEMS = 2000, 500
_BATCH_H = 24
_MEASURED = (
    "ingest",
    "validate events",
    "sessionize",
    "validate sessions",
    "dataset",
    "report",
)


@dataclass(frozen=True)
class History:
    """A lake with so many days behind it."""

    folder: Path
    days: int
    events_per_hour: int

    @property
    def config(self) -> Path:
        """The settings file."""
        return self.folder / "hourglass.yaml"

    def land(self, hour: Hour) -> None:
        """Write the file of an hour; the same hour is the same in every lake."""
        rng = np.random.default_rng(hour.index)
        n = int(rng.poisson(self.events_per_hour))
        user = rng.integers(_USERS, size=n)
        item = np.minimum(rng.geometric(0.02, size=n), _ITEMS)
        second = np.sort(rng.integers(3600, size=n)) + hour.index * 3600
        lines = ["timestamp,visitor,item,kind"]
        lines += [f"{s},u{u},i{i},view" for s, u, i in zip(second, user, item, strict=True)]
        folder = self.folder / "landing" / str(hour)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "clicks.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")


def main(arguments: list[str]) -> int:
    """Fill lakes where they are not there yet, then measure the next hours in each, in turns."""
    options = _arguments(arguments)
    if options.worker is not None:
        return _work(options)
    work = options.work.resolve()
    histories = [History(work / f"{d}-days", d, options.events_per_hour) for d in options.days]
    for history in histories:
        if not (history.folder / "filled").is_file():
            _fill(history, options.recent_hours)
    print(json.dumps(_machine()), flush=True)
    next_hour = {h.days: Hour.parse((h.folder / "filled").read_text("utf-8")) for h in histories}
    costs: dict[tuple[str, str, int], list[float]] = {}
    for nth in range(options.repeats):
        turn = nth % len(histories)
        # Who goes first changes, so that no lake always meets the others' leavings.
        for history in histories[turn:] + histories[:turn]:
            hour = next_hour[history.days]
            history.land(hour)
            for name, line in commands(hour):
                costs.setdefault((name, "command", history.days), []).append(
                    _command(history, line)
                )
            next_hour[history.days] = _done(history, hour)
    for history in histories:
        for name, cpu_s in _in_one_process(history, next_hour[history.days], options.repeats):
            costs.setdefault((name, "step", history.days), []).append(cpu_s)
        hour = Hour.parse((history.folder / "filled").read_text("utf-8"))
        print(json.dumps({"days": history.days, **_facts(history)}), file=sys.stderr, flush=True)
        next_hour[history.days] = hour
    rows = _rows(costs, [history.days for history in histories])
    _show(rows, [history.days for history in histories])
    print(json.dumps(_machine()), flush=True)
    if options.out:
        options.out.write_text(json.dumps(rows, indent=1), encoding="utf-8")
    return 0


def commands(hour: Hour) -> Commands:
    """What is measured of an hour, in its order."""
    return [(name, line) for name, line in hour_commands(hour) if name in _MEASURED]


def _command(history: History, line: Sequence[str]) -> float:
    """CPU seconds of one command in a process of its own, its children included."""
    cost = measured(history.config, line)
    if cost.code:
        raise SystemExit(f"{' '.join(line)}: {cost.output[-2000:]}")
    return cost.cpu_s


def _in_one_process(history: History, hour: Hour, repeats: int) -> list[tuple[str, float]]:
    """CPU seconds of the commands of the next hours in a process that stays, but for the first."""
    command = [sys.executable, "-m", "benchmarks.history_growth", "--worker", str(hour)]
    command += ["--work", str(history.folder), "--days", str(history.days)]
    command += ["--repeats", str(repeats), "--events-per-hour", str(history.events_per_hour)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)  # noqa: S603
    return [tuple(entry) for entry in json.loads(done.stdout.splitlines()[-1])]


def _work(options: argparse.Namespace) -> int:
    # As `training.fork_server` does, and any command.
    look_rarely()
    history = History(options.work, options.days[0], options.events_per_hour)
    hour, costs = Hour.parse(options.worker), []
    for nth in range(options.repeats + 1):
        history.land(hour)
        for name, line in commands(hour):
            began_s = _cpu_s()
            _run(history, line)
            if nth:
                costs.append((name, _cpu_s() - began_s))
        hour = _done(history, hour)
        if not nth:
            # As `pipeline.process.fork_server.server` does before its first command.
            gc.collect()
            gc.freeze()
    print(json.dumps(costs))
    return 0


def _cpu_s() -> float:
    kinds = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    usages = [resource.getrusage(kind) for kind in kinds]
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def _run(history: History, line: Sequence[str]) -> None:
    """Run one command in this process."""
    from training.cli.main import run

    output = io.StringIO()
    with contextlib.redirect_stdout(output), contextlib.redirect_stderr(output):
        code = run(["--config", str(history.config), "--json", *line])
    if code:
        raise SystemExit(f"{' '.join(line)}: exit code {code}: {output.getvalue()[-2000:]}")


def _done(history: History, hour: Hour) -> Hour:
    (history.folder / "filled").write_text(str(hour + 1), encoding="utf-8")
    return hour + 1


def _fill(history: History, recent_h: int) -> None:
    """All in one go but the last hours, which are filled by the hour with upkeep every day."""
    shutil.rmtree(history.folder, ignore_errors=True)
    history.folder.mkdir(parents=True)
    history.config.write_text(yaml.safe_dump(_settings(history.folder)), encoding="utf-8")
    began_s = time.perf_counter()
    first, hourly_from = _END - history.days * DAY_H, _END - min(recent_h, history.days * DAY_H)
    if hourly_from > first:
        for hour in HourRange(first, hourly_from):
            history.land(hour)
        _run(history, ["backfill"])
        _run(history, ["validate", "--from", str(first), "--to", str(hourly_from)])
        _run(history, ["maintain"])
    for day in HourRange(hourly_from, _END).steps(_BATCH_H):
        for hour in day:
            history.land(hour)
            _run(history, ["ingest"])
            _run(history, ["sessionize", "--from", str(hour), "--to", str(hour + 1)])
        _run(history, ["validate", "--from", str(day.first), "--to", str(day.stop)])
        _run(history, ["maintain"])
    (history.folder / "filled").write_text(str(_END), encoding="utf-8")
    took_s = time.perf_counter() - began_s
    print(f"{history.days} days: filled in {took_s:.0f} s", file=sys.stderr, flush=True)


def _settings(folder: Path) -> dict[str, Any]:
    columns = {"event_time": "timestamp", "user_id": "visitor", "item_id": "item"}
    return {
        "work": str(folder / "work"),
        "source": {
            "name": "delimited",
            "delimiter": ",",
            "path": str(folder / "landing"),
            "pattern": "**/*.csv",
            "columns": {**columns, "event_type": "kind"},
        },
        # What is looked back at on purpose is full after a day; the rest is history.
        "dataset": {"window": "12h", "history": "6h", "min_item_events": 5},
        "evaluation": {"horizon": "1h"},
        "quality": {"report_hours": 24},
        "models": [{"system": "recent_pop"}],
        "candidate": "recent_pop",
    }


def _facts(history: History) -> dict[str, Any]:
    """What there is to read of the past: snapshots, manifests and files of the larger tables."""
    settings = load_settings(history.config)
    lake = Lake(settings.resolved_catalog_uri, settings.resolved_warehouse)
    facts: dict[str, Any] = {}
    for spec in ALL_TABLES:
        table = lake.table(spec)
        snapshot = table.current_snapshot()
        if snapshot is not None:
            manifests = len(snapshot.manifests(table.io))
            facts[spec.name] = [len(table.metadata.snapshots), manifests, len(lake.files(spec))]
    return facts


def _machine() -> dict[str, Any]:
    load = [round(each, 1) for each in os.getloadavg()]
    return {"cpu": cpu_name(), "cores": len(os.sched_getaffinity(0)), "load": load}


def _rows(costs: dict[tuple[str, str, int], list[float]], days: Sequence[int]) -> list[Any]:
    names = dict.fromkeys((name, how) for name, how, _ in costs)
    return [
        {"name": name, "how": how, "cpu_s": [median(costs[name, how, d]) for d in days]}
        for name, how in names
    ]


def _show(rows: Sequence[dict[str, Any]], days: Sequence[int]) -> None:
    print(f"{'':<18}{'':<9}" + "".join(f"{f'{d} d':>9}" for d in days) + "   CPU s; ratios")
    for row in rows:
        cpu_s = row["cpu_s"]
        ratios = "".join(f"{each / cpu_s[0]:>7.2f}" for each in cpu_s[1:])
        values = "".join(f"{each:>9.3f}" for each in cpu_s)
        print(f"{row['name']:<18}{row['how']:<9}{values}   {ratios}")


def _arguments(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="benchmarks.history_growth", description=__doc__)
    parser.add_argument("--work", type=Path, required=True, help="folder for the lakes; they stay")
    parser.add_argument(
        "--days",
        type=lambda text: [int(number) for number in text.split(",")],
        default=[1, 60, 365],
        help="days that lie behind, several with commas",
    )
    parser.add_argument("--events-per-hour", type=int, default=300)
    parser.add_argument(
        "--repeats", type=int, default=5, help="hours measured; the median is shown"
    )
    parser.add_argument("--out", type=Path, help="JSON file of the results")
    parser.add_argument("--worker", help=argparse.SUPPRESS)  # the hour that a process begins with
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
