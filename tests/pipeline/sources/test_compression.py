"""Packed files of every kind, whole, cut off and damaged."""

from __future__ import annotations

import bz2
import gzip
import lzma
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import zstandard
from hypothesis import example, given
from hypothesis import strategies as st

from pipeline.sources.lines import Line, read_lines


def by_arrow(codec: str) -> Callable[[bytes], bytes]:
    return lambda content: pa.compress(content, codec=codec, asbytes=True)


PACK: dict[str, Callable[[bytes], bytes]] = {
    "gzip": lambda content: gzip.compress(content, mtime=0),
    "bzip2": bz2.compress,
    "xz": lzma.compress,
    "zstd": by_arrow("zstd"),
    "lz4": by_arrow("lz4"),
}
#: What all that a cut stream holds is, by another reader; lz4 has none here.
UNPACK_CUT: dict[str, Callable[[bytes], bytes]] = {
    "bzip2": lambda packed: bz2.BZ2Decompressor().decompress(packed),
    "xz": lambda packed: lzma.LZMADecompressor().decompress(packed),
    "zstd": lambda packed: zstandard.ZstdDecompressor().decompressobj().decompress(packed),
}
#: A frame of something else, which zstd and lz4 pass over.
PASSED_OVER = bytes.fromhex("552a4d18") + (12).to_bytes(4, "little") + b"BZh91AY&SY\n\n"
kinds = pytest.mark.parametrize("kind", list(PACK))


@pytest.fixture
def write(tmp_path: Path) -> Callable[[bytes], Path]:
    def write(content: bytes) -> Path:
        path = tmp_path / "log.csv"
        path.write_bytes(content)
        return path

    return write


def numbers(count: int) -> bytes:
    rng = np.random.default_rng(0)
    return b"".join(b"%d\n" % number for number in rng.integers(2**62, size=count))


@kinds
def test_a_file_is_read_by_its_first_bytes(write: Callable[[bytes], Path], kind: str) -> None:
    path = write(PACK[kind](b"a\nb") + PACK[kind](b"") + PACK[kind](b"c\nd\n"))
    assert list(read_lines(path, max_expansion=1)) == [
        Line(1, "a", None),
        Line(2, "bc", None),
        Line(3, "d", None),
    ]
    assert list(read_lines(write(PACK[kind](b"")))) == []


def test_xz_may_have_zeros_between_streams_and_behind_them(
    write: Callable[[bytes], Path],
) -> None:
    path = write(lzma.compress(b"a\n") + bytes(8) + lzma.compress(b"b\n") + bytes(4))
    assert [line.text for line in read_lines(path)] == ["a", "b"]


@pytest.mark.parametrize("kind", ["zstd", "lz4"])
def test_frames_of_something_else_are_passed_over(
    write: Callable[[bytes], Path], kind: str
) -> None:
    packed = PASSED_OVER * 2 + PACK[kind](b"a\n") + PASSED_OVER + PACK[kind](b"b\n")
    assert [line.text for line in read_lines(write(packed))] == ["a", "b"]
    # Before a stream that has no such frames it is no frame, but what it is: bytes of no kind.
    assert all(line.reason for line in read_lines(write(b"\xff" + PASSED_OVER)))


@pytest.mark.parametrize("kind", list(UNPACK_CUT))
def test_a_cut_stream_gives_all_that_it_holds(write: Callable[[bytes], Path], kind: str) -> None:
    packed = PACK[kind](numbers(150_000))
    for share in (0.05, 0.5, 0.999):
        packed_bytes = round(len(packed) * share)
        *lines, last = read_lines(write(packed[:packed_bytes]))
        expected = UNPACK_CUT[kind](packed[:packed_bytes]).decode().split("\n")
        assert [line.text for line in lines] == expected[:-1]
        assert last == Line(
            len(expected), expected[-1], f"{kind} stream is cut off after line {len(lines)}"
        )


def test_a_cut_lz4_stream_gives_all_but_its_last_block(write: Callable[[bytes], Path]) -> None:
    content = numbers(150_000)
    packed = PACK["lz4"](content)
    *lines, last = read_lines(write(packed[: len(packed) // 2]))
    given_bytes = sum(len(line.text) + 1 for line in lines) + len(last.text)
    assert len(content) // 2 - (1 << 18) < given_bytes < len(content) // 2 + (1 << 16)
    assert content.startswith("\n".join(line.text for line in [*lines, last]).encode())
    assert last.reason == f"lz4 stream is cut off after line {len(lines)}"


@kinds
def test_what_is_wrong_behind_a_stream_is_damage(write: Callable[[bytes], Path], kind: str) -> None:
    path = write(PACK[kind](b"a\nb\n") + b"what is this")
    assert list(read_lines(path)) == [
        Line(1, "a", None),
        Line(2, "b", None),
        Line(3, "", f"{kind} stream is damaged after line 2"),
    ]


@pytest.mark.parametrize("kind", ["bzip2", "xz", "zstd", "lz4"])
def test_streams_before_a_damaged_one_are_read(write: Callable[[bytes], Path], kind: str) -> None:
    content = b"".join(b"line %d\n" % number for number in range(3000))
    broken = bytearray(PACK[kind](content))
    broken[4:8] = b"\xff\xff\xff\xff"
    *lines, last = read_lines(write(PACK[kind](content) * 3 + bytes(broken)))
    assert len(lines) == 9000
    assert last == Line(9001, "", f"{kind} stream is damaged after line 9000")


def test_an_xz_file_that_asks_for_too_much_memory_is_not_unpacked(
    write: Callable[[bytes], Path],
) -> None:
    filters = [{"id": lzma.FILTER_LZMA2, "preset": 0, "dict_size": 1 << 30}]
    (line,) = read_lines(write(lzma.compress(b"a\n", filters=filters)))
    assert line.reason == "xz stream takes too much memory to unpack after line 0"


@kinds
def test_a_file_is_read_up_to_a_multiple_of_its_size(
    write: Callable[[bytes], Path], kind: str
) -> None:
    packed = PACK[kind](b"a\n" + b"\n" * (40 << 20) + b"b\n")
    most = max(len(packed) * 2, 16 << 20)
    path = write(packed)
    tracemalloc.start()
    first, last = read_lines(path, max_expansion=2)
    _, peak_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert first == Line(1, "a", None)
    assert most - (1 << 20) < last.number < most + (1 << 10)
    assert last.reason is not None
    assert last.reason.startswith(f"{kind} stream holds over 2 times its size")
    assert peak_bytes < 12_000_000


@kinds
@given(
    lines=st.lists(st.text("ab", min_size=1, max_size=5), max_size=12),
    ends_at=st.lists(st.integers(0, 60), max_size=4),
    missing=st.integers(0, 300),
)
@example(lines=[], ends_at=[0], missing=19)  # one byte of what begins a second stream
def test_any_cut_of_any_split_into_streams_loses_no_line_before_it(
    tmp_path_factory: pytest.TempPathFactory,
    kind: str,
    lines: list[str],
    ends_at: list[int],
    missing: int,
) -> None:
    content = "".join(f"{line}\n" for line in lines).encode()
    ends = sorted(min(end, len(content)) for end in ends_at)
    parts = [
        content[start:end] for start, end in zip([0, *ends], [*ends, len(content)], strict=True)
    ]
    packed = [PACK[kind](part) for part in parts]
    cut_at = max(sum(map(len, packed)) - missing, len(packed[0]) // 2, 12)
    whole, whole_bytes = b"", 0
    for part, stream in zip(parts, packed, strict=True):
        if whole_bytes + len(stream) > cut_at:
            break
        whole, whole_bytes = whole + part, whole_bytes + len(stream)
    path = tmp_path_factory.getbasetemp() / f"any {kind}"
    path.write_bytes(b"".join(packed)[:cut_at])

    readable = list(read_lines(path))
    closing = [line for line in readable if line.reason]
    texts = [line.text for line in readable if not line.reason]
    if whole_bytes == min(cut_at, sum(map(len, packed))):
        assert not closing
        assert texts == [text for text in whole.decode().split("\n") if text]
    else:
        assert [line.reason for line in closing] == [
            f"{kind} stream is cut off after line {len(texts)}"
        ]
        assert readable[-1] is closing[0]
        assert texts == lines[: len(texts)]
        assert len(texts) >= whole.count(b"\n")
