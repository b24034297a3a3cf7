"""A command that has the fork server run it: streams, signals and exit code are its own."""

from __future__ import annotations

import os
import resource
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from pipeline.process.fork_server import wire
from pipeline.process.fork_server.address import Address

# It listens before it imports, so this is the time of a Python that starts on a busy machine.
_START_S: Final = 20.0
_PAUSE_S: Final = 0.02
# More than a child has that is told to end.
_END_S: Final = 30.0
# Of a command that was killed: who asks for it may ask again, where 1 is a refusal.
_KILLED: Final = 128 + signal.SIGKILL
_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM)
_LIMITS: Final = ("CORE", "CPU", "DATA", "FSIZE", "NOFILE", "NPROC", "STACK", "AS")


def run_by_server(
    arguments: Sequence[str],
    environ: Mapping[str, str],
    address: Address,
    server: Sequence[str],
    folder: Path,
) -> int | None:
    """Exit code of the command, or None where no server runs it, and nothing was begun.

    It is 137, as of a command that was killed, where the server was.
    ``server`` is the command that starts one where none is, in ``folder``.
    """
    connection = _connected(address, environ, server, folder)
    if connection is None:
        return None
    with connection, _forwarding() as child:
        try:
            wire.send(connection, _request(arguments, environ), wire.STREAMS)
            begun = wire.receive(connection, files=1)
        except OSError:
            return None
        if begun is None:
            return None
        (process,) = begun[1]
        child.started(process)
        ended = None
        with suppress(OSError):
            ended = wire.receive(connection)
        if ended is not None:
            code: int = ended[0]["code"]
            return code
        child.wait()
    print(
        "hourglass: the process that ran this command has ended: "
        "nothing half-done is visible; run the command again",
        file=sys.stderr,
    )
    return _KILLED


class _Child:
    """The process that runs the command.

    It is known by a descriptor, which can never mean another process as a number can.
    """

    def __init__(self) -> None:
        self._process: int | None = None

    def started(self, process: int) -> None:
        """Take it on."""
        self._process = process

    def signal(self, number: int) -> None:
        """Pass a signal on; before the command has begun it ends this process.

        Raises:
            SystemExit: there is none yet, and a server that hangs may never begin one; where it
                does, it sees that nobody waits, and ends it.
        """
        if self._process is None:
            raise SystemExit(128 + number)
        with suppress(ProcessLookupError):
            signal.pidfd_send_signal(self._process, number)

    def wait(self) -> None:
        """Wait until it is gone: whoever runs the command again must not meet it."""
        if self._process is not None:
            select.select([self._process], [], [], _END_S)

    def close(self) -> None:
        """Let the descriptor go."""
        if self._process is not None:
            os.close(self._process)


@contextmanager
def _forwarding() -> Iterator[_Child]:
    child = _Child()
    before = {
        number: signal.signal(number, lambda number, _: child.signal(number)) for number in _SIGNALS
    }
    try:
        yield child
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        child.close()


def _request(arguments: Sequence[str], environ: Mapping[str, str]) -> dict[str, object]:
    mask = os.umask(0o077)
    os.umask(mask)
    return {
        "arguments": list(arguments),
        "environ": dict(environ),
        "folder": str(Path.cwd()),
        "umask": mask,
        "cores": sorted(os.sched_getaffinity(0)),
        "limits": {
            name: resource.getrlimit(getattr(resource, f"RLIMIT_{name}")) for name in _LIMITS
        },
    }


def _connected(
    address: Address, environ: Mapping[str, str], server: Sequence[str], folder: Path
) -> socket.socket | None:
    until_s = time.monotonic() + _START_S
    connection = _connect(address.socket)
    if connection is None and not _start(address, environ, server, folder):
        return None
    while connection is None and time.monotonic() < until_s:
        time.sleep(_PAUSE_S)
        connection = _connect(address.socket)
    return connection


def _connect(path: Path) -> socket.socket | None:
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        connection.connect(str(path))
    except OSError:
        connection.close()
        return None
    return connection


def _start(
    address: Address, environ: Mapping[str, str], server: Sequence[str], folder: Path
) -> bool:
    """Start a server that no signal for this command reaches; of several the first one stays."""
    try:
        with address.log.open("ab") as log:
            subprocess.Popen(  # noqa: S603 - our own module in our own interpreter
                server,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=folder,
                env=dict(environ),
                start_new_session=True,
            )
    except OSError:
        return False
    return True
