"""The content of a packed file, whatever state the file is in: gzip, bzip2, xz, zstd and lz4."""

from __future__ import annotations

import bz2
import gzip
import lzma
import os
import re
import zlib
from collections.abc import Callable, Iterator
from typing import IO, NamedTuple

CHUNK_BYTES = 1 << 16
#: A packed file may hold this much whatever its size: reading it costs nothing.
SMALL_BYTES = 16 << 20
# The strongest setting of xz takes 65 MiB; a file can ask for 4 GiB.
_XZ_MEMORY_BYTES = 256 << 20
_MAGIC_BYTES = 10
_MAGIC = (
    ("gzip", re.compile(rb"\x1f\x8b")),
    # Of a text too "BZh9" may be the beginning: what follows it here is that of a block or the end.
    ("bzip2", re.compile(rb"BZh[1-9](?:1AY&SY|\x17rE8P\x90)", re.DOTALL)),
    ("xz", re.compile(rb"\xfd7zXZ\x00")),
    ("zstd", re.compile(rb"\x28\xb5\x2f\xfd")),
    ("lz4", re.compile(rb"\x04\x22\x4d\x18")),
)
# Frames of any content, which zstd and lz4 pass over: pzstd begins its files with one.
_PASSED_OVER = re.compile(rb"[\x50-\x5f]\x2a\x4d\x18")
_FRAME_HEAD_BYTES = 8
_MOST_PASSED_OVER = 64
# How much is read at once: all that can be read before a fault is found by ever smaller pieces.
_PIECES_BYTES = (CHUNK_BYTES, 256, 1)

#: Endings of the names of packed files.  They only help to guess how much a file holds.
ENDINGS = frozenset({".gz", ".bz2", ".xz", ".zst", ".zstd", ".lz4"})


class Damage(NamedTuple):
    """The end of what is read of a stream that should have gone on, and in what way."""

    how: str


Chunks = Iterator[bytes | Damage]
ReadChunks = Callable[[IO[bytes]], Chunks]


def compression_of(head: bytes) -> str | None:
    """What a file is packed by, told by its first bytes; None where it is not."""
    return next((name for name, magic in _MAGIC if magic.match(head)), None)


def is_packed(raw: IO[bytes]) -> bool:
    """Whether a file is packed, told by its first bytes; where it is read on changes."""
    return _compression_at_start(raw) is not None


def unpacked(raw: IO[bytes], max_expansion: int | None = None) -> Chunks:
    """The content of a file in pieces, plain or packed, in bounded memory.

    Streams may follow one another in a file.  Where one ends early or is damaged, what comes
    before that is given as ever and a :class:`Damage` closes it; so too where the file holds more
    than ``max_expansion`` times its size (16 MiB are always given).

    Raises:
        OSError: the file cannot be read.
    """
    name = _compression_at_start(raw)
    raw.seek(0)
    if name is None:
        yield from iter(lambda: raw.read(CHUNK_BYTES), b"")
        return
    left = None
    if max_expansion is not None:
        left = max(os.fstat(raw.fileno()).st_size * max_expansion, SMALL_BYTES)
    for chunk in _READERS[name](raw):
        if isinstance(chunk, Damage):
            yield Damage(f"{name} stream {chunk.how}")
            return
        if left is not None:
            left -= len(chunk)
            if left < 0:
                yield Damage(
                    f"{name} stream holds over {max_expansion} times its size "
                    "(ingest.max_expansion)"
                )
                return
        yield chunk


def _compression_at_start(raw: IO[bytes]) -> str | None:
    at = 0
    for _ in range(_MOST_PASSED_OVER):
        raw.seek(at)
        head = raw.read(_MAGIC_BYTES)
        if not _PASSED_OVER.match(head) or len(head) < _FRAME_HEAD_BYTES:
            name = compression_of(head)
            return name if at == 0 or name in ("zstd", "lz4") else None
        at += _FRAME_HEAD_BYTES + int.from_bytes(head[4:_FRAME_HEAD_BYTES], "little")
    return None


_GZIP_FIRST = b"\x1f"


def _gzip_chunks(raw: IO[bytes]) -> Chunks:
    try:
        with gzip.GzipFile(fileobj=raw) as stream:
            # read1, because read would throw away what it has when the stream breaks off.
            while chunk := stream.read1(CHUNK_BYTES):
                yield chunk
    except EOFError:
        yield Damage("is cut off")
    except gzip.BadGzipFile as error:
        # Of what should be the two first bytes of a further stream, the library tells no end.
        is_cut_off = str(error).endswith(f"({_GZIP_FIRST!r})")
        yield Damage("is cut off" if is_cut_off else "is damaged")
    except zlib.error:
        yield Damage("is damaged")


Decompressor = bz2.BZ2Decompressor | lzma.LZMADecompressor


def _xz_decompressor() -> lzma.LZMADecompressor:
    return lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=_XZ_MEMORY_BYTES)


def _stream_chunks(make: Callable[[], Decompressor], padding: bytes) -> ReadChunks:
    """A reader of streams that follow one another, between them any number of padding bytes."""

    def chunks(raw: IO[bytes]) -> Chunks:
        stream, data, is_begun = make(), b"", False
        while True:
            if not data and (stream.needs_input or not is_begun):
                data = raw.read(CHUNK_BYTES)
                if not data:
                    break
            if not is_begun:
                data = data.lstrip(padding) if padding else data
                if not data:
                    continue
            is_begun = True
            try:
                chunk = stream.decompress(data, CHUNK_BYTES)
            except (OSError, lzma.LZMAError) as error:
                too_much = "Memory usage" in str(error)
                yield Damage("takes too much memory to unpack" if too_much else "is damaged")
                return
            data = b""
            if chunk:
                yield chunk
            if stream.eof:
                stream, data, is_begun = make(), stream.unused_data, False
        if is_begun:
            yield Damage("is cut off")

    return chunks


class _Pieces:
    """A file for Arrow to read, from some byte on byte by byte."""

    def __init__(self, raw: IO[bytes], whole_bytes: float) -> None:
        self._raw = raw
        self._whole_bytes = whole_bytes
        self.at = 0
        self.last_at = 0
        self.fault: OSError | None = None
        self.closed = False

    def read(self, size: int = CHUNK_BYTES) -> bytes:
        """The next bytes, as many as there shall be at once."""
        try:
            content = self._raw.read(size if self.at < self._whole_bytes else 1)
        except OSError as error:
            self.fault = error
            raise
        self.last_at = self.at
        self.at += len(content)
        return content

    def flush(self) -> None:
        """Nothing: Arrow asks for it."""

    def close(self) -> None:
        """Leave the file open: it is read again."""
        self.closed = True


def _arrow_chunks(codec: str) -> ReadChunks:
    """A reader by Arrow, which throws away what it has when a stream breaks off.

    So a file with a fault is read again up to there: its last bytes are handed over one by one,
    and of what they hold ever less is asked for.
    """

    def chunks(raw: IO[bytes]) -> Chunks:
        import pyarrow as pa

        given_bytes, whole_bytes, how = 0, float("inf"), ""
        for piece_bytes in _PIECES_BYTES:
            raw.seek(0)
            pieces = _Pieces(raw, whole_bytes)
            stream = pa.CompressedInputStream(pa.PythonFile(pieces, mode="r"), codec)
            try:
                passed_over = 0
                while passed_over < given_bytes:
                    passed_over += len(stream.read(min(CHUNK_BYTES, given_bytes - passed_over)))
                while chunk := stream.read(piece_bytes):
                    given_bytes += len(chunk)
                    yield chunk
                return
            except OSError as error:
                if pieces.fault is not None:
                    raise pieces.fault from error
                how = "is cut off" if "Truncated" in str(error) else "is damaged"
                whole_bytes = min(whole_bytes, pieces.last_at)
        yield Damage(how)

    return chunks


_READERS: dict[str, ReadChunks] = {
    "gzip": _gzip_chunks,
    "bzip2": _stream_chunks(bz2.BZ2Decompressor, b""),
    "xz": _stream_chunks(_xz_decompressor, b"\0"),
    "zstd": _arrow_chunks("zstd"),
    "lz4": _arrow_chunks("lz4"),
}
