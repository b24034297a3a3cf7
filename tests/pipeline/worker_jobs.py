"""What workers are given to do in tests: found by name, in this process and in theirs."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import psutil
import pyarrow as pa

from pipeline.errors import HourglassError, UsageError
from pipeline.ingest.columns.batches import FilesParser

Batches = Iterator[pa.RecordBatch]
NUMBERS = pa.schema([("n", pa.int64()), ("pid", pa.int64())])


def workers_left() -> list[psutil.Process]:
    """The workers of this process, which may have a JVM too."""
    return [child for child in psutil.Process().children(recursive=True) if _is_worker(child)]


def _is_worker(process: psutil.Process) -> bool:
    try:
        return "process.workers import work" in str(process.cmdline())
    except psutil.NoSuchProcess:
        # It has ended, whatever it was, though nobody has asked how.
        return False


class TwoWordsError(HourglassError):
    """One that cannot be made again of what it says."""

    def __init__(self, one: str, other: str) -> None:
        super().__init__(f"{one} {other}")


def numbers(jobs: Batches) -> Batches:
    """Ten rows of each number, in two batches; the even ones take longest."""
    for job in jobs:
        for n in job.column("n").to_pylist():
            time.sleep(0.05 * (n % 2 == 0))
            for _ in range(2):
                yield pa.record_batch([pa.array([n] * 5), pa.array([os.getpid()] * 5)], NUMBERS)


def failing(jobs: Batches) -> Batches:
    """An error of the kind that a job names."""
    for job in jobs:
        (kind,) = job.column("kind").to_pylist()
        if kind == "killed":
            os.kill(os.getpid(), signal.SIGKILL)
        if kind == "ended":
            os._exit(3)
        errors: dict[str, Callable[[], Exception]] = {
            "usage": lambda: UsageError("source.encoding: no such encoding"),
            "full": lambda: OSError(28, "No space left on device"),
            "two": lambda: TwoWordsError("a", "b"),
        }
        raise errors[kind]()
        yield job


def sleeping(jobs: Batches) -> Batches:
    """Nothing, for a minute."""
    for job in jobs:
        time.sleep(60)
        yield job


@dataclass(frozen=True)
class Parser:
    """Reads files as ever, and fails where a job names the file."""

    parse: FilesParser
    name: str
    kind: str

    def __call__(self, jobs: Batches) -> Batches:
        for job in jobs:
            if self.name in job.column("source_file").to_pylist():
                kinds: Any = pa.record_batch({"kind": [self.kind]})
                yield from failing(iter([kinds]))
            yield from self.parse(iter([job]))
