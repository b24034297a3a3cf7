"""Airflow's command line, imported once for many commands: each is run by a fork of this process.

For each line of its input, a JSON object, it runs one command, then writes how that ended into the
file that the object names.  A run that has nothing to do but to wait looks again at once: nothing
else is at work.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import patch

from airflow import models
from airflow.__main__ import main
from airflow.cli import cli_parser
from airflow.sdk.execution_time.supervisor import in_process_api_server

_MOMENT_S = 0.01


def run(arguments: list[str], variables: dict[str, str], log: str) -> None:
    """Become this command of Airflow."""
    printed = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    for stream in (1, 2):
        os.dup2(printed, stream)
    os.environ.update(variables)
    sys.argv = ["airflow", *arguments]
    with patch.object(time, "sleep", _shortened(time.sleep)):
        main()


def _shortened(sleep: Callable[[float], None]) -> Callable[[float], None]:
    return lambda seconds: sleep(min(seconds, _MOMENT_S))


def in_a_fork(command: dict[str, Any]) -> int:
    """The exit code of a command."""
    child = os.fork()
    if not child:
        run(command["arguments"], command["variables"], command["log"])
        sys.exit()
    _, status = os.waitpid(child, 0)
    return os.waitstatus_to_exitcode(status)


if __name__ == "__main__":
    models.import_all_models()
    cli_parser.get_parser()
    # What answers the tasks of a run that Airflow makes in one process.
    assert in_process_api_server().app
    for line in sys.stdin:
        command = json.loads(line)
        code = in_a_fork(command)
        # Whoever waits for the file finds it whole.
        written = Path(command["ended"]).with_suffix(".new")
        written.write_text(str(code))
        written.rename(command["ended"])
