"""Where the records of a delimited log end, of lines of which some end within quotes."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial

import numpy as np

from pipeline.array_types import Bools, Ints
from pipeline.sources.columns.line_blocks import reads_encoding
from pipeline.sources.quoted_records.quotes import Quotes, leaves_open

_NEWLINE = ord("\n")
_RETURN = ord("\r")


class RecordCutter:
    """Finds the records of content of whole lines, the first of which begins one.

    A record goes on while a quoted field is open at the end of its line.  Where that field is not
    closed as it should be - a closing quote is out of place, the content is at its end, or the
    record would be longer than it may be - only the line on which the record began is a record,
    and the next one begins on the line after it.

    Args:
        quotes: what stands around fields that hold line ends.
        encoding: of the content; the one name that :func:`line_encoding` has for it.
        most_chars: how long a record may be, its line ends within counted as one character each.
        at_once: find what is certain in all lines at once.  What is found is the same.
    """

    def __init__(
        self, quotes: Quotes, encoding: str, most_chars: int, at_once: bool = True
    ) -> None:
        self.encoding, self.most_chars = encoding, most_chars
        marks = (quotes.delimiter, quotes.quote, "\r")
        # Their bytes are those of no other character, wherever they stand.
        self.reads_bytes = reads_encoding(encoding) and all(mark.isascii() for mark in marks)
        self.delimiter, self.quote = (mark.encode("utf-8") for mark in marks[:2])
        self.at_once = at_once and self.reads_bytes
        in_bytes = [mark.encode("utf-8") for mark in marks]
        self._leaves_open = partial(_of_bytes, in_bytes)
        if not self.reads_bytes:
            self._leaves_open = partial(_of_text, marks, encoding)

    def ends(self, content: bytes, is_last: bool) -> tuple[Ints, int]:
        """The lines that end a record, (r,), ascending, and how many bytes are of these records.

        Behind them is what begins one of which more content has to tell where it ends; nothing
        with ``is_last``.
        """
        newlines = np.flatnonzero(np.frombuffer(content, np.uint8) == _NEWLINE)  # (L,)
        if self.reads_bytes and self.quote not in content:
            return np.arange(len(newlines)), len(content)
        certain = _Certain(self, content, newlines) if self.at_once else None
        walk = _Walk(self, content, newlines)
        pieces: list[Ints] = []
        line, n = 0, len(newlines)
        while line < n:
            some = walk.unquoted(line) if certain is None else certain.ends(line)
            if len(some):
                pieces.append(some)
                line = int(some[-1]) + 1
                if line == n:
                    break
            last = walk.end(line, is_last)
            if last is None:
                break
            pieces.append(np.array([last]))
            line = last + 1
        ends = np.concatenate(pieces) if pieces else np.array([], np.int64)
        return ends, int(newlines[line - 1]) + 1 if line else 0

    def leaves_open(self, line: bytes, is_open: bool) -> bool | None:
        """See :func:`pipeline.sources.quoted_records.quotes.leaves_open`."""
        return self._leaves_open(line, is_open)

    def chars(self, line: bytes) -> int:
        """How many characters a line has; bytes that are none count as some."""
        return len(line) if line.isascii() else len(line.decode(self.encoding, "replace"))


def _of_bytes(marks: list[bytes], line: bytes, is_open: bool) -> bool | None:
    delimiter, quote, carriage_return = marks
    return leaves_open(line, delimiter, quote, carriage_return, is_open)


def _of_text(marks: tuple[str, ...], encoding: str, line: bytes, is_open: bool) -> bool | None:
    delimiter, quote, carriage_return = marks
    text = line.decode(encoding, "replace")
    return leaves_open(text, delimiter, quote, carriage_return, is_open)


class _Walk:
    """Goes from line to line of one content.

    Lines that leave an open field open are looked at once, though many records may begin in
    vain before the end of the last of them.
    """

    def __init__(self, cutter: RecordCutter, content: bytes, newlines: Ints) -> None:
        self._cutter, self._content, self._newlines = cutter, content, newlines
        # Lines from ``_first`` to before ``_stop`` have ``_chars``, their ends counted; but for
        # the first one they leave an open field open.
        self._first = self._stop = self._chars = 0
        # What the line ``_stop`` does to an open field, and its characters, once that is known.
        self._next: tuple[int, bool | None] | None = None

    def _line(self, nth: int) -> bytes:
        start = int(self._newlines[nth - 1]) + 1 if nth else 0
        return self._content[start : int(self._newlines[nth])]

    def unquoted(self, line: int) -> Ints:
        """The lines from one on before the next that holds a quote."""
        if not self._cutter.reads_bytes:
            return np.array([], np.int64)
        start = int(self._newlines[line - 1]) + 1 if line else 0
        quote = self._content.find(self._cutter.quote, start)
        stop = len(self._newlines) if quote < 0 else int(np.searchsorted(self._newlines, quote))
        return np.arange(line, stop)

    def end(self, first: int, is_last: bool) -> int | None:
        """The line that ends the record that begins on one; None where more has to tell it."""
        cutter = self._cutter
        line = self._line(first)
        if cutter.leaves_open(line, False) is not True:
            return first
        if first >= self._stop:
            self._stop, self._chars, self._next = first + 1, cutter.chars(line) + 1, None
        else:
            before = range(self._first, first)
            self._chars -= sum(cutter.chars(self._line(nth)) + 1 for nth in before)
        self._first = first
        while self._stop < len(self._newlines):
            if self._next is None:
                line = self._line(self._stop)
                self._next = (cutter.chars(line), cutter.leaves_open(line, True))
            chars, is_open = self._next
            if self._chars + chars > cutter.most_chars or is_open is None:
                return first
            if not is_open:
                return self._stop
            self._chars += chars + 1
            self._stop += 1
            self._next = None
        return first if is_last or self._chars > cutter.most_chars else None


class _Certain:
    """The ends of records among all lines of one content at once.

    They are certain while quotes stand where they should: the first, third ... of a record at the
    beginning of a field, the others at its end, or two side by side within one.  A line that has an
    odd number of them before it, counted from the beginning of a record, begins within quotes.
    """

    def __init__(self, cutter: RecordCutter, content: bytes, newlines: Ints) -> None:
        self._buffer, self._newlines = np.frombuffer(content, np.uint8), newlines
        self._quote, self._delimiter = cutter.quote[0], cutter.delimiter[0]
        self._most_chars = cutter.most_chars
        self._quotes = np.flatnonzero(self._buffer == self._quote)  # (q,)
        self._quotes_before = np.searchsorted(self._quotes, newlines)  # (L,)
        self._runs: dict[int, tuple[Ints, Ints, Ints]] = {}

    def _run(self, parity: int) -> tuple[Ints, Ints, Ints]:
        """Lines that end records, those of them whose record may be too long, and odd quotes.

        They are so where the quotes before a record are even (0) or odd (1).
        """
        if parity not in self._runs:
            ends = np.flatnonzero(self._quotes_before % 2 == parity)  # (e,)
            lines = np.diff(ends, prepend=-1)
            sizes = np.diff(self._newlines[ends], prepend=-1) - 1
            too_long = np.flatnonzero((lines > 1) & (sizes > self._most_chars))
            self._runs[parity] = (ends, too_long, self._odd_quotes(parity))
        return self._runs[parity]

    def _odd_quotes(self, parity: int) -> Ints:
        first, second = self._quotes[parity::2], self._quotes[1 - parity :: 2]
        before = self._buffer[np.maximum(first - 1, 0)]
        after = self._buffer[second + 1]
        both = (self._delimiter, _NEWLINE, self._quote)
        begins = (first == 0) | _any_of(before, both)
        stops = _any_of(after, (*both, _RETURN))
        return np.sort(np.concatenate([first[~begins], second[~stops]]))

    def ends(self, line: int) -> Ints:
        """Lines that certainly end the next records, (r,), of which the first begins on a line."""
        parity = int(self._quotes_before[line - 1]) % 2 if line else 0
        start = int(self._newlines[line - 1]) + 1 if line else 0
        ends, too_long, odd = self._run(parity)
        first = int(np.searchsorted(ends, line))
        stop = len(ends)
        nth_odd = int(np.searchsorted(odd, start))
        if nth_odd < len(odd):
            odd_line = int(np.searchsorted(self._newlines, odd[nth_odd]))
            stop = int(np.searchsorted(ends, odd_line))
        nth_long = int(np.searchsorted(too_long, first))
        if nth_long < len(too_long):
            stop = min(stop, int(too_long[nth_long]))
        return ends[first:stop]


def _any_of(buffer: np.ndarray, wanted: Iterable[int]) -> Bools:
    is_any: Bools = np.zeros(len(buffer), bool)
    for byte in wanted:
        is_any |= buffer == byte
    return is_any
