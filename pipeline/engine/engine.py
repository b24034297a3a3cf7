"""What a transform asks of whoever computes it: frames, and SQL files that make others of them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pyarrow as pa

from pipeline.lake.lake import Hours, Lake
from pipeline.lake.parquet_files import HourFile
from pipeline.lake.tables import TableSpec

Batches = Iterator[pa.RecordBatch]
Parameter = str | int | float | bool


class TooLargeError(Exception):
    """There is more than this process takes on by itself: Spark must do it."""


class Frame(ABC):
    """Rows with named columns, held by an engine."""

    @abstractmethod
    def where(self, flag: str) -> Frame:
        """The rows in which a boolean column is true."""

    @abstractmethod
    def where_not(self, flag: str) -> Frame:
        """The rows in which a boolean column is false."""

    @abstractmethod
    def where_in(self, column: str, values: Collection[str]) -> Frame:
        """The rows with one of the values in a column."""

    @abstractmethod
    def where_not_in(self, column: str, values: Collection[str]) -> Frame:
        """The rows with another value in a column, which is never null."""

    @abstractmethod
    def select(self, *columns: str) -> Frame:
        """Some of the columns, in this order."""

    @abstractmethod
    def union(self, other: Frame) -> Frame:
        """The rows of both, which have the same columns in the same order."""

    @abstractmethod
    def none(self) -> Frame:
        """No row, with the same columns."""

    @abstractmethod
    def is_empty(self) -> bool:
        """Whether there is no row."""

    @abstractmethod
    def collect(self) -> list[Any]:
        """The rows, each with its values as attributes, in any order."""

    @abstractmethod
    def computed_once(self) -> AbstractContextManager[Frame]:
        """The same rows, which are not computed anew for each use while the context lasts."""


class Engine(ABC):
    """Reads table files, runs SQL files, and writes table files."""

    @abstractmethod
    def texts(self, column: str, values: Collection[str]) -> Frame:
        """A frame of one column of texts."""

    @abstractmethod
    def read_files(self, schema: pa.Schema, files: Sequence[HourFile]) -> Frame:
        """Rows of Parquet files; the columns are those of ``schema``."""

    @abstractmethod
    def shares_out(self, input_bytes: int) -> bool:
        """Whether :meth:`made_from` works on several inputs of so many bytes at once."""

    @abstractmethod
    def made_from(
        self,
        inputs: pa.Table,
        make: Callable[[Batches], Batches],
        schema: pa.Schema,
        folder: Path,
        sizes: Sequence[int],
    ) -> Frame:
        """Rows of ``schema`` that a function makes of batches of the inputs, each input once.

        ``folder``, not there yet, may be used to keep them as long as the frame is used.  ``sizes``
        are how many bytes each input is likely to stand for.  The function may be sent to other
        processes where :meth:`shares_out` says so.
        """

    @abstractmethod
    def query(self, name: str, views: Mapping[str, Frame], **parameters: Parameter) -> Frame:
        """Run ``sql/<name>.sql``; ``views`` are the tables it names, the rest its ``:markers``."""

    def passes(self, frame: Frame) -> int:  # noqa: ARG002 - all rows are looked at together
        """In how many passes to group by what nearly every row has for itself."""
        return 1

    @abstractmethod
    def stage(self, lake: Lake, frame: Frame, spec: TableSpec) -> list[HourFile]:
        """Write a frame's rows as Parquet files of the table, one hour a file, uncommitted.

        A kill here leaves files that no reader knows of.
        """

    def read(self, lake: Lake, spec: TableSpec, hours: Hours | None = None) -> Frame:
        """Rows of a table (of some hours)."""
        return self.read_files(spec.schema, lake.files(spec, hours))
