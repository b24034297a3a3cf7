"""Files of columns: their schema, and their rows in batches."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import IO, Protocol

import pyarrow as pa

from pipeline.sources.compression import compression_of
from pipeline.sources.file_kinds import HEAD_BYTES, kind_of_file

ROWS_PER_BATCH = 8192
# A column is read through a window of so many bytes, however large its group of rows is.
_WINDOW_BYTES = 1 << 20

#: Number of its first row, from 0, and the rows.
Batches = Iterator[tuple[int, "pa.RecordBatch"]]


class TableFile(Protocol):
    """An open file of columns."""

    @property
    def schema(self) -> pa.Schema:
        """Names and types of its columns."""

    def batches(self, columns: Sequence[str] | None = None, from_row: int = 0) -> Batches:
        """Its rows in order, in batches that do not depend on which columns are asked for.

        Rows before ``from_row`` may be left out, up to any number of them that is convenient.
        """


class WithFolders:
    """A file, and beside its own columns those that the folders of its path name."""

    def __init__(self, table: TableFile, columns: Mapping[str, str]) -> None:
        self._table = table
        own = table.schema
        self._of_folders = {name: text for name, text in columns.items() if name not in own.names}
        self.schema: pa.Schema = pa.schema(
            [*own, *(pa.field(name, pa.string()) for name in self._of_folders)]
        )

    def batches(self, columns: Sequence[str] | None = None, from_row: int = 0) -> Batches:
        """See :class:`TableFile`."""
        names = self.schema.names if columns is None else list(columns)
        own = [name for name in names if name not in self._of_folders]
        # How many rows there are, a column of the file says.
        read = own or self._table.schema.names[:1]
        for start, rows in self._table.batches(read, from_row):
            arrays = [
                pa.repeat(pa.scalar(self._of_folders[name] or None, pa.string()), rows.num_rows)
                if name in self._of_folders
                else rows.column(name)
                for name in names
            ]
            schema = pa.schema([self.schema.field(name) for name in names])
            yield start, pa.RecordBatch.from_arrays(arrays, schema=schema)


class NotATableError(Exception):
    """A file that cannot be read as what it should be; its text says why, after the file's name."""


class ParquetFile:
    """Parquet, a group of rows after the other."""

    def __init__(self, raw: IO[bytes]) -> None:
        from pyarrow import parquet

        self._file = parquet.ParquetFile(
            pa.PythonFile(raw, mode="r"),
            buffer_size=_WINDOW_BYTES,
            pre_buffer=False,
            # The nanoseconds of its default do not reach beyond the year 2262.
            coerce_int96_timestamp_unit="us",
            page_checksum_verification=True,
        )
        self.schema: pa.Schema = self._file.schema_arrow

    def batches(self, columns: Sequence[str] | None = None, from_row: int = 0) -> Batches:
        """See :class:`TableFile`."""
        start = 0
        for group in range(self._file.num_row_groups):
            stop = start + self._file.metadata.row_group(group).num_rows
            if stop > from_row:
                at = start
                for batch in self._file.iter_batches(
                    ROWS_PER_BATCH, row_groups=[group], columns=columns, use_threads=False
                ):
                    yield at, batch
                    at += batch.num_rows
            start = stop


class OrcFile:
    """ORC, a stripe after the other."""

    def __init__(self, raw: IO[bytes]) -> None:
        from pyarrow import orc

        self._file = orc.ORCFile(pa.PythonFile(raw, mode="r"))
        self.schema: pa.Schema = self._file.schema

    def batches(self, columns: Sequence[str] | None = None, from_row: int = 0) -> Batches:
        """See :class:`TableFile`."""
        start = 0
        for stripe in range(self._file.nstripes):
            rows = self._file.read_stripe(stripe, columns=columns)
            for at in range(0, rows.num_rows, ROWS_PER_BATCH):
                if start + at + ROWS_PER_BATCH > from_row:
                    yield start + at, rows.slice(at, ROWS_PER_BATCH)
            start += rows.num_rows


def check_kind(raw: IO[bytes], wanted: str) -> None:
    """Say what a file is that cannot be of the kind that is wanted.

    Raises:
        NotATableError: its first bytes are those of another kind.
    """
    raw.seek(0)
    head = raw.read(HEAD_BYTES)
    kind = kind_of_file(raw, head)
    raw.seek(0)
    if not head:
        raise NotATableError(f"is empty, and no {wanted}")
    if kind is not None and kind.name == wanted:
        return
    packed = compression_of(head)
    if packed is not None:
        raise NotATableError(f"is packed by {packed}, and no {wanted}: unpack it")
    if kind is not None:
        raise NotATableError(
            f"{kind.reason}, not {wanted}" if kind.name in _TABLES else kind.reason
        )
    raise NotATableError(f"is no {wanted}")


_TABLES = frozenset({"Parquet", "ORC", "Avro"})
