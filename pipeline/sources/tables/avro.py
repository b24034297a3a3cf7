"""Files of Avro: their schema in Arrow's types, and their rows in batches."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache
from itertools import islice
from typing import IO, Any, NamedTuple

import pyarrow as pa

from pipeline.sources.lines import Span
from pipeline.sources.tables.avro_blocks import holds_more_than
from pipeline.sources.tables.files import ROWS_PER_BATCH, Batches, Group

# As the library has them: a schema is JSON, a value what its type says.
Schema = Any
Value = Any
Convert = Callable[[Value], Value]
_MOST_DIGITS_128 = 38
_MOST_US = (1 << 63) - 1
# How the library calls what it makes times and dates of, and what makes microseconds of the first.
_SCALES = {
    "long-timestamp-millis": 1000,
    "long-timestamp-micros": 1,
    "long-local-timestamp-millis": 1000,
    "long-local-timestamp-micros": 1,
    "int-date": 1,
}
_NAMED = ("record", "error", "enum", "fixed")


class AvroFile:
    """Avro, a block after the other; every column is read, whichever are asked for."""

    def __init__(self, raw: IO[bytes]) -> None:
        import fastavro

        self._raw = raw
        reader = fastavro.reader(raw)
        self._first_block = raw.tell()
        self._codec = str(reader.codec)
        schema = reader.writer_schema
        columns = _Columns(schema)
        if not isinstance(schema, dict) or schema.get("type") != "record":
            raise ValueError("its rows are no records")
        self._columns = {field["name"]: columns.of(field["type"]) for field in schema["fields"]}
        self.schema = pa.schema(
            [pa.field(name, column.kind) for name, column in self._columns.items()]
        )

    def holds_more_than(self, most_bytes: int) -> bool:
        """See :class:`pipeline.sources.tables.files.TableFile`."""
        return holds_more_than(self._raw, self._first_block, self._codec, most_bytes)

    def _reader(self) -> Iterator[Value]:
        import fastavro

        _read_times_of_any_year()
        self._raw.seek(0)
        # Bytes that are no UTF-8 pass through, to be refused with their row and not with the file.
        return iter(fastavro.reader(self._raw, handle_unicode_errors="surrogateescape"))

    def groups(self) -> Sequence[Group]:
        """See :class:`pipeline.sources.tables.files.TableFile`."""
        return ()

    def batches(
        self,
        columns: Sequence[str] | None = None,
        from_row: int = 0,
        span: Span | None = None,  # noqa: ARG002 - its blocks do not say where they end
    ) -> Batches:
        """See :class:`pipeline.sources.tables.files.TableFile`."""
        names = self.schema.names if columns is None else list(columns)
        schema = pa.schema([self.schema.field(name) for name in names])
        at = 0
        for batch in _batches_of(self._reader()):
            if at + len(batch) > from_row:
                arrays = [
                    pa.array(
                        [self._columns[name].converted(row[name]) for row in batch],
                        self._columns[name].kind,
                    )
                    for name in names
                ]
                yield at, pa.RecordBatch.from_arrays(arrays, schema=schema)
            at += len(batch)


@cache
def _read_times_of_any_year() -> None:
    """Let the library give a time that no calendar has as its number, in microseconds or days.

    It would raise in the middle of a block, and no row from there on could be read.
    """
    from fastavro.read import LOGICAL_READERS

    def lenient(read: Callable[..., Value], scale: int) -> Callable[..., Value]:
        def read_time(number: int, *schemas: Schema) -> Value:
            try:
                return read(number, *schemas)
            except (OverflowError, ValueError):
                return min(max(number * scale, -_MOST_US), _MOST_US)

        return read_time

    for name, scale in _SCALES.items():
        LOGICAL_READERS[name] = lenient(LOGICAL_READERS[name], scale)


def _batches_of(rows: Iterator[Value]) -> Iterator[list[Value]]:
    """The same rows, many at a time; those before damage come before its error does."""
    fault: Exception | None = None
    while fault is None:
        batch: list[Value] = []
        try:
            batch.extend(islice(rows, ROWS_PER_BATCH))
        except Exception as error:
            fault = error
        if batch:
            yield batch
        elif fault is None:
            return
    raise fault


class _Column(NamedTuple):
    """A type of Arrow's, and what makes a value for it of one that the reader gives."""

    kind: pa.DataType
    convert: Convert | None = None

    def converted(self, value: Value) -> Value:
        return value if value is None or self.convert is None else self.convert(value)


class _Columns:
    """Columns for the types of one schema, which may name a type that it has described before."""

    def __init__(self, schema: Schema) -> None:
        self._named: dict[str, Any] = {}
        self._open: list[str] = []
        self._remember(schema)

    def _remember(self, schema: Schema) -> None:
        if isinstance(schema, list):
            for each in schema:
                self._remember(each)
        elif isinstance(schema, dict):
            if schema.get("type") in _NAMED:
                self._named[schema["name"]] = schema
            for key in ("type", "items", "values"):
                if isinstance(schema.get(key), dict | list):
                    self._remember(schema[key])
            for field in schema.get("fields", ()):
                self._remember(field["type"])

    def of(self, schema: Schema) -> _Column:  # noqa: PLR0911 - a case for each kind of type
        """The column for a type; one of JSON texts where Arrow has none for it."""
        if isinstance(schema, list):
            types = [each for each in schema if each != "null"]
            if len(types) == 1:
                return self.of(types[0])
            return _Column(pa.string(), _json_text) if types else _Column(pa.null())
        if isinstance(schema, str) and schema in self._named:
            schema = self._named[schema]
        if not isinstance(schema, dict):
            return _primitive(schema, {})
        match schema["type"]:
            case "record" | "error":
                if schema["name"] in self._open:
                    return _Column(pa.string(), _json_text)
                self._open.append(schema["name"])
                fields = {field["name"]: self.of(field["type"]) for field in schema["fields"]}
                self._open.pop()
                return _struct(fields)
            case "array":
                return _list(self.of(schema["items"]))
            case "map":
                return _map(self.of(schema["values"]))
            case "enum":
                return _primitive("string", {})
            case "fixed":
                return _primitive("bytes", schema)
            case str(name):
                return _primitive(name, schema)
            case below:
                return self.of(below)


def _primitive(name: str, schema: Mapping[str, Any]) -> _Column:
    logical = schema.get("logicalType")
    if logical == "decimal":
        digits, scale = schema["precision"], schema.get("scale", 0)
        make = pa.decimal128 if digits <= _MOST_DIGITS_128 else pa.decimal256
        return _Column(make(digits, scale))
    if logical == "uuid":
        return _Column(pa.string(), str)
    kinds = {
        "date": pa.date32(),
        "time-millis": pa.time64("us"),
        "time-micros": pa.time64("us"),
        "timestamp-millis": pa.timestamp("us", "UTC"),
        "timestamp-micros": pa.timestamp("us", "UTC"),
        "timestamp-nanos": pa.timestamp("ns", "UTC"),
        "local-timestamp-millis": pa.timestamp("us"),
        "local-timestamp-micros": pa.timestamp("us"),
        "local-timestamp-nanos": pa.timestamp("ns"),
    }
    if logical in kinds:
        return _Column(kinds[logical])
    if name == "string":
        return _Column(pa.binary(), lambda text: text.encode("utf-8", "surrogateescape"))
    plain = {
        "null": pa.null(),
        "boolean": pa.bool_(),
        "int": pa.int64(),
        "long": pa.int64(),
        "float": pa.float64(),
        "double": pa.float64(),
        "bytes": pa.binary(),
    }
    return _Column(plain[name])


def _struct(fields: Mapping[str, _Column]) -> _Column:
    kind = pa.struct([pa.field(name, column.kind) for name, column in fields.items()])
    return _Column(
        kind,
        lambda row: {name: column.converted(row[name]) for name, column in fields.items()},
    )


def _list(element: _Column) -> _Column:
    return _Column(pa.list_(element.kind), lambda values: [element.converted(v) for v in values])


def _map(item: _Column) -> _Column:
    return _Column(
        pa.map_(pa.string(), item.kind),
        lambda values: [(key, item.converted(value)) for key, value in values.items()],
    )


def _json_text(value: Value) -> str:
    """The text of a value that may be of several types."""
    if isinstance(value, str):
        return value.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    if isinstance(value, bytes):
        return value.decode("utf-8", "backslashreplace")
    return json.dumps(value, default=str, ensure_ascii=False)
