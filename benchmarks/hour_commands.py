"""What Airflow runs for an hour, and its costs: alone, by a fork server, or in this process."""

from __future__ import annotations

import contextlib
import ctypes
import io
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import psutil

from pipeline.hours import Hour
from pipeline.process.fork_server.address import address_of
from training.__main__ import IDLE_VARIABLE

Commands = list[tuple[str, list[str]]]
_ROOT = Path(__file__).resolve().parents[1]
_IDLE_S = "600"
_PR_SET_CHILD_SUBREAPER = 36
_ORPHANED_S = 0.3  # until whoever started them has ended


@dataclass(frozen=True)
class Cost:
    """What a command came to, and what it printed."""

    cpu_s: float
    wall_s: float
    rss_mib: float  # NaN where nobody knows
    code: int
    output: str


def hour_commands(hour: Hour) -> Commands:
    """Of both DAGs, in their order, by the names of their tasks."""
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
        ("recommend", ["recommend", "--as-of", "last"]),
        ("report", ["report"]),
        ("where", ["where"]),
    ]


def measured(
    config: Path | None, line: Sequence[str], server: psutil.Process | None = None
) -> Cost:
    """Run one command in a process of its own; CPU seconds include those of its children.

    With a fork server, they include what it and its forks take, and nobody knows their memory.
    """
    settings = [] if config is None else ["--config", str(config)]
    command = [sys.executable, "-m", "training", *settings, "--json", *line]
    environ = {**os.environ, IDLE_VARIABLE: "" if server is None else _IDLE_S}
    server_s, began_s = _cpu_s(server), time.perf_counter()
    with subprocess.Popen(  # noqa: S603 - our own module in our own interpreter
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environ
    ) as process:
        assert process.stdout is not None
        output = process.stdout.read()
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    wall_s = time.perf_counter() - began_s
    cpu_s = usage.ru_utime + usage.ru_stime + _cpu_s(server) - server_s + _orphans_cpu_s(server)
    rss_mib = usage.ru_maxrss / 1024 if server is None else float("nan")
    return Cost(cpu_s, wall_s, rss_mib, process.returncode, output)


def adopt_orphans() -> None:
    """Make what commands leave behind, such as a Java process, a child of this process (Linux)."""
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def _orphans_cpu_s(server: psutil.Process | None) -> float:
    """What those have taken that came to this process; waits for them to end."""
    time.sleep(_ORPHANED_S)
    taken_s = 0.0
    for orphan in psutil.Process().children():
        if server is None or orphan.pid != server.pid:
            _, _, usage = os.wait4(orphan.pid, 0)
            taken_s += usage.ru_utime + usage.ru_stime
    return taken_s


@contextmanager
def fork_server() -> Iterator[tuple[psutil.Process, Cost]]:
    """The server that commands of this environment look for, and what it took to start."""
    address = address_of(os.environ, (_ROOT / "pipeline", _ROOT / "training"))
    if address is None:
        raise SystemExit("no fork server here")
    command = [sys.executable, "-m", "training.fork_server", *map(str, address), _IDLE_S]
    with subprocess.Popen(command, cwd=_ROOT) as started:  # noqa: S603 - as above
        server = psutil.Process(started.pid)
        try:
            yield server, measured(None, ["--help"], server)
        finally:
            started.terminate()


def measured_here(config: Path, commands: Commands) -> Iterator[tuple[str, Cost]]:
    """Run all of them in this process, as `hourglass loop` does, whose libraries are loaded."""
    import typer.main

    from pipeline.errors import HourglassError
    from pipeline.settings.settings import load_settings
    from pipeline.workspace import CommandContext
    from training.cli.main import app
    from training.fork_server import import_all

    import_all()
    group = typer.main.get_command(app)
    ctx = CommandContext(load_settings(config), datetime.now(UTC), as_json=True)
    with contextlib.closing(ctx):
        for name, line in commands:
            command = group.commands[line[0]]  # type: ignore[attr-defined]
            cpu_s, began_s, code = _own_cpu_s(), time.perf_counter(), 0
            with contextlib.redirect_stdout(io.StringIO()) as output:
                context = command.make_context(line[0], line[1:])
                context.obj = ctx
                try:
                    command.invoke(context)
                except HourglassError as error:
                    code = error.exit_code
                    print(error)
            wall_s = time.perf_counter() - began_s
            yield (
                name,
                Cost(_own_cpu_s() - cpu_s, wall_s, float("nan"), code, output.getvalue()),
            )


def _cpu_s(server: psutil.Process | None) -> float:
    return 0.0 if server is None else sum(server.cpu_times()[:4])


def _own_cpu_s() -> float:
    return sum(os.times()[:4])
