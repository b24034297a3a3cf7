"""Where rows are computed: in this process while they are few, by Spark where they are many.

Spark takes seconds to start and tenths of a second to plan each query, which is more than an hour
of a middling site needs altogether.
"""

from __future__ import annotations

from collections.abc import Callable
from copy import copy
from typing import TYPE_CHECKING

from pipeline.errors import HourglassError
from pipeline.process.interrupts import is_interrupted
from pipeline.process.machine import memory_of_machine
from pipeline.spark.session import spark_is_alive, worker_error

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

# What repeats itself packs so well that files of few bytes may hold a great many rows.
_MIN_BYTES_PER_ROW = 64
# A step holds what it reads several times over: as records, as rows, and as what comes of them.
_HELD_PER_BYTE = 16
# Rows in memory are quicker by far only while they are few.
_SPARED = 4
# What threads and arrays may take where Spark would have no more than this machine: less than a
# Java process of the default size and its workers, and half of what there is.
_MEMORY_BYTES = 3 << 30
# Of packed files; most columns unpack to less.
_HELD_PER_PACKED_BYTE = 8


class Compute:
    """Says where a step is computed, and starts Spark when the first one needs it.

    Args:
        start: starts a Spark session, or joins one.
        from_mib: the size of a step's input files from which on Spark computes it (see
            ``spark.from_mib`` of the settings).
        on_one_machine: whether Spark would have no more than this machine.
    """

    def __init__(
        self, start: Callable[[], SparkSession], from_mib: int, on_one_machine: bool = False
    ) -> None:
        self._start = start
        self._on_one_machine = on_one_machine
        self._from_bytes = from_mib << 20
        self._session: SparkSession | None = None

    def is_small(self, input_bytes: int, rows: int = 0) -> bool:
        """Whether a step that reads files of this size is computed in this process."""
        return input_bytes < self._from_bytes and rows * _MIN_BYTES_PER_ROW <= self._from_bytes

    def is_done_here(self, input_bytes: int, rows: int, bytes_per_row: int) -> bool:
        """Whether a step that holds so much of each row that it reads is computed in this process.

        On one machine threads and arrays do the work of Spark's tasks, whose rows travel by way of
        Java, in a fraction of the time.
        """
        needed_bytes = max(rows * bytes_per_row, input_bytes * _HELD_PER_PACKED_BYTE)
        fits = needed_bytes <= min(_MEMORY_BYTES, memory_of_machine() // 2)
        return self.is_small(input_bytes, rows) or (self.may_spill and fits)

    @property
    def may_spill(self) -> bool:
        """Whether what memory does not hold may be computed here all the same, by way of the disk.

        Not where Spark is to compute everything.
        """
        return self._on_one_machine and self._from_bytes > 0

    def sparing(self) -> Compute:
        """The same where there is another way to compute here: less is small, and less is held."""
        other = copy(self)
        other._from_bytes //= _SPARED
        return other

    @property
    def memory_bytes(self) -> int:
        """How much a step that is computed in this process may hold."""
        return _HELD_PER_BYTE * self._from_bytes

    @property
    def is_alive(self) -> bool:
        """Whether more can be computed: false where a Spark that was started has ended."""
        return self._session is None or spark_is_alive(self._session)

    @property
    def spark(self) -> SparkSession:
        """The Spark session; started or joined on first use, and then kept.

        Raises:
            HourglassError: Spark cannot be started.
        """
        if self._session is None:
            try:
                self._session = self._start()
            except HourglassError:
                raise
            except Exception as error:
                # A signal ends the JVM too, as it starts.
                if is_interrupted():
                    raise KeyboardInterrupt from error
                # Whoever asks must not take it for a fault of the rows that were to be computed.
                raise HourglassError(f"Spark cannot be started: {worker_error(error)}") from error
        return self._session
