"""One measurement in a process of its own, so that its memory can be told from that of others.

Started by :mod:`benchmarks.sessionize`, which hands in a JSON object on stdin and reads one from
the last line of stdout.
"""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import psutil

from benchmarks.agreement import checksums
from benchmarks.engines import Limits, engine
from benchmarks.event_log import generate
from benchmarks.hourly import measure


def full(order: dict[str, Any]) -> dict[str, Any]:
    """Warm an engine up on a small log, then time it once on the large one."""
    scratch, out = Path(order["scratch"]), Path(order["out"])
    run = engine(order["engine"], Limits(**order["limits"]), scratch)
    small, large = (
        generate(Path(order["logs"]), order[name], order["days"], order["seed"])
        for name in ("warm_events", "events")
    )
    run(small, scratch / "warm-up")
    shutil.rmtree(scratch / "warm-up")
    before_s = _cpu_s()
    made = run(large, out)
    return {"stages_s": made.stages_s, "cpu_s": _cpu_s() - before_s, "paths": made.paths}


def _cpu_s() -> float:
    """Seconds of CPU that this process and all below it have used, those that ended included."""
    own = psutil.Process()
    return sum(sum(each.cpu_times()[:4]) for each in (own, *own.children(recursive=True)))


def check(order: dict[str, Any]) -> dict[str, Any]:
    """Checksums of what an engine made."""
    return checksums(order["paths"], order["limits"]["duckdb_memory"])


def hourly(order: dict[str, Any]) -> dict[str, Any]:
    """The hourly step at several lengths of history."""
    return measure(
        Path(order["logs"]),
        Path(order["scratch"]),
        Limits(**order["limits"]),
        days=order["history_days"],
        by_the_hour=order["by_the_hour"],
        events_per_hour=order["events_per_hour"],
        steps=order["steps"],
        seed=order["seed"],
    )


TASKS = {"full": full, "check": check, "hourly": hourly}

if __name__ == "__main__":
    asked = json.loads(sys.stdin.read())
    print(json.dumps(TASKS[asked["task"]](asked)), flush=True)
