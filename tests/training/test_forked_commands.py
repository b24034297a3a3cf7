"""`hourglass` by a process that stays: what it has imported, and that a command is the same."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from configparser import ConfigParser
from pathlib import Path

import psutil
import pytest

from pipeline.process.fork_server.address import address_of
from training.__main__ import IDLE_VARIABLE

ROOT = Path(__file__).resolve().parents[2]
# Whoever needs Spark waits for a JVM anyhow; few hours fail; OpenLineage need not be installed.
NOT_WORTH_IT = {"pyspark", "apprise", "openlineage", "optuna"}

IMPORTS = """
import sys, threading
from training.fork_server import import_all
import_all()
print(len(threading.enumerate()), *sys.modules)
"""


@pytest.fixture
def environ() -> Iterator[dict[str, str]]:
    """Commands of this environment have a server of their own, which ends with the test."""
    with tempfile.TemporaryDirectory(prefix="hg") as folder:
        environ = {
            **os.environ,
            "XDG_RUNTIME_DIR": folder,
            "PYTHONPATH": str(ROOT),
            IDLE_VARIABLE: "600",
        }
        yield environ
        for process in psutil.process_iter():
            try:
                if any(part.startswith(folder) for part in process.cmdline()):
                    process.kill()
                    process.wait(60)
            except psutil.Error:
                continue


def test_what_commands_import_late_is_there_before() -> None:
    done = subprocess.run(
        [sys.executable, "-c", IMPORTS], cwd=ROOT, capture_output=True, text=True, check=True
    )
    threads, *modules = done.stdout.split()
    # A fork has the thread alone that forked: what others hold would be held for ever.
    assert threads == "1"
    rules = ConfigParser()
    rules.read(ROOT / ".importlinter")
    late = rules["hourglass:imports-inside-functions"]["modules"].split("\n")
    libraries = {name.strip() for line in late for name in line.partition(":")[2].split(",")}
    assert len(libraries) > 10
    assert libraries - {""} - NOT_WORTH_IT <= set(modules)
    assert {"training.steps.evaluate", "pipeline.ingest.ingest"} <= set(modules)


def test_a_command_is_the_same_by_the_server_and_alone(
    tmp_path: Path, environ: dict[str, str]
) -> None:
    lines = (["where"], ["stale"], ["ingest", "--nonsense"], ["--help"])
    for line in lines:
        command = [sys.executable, "-m", "training", *line]
        by_server, alone = (
            subprocess.run(
                command,
                cwd=tmp_path,
                env={**environ, IDLE_VARIABLE: idle_s, "HOURGLASS_WORK": "töpfe"},
                capture_output=True,
                text=True,
                check=False,
            )
            for idle_s in ("600", "")
        )
        assert (by_server.returncode, by_server.stderr) == (alone.returncode, alone.stderr)
        assert by_server.stdout == alone.stdout
    address = address_of(environ, (ROOT / "pipeline", ROOT / "training"))
    assert address is not None
    assert address.socket.exists()
    assert address.log.read_text() == ""


def test_a_time_that_is_none_is_said(tmp_path: Path, environ: dict[str, str]) -> None:
    for text in ("10m", "-1", "1.5", "²"):
        done = subprocess.run(
            [sys.executable, "-m", "training", "where"],
            cwd=tmp_path,
            env={**environ, IDLE_VARIABLE: text},
            capture_output=True,
            text=True,
            check=False,
        )
        assert (done.returncode, done.stdout) == (2, "")
        assert done.stderr == f"hourglass: {IDLE_VARIABLE}={text}: must be a whole number\n"
