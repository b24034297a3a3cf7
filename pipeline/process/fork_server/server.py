"""The process that stays: it imports once, and forks itself for each command.

It has one thread of Python's and opens nothing itself, so a fork of it is as good as a new Python;
allocators and OpenBLAS have threads of their own, and know forks.  A command that nobody waits for
any more is told to end, and is ended, with all that it started, where it does not; when the server
goes, its commands are told so by the system.
"""

from __future__ import annotations

import fcntl
import gc
import os
import selectors
import signal
import socket
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final

from pipeline.process.fork_server import wire
from pipeline.process.fork_server.address import Address
from pipeline.process.fork_server.child import Command, begin
from pipeline.process.interrupts import GRACE_S

_REQUEST_S: Final = 5.0
# Longer than a command has to end by itself, its children included.
KILL_S: Final = GRACE_S + 10.0


def serve(
    address: Address, idle_s: float, preload: Callable[[], None], kill_s: float = KILL_S
) -> Command | None:
    """Serve commands until none came for so many seconds, and then return None.

    So it does at once where another process serves.  In a fork, a command is returned that is ready
    to be run, and whose end is to be that of the process.  A command that is told to end has
    ``kill_s`` for that.

    Raises:
        OSError: the address cannot be had.
    """
    with ExitStack() as stack:
        lock = _locked(address.lock)
        if lock is None:
            return None
        stack.enter_context(lock)
        address.socket.unlink(missing_ok=True)
        listener = stack.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM))
        # Before anything is imported: commands wait here meanwhile.
        listener.bind(str(address.socket))
        listener.listen(64)
        preload()
        # What is there now is never looked through again, nor copied by forks that would do so.
        gc.collect()
        gc.freeze()
        with _Server(listener, kill_s) as server:
            command = server.commands(idle_s)
        if command is None:
            address.socket.unlink(missing_ok=True)
            # What it logged is for people.
            if address.log.is_file() and not address.log.stat().st_size:
                address.log.unlink(missing_ok=True)
            # Last, while it is locked: see `_locked`.
            address.lock.unlink(missing_ok=True)
        return command


def _locked(path: Path) -> BinaryIO | None:
    """The file, made where it is missing, and locked; None where another process has locked it.

    Who ends removes it, so it may be gone from its folder by the time that it is locked here: then
    the next process would lock another file, and both would serve.
    """
    while True:
        lock = path.open("ab")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.close()
            return None
        with suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(lock.fileno()), path.stat()):
                return lock
        lock.close()


@dataclass
class _Job:
    """A command that runs, and who waits for it."""

    pid: int
    process: int  # its descriptor
    client: socket.socket
    kill_at_s: float | None = None

    def close(self) -> None:
        self.client.close()
        os.close(self.process)


class _Server:
    """The jobs of now."""

    def __init__(self, listener: socket.socket, kill_s: float) -> None:
        self._listener = listener
        self._kill_s = kill_s
        self._selector = selectors.DefaultSelector()
        self._selector.register(listener, selectors.EVENT_READ)
        self._jobs: list[_Job] = []

    def __enter__(self) -> _Server:
        return self

    def __exit__(self, *_: object) -> None:
        self._selector.close()
        for job in self._jobs:
            job.close()

    def commands(self, idle_s: float) -> Command | None:
        """Start what comes; in a fork, the command that it is for."""
        idle_since_s = time.monotonic()
        while True:
            now_s = time.monotonic()
            self._kill_overdue(now_s)
            if self._jobs:
                idle_since_s = now_s
            elif now_s >= idle_since_s + idle_s:
                return None
            deadlines_s = [job.kill_at_s for job in self._jobs if job.kill_at_s is not None]
            if not self._jobs:
                deadlines_s.append(idle_since_s + idle_s)
            wait_s = max(0.0, min(deadlines_s) - now_s) if deadlines_s else None
            for key, _ in self._selector.select(wait_s):
                if key.fileobj is self._listener:
                    command = self._accepted()
                    if command is not None:
                        return command
                else:
                    self._happened(key.data, is_over=key.fileobj == key.data.process)

    def watch(self, job: _Job) -> None:
        """Hear of its end, and of its client's."""
        self._jobs.append(job)
        self._selector.register(job.process, selectors.EVENT_READ, job)
        self._selector.register(job.client, selectors.EVENT_READ, job)

    def _accepted(self) -> Command | None:
        client, _ = self._listener.accept()
        try:
            client.settimeout(_REQUEST_S)
            message = wire.receive(client, len(wire.STREAMS))
        except (OSError, ValueError) as error:
            print(f"a command that said nothing: {error}", file=sys.stderr, flush=True)
            message = None
        if message is None:
            client.close()
            return None
        request, streams = message
        parent = os.getpid()
        try:
            pid = os.fork()
        except OSError as error:
            # The client runs the command itself; those that run already go on.
            print(f"no fork for a command: {error}", file=sys.stderr, flush=True)
            client.close()
            for stream in streams:
                os.close(stream)
            return None
        if pid == 0:
            client.close()
            return begin(request, streams, parent)
        for stream in streams:
            os.close(stream)
        job = _Job(pid, os.pidfd_open(pid), client)
        self.watch(job)
        with suppress(OSError):
            wire.send(client, {}, [job.process])
        return None

    def _happened(self, job: _Job, is_over: bool) -> None:
        if job not in self._jobs:
            return  # its end and its client's were seen in one look
        if is_over:
            self._selector.unregister(job.process)
            if job.kill_at_s is None:
                self._selector.unregister(job.client)
            self._jobs.remove(job)
            _, status = os.waitpid(job.pid, 0)
            code = os.waitstatus_to_exitcode(status)
            with suppress(OSError):
                wire.send(job.client, {"code": code if code >= 0 else 128 - code})
            job.close()
        elif job.kill_at_s is None:
            # A client says nothing more: it is gone, and so its command goes.
            self._selector.unregister(job.client)
            job.kill_at_s = time.monotonic() + self._kill_s
            os.kill(job.pid, signal.SIGTERM)

    def _kill_overdue(self, now_s: float) -> None:
        for job in self._jobs:
            if job.kill_at_s is not None and job.kill_at_s <= now_s:
                job.kill_at_s = now_s + self._kill_s
                with suppress(ProcessLookupError):
                    os.killpg(job.pid, signal.SIGKILL)
