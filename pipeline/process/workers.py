"""Work shared out among processes of this machine; what they make comes in the order of the work.

Threads would wait for one another's Python, and a fork of a process in which DuckDB and Arrow have
threads may hang: a worker is a Python of its own.  Each piece of work becomes a file of Arrow in a
folder, which is removed when its rows were taken; work is handed out no further ahead of that than
keeps the workers busy, so neither memory nor disk depend on how much there is.

A worker ends with the process that started it, however that ends: it holds one end of a socket.
"""

from __future__ import annotations

import json
import os
import pickle
import queue
import subprocess
import sys
import threading
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from multiprocessing.connection import Connection, Pipe, wait
from pathlib import Path
from typing import NoReturn

import pyarrow as pa

from pipeline.errors import HourglassError
from pipeline.process.interrupts import is_interrupted

Batches = Iterator[pa.RecordBatch]

# One that is being done, and the next.
_JOBS_PER_WORKER = 2
_POLL_S = 0.1
_END_S = 5.0
_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
# The modules are looked for where this process finds them.
_PROGRAM = "import json, sys; sys.path[:] = json.loads(sys.argv[2]); " + (
    "from pipeline.process.workers import work; work(int(sys.argv[1]))"
)


def shared_out(
    jobs: Sequence[pa.RecordBatch],
    make: Callable[[Batches], Batches],
    schema: pa.Schema,
    workers: int,
    folder: Path,
) -> Batches:
    """What a function makes of each of the jobs, in their order; jobs and function are picklable.

    The workers, and what they wrote to ``folder``, are gone when the iterator ends or is closed.

    Raises:
        HourglassError: a worker was killed or could not start.
        KeyboardInterrupt: this process is to end.
    """
    folder.mkdir(parents=True, exist_ok=True)
    pool: list[_Worker] = []
    try:
        for _ in range(min(workers, len(jobs))):
            pool.append(_Worker())
        for worker in pool:
            worker.begin(make, schema)
        yield from _in_order(jobs, pool, folder)
    finally:
        for worker in pool:
            worker.end()
        for file in folder.glob("*.arrow"):
            file.unlink(missing_ok=True)


def _in_order(jobs: Sequence[pa.RecordBatch], pool: Sequence[_Worker], folder: Path) -> Batches:
    files = [folder / f"{nth}.arrow" for nth in range(len(jobs))]
    handed_out = 0
    done: set[int] = set()

    def attend(next_nth: int, wait_s: float) -> None:
        """Hand out work, and wait so long for some to be done."""
        nonlocal handed_out
        furthest = min(len(jobs), next_nth + _JOBS_PER_WORKER * len(pool))
        while handed_out < furthest:
            worker = min(pool, key=lambda worker: worker.waiting)
            if worker.waiting == _JOBS_PER_WORKER:
                break
            worker.send(handed_out, files[handed_out], jobs[handed_out])
            handed_out += 1
        ready = wait([worker.connection for worker in pool], wait_s)
        for worker in pool:
            if worker.connection in ready:
                done.add(worker.receive())

    for nth, file in enumerate(files):
        while nth not in done:
            attend(nth, _POLL_S)
            if is_interrupted():
                raise KeyboardInterrupt
        done.remove(nth)
        with pa.memory_map(str(file)) as content:
            for batch in pa.ipc.open_stream(content):
                yield batch
                attend(nth, 0)
        file.unlink()


class _Worker:
    """A process that does jobs, and how many wait for it to be done."""

    def __init__(self) -> None:
        self.connection, theirs = Pipe()
        try:
            self._process = subprocess.Popen(  # noqa: S603 - this Python
                [sys.executable, "-P", "-c", _PROGRAM, str(theirs.fileno()), json.dumps(sys.path)],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
                # Each would have threads for all cores.
                env=os.environ | dict.fromkeys(_THREADS, "1"),
                # A signal for all of this group is for this process to act on.
                start_new_session=True,
            )
        except OSError as error:
            self.connection.close()
            raise HourglassError(
                f"a process to read raw files cannot be started: {error.strerror or error}; "
                "nothing was committed: see how many processes are allowed, and run it again"
            ) from error
        finally:
            theirs.close()
        self.waiting = 0

    def begin(self, make: Callable[[Batches], Batches], schema: pa.Schema) -> None:
        """Say what is to be made of jobs."""
        self._send((make, schema))

    def send(self, nth: int, file: Path, job: pa.RecordBatch) -> None:
        """Hand out a job, whose rows are to be in a file."""
        self._send((nth, str(file), job))
        self.waiting += 1

    def receive(self) -> int:
        """Which job is done.

        Raises:
            HourglassError: the worker has ended; or whatever went wrong with the job.
        """
        try:
            nth, error = self.connection.recv()
        except (EOFError, ConnectionError):
            self._explain_end()
        if error is not None:
            raise error
        self.waiting -= 1
        return int(nth)

    def end(self) -> None:
        """End the process, whatever it does; its rows are worth nothing to anybody else."""
        self.connection.close()
        self._process.kill()
        self._process.wait()

    def _send(self, message: object) -> None:
        try:
            self.connection.send(message)
        except ConnectionError:
            self._explain_end()

    def _explain_end(self) -> NoReturn:
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(_END_S)
        code = self._process.returncode
        if is_interrupted():
            raise KeyboardInterrupt
        if code is not None and code < 0:
            raise HourglassError(
                f"a process that read raw files was ended by signal {-code}; nothing was "
                "committed: see that memory suffices for one such process a core, and run the "
                "command again"
            )
        raise HourglassError(
            f"a process that read raw files ended by itself (exit code {code}); nothing was "
            "committed: run the command again, and report it with what the process wrote above"
        )


def work(descriptor: int) -> None:
    """Do the jobs that come through a socket, until its other end is gone."""
    connection = Connection(descriptor)
    make, schema = connection.recv()
    jobs: queue.SimpleQueue[tuple[int, str, pa.RecordBatch]] = queue.SimpleQueue()

    def take() -> None:
        try:
            while True:
                jobs.put(connection.recv())
        finally:
            # Whoever wanted the rows is gone.
            os._exit(1)

    threading.Thread(target=take, daemon=True).start()
    while True:
        nth, file, job = jobs.get()
        try:
            with pa.OSFile(file, "wb") as out, pa.ipc.new_stream(out, schema) as rows:
                for batch in make(iter([job])):
                    rows.write_batch(batch)
            error = None
        except Exception as raised:
            error = _sendable(raised)
        connection.send((nth, error))


def _sendable(error: Exception) -> Exception:
    """An error as it arrives elsewhere, or else what it says, with where it was raised."""
    where = "".join(traceback.format_exception(error))
    try:
        pickle.loads(pickle.dumps(error))  # noqa: S301 - just made
    except Exception:
        error = HourglassError(f"{type(error).__name__}: {error}")
    error.add_note(f"in a process that read raw files:\n{where}")
    return error
