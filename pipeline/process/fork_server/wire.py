"""Messages between a command and the fork server: JSON behind its length, and open files."""

from __future__ import annotations

import json
import socket
import struct
from collections.abc import Sequence
from typing import Any, Final

STREAMS: Final = (0, 1, 2)
_LENGTH: Final = struct.Struct("!Q")


def send(connection: socket.socket, message: dict[str, Any], files: Sequence[int] = ()) -> None:
    """Send a message; the other side gets descriptors of its own of the files.

    Raises:
        OSError: nobody is there any more.
    """
    text = json.dumps(message).encode("ascii")
    socket.send_fds(connection, [_LENGTH.pack(len(text))], list(files))
    connection.sendall(text)


def receive(connection: socket.socket, files: int = 0) -> tuple[dict[str, Any], list[int]] | None:
    """The next message and its files, or None where the other side ended instead.

    Raises:
        OSError: the connection broke, or nothing came within its timeout.
    """
    head, descriptors, _, _ = socket.recv_fds(connection, _LENGTH.size, files)
    rest = _exactly(connection, _LENGTH.size - len(head)) if head else None
    if rest is None:
        return None
    (length,) = _LENGTH.unpack(head + rest)
    text = _exactly(connection, length)
    return None if text is None else (json.loads(text), descriptors)


def _exactly(connection: socket.socket, length: int) -> bytes | None:
    pieces: list[bytes] = []
    while length:
        piece = connection.recv(min(length, 1 << 20))
        if not piece:
            return None
        pieces.append(piece)
        length -= len(piece)
    return b"".join(pieces)
