"""Files that are no text, told by their first bytes: to be named, not to be read as text."""

from __future__ import annotations

import codecs
import os
import re
from typing import IO, NamedTuple

from pipeline.sources.compression import compression_of

#: So many bytes of a file's beginning, and of its end, tell its kind.
HEAD_BYTES = 1024
TAIL_BYTES = 4

_UNPACK = "unpack it"
_EXPORT = "export it as CSV"
_TO_UTF8 = "convert it to UTF-8"


class FileKind(NamedTuple):
    """What a file is, as it stands in a sentence, and what to do with it."""

    name: str
    remedy: str

    @property
    def reason(self) -> str:
        """Why the file is not read as text."""
        return f"is {self.name}: {self.remedy}"


PARQUET = FileKind("Parquet", "set source.name to parquet")
ORC = FileKind("ORC", "set source.name to orc")
AVRO = FileKind("Avro", "set source.name to avro")

_EXCEL = FileKind("an Excel workbook", _EXPORT)
_KINDS = (
    (re.compile(rb"PK\x03\x04.{26}\[Content_Types\]\.xml", re.DOTALL), _EXCEL),
    (re.compile(rb"PK(?:\x03\x04|\x05\x06|\x07\x08)"), FileKind("a zip archive", _UNPACK)),
    # The name that it begins with ends in a NUL.
    (re.compile(rb"(?=[^\0]{1,100}\0).{257}ustar", re.DOTALL), FileKind("a tar archive", _UNPACK)),
    (re.compile(rb"7z\xbc\xaf\x27\x1c"), FileKind("a 7z archive", _UNPACK)),
    (re.compile(rb"Rar!\x1a\x07"), FileKind("a RAR archive", _UNPACK)),
    (re.compile(rb"\x1f[\x9d\xa0]"), FileKind("packed by compress", _UNPACK)),
    (re.compile(rb"LZIP\x01"), FileKind("packed by lzip", _UNPACK)),
    (re.compile(rb"\x02\x21\x4c\x18"), FileKind("lz4 in its old form", _UNPACK)),
    (re.compile(rb"\xff\x06\x00\x00sNaPpY"), FileKind("packed by snappy", _UNPACK)),
    # Of a Parquet file the number of a field follows, whatever comes first in it.
    (re.compile(rb"PAR1\x15"), PARQUET),
    (re.compile(rb"Obj\x01"), AVRO),
    (re.compile(rb"ARROW1\0\0"), FileKind("an Arrow file", "write it as Parquet")),
    (re.compile(rb"SQLite format 3\0"), FileKind("an SQLite database", _EXPORT)),
    (re.compile(rb"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"), _EXCEL),
    (re.compile(rb"\x89HDF\r\n\x1a\n"), FileKind("HDF5", _EXPORT)),
)
# A text may begin so too: the last bytes must say the same, and then how long what they end is.
_ORC_HEAD = b"ORC"
_ORC_TAIL = re.compile(rb"ORC[\x0f-\x30]")
_UTF = (
    # UTF-32 first: in UTF-16 its mark is one too, and a NUL.
    (codecs.BOM_UTF32_LE, "utf-32-le", "UTF-32"),
    (codecs.BOM_UTF32_BE, "utf-32-be", "UTF-32"),
    (codecs.BOM_UTF16_LE, "utf-16-le", "UTF-16"),
    (codecs.BOM_UTF16_BE, "utf-16-be", "UTF-16"),
)


def kind_of(head: bytes, tail: bytes = b"") -> FileKind | None:
    """The kind of a file that is no text; None where it may be one.

    Args:
        head: its first :data:`HEAD_BYTES`, or all that there are, of its content if it is packed.
        tail: its last :data:`TAIL_BYTES`, where they are there to be read.
    """
    for magic, kind in _KINDS:
        if magic.match(head):
            return kind
    if head.startswith(_ORC_HEAD) and _ORC_TAIL.match(tail):
        return ORC
    name = next((name for mark, codec, name in _UTF if _is_in(head, mark, codec)), None)
    return FileKind(f"{name} text", _TO_UTF8) if name else None


def kind_of_file(raw: IO[bytes], head: bytes) -> FileKind | None:
    """As :func:`kind_of`, of an open file, plain or packed; where it is read on stays as it is.

    ``head`` is the beginning of its content, unpacked.
    """
    at = raw.tell()
    raw.seek(0)
    is_plain = raw.read(len(head)) == head
    size = raw.seek(0, os.SEEK_END)
    raw.seek(max(size - TAIL_BYTES, 0))
    tail = raw.read(TAIL_BYTES)
    raw.seek(at)
    if is_plain:
        return kind_of(head, tail)
    name = compression_of(head)
    return FileKind(f"packed twice, inside by {name}", "unpack it once") if name else kind_of(head)


def _is_in(head: bytes, mark: bytes, codec: str) -> bool:
    """Whether a file that begins with a mark goes on in its encoding: other bytes mostly do not."""
    if not head.startswith(mark):
        return False
    try:
        # The last character may not be whole.
        codecs.getincrementaldecoder(codec)().decode(head)
    except UnicodeDecodeError:
        return False
    return True
