"""The steps of an hour as command lines: each in a process of its own, or all in one."""

from __future__ import annotations

import contextlib
import io
import json
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil

from pipeline.hours import Hour

Steps = list[tuple[str, list[str]]]
_LOOK_S = 0.1


def steps_of(hour: Hour, model: dict[str, str]) -> Steps:
    """What Airflow runs when the file of an hour has landed, in its order."""
    hours = ["--from", str(hour), "--to", str(hour + 1)]
    return [
        ("ingest", ["ingest"]),
        ("validate events", ["validate", *hours, "--only", "events"]),
        ("sessionize", ["sessionize", *hours]),
        ("validate sessions", ["validate", *hours, "--only", "sessions"]),
        ("dataset", ["dataset", "--as-of", str(hour), "--extend", model["dataset"]]),
        ("stale", ["stale"]),
        ("train", ["train", "--init-from", model["model"]]),
        ("evaluate", ["evaluate"]),
        ("monitor", ["monitor"]),
        ("gate", ["gate"]),
        ("promote", ["promote"]),
        ("recommend", ["recommend", "--as-of", str(hour + 1)]),
    ]


class Meter:
    """CPU seconds of a process and all below it, those that end meanwhile included.

    What a process uses in its last tenth of a second may be missed.
    """

    def __init__(self, process: psutil.Process) -> None:
        self._process = process
        self._seen: dict[int, float] = {}
        self._begin: dict[int, float] = {}
        self._done = threading.Event()
        self._look()
        self._begin = dict(self._seen)
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def stop(self) -> float:
        """End, and tell how much it was."""
        self._done.set()
        self._thread.join()
        self._look()
        return sum(used - self._begin.get(pid, 0.0) for pid, used in self._seen.items())

    def _watch(self) -> None:
        while not self._done.wait(_LOOK_S):
            self._look()

    def _look(self) -> None:
        with contextlib.suppress(psutil.Error):
            for each in (self._process, *self._process.children(recursive=True)):
                with contextlib.suppress(psutil.Error):
                    times = each.cpu_times()
                    self._seen[each.pid] = times.user + times.system


class Running:
    """Commands with one settings file."""

    def __init__(self, config: Path) -> None:
        self._config = config

    def command(self, step: str, line: Sequence[str]) -> dict[str, Any]:
        """Run one in a process of its own; a gate may block, whatever else fails ends it all."""
        began = time.perf_counter()
        process = subprocess.Popen(  # noqa: S603 - our own module in our own interpreter
            [sys.executable, "-m", "training.cli", "--config", str(self._config), "--json", *line],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        meter = Meter(psutil.Process(process.pid))
        said, errors = process.communicate()
        took, used = time.perf_counter() - began, meter.stop()
        if process.returncode and step != "gate":
            raise SystemExit(f"{step}: {errors[-2000:]}")
        return _found(step, took, used, said)


def in_one_process(config: Path, steps: Steps) -> list[dict[str, Any]]:
    """Run all of them in this process, with one Spark session."""
    from datetime import UTC, datetime

    import typer.main

    from pipeline.errors import HourglassError
    from pipeline.settings.settings import load_settings
    from pipeline.workspace import CommandContext
    from training.cli.main import app

    group = typer.main.get_command(app)
    found = []
    ctx = CommandContext(load_settings(config), datetime.now(UTC), as_json=True)
    try:
        with _measured() as measured:
            assert ctx.compute.spark
        found.append(_found("start Spark", *measured, ""))
        for step, line in steps:
            name, *options = line
            command = group.commands[name]  # type: ignore[attr-defined]
            with _measured() as measured, contextlib.redirect_stdout(io.StringIO()) as said:
                context = command.make_context(name, list(options))
                context.obj = ctx
                try:
                    command.invoke(context)
                except HourglassError as error:
                    if step != "gate":
                        raise
                    print(json.dumps({"blocked": str(error)}))
            found.append(_found(step, *measured, said.getvalue()))
    finally:
        ctx.close()
    return found


@contextmanager
def _measured() -> Iterator[list[float]]:
    """Wall-clock and CPU seconds, filled in at the end."""
    measured: list[float] = []
    meter, began = Meter(psutil.Process()), time.perf_counter()
    try:
        yield measured
    finally:
        measured += [time.perf_counter() - began, meter.stop()]


def _found(step: str, wall_s: float, cpu_s: float, said: str) -> dict[str, Any]:
    last = said.strip().splitlines()[-1:]
    facts = json.loads(last[0]) if last and last[0].startswith("{") else {}
    print(f"{step}: {wall_s:.1f} s, {cpu_s:.1f} s of CPU", file=sys.stderr, flush=True)
    note = str(facts.get("outcome") or facts.get("sentence") or facts.get("blocked") or "")
    return {"step": step, "wall_s": wall_s, "cpu_s": cpu_s, "said": facts, "note": note[:60]}
