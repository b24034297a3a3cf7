"""Lines that tell how far a long benchmark has come."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable

from benchmarks.quality.figures import Figures

Say = Callable[[str, Figures], None]


def to_stderr() -> Say:
    """Prints each run's figures and the seconds since the last."""
    last = time.perf_counter()

    def say(what: str, found: Figures) -> None:
        nonlocal last
        now = time.perf_counter()
        values = "  ".join(f"{name} {value:.4f}" for name, value in found.items())
        print(f"{what}: {values}  ({now - last:.0f} s)", file=sys.stderr, flush=True)
        last = now

    return say
