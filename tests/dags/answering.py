"""A `hourglass` for Airflow's tasks that is answered in the test's own process.

A task starts it by name and waits for it, as for the real one.  What the command needs of a warm
start (Python's imports, Java, Spark's first query) is then paid once for all commands of a test,
not once a task.
"""

from __future__ import annotations

import io
import json
import os
import shlex
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import chdir, contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Self
from unittest.mock import patch

from workplace import ROOT

from training.cli.main import program

_OURS = "HOURGLASS"
_PATIENCE_S = 900
_PROGRAM = """#!/usr/bin/env bash
exec {python} -SE {client} "$@"
"""
# Prints and ends as the answer says; imports next to nothing.
_CLIENT = """
import json, os, socket, sys
asking = socket.socket(socket.AF_UNIX)
asking.connect({address!r})
question = {{"arguments": sys.argv[1:], "folder": os.getcwd(), "variables": dict(os.environ)}}
with asking.makefile("rw") as lines:
    print(json.dumps(question), file=lines, flush=True)
    answer = json.loads(lines.readline())
sys.stderr.write(answer["errors"])
sys.stderr.flush()
sys.stdout.write(answer["output"])
sys.exit(answer["code"])
"""


class Commands:
    """The program in a folder, and what answers it while another process runs."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "bin"
        self.folder.mkdir()
        address, client = str(folder / "socket"), self.folder / "client.py"
        client.write_text(_CLIENT.format(address=address), encoding="utf-8")
        hourglass = self.folder / "hourglass"
        words = {"python": sys.executable, "client": str(client)}
        quoted = {name: shlex.quote(word) for name, word in words.items()}
        hourglass.write_text(_PROGRAM.format(**quoted), encoding="utf-8")
        hourglass.chmod(0o755)
        self._listening = socket.socket(socket.AF_UNIX)
        self._listening.bind(address)
        self._listening.listen()
        self._listening.settimeout(0.1)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._listening.close()

    def run(
        self, command: tuple[str, ...], environment: Mapping[str, str]
    ) -> subprocess.CompletedProcess[str]:
        """Run a command from the project's folder whose children may start `hourglass`."""
        log = self.folder / "printed"
        with (
            log.open("w") as printed,
            subprocess.Popen(
                command,
                cwd=ROOT,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=printed,
                stderr=subprocess.STDOUT,
                text=True,
            ) as process,
        ):
            self.answer_until(lambda: process.poll() is not None, process)
        return subprocess.CompletedProcess(command, process.returncode, log.read_text())

    def answer_until(self, has_ended: Callable[[], bool], process: subprocess.Popen[str]) -> None:
        """Answer whoever asks; a process that does not come to an end is killed."""
        ends_s = time.monotonic() + _PATIENCE_S
        while not has_ended() and process.poll() is None:
            if time.monotonic() > ends_s:
                process.kill()
            self._answer_one()

    def _answer_one(self) -> None:
        """Answer whoever asks, one command at a time; nobody may, for a moment."""
        try:
            asking, _ = self._listening.accept()
        except TimeoutError:
            return
        asking.settimeout(None)
        with asking, asking.makefile("rw") as lines:
            print(json.dumps(_done(**json.loads(lines.readline()))), file=lines, flush=True)


class Airflow:
    """Airflow as `dags/airflow.sh` starts it, once for many commands; tasks ask `Commands`."""

    def __init__(
        self, process: subprocess.Popen[str], commands: Commands, environment: Mapping[str, str]
    ) -> None:
        self._process, self._commands, self._environment = process, commands, environment

    def run(
        self, arguments: tuple[str, ...], environment: Mapping[str, str]
    ) -> subprocess.CompletedProcess[str]:
        """Run a command, with what is set beside the variables that Airflow was started with."""
        log, ended = (self._commands.folder / name for name in ("log", "ended"))
        changes = dict(environment.items() - self._environment.items())
        command = {"arguments": arguments, "variables": changes, "log": str(log)}
        assert self._process.stdin is not None
        print(json.dumps({**command, "ended": str(ended)}), file=self._process.stdin, flush=True)
        self._commands.answer_until(ended.exists, self._process)
        code = int(ended.read_text())
        ended.unlink()
        return subprocess.CompletedProcess(arguments, code, log.read_text())


@contextmanager
def forked_airflow(commands: Commands, environment: Mapping[str, str]) -> Iterator[Airflow]:
    """Airflow, imported by one process of which each command is a fork."""
    program = commands.folder / "airflow"
    forking = Path(__file__).with_name("forked_airflow.py")
    words = shlex.join([sys.executable, str(forking)])
    program.write_text(f"#!/usr/bin/env bash\nexec {words}\n", encoding="utf-8")
    program.chmod(0o755)
    with (
        (commands.folder / "airflow.log").open("w") as printed,
        subprocess.Popen(
            ["bash", "dags/airflow.sh"],
            cwd=ROOT,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=printed,
            stderr=subprocess.STDOUT,
            text=True,
        ) as process,
    ):
        try:
            yield Airflow(process, commands, environment)
        finally:
            process.kill()


def _done(arguments: list[str], folder: str, variables: dict[str, str]) -> dict[str, object]:
    """What a command prints and how it ends, in the folder and with the settings of its caller."""
    ours = {name: value for name, value in variables.items() if name.startswith(_OURS)}
    others = {name: value for name, value in os.environ.items() if not name.startswith(_OURS)}
    output, errors = io.StringIO(), io.StringIO()
    with (
        patch.dict(os.environ, others | ours, clear=True),
        chdir(folder),
        redirect_stdout(output),
        redirect_stderr(errors),
    ):
        code = program(arguments)
    return {"code": code, "output": output.getvalue(), "errors": errors.getvalue()}
