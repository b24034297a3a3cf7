"""Delimited lines as columns, by Arrow's reader of CSV."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence

import numpy as np
import pyarrow as pa
from pyarrow import csv as arrow_csv

from pipeline.array_types import Bools, Ints
from pipeline.sources.columns.line_blocks import block_of
from pipeline.sources.columns.types import LineBlock, TextColumns
from pipeline.text.wording import counted

_NEWLINE = ord("\n")
_BOM = "\N{ZERO WIDTH NO-BREAK SPACE}".encode()


class DelimitedColumns:
    """Makes columns of the lines that have as many fields as the header has names.

    Args:
        delimiter: one ASCII character.
        quote: one ASCII character, or None where no character is special.
        width: how many fields a line has.
        fields: where the fields of an event are, by name.
        context: where the fields of its context are, by name.
        columns: where the columns are that rules look at, by name.
    """

    def __init__(
        self,
        delimiter: str,
        quote: str | None,
        width: int,
        fields: Mapping[str, int],
        context: Mapping[str, int],
        columns: Mapping[str, int],
    ) -> None:
        self._delimiter, self._quote, self._width = delimiter, quote, width
        self._fields, self._context, self._ruled = fields, context, columns

    def __call__(self, block: LineBlock) -> TextColumns:
        """The fields of the lines that are cut without doubt."""
        is_clean, has_quotes = self._clean(block)
        (line,) = np.nonzero(is_clean)
        content = block.content
        if len(line) < len(is_clean):
            content = block_of(content, block.stop, is_clean).content
        columns = self._columns(content, len(line), has_quotes)
        return TextColumns(
            line,
            {name: columns[at] for name, at in self._fields.items()},
            {name: columns[at] for name, at in self._context.items()},
            {name: columns[at] for name, at in self._ruled.items()},
        )

    def _clean(self, block: LineBlock) -> tuple[Bools, bool]:
        """Which lines have the right number of fields and no odd quote, and if there are quotes."""
        content, start, stop = block
        buffer = np.frombuffer(content, np.uint8)
        delimiters = np.flatnonzero(buffer == ord(self._delimiter))  # (d,)
        is_clean = np.ones(len(stop), bool)
        has_quotes = self._quote is not None and self._quote.encode() in content
        if has_quotes:
            quotes = np.flatnonzero(buffer == ord(str(self._quote)))  # (q,)
            first_quote = np.searchsorted(quotes, start)  # (L,)
            is_clean &= self._is_well_quoted(buffer, quotes, first_quote, stop)
            is_clean &= stop - start <= csv.field_size_limit()
            before = first_quote[np.searchsorted(stop, delimiters)]  # (d,)
            is_inside = (np.searchsorted(quotes, delimiters) - before) % 2 == 1
            delimiters = delimiters[~is_inside]
        count = np.searchsorted(delimiters, stop) - np.searchsorted(delimiters, start)
        is_clean &= count == self._width - 1
        return is_clean, has_quotes

    def _is_well_quoted(
        self, buffer: np.ndarray, quotes: Ints, first_quote: Ints, stop: Ints
    ) -> Bools:
        """Which lines have quotes only around whole fields, (L,)."""
        line = np.searchsorted(stop, quotes)  # (q,)
        opens = (np.arange(len(quotes)) - first_quote[line]) % 2 == 0
        before = buffer[np.maximum(quotes - 1, 0)]
        after = buffer[quotes + 1]
        delimiter = ord(self._delimiter)
        begins = (quotes == 0) | (before == delimiter) | (before == _NEWLINE)
        ends = (after == delimiter) | (after == _NEWLINE)
        is_good = np.where(opens, begins, ends)
        is_well: Bools = np.ones(len(stop), bool)
        is_well[line[~is_good]] = False
        is_well &= np.bincount(line, minlength=len(stop)) % 2 == 0
        return is_well

    def _columns(self, content: bytes, n: int, has_quotes: bool) -> dict[int, pa.Array]:
        """The columns that are needed, (n,) each, by where they are."""
        needed = sorted(
            {
                *self._fields.values(),
                *self._context.values(),
                *self._ruled.values(),
            }
        )
        if not n:
            return dict.fromkeys(needed, pa.array([], pa.string()))
        names: Sequence[str] = [str(at) for at in range(self._width)]
        if content.startswith(_BOM):
            # Arrow takes the first of them for no part of the text.
            content = _BOM + content
        table = arrow_csv.read_csv(
            pa.py_buffer(content),
            arrow_csv.ReadOptions(
                column_names=names, use_threads=False, block_size=len(content) + 1
            ),
            arrow_csv.ParseOptions(
                delimiter=self._delimiter,
                quote_char=self._quote if has_quotes else False,
                double_quote=False,
                # Those of a line that is well quoted are within its quotes.
                newlines_in_values=has_quotes and content.count(b"\n") > n,
                ignore_empty_lines=False,
            ),
            arrow_csv.ConvertOptions(
                check_utf8=False,
                column_types=dict.fromkeys(names, pa.string()),
                include_columns=[str(at) for at in needed],
            ),
        )
        if table.num_rows != n:
            wrong = f"{counted(n, 'line')} became {counted(table.num_rows, 'row')}"
            raise AssertionError(wrong)
        return {at: table.column(str(at)).combine_chunks() for at in needed}


def can_delimit(delimiter: str, quote: str | None) -> bool:
    """Whether Arrow cuts lines at such characters as the line parser does."""
    marks = [delimiter] if quote is None else [delimiter, quote]
    return len(set(marks)) == len(marks) and all(
        len(mark) == 1 and mark.isascii() and mark not in "\r\n\0" for mark in marks
    )
