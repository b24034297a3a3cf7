"""How much the blocks of an Avro file hold, without holding it."""

from __future__ import annotations

import bz2
import lzma
import zlib
from collections.abc import Callable, Iterator
from typing import IO, NamedTuple, Protocol

_SYNC_BYTES = 16
_MOST_VARINT_BYTES = 10
_CONTINUES = 0x80
_CHUNK_BYTES = 1 << 20


class Block(NamedTuple):
    """How many records a block says that it has, the bytes of its content, and where they begin."""

    records: int
    content_bytes: int
    at: int


class _Unpacker(Protocol):
    def decompress(self, data: bytes, max_length: int, /) -> bytes: ...


# Codecs whose blocks are unpacked a part at a time.
_UNPACKERS: dict[str, Callable[[], _Unpacker]] = {
    "deflate": lambda: zlib.decompressobj(-zlib.MAX_WBITS),
    "bzip2": bz2.BZ2Decompressor,
    "xz": lzma.LZMADecompressor,
}


def holds_more_than(raw: IO[bytes], first_block: int, codec: str, most: int) -> bool:
    """Whether the blocks from a position on hold more than so many bytes, or records.

    Of codecs that cannot be unpacked a part at a time the packed bytes are counted.  What is
    damaged ends the count: reading will say so.
    """
    total = records = 0
    for block in _blocks(raw, first_block):
        records += block.records
        if codec in _UNPACKERS:
            total += _unpacked_bytes(raw, block, codec, most - total)
        else:
            total += block.content_bytes
        if max(total, records) > most:
            return True
    return False


def _blocks(raw: IO[bytes], at: int) -> Iterator[Block]:
    while True:
        raw.seek(at)
        records, content_bytes = _varint(raw), _varint(raw)
        if records is None or content_bytes is None or min(records, content_bytes) < 0:
            return
        block = Block(records, content_bytes, raw.tell())
        at = block.at + content_bytes + _SYNC_BYTES
        yield block


def _varint(raw: IO[bytes]) -> int | None:
    """A number of Avro's; None where the file has ended, or has none there."""
    value = 0
    for nth in range(_MOST_VARINT_BYTES):
        byte = raw.read(1)
        if not byte:
            return None
        value |= (byte[0] & (_CONTINUES - 1)) << (7 * nth)
        if not byte[0] & _CONTINUES:
            return (value >> 1) ^ -(value & 1)
    return None


def _unpacked_bytes(raw: IO[bytes], block: Block, codec: str, most: int) -> int:
    """The bytes of a block's content; a number above ``most`` as soon as there are more."""
    raw.seek(block.at)
    packed = raw.read(block.content_bytes)
    unpacker = _UNPACKERS[codec]()
    total = 0
    try:
        while total <= most:
            part_bytes = len(unpacker.decompress(packed, _CHUNK_BYTES))
            # What was given and not used yet: zlib gives it back, the others hold it.
            packed = getattr(unpacker, "unconsumed_tail", b"")
            total += part_bytes
            if not part_bytes:
                break
    except (zlib.error, lzma.LZMAError, OSError, EOFError):
        pass
    return total
