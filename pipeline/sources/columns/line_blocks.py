"""Which lines of a block are plain text, so that whole columns can be made of them."""

from __future__ import annotations

import re
from typing import NamedTuple

import numpy as np

from pipeline.array_types import Bools, Ints
from pipeline.sources.columns.types import LineBlock

_NEWLINE = ord("\n")
_ASCII_STOP = 0x80
# One byte is one character, so that lines of the text are lines of the bytes.
_SINGLE_BYTE = re.compile(r"ascii|latin[-_]?1|iso8859-\d+|cp125\d|koi8-[rut]|mac-roman")


def reads_encoding(encoding: str) -> bool:
    """Whether whole blocks of text in an encoding (its one name) can be read at once."""
    return encoding == "utf-8" or _SINGLE_BYTE.fullmatch(encoding) is not None


class PlainLines(NamedTuple):
    """The lines of a block: the plain ones, and for each of them which line it is.

    ``line`` (n,) counts all lines of the block from 0; ``other`` (m,) are the remaining ones that
    are not empty.  ``raw`` has all lines as they are in the file.  ``newlines_before`` (L,) tells
    how many newlines stand before each of all lines.
    """

    block: LineBlock
    line: Ints
    other: Ints
    raw: LineBlock
    newlines_before: Ints


def plain_lines(
    content: bytes, encoding: str, max_record_chars: int, ends: Ints | None = None
) -> PlainLines:
    r"""Part lines that hold text and nothing odd from those that need a closer look.

    A newline ends a line, or only those ``ends`` (L,) of them do, counted from 0, ascending.

    Odd are a carriage return or a NUL byte, what the encoding does not have, a space at the
    beginning, and more bytes than a record may have characters.
    """
    buffer = np.frombuffer(content, np.uint8)
    stop = _line_ends(buffer, ends)  # (L,)
    start = np.concatenate([[0], stop[:-1] + 1]) if len(stop) else stop  # (L,)
    length = stop - start
    is_plain = (length > 0) & (length <= max_record_chars)
    for odd in (b"\r", b"\0"):
        if odd in content:
            is_plain[_lines_with(buffer == odd[0], stop)] = False
    text = content
    if not content.isascii():
        if encoding == "utf-8":
            is_plain[_not_utf8(content, stop)] = False
        else:
            try:
                text = content.decode(encoding).encode()
            except UnicodeDecodeError:
                is_plain[_lines_with(buffer >= _ASCII_STOP, stop)] = False
    if len(stop):
        # It may be blank altogether, and then is no record.
        is_plain &= buffer[np.where(is_plain, start, 0)] != ord(" ")
    raw = LineBlock(content, start, stop)
    other = np.flatnonzero(~is_plain & (length > 0))
    if text is not content:
        stop = _line_ends(np.frombuffer(text, np.uint8), ends)
        start = np.concatenate([[0], stop[:-1] + 1])
    (line,) = np.nonzero(is_plain)
    before = np.arange(len(stop)) if ends is None else np.concatenate([[0], ends[:-1] + 1])
    if len(line) == len(stop):
        return PlainLines(LineBlock(text, start, stop), line, other, raw, before)
    return PlainLines(block_of(text, stop, is_plain), line, other, raw, before)


def _line_ends(buffer: np.ndarray, ends: Ints | None) -> Ints:
    newlines = np.flatnonzero(buffer == _NEWLINE)
    return newlines if ends is None else newlines[ends]


def block_of(text: bytes, stop: Ints, wanted: Bools) -> LineBlock:
    """Those lines alone."""
    sizes = np.diff(np.concatenate([[0], stop + 1]))  # (L,) with the newline
    buffer = np.frombuffer(text, np.uint8)
    packed = buffer[np.repeat(wanted, sizes)].tobytes()
    ends = np.cumsum(sizes[wanted])
    return LineBlock(packed, ends - sizes[wanted], ends - 1)


def _not_utf8(content: bytes, stop: Ints) -> list[int]:
    """The lines that are no text."""
    lines = []
    view = memoryview(content)
    at = 0
    while at < len(content):
        try:
            str(view[at:], "utf-8")
        except UnicodeDecodeError as error:
            line = int(np.searchsorted(stop, at + error.start))
            lines.append(line)
            at = int(stop[line]) + 1
        else:
            break
    return lines


def _lines_with(is_odd: Bools, stop: Ints) -> Ints:
    """The lines in which some byte is odd, (m,)."""
    return np.unique(np.searchsorted(stop, np.flatnonzero(is_odd)))
