"""Where records end whose quoted fields hold line ends: Python's reader of CSV tells."""

from __future__ import annotations

import csv
import time
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.sources.lines import Block, Line, _of_records, lines_of_block
from pipeline.sources.quoted_records.cutter import RecordCutter
from pipeline.sources.quoted_records.quotes import Quotes

COMMAS = Quotes(",", '"')


def is_open(record: str, quotes: Quotes) -> bool | None:
    """Whether a quoted field is open behind a record; None where a quote is out of place."""
    try:
        list(csv.reader([record], delimiter=quotes[0], quotechar=quotes[1], strict=True))
    except csv.Error as error:
        return True if "unexpected end" in str(error) else None
    return False


def expected(text: str, quotes: Quotes, most_chars: int) -> list[tuple[int, str]]:
    """Records and the numbers of their first lines, by trying one line more again and again."""
    lines = text.removesuffix("\n").split("\n") if text else []
    records = []
    first = 0
    while first < len(lines):
        stop = first + 1
        record = lines[first]
        state = is_open(record, quotes)
        while state is True and stop < len(lines):
            record += "\n" + lines[stop]
            stop += 1
            state = None if len(record) > most_chars else is_open(record, quotes)
        if state is not False:
            record, stop = lines[first], first + 1
        records.append((first + 1, record))
        first = stop
    return records


def cut(
    text: str, quotes: Quotes, most_chars: int, at_once: bool, encoding: str = "utf-8"
) -> list[tuple[int, str]]:
    content = text.encode(encoding)
    if content and not content.endswith(b"\n"):
        content += b"\n"
    ends, size = RecordCutter(quotes, encoding, most_chars, at_once).ends(content, True)
    assert size == len(content)
    lines = content.decode(encoding).split("\n")
    return [
        (first + 1, "\n".join(lines[first:stop]))
        for first, stop in pairwise([0, *(ends + 1).tolist()])
    ]


TEXTS = st.text(st.sampled_from('""",a é\n\n'), max_size=40)


@given(TEXTS, st.integers(1, 20))
def test_records_end_where_quotes_are_closed(text: str, most_chars: int) -> None:
    records = expected(text, COMMAS, most_chars)
    for at_once in (True, False):
        assert cut(text, COMMAS, most_chars, at_once) == records


@given(TEXTS, st.sampled_from([("|", '"'), ("a", "'"), ("é", "“")]))
def test_other_marks_and_encodings(text: str, marks: tuple[str, str]) -> None:
    quotes = Quotes(*marks)
    text = text.replace(",", marks[0]).replace('"', marks[1])
    for at_once in (True, False):
        assert cut(text, quotes, 9, at_once) == expected(text, quotes, 9)
    if text.isascii():
        for encoding in ("shift_jis", "utf-7", "cp1252", "gb18030"):
            assert cut(text, quotes, 9, True, encoding) == expected(text, quotes, 9)


def test_a_byte_of_another_character_is_no_delimiter() -> None:
    """In Shift JIS the second byte of a letter may be a bar."""
    text = 'ポ"x\ny\n'
    assert b'|"' in text.encode("shift_jis")
    assert cut(text, Quotes("|", '"'), 99, True, "shift_jis") == [(1, 'ポ"x'), (2, "y")]


@given(TEXTS, st.lists(st.integers(0, 40)), st.integers(1, 20), st.booleans())
def test_blocks_of_lines_do_not_matter(
    text: str, places: list[int], most_chars: int, at_once: bool
) -> None:
    content = text.encode()
    content += b"" if content.endswith(b"\n") or not content else b"\n"
    newlines = [nth + 1 for nth, byte in enumerate(content) if byte == ord("\n")]
    cuts = sorted({0, len(content), *(at for at in places if at in newlines)})
    blocks = [
        Block(content.count(b"\n", 0, start) + 1, content[start:stop])
        for start, stop in pairwise(cuts)
    ]
    cutter = RecordCutter(COMMAS, "utf-8", most_chars, at_once)
    lines = [
        (line.number, line.text)
        for block in _of_records(iter(blocks), cutter)
        if isinstance(block, Block)
        for line in lines_of_block(block, "utf-8", 1000)
    ]
    records = expected(text, COMMAS, most_chars)
    assert lines == [record for record in records if record[1].strip(" ")]


def test_a_record_that_damage_tears_is_lost_with_what_follows() -> None:
    blocks = [
        Block(1, b'a,"b"\nc,"d\n1,2\n'),
        Line(4, "e,f", "gzip stream is cut off after line 3"),
    ]
    cutter = RecordCutter(COMMAS, "utf-8", 99)
    whole, torn = _of_records(iter(blocks), cutter)
    assert whole == Block(1, b'a,"b"\n')
    assert torn == Line(2, 'c,"d\n1,2\ne,f', "gzip stream is cut off after line 1")


@pytest.mark.parametrize("at_once", [True, False])
@pytest.mark.parametrize(
    "line", [b'x","abc\n', b'"a""\n', b'5" disk,b\n', b'"\n\n', b'a,"b\n' + b"c\n" * 50]
)
def test_no_file_takes_time_without_end(line: bytes, at_once: bool) -> None:
    """Each line opens a quote, and none of them may look for its end on its own."""
    content = line * (400_000 // len(line))
    cutter = RecordCutter(COMMAS, "utf-8", 65_536, at_once)
    began = time.process_time()
    ends, _ = cutter.ends(content, True)
    assert len(ends) > 1
    assert time.process_time() - began < 5


def test_what_waits_for_its_end_is_no_longer_than_a_record() -> None:
    cutter = RecordCutter(COMMAS, "utf-8", 1000)
    blocks = (Block(1 + 10 * nth, b'a,"b\n' + b"c" * 90 + b"\n" * 9) for nth in range(1000))
    sizes = [len(block.content) for block in _of_records(blocks, cutter)]
    assert max(sizes) < 3000
    assert sum(sizes) == 1000 * 104
