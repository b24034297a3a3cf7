"""One hour of a large site: what its commands cost, from landing to recommendations.

Run as ``python -m benchmarks.large_hour --work <folder> [--events 12000000]``;
``benchmarks/README.md`` says what is measured.  A Java process that a command leaves behind becomes
a child of this one, which waits for it and counts what it took.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.parquet as pq
import yaml

from benchmarks.event_log import START, generate
from benchmarks.hour_commands import Cost, adopt_orphans, fork_server, hour_commands, measured
from pipeline.hours import Hour
from pipeline.lake.parquet_files import HourFile

LAST = START + 20  # an hour of the evening, when most people are there
COLUMNS = {
    "event_time": "ts",
    "user_id": "user",
    "item_id": "item",
    "event_type": "type",
    "event_key": "id",
}


def land(file: HourFile, landing: Path) -> None:
    """An hour's events as a file of comma-separated values, as a collector would write it."""
    rows = pq.read_table(file.path, columns=list(COLUMNS)).rename_columns(list(COLUMNS.values()))
    times = rows["ts"].cast(pa.timestamp("ms")).cast(pa.string())
    rows = rows.set_column(rows.schema.get_field_index("ts"), "ts", times)
    path = landing / str(file.hour) / "clicks.csv"
    path.parent.mkdir(parents=True)
    pacsv.write_csv(rows, path)


def settings_of(work: Path, epochs: int) -> dict[str, Any]:
    """Of a work folder whose logs land beside it."""
    small = {"width": 64, "epochs": epochs, "validation_share": 0.0, "device": "cpu"}
    return {
        "work": str(work / "run"),
        "source": {
            "name": "delimited",
            "time_unit": "iso8601",
            "path": str(work / "landing"),
            "columns": dict(COLUMNS),
        },
        "dataset": {"window": "4h", "history": "4h", "min_item_events": 5},
        "evaluation": {"horizon": "1h", "max_users": 5000},
        "candidate": "hrnn_trend",
        "models": [
            {"system": "recent_pop"},
            {"name": "hrnn_trend", "system": "hrnn_trend", "parameters": small},
        ],
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """Fill a lake with the hours before, land one more, and run what Airflow runs."""
    parser = argparse.ArgumentParser(prog="benchmarks.large_hour", description=__doc__)
    parser.add_argument("--work", type=Path, required=True, help="folder for log and lake")
    parser.add_argument("--events", type=int, default=12_000_000, help="of the whole day")
    parser.add_argument("--before", type=int, default=4, help="hours that the lake has")
    parser.add_argument("--epochs", type=int, default=1)
    parser.add_argument("--out", type=Path, help="JSON file of the results")
    options = parser.parse_args(arguments)
    work = options.work.resolve()
    adopt_orphans()
    log = generate(work / "log", options.events, 1, seed=1)
    by_hour = {file.hour: file for file in log.files}
    for name in ("landing", "run"):
        shutil.rmtree(work / name, ignore_errors=True)
    config = work / "hourglass.yaml"
    config.write_text(yaml.safe_dump(settings_of(work, options.epochs)), encoding="utf-8")
    for back in range(options.before, 0, -1):
        land(by_hour[LAST - back], work / "landing")
    _filled(config, LAST)
    land(by_hour[LAST], work / "landing")
    commands = hour_commands(LAST)
    load = os.getloadavg()[0]
    with fork_server() as (server, start):
        costs = [("start", start)]
        for name, line in commands:
            costs.append((name, measured(config, line, server)))
            _show(*costs[-1])
    rows = by_hour[LAST].rows
    together = Cost(
        sum(cost.cpu_s for _, cost in costs), sum(cost.wall_s for _, cost in costs), 0.0, 0, ""
    )
    _show(f"together, {rows:,} events, load {load:.1f}", together)
    if options.out:
        facts = {name: vars(cost) for name, cost in costs}
        options.out.write_text(json.dumps(facts, indent=1), encoding="utf-8")
    return 0


def _filled(config: Path, hour: Hour) -> None:
    """A lake of what has landed, and a first model of it."""
    first = str(LAST - 24)
    for line in (
        ["backfill"],
        ["validate", "--from", first, "--to", str(hour)],
        ["dataset", "--judged-until", "last"],
        ["train"],
    ):
        cost = measured(config, line)
        _show(f"before: {line[0]}", cost)
        if cost.code:
            raise SystemExit(f"{line[0]}: {cost.output[-2000:]}")


def _show(name: str, cost: Cost) -> None:
    failed = f"  exit code {cost.code}" if cost.code else ""
    print(f"{name:<40}{cost.wall_s:>8.1f} s{cost.cpu_s:>8.1f} CPU s{failed}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
