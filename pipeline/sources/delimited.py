"""Logs of delimited values (CSV, TSV), a record mostly a line, with a header or given names."""

from __future__ import annotations

import csv
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from operator import itemgetter
from typing import Any, ClassVar

import pyarrow as pa

from pipeline.errors import UsageError
from pipeline.hours import Hour
from pipeline.settings.source import ColumnSettings
from pipeline.sources.base import (
    STRAY_RETURN,
    HeaderError,
    Ignored,
    ParsedEvent,
    Parser,
    Refusal,
    UnreadableHeaderError,
    folder_columns,
    hour_of_folder,
    refuse_all,
    rules_of,
)
from pipeline.sources.columns.delimited import DelimitedColumns, can_delimit
from pipeline.sources.columns.fields import event_maker
from pipeline.sources.columns.types import EventColumns, LineBlock, ReadColumns, TextColumns
from pipeline.sources.field_rules import NO_RULES, FieldRules
from pipeline.sources.fields import (
    UNIX_EPOCH,
    TimeUnit,
    event_builder,
    fields_read,
    plain_fields,
    time_reader,
)
from pipeline.sources.ignoring import ignorer
from pipeline.sources.quoted_records.quotes import Quotes

#: Name of the format whose columns the settings name.
GENERIC = "delimited"
NO_HEADER = "the file has no header line that can be read"
_IGNORED_BY = "source.ignore names it"
_NO_MARKS = frozenset("\r\n\0")
OPEN_QUOTE = Refusal("a quote is not closed or is out of place")

SplitLine = Callable[[str], list[str] | Refusal]


def line_splitter(delimiter: str, quote: str | None) -> SplitLine:
    """A function from a line to its fields; without ``quote`` no character is special."""

    def split(line: str) -> list[str] | Refusal:
        if quote is None or quote not in line:
            return line.split(delimiter)
        if len(line) > csv.field_size_limit():
            return Refusal(f"longer than {csv.field_size_limit()} characters, with quotes")
        try:
            (fields,) = csv.reader([line], delimiter=delimiter, quotechar=quote, strict=True)
        except (csv.Error, ValueError):
            return STRAY_RETURN if "\r" in line else OPEN_QUOTE
        return fields

    return split


@dataclass(frozen=True)
class DelimitedSource:
    """A delimited format: how lines are split, and which column feeds which field.

    ``field_names`` names the columns of a format without a header.  ``typed_header`` drops what
    follows a colon in a header's names (``rating:float``).  ``quoted_newlines``: a field within
    quotes may hold line ends.
    """

    name: str
    pattern: str
    columns: ColumnSettings
    delimiter: str = ","
    quote: str | None = '"'
    has_header: bool = True
    field_names: tuple[str, ...] = ()
    typed_header: bool = False
    time_unit: TimeUnit = "s"
    epoch: Hour = UNIX_EPOCH
    default_event_type: str = "view"
    event_types: tuple[str, ...] = ()
    field_rules: FieldRules = NO_RULES
    quoted_newlines: bool = False
    lines_stand_alone: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if self.quote is not None and len(self.quote) != 1:
            raise UsageError(
                f"source.quote = {self.quote!r} is not one character: null is for a log without "
                "quotes"
            )
        marks = {"source.delimiter": self.delimiter, "source.quote": self.quote}
        for name, mark in marks.items():
            if mark is not None and mark in _NO_MARKS:
                raise UsageError(f"{name} = {mark!r} cannot stand in a line: choose another")
        if self.delimiter == self.quote:
            raise UsageError(
                f"source.delimiter and source.quote are both {self.quote!r}: what stands between "
                "columns cannot stand around them"
            )
        if not self.has_header and not self.field_names:
            raise UsageError(
                f"source {self.name!r} has no header: name its columns in source.field_names"
            )
        if self.quoted_newlines and self.quote is None:
            raise UsageError(
                "source.quoted_newlines is of line ends within quotes, and source.quote is null: "
                "remove one of them"
            )

    @property
    def record_quotes(self) -> Quotes | None:
        """See :class:`pipeline.sources.base.Source`."""
        if not self.quoted_newlines or self.quote is None:
            return None
        return Quotes(self.delimiter, self.quote)

    @property
    def has_keys(self) -> bool:
        """See :class:`pipeline.sources.base.Source`."""
        return self.columns.event_key is not None

    def parser(self, header_line: str | None, file_name: str) -> Parser:
        """See :meth:`pipeline.sources.base.Source.parser`."""
        try:
            names = self._names(header_line, file_name)
            return refuse_all(NO_HEADER) if names is None else self._record_parser(names, file_name)
        except HeaderError as error:
            error.may_be_record = self._looks_like_record(header_line or "")
            raise

    def _looks_like_record(self, line: str) -> bool:
        """Whether some field of a line, whatever stands between them, is a time."""
        read_time = time_reader(self.time_unit, self.epoch, self.field_rules)
        fields = re.split(f"[{re.escape(self.delimiter)},;|\t]", line.replace('"', ""))
        return any(isinstance(read_time(field), int) for field in fields)

    def column_reader(self, header_line: str | None, file_name: str) -> ReadColumns | None:
        """See :meth:`pipeline.sources.base.Source.column_reader`."""
        fields = plain_fields(self.columns)
        make = event_maker(
            self.time_unit,
            self.epoch,
            self.default_event_type,
            self.event_types,
            self.field_rules,
        )
        if fields is None or make is None or not can_delimit(self.delimiter, self.quote):
            return None
        try:
            names = self._names(header_line, file_name)
            if names is None:
                return None
            folder = _only_in_folders(file_name, names)
            all_names = [*names, *folder]
            context = self.columns.context
            ruled = self.field_rules.ignored_by
            fields_at = {f: self._index(all_names, f, at, file_name) for f, at in fields.items()}
            context_at = {
                name: self._index(all_names, f"context.{name}", column, file_name)
                for name, column in context.items()
            }
            ruled_at = {
                column: column_index(all_names, column, file_name, _IGNORED_BY) for column in ruled
            }
        except (HeaderError, UnreadableHeaderError):
            return None
        width, texts = len(names), list(folder.values())
        split = DelimitedColumns(
            self.delimiter,
            self.quote,
            width,
            *(
                {name: at for name, at in places.items() if at < width}
                for places in (fields_at, context_at, ruled_at)
            ),
        )
        if max((*fields_at.values(), *context_at.values(), *ruled_at.values())) < width:
            return lambda block: make(split(block))

        def with_folders(
            columns: dict[str, pa.Array], places: Mapping[str, int], n: int
        ) -> dict[str, pa.Array]:
            return columns | {
                name: pa.repeat(pa.scalar(texts[at - width], pa.string()), n)
                for name, at in places.items()
                if at >= width
            }

        def read(block: LineBlock) -> EventColumns:
            line, of_fields, of_context, by_rules = split(block)
            n = len(line)
            return make(
                TextColumns(
                    line,
                    with_folders(of_fields, fields_at, n),
                    with_folders(of_context, context_at, n),
                    with_folders(by_rules, ruled_at, n),
                )
            )

        return read

    def _names(self, header_line: str | None, file_name: str) -> Sequence[str] | None:
        names: Sequence[str] = self.field_names
        if self.has_header:
            if header_line is None:
                return None
            fields = line_splitter(self.delimiter, self.quote)(header_line)
            # Line ends that this is not cut at: what follows them would pass for names of columns.
            unquoted = self.quote is None or self.quote not in header_line
            if fields == STRAY_RETURN or (unquoted and len(header_line.splitlines()) > 1):
                raise UnreadableHeaderError(f"{file_name}: its header {STRAY_RETURN.reason}")
            if isinstance(fields, Refusal):
                fault = f"its first line cannot be read as a header: {fields.reason}"
                raise HeaderError(file_name, fault, NO_HEADER)
            names = [name.strip() for name in fields]
            if self.typed_header:
                names = [name.partition(":")[0] for name in names]
        return names

    def arrival_hour(self, file_name: str) -> Hour | None:
        """The hour of a folder called like ``2016-03-14T13``, else None."""
        return hour_of_folder(file_name)

    def rules(self) -> dict[str, Any]:
        """See :meth:`pipeline.sources.base.Source.rules`."""
        return rules_of(self, GENERIC)

    def column_remedy(self, field: str, names: Sequence[str]) -> str:
        """Which setting says that a column holds a field, and what else may be wrong."""
        if self.name != GENERIC:
            return (
                f"in a log of the format {self.name} it holds the {field}: to read a log with "
                f"other columns, set source.name to {GENERIC} and name them in source.columns"
            )
        remedy = f"source.columns.{field} says which column holds the {field}"
        if not self.has_header:
            return f"{remedy}, source.field_names how the columns are called"
        if len(names) == 1:
            return f"{remedy}, source.delimiter ({self.delimiter!r}) what stands between columns"
        return remedy

    def _index(self, names: Sequence[str], field: str, column: str, file_name: str) -> int:
        return column_index(names, column, file_name, self.column_remedy(field, names))

    def _record_parser(self, own_names: Sequence[str], file_name: str) -> Parser:
        width = len(own_names)
        folder = _only_in_folders(file_name, own_names)
        names = [*own_names, *folder]
        # What every record is given after its own fields: the last is that of no column.
        beside = [*folder.values(), ""]

        def index_of(field: str, column: str | None) -> int:
            if column is None:
                return len(names)
            return self._index(names, field, column, file_name)

        pick = itemgetter(*(index_of(field, name) for field, name in fields_read(self.columns)))
        context_at = [
            (field, index_of(f"context.{field}", column))
            for field, column in self.columns.context.items()
        ]
        split = line_splitter(self.delimiter, self.quote)
        rules = self.field_rules
        build = event_builder(
            time_reader(self.time_unit, self.epoch, rules),
            self.default_event_type,
            self.event_types,
            rules,
            self.columns,
        )

        def column_of(column: str) -> Callable[[Sequence[str]], str]:
            return itemgetter(column_index(names, column, file_name, _IGNORED_BY))

        ignored = ignorer(
            rules,
            column_of,
            itemgetter(index_of("event_type", self.columns.event_type)),
            self.default_event_type,
        )

        def parse(line: str) -> ParsedEvent | Refusal | Ignored:
            fields = split(line)
            if isinstance(fields, Refusal):
                return fields
            if len(fields) != width:
                # Some writers end each line in delimiters that the header does not have.
                if "\r" in line:
                    return STRAY_RETURN
                if len(fields) < width or any(fields[width:]):
                    return Refusal(f"{len(fields)} fields where {width} were expected")
                del fields[width:]
            fields += beside
            if ignored is not None and (answer := ignored(fields)) is not None:
                return answer
            context = {field: fields[at] for field, at in context_at if fields[at]}
            return build(pick(fields), context)

        return parse


def _only_in_folders(file_name: str, names: Sequence[str]) -> dict[str, str]:
    """The columns that the folders of a path name and the file does not have."""
    columns = folder_columns(file_name)
    return {name: text for name, text in columns.items() if name not in names}


def column_index(names: Sequence[str], column: str, file_name: str, remedy: str) -> int:
    """Where a column is in a header.

    Raises:
        HeaderError: the header does not have the column, or has it twice; ends in ``remedy``.
    """
    count = names.count(column)
    if count == 1:
        return names.index(column)
    wrong = "no column" if not count else f"{count} columns called"
    shown = ", ".join(names[:40])[:400]
    raise HeaderError(
        file_name,
        f"{wrong} {column!r} among its columns: {shown}; {remedy}",
        f"the file's header has {wrong} {column!r}",
    )
