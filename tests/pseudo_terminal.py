"""A terminal of some size, and what stands on it after a program has written to it."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import struct
import subprocess
import sys
import termios
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
_HEIGHT = 24
_TOKEN = re.compile(r"\x1b\[([?\d;]*)([A-Za-z])|([\r\n])|([^\x1b\r\n]+)")


@dataclass(frozen=True)
class Screen:
    """What a person sees in the end; ``drawn`` is all that was ever written."""

    lines: tuple[str, ...]
    cursor_is_shown: bool
    drawn: str
    code: int


def run_in_terminal(
    program: str,
    width: int,
    environ: Mapping[str, str] | None = None,
    until: str = "",
    act: Callable[[subprocess.Popen[bytes]], None] | None = None,
) -> Screen:
    """Run Python code whose input and output are a terminal.

    ``act`` is called with the process once it has written ``until``.
    """
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", _HEIGHT, width, 0, 0))
    plain = {"TERM": "xterm", "LANG": "C.UTF-8", "PATH": os.environ["PATH"]}
    process = subprocess.Popen(
        [sys.executable, "-c", program],
        cwd=ROOT,
        env={**plain, **(environ or {})},
        stdin=slave,
        stdout=slave,
        stderr=slave,
        start_new_session=True,
    )
    os.close(slave)
    written = b""
    with process:
        try:
            while chunk := _read(master):
                written += chunk
                if act is not None and until.encode() in written:
                    act(process)
                    act = None
        finally:
            os.close(master)
            if process.poll() is None and act is not None:
                process.kill()
    text = written.decode("utf-8")
    return Screen(*_screen(text, width), text, process.returncode)


def _read(master: int) -> bytes:
    try:
        return os.read(master, 65536)
    except OSError:  # Linux says so when the last program has left
        return b""


def _screen(text: str, width: int) -> tuple[tuple[str, ...], bool]:
    """The lines that stay; knows the controls that a table of lines is drawn with."""
    lines: list[list[str]] = [[]]
    row, column, cursor = 0, 0, True
    for token in _TOKEN.finditer(text):
        argument, control, newline, letters = token.groups()
        if newline == "\r":
            column = 0
        elif newline == "\n":
            row += 1
        elif control == "A":
            row -= int(argument or 1)
        elif control == "K":
            assert argument == "2", "only whole lines are erased"
            lines[row] = []
        elif control in ("h", "l"):
            assert argument == "?25"
            cursor = control == "h"
        elif letters:
            for letter in letters:
                if column == width:
                    row, column = row + 1, 0
                lines += [[] for _ in range(row + 1 - len(lines))]
                lines[row] += " " * (column + 1 - len(lines[row]))
                lines[row][column] = letter
                column += 1
        else:
            assert control == "m", f"a control that nobody knows: {token[0]!r}"
        lines += [[] for _ in range(row + 1 - len(lines))]
    return tuple("".join(line).rstrip() for line in lines), cursor
