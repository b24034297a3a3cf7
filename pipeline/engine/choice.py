"""Which engine runs a transform: this process, in memory or by way of the disk, or Spark."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from pipeline.engine.engine import Engine, TooLargeError
from pipeline.engine.in_process import in_process
from pipeline.engine.on_disk import on_disk
from pipeline.engine.spark_engine import SparkEngine
from pipeline.spark.compute import Compute

_Done = TypeVar("_Done")


def run_on_engine(
    compute: Compute,
    input_bytes: int,
    transform: Callable[[Engine], _Done],
    spill: Path | None = None,
) -> _Done:
    """Run a transform on the engine for what it is likely to read.

    Where there turns out to be much more it is run again, by the next engine: until an engine
    gives up, a transform must have committed nothing.  With a folder to ``spill`` to, Spark is
    left out where it would compute on this machine alone.
    """
    may_spill = spill is not None and compute.may_spill
    here = compute.sparing() if may_spill else compute
    if here.is_small(input_bytes):
        try:
            with in_process(here) as engine:
                return transform(engine)
        except TooLargeError:
            pass
    if spill is not None and may_spill:
        try:
            with on_disk(spill) as engine:
                return transform(engine)
        except TooLargeError:
            pass
    return transform(SparkEngine(compute.spark))
