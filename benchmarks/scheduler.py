"""Hours of a small site under a real Airflow scheduler: what comes of each, and what it costs.

Run as ``python -m benchmarks.scheduler --work <folder>``; ``benchmarks/README.md`` says what is
measured.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import signal
import socket
import sys
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.live.airflow import Airflow
from benchmarks.live.kills import Kill, kill_one, times_of_kills
from benchmarks.live.processes import Processes, commands_of, describe, end_all
from benchmarks.live.site import Site, as_json, environment, write_json
from benchmarks.live.summary import summary
from benchmarks.live.tables import compare

_LOOK_S = 2.0
_GRACE_S = 40.0
_LAST_TASKS_S = 120.0
_MARKER = "BENCHMARK_RUN"


def main(arguments: list[str]) -> int:
    """Let hours land one by one while Airflow runs, and tell what became of them."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that all that was started ends
    options = _options(arguments)
    site = Site(options.work.resolve(), options.hours)
    print(f"filling a lake in {site.work}", file=sys.stderr, flush=True)
    site.fill()
    processes = Processes((_MARKER, uuid.uuid4().hex))
    with _airflow(site, options, processes) as airflow:
        began_s = time.time()
        kills = _run(site, airflow, processes, options)
        wall_s = time.time() - began_s
        tasks, runs = airflow.tasks(), airflow.runs()
        # Nothing of the hours is to be done any more: a command that runs now runs on.
        orphans = [describe(each) for each in commands_of(processes.alive())]
    site.look_into_the_lake()
    compared = compare(site) if options.compare or kills else None
    facts = {
        "hours": as_json(site),
        "tasks": tasks,
        "runs": runs,
        "kills": [vars(kill) for kill in kills],
        "orphans": orphans,
        "wall_s": wall_s,
        "peak_mib": processes.peak_mib,
        "cpu_s": processes.cpu_by(lambda each: f"{each.role} {each.task}"),
        "wrong": compared.wrong if compared else None,
    }
    write_json(site.folder / "facts.json", facts)
    print(summary(site, processes, tasks, kills, orphans, compared, wall_s))
    return 1 if orphans or (compared and compared.wrong) or not site.is_done() else 0


def _options(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="benchmarks.scheduler", description=__doc__)
    parser.add_argument("--work", type=Path, required=True, help="folder for the lake and Airflow")
    parser.add_argument("--hours", type=int, default=72, help="how many land")
    parser.add_argument("--every", type=float, default=120.0, help="seconds from one to the next")
    parser.add_argument("--patience", type=float, default=1800.0, help="seconds after the last one")
    parser.add_argument("--port", type=int, help="of Airflow; default: a free one")
    parser.add_argument("--database", help="address of Airflow's database; default: SQLite")
    parser.add_argument("--backfill", type=int, default=0, help="of the hours: the first, at once")
    parser.add_argument("--kills", type=int, default=0, help="processes to kill meanwhile")
    parser.add_argument("--seed", type=int, default=1, help="of the kills")
    parser.add_argument("--compare", action="store_true", help="hold the tables to others")
    return parser.parse_args(arguments)


@contextmanager
def _airflow(site: Site, options: argparse.Namespace, processes: Processes) -> Iterator[Airflow]:
    """Airflow as `make airflow` starts it; whatever became of it, nothing of it runs on."""
    home, port = site.work / "airflow", options.port or _free_port()
    shutil.rmtree(home, ignore_errors=True)
    variables = {
        "AIRFLOW_HOME": str(home),
        "AIRFLOW__API__PORT": str(port),
        # Every service of Airflow has a port for its logs.
        "AIRFLOW__LOGGING__WORKER_LOG_SERVER_PORT": str(_free_port()),
        "AIRFLOW__LOGGING__TRIGGER_LOG_SERVER_PORT": str(_free_port()),
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}",
        processes.marker[0]: processes.marker[1],
    }
    if options.database:
        variables["AIRFLOW__DATABASE__SQL_ALCHEMY_CONN"] = options.database
    with (site.folder / "airflow.log").open("w", encoding="utf-8") as log:
        airflow = Airflow(environment(site, **variables), port, log, [])
        end_watch = processes.watch()
        try:
            airflow.start("standalone")
            airflow.wait_until_it_answers()
            yield airflow
        finally:
            for process in airflow.processes:
                process.send_signal(signal.SIGINT)
            end_watch()
            left = end_all(processes, _GRACE_S)
            if left:
                print("did not end by itself:", *left, sep="\n  ", file=sys.stderr)
            for process in airflow.processes:
                process.wait(_GRACE_S)


def _run(
    site: Site, airflow: Airflow, processes: Processes, options: argparse.Namespace
) -> list[Kill]:
    """Until every hour is done, or patience ends."""
    airflow.switch_on()
    began_s = time.monotonic()
    waiting = list(site.to_land)
    if options.backfill:
        past, waiting = waiting[: options.backfill], waiting[options.backfill :]
        for hour in past:
            site.land(hour, backfilled=True)
        airflow.backfill(f"{past[0]}:00", f"{past[-1]}:00")
        print(f"{time.monotonic() - began_s:.0f} s: backfill of {len(past)}", file=sys.stderr)
    to_land = len(waiting)
    span_s = options.every * to_land
    due_s = times_of_kills(options.seed, options.kills, span_s)
    draw = random.Random(options.seed)  # noqa: S311 - nobody is to be surprised
    kills: list[Kill] = []
    # The first hour beside a backfill fills all hours before it, whose runs come later.
    while not site.is_done() or due_s or (options.backfill and not airflow.has_backfilled()):
        passed_s = time.monotonic() - began_s
        if waiting and passed_s >= options.every * (to_land - len(waiting)):
            hour = waiting.pop(0)
            site.land(hour)
            airflow.trigger("sessions_hourly", hour.start.isoformat())
            print(f"{passed_s:.0f} s: {hour} landed", file=sys.stderr, flush=True)
        if due_s and passed_s >= due_s[0]:
            kill = kill_one(draw, processes, airflow)
            if kill is not None:
                due_s.pop(0)
                kills.append(kill)
                print(f"{passed_s:.0f} s: killed {kill.victim}", file=sys.stderr, flush=True)
        airflow.dismiss_scheduled()
        site.look()
        if passed_s > span_s + options.patience:
            break
        time.sleep(_LOOK_S)
    _wait_for_the_end(airflow, _LAST_TASKS_S)
    return kills


def _wait_for_the_end(airflow: Airflow, patience_s: float) -> None:
    """The last tasks of runs whose list is published end too."""
    ends_s = time.monotonic() + patience_s
    while time.monotonic() < ends_s:
        airflow.dismiss_scheduled()
        if all(run["state"] in ("success", "failed") for run in airflow.runs()):
            return
        time.sleep(_LOOK_S)


def _free_port() -> int:
    with socket.socket() as trial:
        trial.bind(("127.0.0.1", 0))
        port: int = trial.getsockname()[1]
        return port


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
