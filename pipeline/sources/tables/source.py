"""Parquet, ORC and Avro as a source: a row, or an element of a list in it, is a record."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Any, ClassVar

from pipeline.contained_files import open_inside
from pipeline.errors import UsageError
from pipeline.hours import Hour
from pipeline.sources.base import Parsed, ParsedEvent, Parser, Refusal, folder_columns
from pipeline.sources.columns.types import ReadColumns
from pipeline.sources.compression import SMALL_BYTES
from pipeline.sources.json_lines import JsonLinesSource
from pipeline.sources.lines import Span, UnreadableFileError, WrongKindError
from pipeline.sources.paths import with_nth
from pipeline.sources.quoted_records.quotes import Quotes
from pipeline.sources.tables.avro import AvroFile
from pipeline.sources.tables.files import (
    Group,
    NotATableError,
    OrcFile,
    ParquetFile,
    TableFile,
    WithFolders,
    check_kind,
)
from pipeline.sources.tables.layout import Layout, paths_of
from pipeline.sources.tables.reading import TableReading, unless_of_the_system

#: By the name of the source: what its files are called in a sentence, and what opens them.
FORMATS: Mapping[str, tuple[str, Callable[[IO[bytes]], TableFile]]] = {
    "parquet": ("Parquet", ParquetFile),
    "orc": ("ORC", OrcFile),
    "avro": ("Avro", AvroFile),
}


@dataclass(frozen=True)
class TableSource:
    """A format of columns.  ``records`` says what they mean: as those of JSON lines do.

    ``explode`` is the path of a list each of whose elements is a record: the other columns are
    those of its row.
    """

    name: str
    pattern: str
    records: JsonLinesSource
    file_format: str
    explode: str | None = None
    has_header: bool = False
    lines_stand_alone: ClassVar[bool] = True
    record_quotes: ClassVar[Quotes | None] = None

    @property
    def has_keys(self) -> bool:
        """See :class:`pipeline.sources.base.Source`."""
        return self.records.has_keys

    def parser(self, header_line: str | None, file_name: str) -> Parser:  # noqa: ARG002 - see below
        """What reads the text of a :class:`TableLine` once more, as quarantine keeps it."""
        # The text of a row has what the folders say already.
        parse = self.records.parser(header_line, "")
        # The text of a timestamp, whatever unit the settings name.
        rules = replace(self.records.field_rules, time_formats=())
        dated_records = replace(self.records, time_unit="iso8601", field_rules=rules)
        parse_dated = dated_records.parser(header_line, "")
        numbered = self.layout.numbers_keys

        def parse_row(line: str) -> Parsed:
            event = parse(line)
            if isinstance(event, Refusal):
                dated = parse_dated(line)
                event = event if isinstance(dated, Refusal) else dated
            if numbered and isinstance(event, ParsedEvent):
                return with_nth(event, json.loads(line)[self.layout.nth_name])
            return event

        return parse_row

    def column_reader(self, header_line: str | None, file_name: str) -> ReadColumns | None:  # noqa: ARG002 - these are no lines
        """See :meth:`pipeline.sources.base.Source.column_reader`."""
        return None

    def arrival_hour(self, file_name: str) -> Hour | None:
        """See :meth:`pipeline.sources.base.Source.arrival_hour`."""
        return self.records.arrival_hour(file_name)

    def rules(self) -> dict[str, Any]:
        """See :meth:`pipeline.sources.base.Source.rules`."""
        exploded = {} if self.explode is None else {"explode": self.explode}
        return {**self.records.rules(), "format": self.file_format, **exploded}

    @property
    def layout(self) -> Layout:
        """Where in a file the fields of its records are."""
        return Layout(paths_of(self.records.columns, self.records.field_rules), self.explode)

    def check_columns(self, path: Path, file_name: str, root: Path | None) -> None:
        """See that a file has the columns that the settings name.

        Raises:
            HeaderError: it has not.
            UnreadableFileError: it cannot be opened, or is no whole file of this format.
        """
        with self._table(path, file_name, root) as table:
            self.layout.steps(table.schema, file_name)

    def groups(self, path: Path, file_name: str, root: Path | None) -> Sequence[Group]:
        """The groups of rows of a file that are read each on its own, if there are any.

        Raises:
            HeaderError: it has not the columns that the settings name.
            UnreadableFileError: it cannot be opened, or is no whole file of this format.
        """
        with self._table(path, file_name, root) as table:
            self.layout.steps(table.schema, file_name)
            return table.groups()

    @contextmanager
    def opened(
        self,
        path: Path,
        file_name: str,
        root: Path | None,
        max_record_chars: int,
        max_expansion: int | None = None,
        span: Span | None = None,
    ) -> Iterator[TableReading]:
        """A file, or some groups of its rows, open for reading.

        With ``max_expansion`` it must state no more than that.

        Raises:
            UnreadableFileError: it cannot be opened, or is no whole file of this format.
            UsageError: a package that reads the format is missing.
        """

        def again() -> AbstractContextManager[TableFile]:
            return self._table(path, file_name, root)

        with self._table(path, file_name, root) as table:
            if max_expansion is not None:
                size = path.stat().st_size
                if table.holds_more_than(max(size * max_expansion, SMALL_BYTES)):
                    kind, _ = FORMATS[self.file_format]
                    raise WrongKindError(
                        path,
                        f"{kind} file says that it holds over {max_expansion} times its size "
                        "(ingest.max_expansion)",
                    )
            reading = TableReading(
                table,
                self.layout,
                self.records,
                file_name,
                FORMATS[self.file_format][0],
                max_record_chars,
                again,
                span,
            )
            try:
                yield reading
            finally:
                reading.close()

    @contextmanager
    def _table(self, path: Path, file_name: str, root: Path | None) -> Iterator[TableFile]:
        kind, open_table = FORMATS[self.file_format]
        folder = folder_columns(file_name)
        try:
            with path.open("rb") if root is None else open_inside(root, path) as raw:
                try:
                    check_kind(raw, kind)
                    table = open_table(raw)
                except NotATableError as error:
                    raise WrongKindError(path, str(error)) from error
                except ImportError as error:
                    raise UsageError(
                        f"source {self.name!r} needs the package {error.name}: hourglass doctor "
                        "says how to install what is missing"
                    ) from error
                except Exception as error:
                    unless_of_the_system(error)
                    raise WrongKindError(path, f"is no whole {kind} file") from error
                yield WithFolders(table, folder) if folder else table
        except OSError as error:
            raise UnreadableFileError(path, error.strerror or str(error)) from error
