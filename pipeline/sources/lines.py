"""The lines of a raw file, plain or packed, whatever state the file is in."""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import IO, Literal, NamedTuple

import numpy as np

from pipeline.array_types import Ints
from pipeline.contained_files import open_inside
from pipeline.errors import HourglassError, UsageError
from pipeline.sources.compression import CHUNK_BYTES, Chunks, Damage, unpacked
from pipeline.sources.file_kinds import HEAD_BYTES, kind_of_file
from pipeline.sources.quoted_records.cutter import RecordCutter
from pipeline.sources.quoted_records.quotes import Quotes

_UTF8_BOM = b"\xef\xbb\xbf"
_MOST_BYTES_PER_CHAR = 4
#: Why a file that is read in several spans is not taken in when it is no longer what it was.
CHANGED = "changed while it was read: run the command again when it is complete"
#: In the place of a reason: what the spans of a file say does not tell what all of it says.
NOT_BY_SPANS = "damaged in one of its spans"
_NEWLINE = ord("\n")
_NOT_EMPTY = re.compile(rb"[^\n]+")


class UnreadableFileError(HourglassError):
    """A file that cannot be opened, or not be read to its end; ``reason`` is the system's word."""

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(f"{path}: cannot be read: {reason}")
        self.reason = reason


class WrongKindError(UnreadableFileError):
    """A file that is of another kind than the source reads; ``reason`` says of which."""

    def __init__(self, path: Path, reason: str) -> None:
        HourglassError.__init__(self, f"{path}: {reason}")
        self.reason = reason


class Line(NamedTuple):
    """One physical line, or several where a record has line ends within quotes.

    ``number``, of the first of them, counts from 1 and counts blank lines too.  ``reason`` is None
    on a line that can be read; on one that cannot, ``text`` is what there is of it, odd bytes
    written as ``\\xff``.
    """

    number: int
    text: str
    reason: str | None


class Block(NamedTuple):
    r"""Whole lines, each of which ends in ``\n`` alone; ``number`` is that of the first.

    ``ends`` (r,) are those that end a record, counted from 0; None: each of them does.
    """

    number: int
    content: bytes
    ends: Ints | None = None


_DAMAGE = re.compile(r" after (line|row) [0-9]+$")


def damage_reason(how: str, unit: Literal["line", "row"], number: int) -> str:
    """Why nothing of a file can be read from behind a line or row on: "gzip stream is cut off"."""
    return f"{how} after {unit} {number}"


def is_damage(reason: str) -> bool:
    """Whether a reason is a :func:`damage_reason`, as tables keep it."""
    return _DAMAGE.search(reason) is not None


class Span(NamedTuple):
    """Some whole lines of a file that is plain text, or some groups of rows of a table file.

    They are the bytes from ``start`` to ``stop``, which is behind the end of a line or that of the
    file, or the groups from ``start`` to before ``stop``; so many lines, or rows, stand before
    them in the file.
    """

    start: int
    stop: int
    lines_before: int


def read_lines(
    path: Path,
    encoding: str = "utf-8",
    max_record_chars: int = 65536,
    max_expansion: int | None = None,
    root: Path | None = None,
    span: Span | None = None,
    quotes: Quotes | None = None,
) -> Iterator[Line]:
    r"""Every line of a file that is not blank, in order, in bounded memory.

    Lines end in ``\n`` or ``\r\n``, the last one possibly in neither.  Gzip, bzip2, xz, zstd and
    lz4 are told by the first bytes, not by the file's name, and may have several streams.  A byte
    order mark is dropped.  A line comes with a reason when it is not valid in the encoding, holds
    a NUL byte, or is longer than ``max_record_chars`` (its first part is then its text).  Where a
    stream ends early or is damaged, the lines before that come as ever and one more, with a
    reason, closes them: so too where it holds more than ``max_expansion`` times the file's size
    (16 MiB are always read).
    With ``root`` the file must lie below it, both resolved, and no link on the way is followed.
    With ``span`` only its lines are read, of a file that is known to be plain text.
    With ``quotes`` a line is a record, which may have line ends within them; see
    :class:`pipeline.sources.quoted_records.cutter.RecordCutter` for where it ends.  All of them are
    ``\n`` in its text.  Where a stream is damaged within quotes, so is the record.

    Raises:
        UnreadableFileError: the file cannot be opened or read, is no text but of another kind, or
            ends before the span does.
        UsageError: the encoding is unknown, or does not write a newline as one byte.
    """
    name = line_encoding(encoding)
    limits = (max_record_chars, max_expansion)
    cutter = None if quotes is None else RecordCutter(quotes, name, max_record_chars, at_once=False)
    for block in read_blocks(path, name, *limits, root, CHUNK_BYTES, span, cutter):
        if isinstance(block, Line):
            yield block
        else:
            yield from lines_of_block(block, name, max_record_chars)


def read_blocks(
    path: Path,
    encoding: str,
    max_record_chars: int,
    max_expansion: int | None,
    root: Path | None,
    block_bytes: int,
    span: Span | None = None,
    cutter: RecordCutter | None = None,
) -> Iterator[Block | Line]:
    """The same lines (see :func:`read_lines`), blank ones too, many at a time.

    A block has at least ``block_bytes``, but for the last one, and no more than a line beyond
    that, or than a record as ``cutter`` cuts them.  Only the line that closes a damaged stream
    comes as a line, with its reason.

    Raises:
        UnreadableFileError: the file cannot be opened or read, or ends before the span does.
        UsageError: the encoding is unknown, or does not write a newline as one byte.
    """
    name = line_encoding(encoding)
    try:
        with path.open("rb") if root is None else open_inside(root, path) as raw:
            if span is None:
                chunks = _of_text(raw, unpacked(raw, max_expansion), path)
            else:
                chunks = _of_span(raw, span, path)
            number, first = (0, True) if span is None else (span.lines_before, span.start == 0)
            blocks = _blocks(chunks, name, max_record_chars, block_bytes, number, first)
            yield from blocks if cutter is None else _of_records(blocks, cutter)
    except OSError as error:
        raise UnreadableFileError(path, error.strerror or str(error)) from error


def line_encoding(encoding: str) -> str:
    """The one name of an encoding whose lines end in one byte.

    Raises:
        UsageError: the encoding is unknown, or does not write a newline as one byte.
    """
    try:
        name = codecs.lookup(encoding).name
        ends_lines = "\n".encode(name) == b"\n"
    except (LookupError, UnicodeError) as error:
        raise UsageError(f"source.encoding = {encoding!r}: no such text encoding") from error
    name = name.removesuffix("-sig")
    if not ends_lines and name != "utf-8":
        raise UsageError(
            f"source.encoding = {encoding!r} does not end lines in one byte: "
            "convert the files to utf-8"
        )
    return name


def _of_text(raw: IO[bytes], chunks: Chunks, path: Path) -> Chunks:
    """The same chunks of a file; none of one whose first bytes are those of no text."""
    first: list[bytes | Damage] = []
    head = b""
    for chunk in chunks:
        first.append(chunk)
        if isinstance(chunk, Damage):
            break
        head += chunk[:HEAD_BYTES]
        if len(head) >= HEAD_BYTES:
            break
    kind = kind_of_file(raw, head[:HEAD_BYTES])
    if kind is not None:
        raise WrongKindError(path, kind.reason)
    yield from first
    yield from chunks


def _of_span(raw: IO[bytes], span: Span, path: Path) -> Chunks:
    raw.seek(span.start)
    left = span.stop - span.start
    while left:
        chunk = raw.read(min(left, CHUNK_BYTES))
        if not chunk:
            raise UnreadableFileError(path, CHANGED)
        left -= len(chunk)
        yield chunk


def _blocks(
    chunks: Chunks,
    encoding: str,
    most_chars: int,
    block_bytes: int,
    number: int,
    first: bool,
) -> Iterator[Block | Line]:
    """Blocks of chunks before which there are so many lines; ``first``: none, nor anything else."""
    most_bytes = most_chars * _MOST_BYTES_PER_CHAR + 1 + len(_UTF8_BOM)
    rest = b""
    waiting: list[bytes] = []
    waiting_bytes = 0
    for chunk in chunks:
        if isinstance(chunk, Damage):
            content = b"".join([rest, *waiting])
            whole, newline, rest = content.rpartition(b"\n")
            if whole or newline:
                block = _block(number, whole + newline, encoding, first)
                number += block.content.count(b"\n")
                yield block
            elif first and encoding == "utf-8":
                rest = rest.removeprefix(_UTF8_BOM)
            text = _escaped(rest[:most_bytes], encoding)[:most_chars]
            yield Line(number + 1, text, damage_reason(chunk.how, "line", number))
            return
        waiting.append(chunk)
        waiting_bytes += len(chunk)
        if waiting_bytes < block_bytes:
            continue
        content = b"".join([rest, *waiting])
        waiting.clear()
        waiting_bytes = 0
        whole, newline, rest = content.rpartition(b"\n")
        # What is cut here was too long already; its excess bytes are never all held at once.
        rest = rest[:most_bytes]
        if newline:
            block = _block(number, whole + newline, encoding, first)
            first = False
            number += block.content.count(b"\n")
            yield block
    content = b"".join([rest, *waiting])
    whole, newline, rest = content.rpartition(b"\n")
    if content:
        yield _block(number, whole + newline + rest[:most_bytes] + b"\n", encoding, first)


def _of_records(blocks: Iterator[Block | Line], cutter: RecordCutter) -> Iterator[Block | Line]:
    """Blocks of whole records, of blocks of whole lines."""
    number = wanted_bytes = 0
    # Of no record yet that is known to be whole.
    waiting: list[bytes] = []
    for block in chain(blocks, [None]):
        if isinstance(block, Block):
            number = number if waiting else block.number
            waiting.append(block.content)
            if sum(map(len, waiting)) < wanted_bytes:
                continue
        content = b"".join(waiting)
        ends, size = cutter.ends(content, is_last=block is None)
        rest = content[size:]
        if len(ends):
            lines = int(ends[-1]) + 1
            yield Block(number, content[:size], None if len(ends) == lines else ends)
            number += lines
        # A long record is looked at again when there is twice as much, not once for each block.
        waiting, wanted_bytes = [rest] if rest else [], 2 * len(rest)
        if isinstance(block, Line):
            yield _torn_record(rest, number, block, cutter) if rest else block
            return


def _torn_record(rest: bytes, number: int, damage: Line, cutter: RecordCutter) -> Line:
    """The line that closes a damaged stream where a record before it is not whole."""
    text = (_escaped(rest, cutter.encoding) + damage.text)[: cutter.most_chars]
    how = _DAMAGE.sub("", str(damage.reason))
    return Line(number, text, damage_reason(how, "line", number - 1))


def _block(number: int, content: bytes, encoding: str, first: bool) -> Block:
    if first and encoding == "utf-8":
        content = content.removeprefix(_UTF8_BOM)
    return Block(number + 1, content.replace(b"\r\n", b"\n"))


def lines_of_block(block: Block, encoding: str, most_chars: int) -> Iterator[Line]:
    """The lines of a block that are not blank; ``encoding`` is :func:`line_encoding`'s name."""
    if block.ends is not None:
        yield from _records_of_block(block, block.ends, encoding, most_chars)
        return
    # Lines are found by what is in them: a file may hold a thousand empty ones for each byte.
    number, end = block.number, 0
    for match in _NOT_EMPTY.finditer(block.content):
        number += match.start() - end
        end = match.end()
        line = line_of(number, match[0], encoding, most_chars)
        if line is not None:
            yield line


def _records_of_block(block: Block, ends: Ints, encoding: str, most_chars: int) -> Iterator[Line]:
    stop = np.flatnonzero(np.frombuffer(block.content, np.uint8) == _NEWLINE)[ends]
    start = np.concatenate([[0], stop[:-1] + 1])
    first_line = np.concatenate([[0], ends[:-1] + 1])
    for nth in np.flatnonzero(stop > start).tolist():
        raw = block.content[start[nth] : stop[nth]]
        line = line_of(block.number + int(first_line[nth]), raw, encoding, most_chars)
        if line is not None:
            yield line


def line_of(number: int, raw: bytes, encoding: str, most_chars: int) -> Line | None:
    """A line of its bytes without what ends it, or None where it is blank."""
    if not raw.strip(b" "):
        return None
    try:
        text = raw.decode(encoding)
    except UnicodeDecodeError:
        # Only the first part of a very long line was kept, and may end inside a character.
        text = raw.decode(encoding, "backslashreplace")[:most_chars].replace("\0", "\\x00")
        too_long = len(raw) > most_chars * _MOST_BYTES_PER_CHAR
        reason = _too_long(most_chars) if too_long else f"not valid {encoding}"
        return Line(number, text, reason)
    if len(text) > most_chars:
        return Line(number, text[:most_chars].replace("\0", "\\x00"), _too_long(most_chars))
    if "\0" in text:
        return Line(number, text.replace("\0", "\\x00"), "holds a NUL byte")
    return Line(number, text, None)


def _too_long(most_chars: int) -> str:
    return f"longer than {most_chars} characters"


def _escaped(raw: bytes, encoding: str) -> str:
    return raw.decode(encoding, "backslashreplace").replace("\0", "\\x00")
