"""A `hourglass` for Airflow's tasks: a stand-in, or answered in the test's own process.

A task starts it by name and waits for it, as for the real one.  What a real command needs of a warm
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
from collections.abc import Callable, Mapping, Sequence
from contextlib import chdir, redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Self
from unittest.mock import patch

from training.cli.main import program

_OURS = "HOURGLASS"
_PATIENCE_S = 900
# Notes what it is asked, and answers as the gate would, unless a real answer is wanted.  People are
# told by the real command, where the settings name any, and what it is asked is noted elsewhere.
_PROGRAM = """#!/usr/bin/env bash
if [ "$1" = notify ]; then
  printf '%s\\n' "$(printf '[%s]' "$@")" >> "$COMMANDS.notify"
  [ -e "$HOURGLASS_CONFIG" ] && exec {python} -m training "$@"
  exit 0
fi
[ -e {wanted} ] && exec {python} -SE {client} "$@"
printf '%s\\n' "$(printf '[%s]' "$@")" >> "$COMMANDS"
grep -qx "$1" "$KILLED" && : > "$KILLED" && kill -9 $$
grep -qx "$1" "$FAILING" && exit 1
case $1 in
  dataset) echo '{{"dataset_id": "d1"}}' ;;
  judge) cat "$JUDGE" ;;
  gate) cat "$GATE" ;;
  refit) echo '{{"model_id": "refit-1"}}' ;;
esac
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
        self._wanted = folder / "answers are wanted"
        address, client = str(folder / "socket"), self.folder / "client.py"
        client.write_text(_CLIENT.format(address=address), encoding="utf-8")
        hourglass = self.folder / "hourglass"
        words = {"python": sys.executable, "client": str(client), "wanted": str(self._wanted)}
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

    def answer_until(self, has_ended: Callable[[], bool], process: subprocess.Popen[str]) -> None:
        """Answer whoever asks; a process that does not come to an end is killed."""
        self._wanted.touch()
        ends_s = time.monotonic() + _PATIENCE_S
        try:
            while not has_ended() and process.poll() is None:
                if time.monotonic() > ends_s:
                    process.kill()
                self._answer_one()
        finally:
            self._wanted.unlink()

    def _answer_one(self) -> None:
        """Answer whoever asks, one command at a time; nobody may, for a moment."""
        try:
            asking, _ = self._listening.accept()
        except TimeoutError:
            return
        asking.settimeout(None)
        with asking, asking.makefile("rw") as lines:
            print(json.dumps(done_here(**json.loads(lines.readline()))), file=lines, flush=True)


def done_here(
    arguments: Sequence[str], folder: str, variables: Mapping[str, str]
) -> dict[str, object]:
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
