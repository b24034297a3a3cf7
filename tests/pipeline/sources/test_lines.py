"""Files in every state they arrive in."""

import gzip
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from pipeline.errors import HourglassError, UsageError
from pipeline.sources import compression
from pipeline.sources.compression import compression_of
from pipeline.sources.file_kinds import kind_of
from pipeline.sources.lines import Line, read_lines


@pytest.fixture
def write(tmp_path: Path) -> Callable[[bytes], Path]:
    def write(content: bytes) -> Path:
        path = tmp_path / "log"
        path.write_bytes(content)
        return path

    return write


def test_a_plain_file(write: Callable[[bytes], Path]) -> None:
    assert list(read_lines(write(b"a\nb\r\nc"))) == [
        Line(1, "a", None),
        Line(2, "b", None),
        Line(3, "c", None),
    ]


def test_gzip_is_told_by_its_bytes_and_may_have_members(write: Callable[[bytes], Path]) -> None:
    path = write(gzip.compress(b"a\nb", mtime=0) + gzip.compress(b"c\nd\n", mtime=0))
    assert [line.text for line in read_lines(path)] == ["a", "bc", "d"]


def test_blank_lines_are_no_records_but_are_counted(write: Callable[[bytes], Path]) -> None:
    assert list(read_lines(write(b"\n\r\na\n  \n\nb\n"))) == [
        Line(3, "a", None),
        Line(6, "b", None),
    ]


def test_a_line_of_tabs_is_a_record(write: Callable[[bytes], Path]) -> None:
    assert list(read_lines(write(b"\t\t\n"))) == [Line(1, "\t\t", None)]


@pytest.mark.parametrize("content", [b"", gzip.compress(b"", mtime=0)], ids=["plain", "gzip"])
def test_an_empty_file_has_no_lines(write: Callable[[bytes], Path], content: bytes) -> None:
    assert list(read_lines(write(content))) == []


def test_the_byte_order_mark_is_dropped(write: Callable[[bytes], Path]) -> None:
    path = write(b"\xef\xbb\xbfu,i\n\xef\xbb\xbfx")
    assert [line.text for line in read_lines(path)] == ["u,i", "\ufeffx"]
    assert [line.text for line in read_lines(path, "utf-8-sig")] == ["u,i", "\ufeffx"]


def test_a_nul_byte_refuses_its_line_only(write: Callable[[bytes], Path]) -> None:
    lines = list(read_lines(write(b"a\nb\0c\nd")))
    assert lines == [Line(1, "a", None), Line(2, "b\\x00c", "holds a NUL byte"), Line(3, "d", None)]


def test_wrong_bytes_refuse_their_line_and_stay_readable(write: Callable[[bytes], Path]) -> None:
    lines = list(read_lines(write(b"a\ncaf\xe9\nb")))
    assert lines[1] == Line(2, "caf\\xe9", "not valid utf-8")
    assert [line.text for line in read_lines(write(b"a\ncaf\xe9\nb"), "latin-1")] == [
        "a",
        "café",
        "b",
    ]


def test_a_line_may_be_as_long_as_the_limit_in_characters(write: Callable[[bytes], Path]) -> None:
    path = write("é".encode() * 64 + b"\n" + b"x" * 65 + b"\n" + "é".encode() * 5000 + b"\nend")
    assert list(read_lines(path, max_record_chars=64)) == [
        Line(1, "é" * 64, None),
        Line(2, "x" * 64, "longer than 64 characters"),
        Line(3, "é" * 64, "longer than 64 characters"),
        Line(4, "end", None),
    ]


def test_a_huge_line_is_never_held_whole(write: Callable[[bytes], Path]) -> None:
    path = write(gzip.compress(b"a\n" + b"x" * 50_000_000 + b"\nb\n", mtime=0))
    tracemalloc.start()
    lines = [(line.text[:5], line.reason) for line in read_lines(path, max_record_chars=1000)]
    _, peak_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert lines == [("a", None), ("xxxxx", "longer than 1000 characters"), ("b", None)]
    assert peak_bytes < 3_000_000


def test_a_gzip_stream_that_is_cut_off_gives_what_it_has(write: Callable[[bytes], Path]) -> None:
    rng = np.random.default_rng(0)
    content = b"".join(b"%d\n" % number for number in rng.integers(2**62, size=20_000))
    whole = gzip.compress(content, mtime=0)
    lines = list(read_lines(write(whole[: len(whole) // 2])))
    good = len(lines) - 1
    expected = content.decode().split("\n")
    assert 8_000 < good < 12_000
    assert [line.text for line in lines[:-1]] == expected[:good]
    assert lines[-1].number == good + 1
    assert lines[-1].reason == f"gzip stream is cut off after line {good}"
    assert expected[good].startswith(lines[-1].text)


def test_a_gzip_stream_that_ends_before_its_checksum_is_cut_off(
    write: Callable[[bytes], Path],
) -> None:
    lines = list(read_lines(write(gzip.compress(b"a\nb\n", mtime=0)[:-4])))
    assert lines == [
        Line(1, "a", None),
        Line(2, "b", None),
        Line(3, "", "gzip stream is cut off after line 2"),
    ]


def test_a_damaged_gzip_stream_says_so(write: Callable[[bytes], Path]) -> None:
    broken = bytearray(gzip.compress(b"a\nb\n", mtime=0))
    broken[-8] ^= 0xFF
    assert list(read_lines(write(bytes(broken))))[-1] == Line(
        3, "", "gzip stream is damaged after line 2"
    )
    garbage = gzip.compress(b"a\n", mtime=0) + b"garbage"
    assert list(read_lines(write(garbage))) == [
        Line(1, "a", None),
        Line(2, "", "gzip stream is damaged after line 1"),
    ]


def test_a_missing_file_and_a_useless_encoding_are_named(
    tmp_path: Path, write: Callable[[bytes], Path]
) -> None:
    with pytest.raises(HourglassError, match="nowhere: cannot be read: No such file"):
        list(read_lines(tmp_path / "nowhere"))
    with pytest.raises(UsageError, match="'klingon': no such text encoding"):
        list(read_lines(write(b"a"), "klingon"))
    with pytest.raises(UsageError, match="convert the files to utf-8"):
        list(read_lines(write(b"a"), "utf-16"))


@given(content=st.binary(max_size=400), packed=st.booleans(), cut=st.integers(0, 40))
def test_any_bytes_give_storable_lines_in_order(
    tmp_path_factory: pytest.TempPathFactory, content: bytes, packed: bool, cut: int
) -> None:
    path = tmp_path_factory.getbasetemp() / "any"
    assume(kind_of(content) is None and compression_of(content) is None)
    whole = gzip.compress(content, mtime=0) if packed else content
    path.write_bytes(whole[: max(len(whole) - cut, 0)])
    lines = list(read_lines(path, max_record_chars=64))
    numbers = [line.number for line in lines]
    assert numbers == sorted(set(numbers))
    assert all(len(line.text) <= 64 and "\0" not in line.text for line in lines)
    for line in lines:
        line.text.encode("utf-8")
    readable = content[: max(len(content) - cut, 0)]
    if not packed and readable.isascii() and b"\0" not in readable:
        expected = [raw.removesuffix(b"\r") for raw in readable.split(b"\n")]
        assert [line.text for line in lines] == [
            raw.decode()[:64] for raw in expected if raw.strip(b" ")
        ]


def test_a_gzip_file_is_read_up_to_a_multiple_of_its_size(write: Callable[[bytes], Path]) -> None:
    packed = gzip.compress(b"a\n" + b"\n" * (40 << 20) + b"b\n", mtime=0)
    path = write(packed)
    first, last = read_lines(path, max_expansion=200)
    assert first == Line(1, "a", None)
    assert 8_000_000 < last.number < 17_000_000
    assert last.reason == (
        "gzip stream holds over 200 times its size (ingest.max_expansion) after line "
        f"{last.number - 1}"
    )
    assert [line.text for line in read_lines(path, max_expansion=2000)] == ["a", "b"]
    # What is small is read whole, however often it repeats itself.
    small = write(gzip.compress(b"a\n" + b"\n" * (1 << 20) + b"b\n", mtime=0))
    assert [line.number for line in read_lines(small, max_expansion=1)] == [1, (1 << 20) + 2]


@given(st.text(alphabet="a\r\n ", max_size=60), st.integers(1, 7))
def test_lines_are_those_of_a_plain_split(
    tmp_path_factory: pytest.TempPathFactory, text: str, chunk_bytes: int
) -> None:
    path = tmp_path_factory.getbasetemp() / "split"
    path.write_bytes(text.encode())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(compression, "CHUNK_BYTES", chunk_bytes)
        split = list(read_lines(path))
    expected = [
        Line(number, line.removesuffix("\r"), None)
        for number, line in enumerate(text.split("\n"), 1)
        if line.removesuffix("\r").strip(" ")
    ]
    assert split == expected
