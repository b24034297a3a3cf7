"""``hourglass``: ready for signals before anything that takes time is imported."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import NoReturn

from pipeline.process.garbage import look_rarely
from pipeline.process.interrupts import end_with_parent, guarded

# Seconds for which a process stays, after the last command, that has imported all; none is begun
# where it is not set.
IDLE_VARIABLE = "HOURGLASS_FORK_SERVER_IDLE_S"
# Airflow sets it for the command of a task.
_OF_A_TASK = "AIRFLOW_CTX_TASK_ID"


def main() -> NoReturn:
    """Entry point."""
    look_rarely()
    if os.environ.get(_OF_A_TASK):
        end_with_parent()
    idle_s = os.environ.get(IDLE_VARIABLE)
    code = _by_server(idle_s) if idle_s else None
    if code is not None:
        sys.exit(code)
    guarded(_command)


def _command() -> int:
    from training.cli.main import program  # takes a second

    return program(sys.argv[1:])


def _by_server(idle_s: str) -> int | None:
    from pipeline.process.fork_server.address import address_of
    from pipeline.process.fork_server.client import run_by_server

    if not idle_s.isascii() or not idle_s.isdigit():
        print(f"hourglass: {IDLE_VARIABLE}={idle_s}: must be a whole number", file=sys.stderr)
        return 2
    root = Path(__file__).resolve().parents[1]
    address = address_of(os.environ, (root / "pipeline", root / "training"))
    if address is None:
        return None
    server = [sys.executable, "-m", "training.fork_server", *map(str, address), idle_s]
    return run_by_server(sys.argv[1:], os.environ, address, server, root)


if __name__ == "__main__":
    main()
