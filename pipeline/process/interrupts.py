"""Ctrl-C, and SIGTERM as Airflow sends it: one sentence, and the process and its children end.

The first signal is raised in the main thread, so that steps mark and clean up what they began.  It
may be swallowed there, by a library or by a finaliser, or wait for a long call into C: a thread
that the signal wakes ends the process when it is still there after a while, or is asked to end
again.  That is as safe as a kill at any instant is.
"""

from __future__ import annotations

import atexit
import logging
import os
import select
import signal
import socketserver
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import ClassVar, NoReturn

GRACE_S = 10.0
_AGAIN_S = 1.0  # a group of processes may pass one signal on twice
_CHILDREN_S = 5.0
_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_PR_SET_PDEATHSIG = 1  # linux/prctl.h
_SAFE = "nothing half-done is visible; run the command again"


class _Ending:
    """What this process knows of its end."""

    installed = False
    raises = True  # not any more once the command is over
    number: int | None = None  # of the first signal
    announced = False
    restores: ClassVar[list[Callable[[], None]]] = []  # of the terminal


def guarded(command: Callable[[], int]) -> NoReturn:
    """Run a program to its end, which is that of the process; a signal shows no traceback."""
    _install()
    code = 1
    try:
        code = command()
        _Ending.raises = False
    except KeyboardInterrupt:
        _Ending.number = _Ending.number or signal.SIGINT
    if _Ending.number is None:
        _end(code)
    _leave()


def _end(code: int) -> NoReturn:
    """End as Python ends, but leave what is in memory to the system.

    To take apart the modules of PyTorch, MLflow and Great Expectations costs half a second to a
    second, after each command.
    """
    try:
        # Joins threads, and before that tells pools of them to end.
        threading._shutdown()  # type: ignore[attr-defined]
        atexit._run_exitfuncs()
        sys.stdout.flush()
    except OSError as error:
        if not code:
            code = 1
            with suppress(OSError):
                print(f"hourglass: the output was not written: {error.strerror}", file=sys.stderr)
    finally:
        os._exit(code)


def end_with_parent() -> None:
    """Let the kernel send SIGTERM when the parent dies, where it is Linux.

    Airflow starts the command of a task in a session of its own.  When its process for the task is
    killed, it tries again: the first try must not run on beside the second.
    """
    if sys.platform == "linux":
        import ctypes

        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


def is_interrupted() -> bool:
    """Whether a signal asked this process to end."""
    return _Ending.number is not None


def announce() -> int:
    """Say once that the command was interrupted; returns its exit code."""
    number = _Ending.number or signal.SIGINT
    if not _Ending.announced:
        _Ending.announced = is_interrupted()
        what = "interrupted" if number == signal.SIGINT else f"stopped by {_name(number)}"
        print(f"hourglass: {what}: {_SAFE}", file=sys.stderr, flush=True)
    return 128 + number


@contextmanager
def restored_when_left(restore: Callable[[], None]) -> Iterator[None]:
    """Have the terminal put right where the process is ended in the midst of this."""
    _Ending.restores.append(restore)
    try:
        yield
    finally:
        _Ending.restores.remove(restore)


def reinstall() -> None:
    """Take the signals back from a library that has put its own handlers in (PySpark does)."""
    if _Ending.installed and threading.current_thread() is threading.main_thread():
        for number in _SIGNALS:
            signal.signal(number, _handle)


def _install() -> None:
    if _Ending.installed:
        return
    _Ending.installed = True
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    threading.Thread(target=_watch, args=(reader,), daemon=True, name="signals").start()
    reinstall()


def _handle(number: int, frame: object) -> None:  # noqa: ARG001 - the signature is signal's
    """Raise the first signal in the main thread; what goes wrong from now on is told to nobody."""
    first = _Ending.raises
    _Ending.raises = False
    _Ending.number = _Ending.number or number
    logging.disable(logging.CRITICAL)
    sys.unraisablehook = lambda _: None
    threading.excepthook = lambda _: None
    # PySpark's own server of accumulators misses the JVM that is being ended.
    socketserver.BaseServer.handle_error = lambda *_: None  # type: ignore[method-assign]
    if first:
        raise KeyboardInterrupt


def _watch(reader: int) -> None:
    """End the process that does not end by itself; the signal wakes this thread at once."""
    began_s: float | None = None
    while True:
        left_s = None if began_s is None else max(0.0, began_s + GRACE_S - time.monotonic())
        ready, _, _ = select.select([reader], [], [], left_s)
        numbers = os.read(reader, 64) if ready else b""
        if not any(number in _SIGNALS for number in numbers) and ready:
            continue
        now_s = time.monotonic()
        if began_s is None:
            began_s = now_s
            _Ending.number = next(number for number in numbers if number in _SIGNALS)
        elif not ready or now_s - began_s > _AGAIN_S:
            _leave()


def _leave() -> NoReturn:
    """End at once: exit handlers and threads of libraries might wait for what is no more."""
    code = 1
    try:
        for restore in tuple(_Ending.restores):
            with suppress(Exception):
                restore()
        with suppress(Exception):
            code = announce()
        with suppress(Exception):
            _end_children()
        with suppress(Exception):
            sys.stdout.flush()
    finally:
        os._exit(code)


def _end_children() -> None:
    """The JVM, its Python workers, processes of one training."""
    import psutil  # only those who are interrupted need it

    children = psutil.Process().children(recursive=True)
    for child in children:
        with suppress(psutil.NoSuchProcess):
            child.terminate()
    _, alive = psutil.wait_procs(children, timeout=_CHILDREN_S)
    for child in alive:
        with suppress(psutil.NoSuchProcess):
            child.kill()


def _name(number: int) -> str:
    return signal.Signals(number).name
