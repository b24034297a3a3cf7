"""A program of a few commands behind a fork server, as `hourglass` is, but quick to start.

``python forked_program.py FOLDER IDLE_S COMMAND ...`` is the client, and with ``--serve`` the
server, of the address that FOLDER holds.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from pipeline.process.fork_server.address import Address
from pipeline.process.fork_server.client import run_by_server
from pipeline.process.fork_server.server import serve
from pipeline.process.interrupts import end_with_parent, guarded


def address_in(folder: Path) -> Address:
    return Address(folder / "sock", folder / "lock", folder / "log")


def run(arguments: list[str]) -> int:
    command, *rest = arguments
    if command == "tell":
        mask = os.umask(0)
        print(Path.cwd(), oct(mask), ascii(os.environ["WORD"]), sys.stdin.read(), *rest)
        print("aside", file=sys.stderr)
        return int(os.environ.get("CODE", "0"))
    if command == "limits":
        import resource

        print(resource.getrlimit(resource.RLIMIT_NOFILE), sorted(os.sched_getaffinity(0)))
        return 0
    if command == "pids":
        print(os.getpid(), os.getppid(), os.getsid(0) == os.getpid())
        return 0
    if command == "die":
        os.kill(os.getpid(), signal.SIGKILL)
    if command == "stubborn":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    print(os.getpid(), os.getppid(), flush=True)
    time.sleep(600)
    return 0


def main(folder: str, idle_s: str, *arguments: str) -> None:
    address = address_in(Path(folder))
    if arguments[0] == "--serve":
        kill_s = float(os.environ.get("KILL_S", "20"))
        command = serve(address, float(idle_s), lambda: None, kill_s)
        if command is not None:
            guarded(lambda: run(command.arguments))
        return
    if os.environ.get("AIRFLOW_CTX_TASK_ID"):
        end_with_parent()  # as the entry point of `hourglass` does
    server = [sys.executable, __file__, folder, idle_s, "--serve"]
    code = run_by_server(arguments, os.environ, address, server, Path("/"))
    sys.exit(99 if code is None else code)


if __name__ == "__main__":
    main(*sys.argv[1:])
