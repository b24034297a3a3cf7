"""Where a large file may be cut, so that its spans are read each on its own.

Of what is read in spans, what they say together is what the file says: the same events and refused
records with the same numbers of lines, and the same counts (:mod:`pipeline.ingest.spans.close`).
A packed file is not cut, nor is one whose header has a fault: what that means depends on how many
lines follow it; nor a log whose lines mean what those before them say.  A log is cut at ends of
lines that end a record, which is all of them unless it may have line ends within quotes: then its
records are looked for once before it is cut.  Parquet is cut between groups of rows.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import BinaryIO

import numpy as np

from pipeline.contained_files import open_inside
from pipeline.ingest.landing.zone import Arrival, RawFile, modified_at
from pipeline.settings.tables import IngestSettings
from pipeline.sources.base import HeaderError, Source, UnreadableHeaderError
from pipeline.sources.compression import ENDINGS, is_packed
from pipeline.sources.file_kinds import HEAD_BYTES, kind_of_file
from pipeline.sources.lines import (
    Block,
    Span,
    UnreadableFileError,
    line_encoding,
    read_blocks,
    read_lines,
)
from pipeline.sources.quoted_records.cutter import RecordCutter
from pipeline.sources.tables.files import Group
from pipeline.sources.tables.source import TableSource

#: A span has so many bytes and what is left of its last line.
SPAN_BYTES = 8 << 20
_CHUNK_BYTES = 1 << 20
_NEWLINE = ord("\n")
# A packed log is about so many times as large.
_PACKED = 8


@dataclass(frozen=True)
class FileState:
    """What tells whether a file is still the one that it was.

    Whoever sets back when it was modified cannot set back when that was done (``changed_ns``).
    """

    inode: int
    bytes: int
    modified_ns: int
    changed_ns: int

    @staticmethod
    def of(raw: BinaryIO) -> FileState:
        """That of an open file."""
        facts = os.fstat(raw.fileno())
        return FileState(facts.st_ino, facts.st_size, facts.st_mtime_ns, facts.st_ctime_ns)


@dataclass(frozen=True)
class CutFile:
    """The spans of a file, which together are all of it, and what it was when it was cut.

    ``sizes`` are the bytes of each, unpacked.
    """

    spans: Sequence[Span]
    sizes: Sequence[int]
    state: FileState


def likely_bytes(file: RawFile, source: Source) -> int:
    """How much a file is likely to hold; what it really does is counted as it is read."""
    packed = isinstance(source, TableSource) or file.path.suffix in ENDINGS
    return file.bytes * (_PACKED if packed else 1)


def cut_files(
    arrivals: Sequence[Arrival],
    source: Source,
    encoding: str,
    rules: IngestSettings,
    span_bytes: int | None = None,
) -> Mapping[str, CutFile]:
    """The files that are read in several spans, by name; the others are read whole."""
    span_bytes = span_bytes or SPAN_BYTES
    cut = {}
    for arrival in arrivals:
        if likely_bytes(arrival.file, source) <= span_bytes:
            continue
        file = _cut(arrival.file, source, encoding, rules, span_bytes)
        if file is not None:
            cut[arrival.file.source_file] = file
    return cut


def _cut(
    file: RawFile, source: Source, encoding: str, rules: IngestSettings, span_bytes: int
) -> CutFile | None:
    """The spans of a file; None where it is to be read whole, and be it to say what is wrong."""
    if not source.lines_stand_alone:
        return None
    try:
        if source.has_header:
            limits = (rules.max_record_chars, rules.max_expansion)
            lines = read_lines(file.path, encoding, *limits, file.root, quotes=source.record_quotes)
            header = next(lines, None)
            if header is None or header.reason:
                return None
            source.parser(header.text, file.source_file)
        with open_inside(file.root, file.path) as raw:
            state = FileState.of(raw)
            # One that is being written is read as far as it goes.
            is_as_listed = (state.bytes, modified_at(state.modified_ns)) == (
                file.bytes,
                file.modified,
            )
            if not is_as_listed:
                return None
            if isinstance(source, TableSource):
                groups = source.groups(file.path, file.source_file, file.root)
                spans, sizes = _spans_of_groups(groups, span_bytes)
            elif _is_plain_text(raw):
                ends_record = _record_ends(file, source, encoding, rules, state.bytes)
                spans = _spans(raw, state.bytes, span_bytes, ends_record)
                sizes = [span.stop - span.start for span in spans]
            else:
                return None
    except (OSError, UnreadableFileError, HeaderError, UnreadableHeaderError):
        return None
    return CutFile(spans, sizes, state) if len(spans) > 1 else None


def _is_plain_text(raw: BinaryIO) -> bool:
    if is_packed(raw):
        return False
    raw.seek(0)
    head = raw.read(HEAD_BYTES)
    return kind_of_file(raw, head) is None


def _record_ends(
    file: RawFile, source: Source, encoding: str, rules: IngestSettings, size: int
) -> Callable[[int], bool]:
    """Whether a line of the first ``size`` bytes ends a record; ask for lines in their order."""
    if source.record_quotes is None:
        return lambda _line: True
    cutter = RecordCutter(source.record_quotes, line_encoding(encoding), rules.max_record_chars)
    limits = (rules.max_record_chars, rules.max_expansion)
    blocks = read_blocks(
        file.path, encoding, *limits, file.root, _CHUNK_BYTES, Span(0, size, 0), cutter
    )
    # Plain text is never damaged.
    whole = (block for block in blocks if isinstance(block, Block))
    block = Block(1, b"")
    stop = 1  # The line after those of the block.

    def ends_record(line: int) -> bool:
        nonlocal block, stop
        while line >= stop:
            block = next(whole)
            stop = block.number + _newlines(block.content)
        if block.ends is None:
            return True
        nth = int(np.searchsorted(block.ends, line - block.number))
        return int(block.ends[nth]) == line - block.number

    return ends_record


def _spans(
    raw: BinaryIO,
    size: int,
    span_bytes: int,
    ends_record: Callable[[int], bool] = lambda _line: True,
) -> list[Span]:
    """Spans of the first ``size`` bytes, each but the last one up to the next end of a record.

    ``ends_record`` says of a line, counted from 1, whether one ends with it.  None at all where
    the file ends before.
    """
    spans: list[Span] = []
    start = at = lines = lines_before = 0
    raw.seek(0)
    while at < size:
        chunk = raw.read(min(_CHUNK_BYTES, size - at))
        if not chunk:
            return []
        counted = 0
        while end := chunk.find(b"\n", max(start + span_bytes - at - 1, counted)) + 1:
            lines += _newlines(chunk[counted:end])
            counted = end
            if at + end < size and ends_record(lines):
                spans.append(Span(start, at + end, lines_before))
                start, lines_before = at + end, lines
        lines += _newlines(chunk[counted:])
        at += len(chunk)
    return [*spans, Span(start, size, lines_before)]


def _spans_of_groups(groups: Sequence[Group], span_bytes: int) -> tuple[list[Span], list[int]]:
    """Spans of groups of rows, each but the last one large enough, and their bytes."""
    spans: list[Span] = []
    sizes: list[int] = []
    start = size = rows = rows_before = 0
    for nth, group in enumerate(groups, 1):
        rows += group.rows
        size += group.bytes
        # Where there are rows, so that no two spans begin with the same one.
        if nth == len(groups) or (size >= span_bytes and rows > rows_before):
            spans.append(Span(start, nth, rows_before))
            sizes.append(size)
            start, size, rows_before = nth, 0, rows
    return spans, sizes


def _newlines(content: bytes) -> int:
    """Several times as fast as ``bytes.count`` where there are many."""
    return int(np.count_nonzero(np.frombuffer(content, np.uint8) == _NEWLINE))
