"""``python dags/own_session.py airflow standalone``: a program in a session of its own.

A terminal's Ctrl-C goes to all processes in the foreground.  Those of `airflow standalone` then
end each by itself while it ends them too, and it hangs; pressed again, it leaves some behind.  Here
only this process is in the foreground: the program alone has the signal, once, and nothing stays.
"""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress

import psutil

# What `airflow standalone` takes for its end, and it alone; SIGTERM would leave its processes.
_END = signal.SIGINT
_ASKING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_GRACE_S = 40.0
# For what is told to end after that, until it is killed.
_LAST_S = 10.0
_AGAIN_S = 1.0  # whoever started this process may pass on the very signal that it has had
_LOOK_S = 0.05


def run(program: Sequence[str], grace_s: float = _GRACE_S, last_s: float = _LAST_S) -> int:
    """Run a program until it ends, or a signal asks for its end, and then until all of it is gone.

    Args:
        program: name and arguments.
        grace_s: for the program to end after a signal; a second signal, a second later or more,
            cuts it short.
        last_s: for what is left then, or of a program that ended by itself, until it is killed.

    Returns:
        The program's exit code; where a signal ended it, 128 and the signal's number.
    """
    with _signals() as (reader, asking):
        process = subprocess.Popen(  # noqa: S603 - a list, no shell
            program, stdin=subprocess.DEVNULL, start_new_session=True
        )
        _wait(process, reader, asking, grace_s)
        for number in (signal.SIGTERM, signal.SIGKILL):
            _end(process, number, last_s)
    code = process.wait()
    return 128 - code if code < 0 else code


def _wait(
    process: subprocess.Popen[bytes], reader: int, asking: frozenset[int], grace_s: float
) -> None:
    """Until the program has ended, or its time after a signal has."""
    begun_s: float | None = None
    left_s: float | None = None
    while process.poll() is None and left_s != 0:
        numbers = os.read(reader, 64) if select.select([reader], [], [], left_s)[0] else b""
        now_s = time.monotonic()
        if asking.intersection(numbers):
            if begun_s is None:
                begun_s = now_s
                process.send_signal(_END)
                print("Airflow ends; Ctrl-C again ends it at once.", file=sys.stderr, flush=True)
            elif now_s >= begun_s + _AGAIN_S:
                return
        if begun_s is not None:
            left_s = max(0.0, begun_s + grace_s - now_s)


def _end(process: subprocess.Popen[bytes], number: signal.Signals, last_s: float) -> None:
    """Send a signal to what is left of the program's session, and wait until nothing is."""
    until_s = time.monotonic() + last_s
    for pid in _members(process.pid):
        # It may have ended meanwhile, or be another user's.
        with suppress(ProcessLookupError, PermissionError):
            os.kill(pid, number)
    # A child of this process is gone only when this process has looked.
    while _members(process.pid) and time.monotonic() < until_s:
        time.sleep(_LOOK_S)
        process.poll()


def _members(session: int) -> list[int]:
    """Processes of a session that run, in whatever group."""
    members = []
    for process in psutil.process_iter():
        with suppress(psutil.Error, OSError):
            if os.getsid(process.pid) == session and process.status() != psutil.STATUS_ZOMBIE:
                members.append(process.pid)
    return members


@contextmanager
def _signals() -> Iterator[tuple[int, frozenset[int]]]:
    """A pipe that tells signals by their numbers, and which of them ask for the end.

    One that this process was told to ignore, by `nohup` or as a job in the background, does not.
    All have handlers meanwhile, which the program does not inherit: it must not ignore its end.
    """
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    before = {
        number: signal.signal(number, lambda *_: None) for number in (*_ASKING, signal.SIGCHLD)
    }
    former = signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    try:
        asking = (number for number in _ASKING if before[number] != signal.SIG_IGN)
        yield reader, frozenset(map(int, asking))
    finally:
        signal.set_wakeup_fd(former)
        for number, handler in before.items():
            signal.signal(number, handler)
        os.close(reader)
        os.close(writer)


if __name__ == "__main__":
    sys.exit(run(sys.argv[1:]))
