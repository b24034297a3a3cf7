"""How fast a fit goes and how long it will take; nothing that is learned depends on it."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable

_SPACING_S = 0.1  # of progress lines: what a person can follow
_STEADY_S = 10.0  # the speed is that of the latest seconds


class Meter:
    """Measures the speed of a fit.

    Args:
        done: targets that an earlier attempt learned from.
        total: targets of the whole fit.
        clock: gives seconds.
    """

    def __init__(
        self, done: int, total: int, clock: Callable[[], float] = time.perf_counter
    ) -> None:
        self._total, self._clock = total, clock
        self._began_s, self._begun = clock(), done
        self._measured_s = -float("inf")
        self._samples: deque[tuple[float, int]] = deque([(self._began_s, done)])

    def is_due(self) -> bool:
        """Whether the last line is long enough ago for another."""
        return self._clock() - self._measured_s >= _SPACING_S

    def measure(self, done: int) -> tuple[float, float]:
        """Targets a second over the latest seconds, and the seconds left at that speed."""
        now_s = self._measured_s = self._clock()
        self._samples.append((now_s, done))
        while now_s - self._samples[1][0] >= _STEADY_S and len(self._samples) > 2:  # noqa: PLR2004
            self._samples.popleft()
        since_s, before = self._samples[0]
        per_s = (done - before) / max(now_s - since_s, 1e-9)
        return per_s, max(0, self._total - done) / max(per_s, 1e-9)

    def average(self, done: int) -> float:
        """Targets a second since the start, all that happens between batches included."""
        return (done - self._begun) / max(self._clock() - self._began_s, 1e-9)
