"""A fork of the server becomes the process of a command: as if the client had started it."""

from __future__ import annotations

import os
import resource
import signal
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, TextIO, cast

from pipeline.process.interrupts import end_with_parent


@dataclass(frozen=True)
class Command:
    """What a client wants run."""

    arguments: list[str]


def begin(request: dict[str, Any], streams: Sequence[int], parent: int) -> Command:
    """Take on the client's streams, folder, environment and limits; ``parent`` is the server.

    Raises:
        OSError: the client's folder is gone.
    """
    # Whoever ends the server ends this too, and a signal to this process's group no other.
    os.setsid()
    end_with_parent()
    if os.getppid() != parent:
        os.kill(os.getpid(), signal.SIGTERM)
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
        os.close(stream)
    # Anew, since a terminal is written to line by line; with the encodings that Python chose.
    into_terminal = os.isatty(1)
    sys.stdin = _stream(sys.stdin, "r")
    sys.stdout = _stream(sys.stdout, "w", 1 if into_terminal else -1)
    sys.stderr = _stream(sys.stderr, "w", 1)
    os.environ.clear()
    os.environ.update(request["environ"])
    os.umask(request["umask"])
    os.sched_setaffinity(0, request["cores"])
    for name, limits in request["limits"].items():
        _limit(getattr(resource, f"RLIMIT_{name}"), *limits)
    os.chdir(request["folder"])
    sys.argv[1:] = request["arguments"]
    return Command(request["arguments"])


def _stream(before: TextIO, mode: str, buffering: int = -1) -> TextIO:
    number = before.fileno()
    stream = open(number, mode, buffering, before.encoding, before.errors, closefd=False)  # noqa: SIM115 - it stays open
    return cast("TextIO", stream)


def _limit(kind: int, soft: int, hard: int) -> None:
    if resource.getrlimit(kind) != (soft, hard):
        with suppress(ValueError, OSError):  # more than this process may have
            resource.setrlimit(kind, (soft, hard))
