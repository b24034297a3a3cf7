"""Files of columns: their schema, and their rows in batches."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import IO, Any, NamedTuple, Protocol

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.sources.compression import compression_of
from pipeline.sources.file_kinds import HEAD_BYTES, kind_of_file
from pipeline.sources.lines import Span

ROWS_PER_BATCH = 8192
#: A batch has fewer rows where they are long, so that it is not larger, by and large.
BYTES_PER_BATCH = 64 << 20
_BYTES_PER_NUMBER = 8
# Nothing says how long the texts of a stripe are.
_ORC_ROWS_AT_ONCE = 512
# A column is read through a window of so many bytes, however large its group of rows is.
_WINDOW_BYTES = 1 << 20

#: Number of its first row, from 0, and the rows.
Batches = Iterator[tuple[int, "pa.RecordBatch"]]


class Group(NamedTuple):
    """A group of rows that can be read without the others: how many, and their bytes unpacked."""

    rows: int
    bytes: int


class TableFile(Protocol):
    """An open file of columns."""

    @property
    def schema(self) -> pa.Schema:
        """Names and types of its columns."""

    def holds_more_than(self, most_bytes: int) -> bool:
        """Whether it says that it holds more, unpacked; a value counts as a byte at least."""

    def batches(
        self,
        columns: Sequence[str] | None = None,
        from_row: int = 0,
        span: Span | None = None,
    ) -> Batches:
        """Its rows in order, in batches of at most :data:`ROWS_PER_BATCH`.

        Rows before ``from_row`` may be left out, up to any number of them that is convenient; with
        ``span`` only those of its groups are read.
        """

    def groups(self) -> Sequence[Group]:
        """Its groups of rows in order; none where they cannot be read each on its own."""


class WithFolders:
    """A file, and beside its own columns those that the folders of its path name."""

    def __init__(self, table: TableFile, columns: Mapping[str, str]) -> None:
        self._table = table
        own = table.schema
        self._of_folders = {name: text for name, text in columns.items() if name not in own.names}
        self.schema: pa.Schema = pa.schema(
            [*own, *(pa.field(name, pa.string()) for name in self._of_folders)]
        )

    def holds_more_than(self, most_bytes: int) -> bool:
        """See :class:`TableFile`."""
        return self._table.holds_more_than(most_bytes)

    def batches(
        self,
        columns: Sequence[str] | None = None,
        from_row: int = 0,
        span: Span | None = None,
    ) -> Batches:
        """See :class:`TableFile`."""
        names = self.schema.names if columns is None else list(columns)
        own = [name for name in names if name not in self._of_folders]
        # How many rows there are, a column of the file says.
        read = own or self._table.schema.names[:1]
        for start, rows in self._table.batches(read, from_row, span):
            arrays = [
                pa.repeat(pa.scalar(self._of_folders[name] or None, pa.string()), rows.num_rows)
                if name in self._of_folders
                else rows.column(name)
                for name in names
            ]
            schema = pa.schema([self.schema.field(name) for name in names])
            yield start, pa.RecordBatch.from_arrays(arrays, schema=schema)

    def groups(self) -> Sequence[Group]:
        """See :class:`TableFile`."""
        return self._table.groups()


class NotATableError(Exception):
    """A file that cannot be read as what it should be; its text says why, after the file's name."""


class ParquetFile:
    """Parquet, a group of rows after the other."""

    def __init__(self, raw: IO[bytes]) -> None:
        self._raw = raw
        self._file = self._opened()
        self.schema: pa.Schema = self._file.schema_arrow

    def _opened(self, in_dictionaries: Sequence[str] = ()) -> Any:  # noqa: ANN401 - Arrow has no types
        from pyarrow import parquet

        return parquet.ParquetFile(
            pa.PythonFile(self._raw, mode="r"),
            read_dictionary=list(in_dictionaries),
            buffer_size=_WINDOW_BYTES,
            pre_buffer=False,
            # The nanoseconds of its default do not reach beyond the year 2262.
            coerce_int96_timestamp_unit="us",
            page_checksum_verification=True,
        )

    def holds_more_than(self, most_bytes: int) -> bool:
        """See :class:`TableFile`."""
        metadata = self._file.metadata
        groups = [metadata.row_group(group) for group in range(metadata.num_row_groups)]
        stated_bytes = sum(
            max(chunk.total_uncompressed_size, chunk.num_values)
            for group in groups
            for chunk in _chunks(group)
        )
        return bool(stated_bytes > most_bytes)

    def batches(
        self,
        columns: Sequence[str] | None = None,
        from_row: int = 0,
        span: Span | None = None,
    ) -> Batches:
        """See :class:`TableFile`."""
        start = 0
        for group, (rows, _) in enumerate(self.groups()):
            stop = start + rows
            if stop > from_row and (span is None or span.start <= group < span.stop):
                at = start
                for batch in self._file.iter_batches(
                    self._rows_at_once(group, columns),
                    row_groups=[group],
                    columns=columns,
                    use_threads=False,
                ):
                    yield at, batch
                    at += batch.num_rows
            start = stop

    def _rows_at_once(self, group: int, columns: Sequence[str] | None) -> int:
        """How many rows of a group are decoded at once: fewer where texts or lists are long.

        A page of a few bytes may say a million times that a value is the same text of a megabyte:
        what a value takes is told by the longest text of the group's dictionaries.
        """
        metadata = self._file.metadata.row_group(group)
        chunks = [
            chunk
            for chunk in _chunks(metadata)
            if columns is None or chunk.path_in_schema.partition(".")[0] in columns
        ]
        # Names with dots are those of other columns, too: that is only slower.
        large = [
            chunk.path_in_schema
            for chunk in chunks
            if chunk.has_dictionary_page
            and chunk.physical_type == "BYTE_ARRAY"
            and chunk.total_uncompressed_size > BYTES_PER_BATCH // ROWS_PER_BATCH
        ]
        longest = self._longest_texts(group, large) if large else {}
        bytes_per_row = 1
        for chunk in chunks:
            mean = chunk.total_uncompressed_size // max(chunk.num_values, 1)
            value_bytes = max(mean, longest.get(chunk.path_in_schema, _BYTES_PER_NUMBER))
            bytes_per_row = max(
                bytes_per_row, chunk.num_values * value_bytes // max(metadata.num_rows, 1)
            )
        return min(max(BYTES_PER_BATCH // bytes_per_row, 1), ROWS_PER_BATCH)

    def _longest_texts(self, group: int, paths: Sequence[str]) -> dict[str, int]:
        """The bytes of the longest text in the dictionary of each of some columns of a group."""
        longest = {}
        for path in paths:
            batches = self._opened([path]).iter_batches(
                ROWS_PER_BATCH, row_groups=[group], columns=[path], use_threads=False
            )
            # The first value brings the whole dictionary; rows without one may come before it.
            for batch in batches:
                texts = _dictionary_in(batch.column(0))
                if len(texts):
                    longest[path] = pc.max(pc.binary_length(texts)).as_py() or 0
                    break
        return longest

    def groups(self) -> Sequence[Group]:
        """See :class:`TableFile`."""
        metadata = self._file.metadata
        every = (metadata.row_group(nth) for nth in range(self._file.num_row_groups))
        return [Group(group.num_rows, group.total_byte_size) for group in every]


def _chunks(group: Any) -> list[Any]:  # noqa: ANN401 - Arrow has no types
    return [group.column(at) for at in range(group.num_columns)]


def _dictionary_in(values: pa.Array) -> pa.Array:
    """The dictionary of the one column of texts that lies in structs and lists."""
    while not pa.types.is_dictionary(values.type):
        (values,) = values.flatten() if pa.types.is_struct(values.type) else [values.flatten()]
    return values.dictionary


class OrcFile:
    """ORC, some rows of a stripe after the other."""

    def __init__(self, raw: IO[bytes]) -> None:
        from pyarrow import orc

        self._raw = raw
        self._file = orc.ORCFile(pa.PythonFile(raw, mode="r"))
        self.schema: pa.Schema = self._file.schema

    def holds_more_than(self, most_bytes: int) -> bool:
        """See :class:`TableFile`."""
        return bool(self._file.nrows > most_bytes)

    def batches(
        self,
        columns: Sequence[str] | None = None,
        from_row: int = 0,
        span: Span | None = None,  # noqa: ARG002 - Arrow does not say how many rows a stripe has
    ) -> Batches:
        """See :class:`TableFile`.

        Of a damaged file only the stripes before the damage come.  Arrow reads ahead of whoever
        takes the rows, and throws away what it read when it meets damage: rows of the same stripe
        would come or not as the machine is busy.  So the file is read through before its first
        row is handed on; that costs a second unpacking.
        """
        fault = self._fault_in(columns)
        batches = self._as_read(columns) if fault is None else self._whole_stripes(columns)
        start = 0
        for batch in _together(batches):
            if start + batch.num_rows > from_row:
                yield start, batch
            start += batch.num_rows
        if fault is not None:
            raise fault

    def _fault_in(self, columns: Sequence[str] | None) -> Exception | None:
        try:
            for _ in self._as_read(columns):
                pass
        except Exception as error:
            return error
        return None

    def _as_read(self, columns: Sequence[str] | None) -> Iterator[pa.RecordBatch]:
        """The rows, few at a time: a stripe of texts that repeat is small until it is unpacked."""
        from pyarrow import dataset

        fragment = dataset.OrcFileFormat().make_fragment(pa.PythonFile(self._raw, mode="r"))
        batches: Iterator[pa.RecordBatch] = fragment.to_batches(
            columns=columns,
            batch_size=min(_ORC_ROWS_AT_ONCE, ROWS_PER_BATCH),
            batch_readahead=0,
            fragment_readahead=0,
            use_threads=False,
        )
        return batches

    def _whole_stripes(self, columns: Sequence[str] | None) -> Iterator[pa.RecordBatch]:
        """Rows of each stripe that can be read whole; the first that cannot raises its fault."""
        for nth in range(self._file.nstripes):
            stripe = self._file.read_stripe(nth, columns)
            for first in range(0, stripe.num_rows, _ORC_ROWS_AT_ONCE):
                yield stripe.slice(first, _ORC_ROWS_AT_ONCE)

    def groups(self) -> Sequence[Group]:
        """See :class:`TableFile`."""
        return ()


def _together(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """The same rows in batches of about the usual size; damage loses none of those before it."""
    waiting: list[pa.RecordBatch] = []
    rows = bytes_waiting = 0
    fault: Exception | None = None
    while True:
        try:
            batch = next(batches, None)
        except Exception as error:
            fault = error
            break
        if batch is None:
            break
        full = rows + batch.num_rows > ROWS_PER_BATCH
        if waiting and (full or bytes_waiting + batch.nbytes > BYTES_PER_BATCH):
            yield pa.concat_batches(waiting)
            waiting.clear()
            rows = bytes_waiting = 0
        waiting.append(batch)
        rows += batch.num_rows
        bytes_waiting += batch.nbytes
    if waiting:
        yield pa.concat_batches(waiting)
    if fault is not None:
        raise fault


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
