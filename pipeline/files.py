"""Files that are there whole or not at all; and what makes one outlast a power cut."""

from __future__ import annotations

import os
import uuid
from collections.abc import Callable
from pathlib import Path


def written_whole(path: Path, write: Callable[[Path], object]) -> Path:
    """Write a file beside its place and move it there; readers never meet half of it.

    Args:
        path: where it is to be; its folder is made where it is missing.
        write: is given the place to write to.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".{path.name}-{uuid.uuid4().hex}")
    try:
        write(unfinished)
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)
    return path


def write_text(path: Path, text: str) -> Path:
    """Write a text file, whole or not at all."""
    return written_whole(path, lambda target: target.write_text(text, encoding="utf-8"))


def names_in(folder: Path) -> list[str]:
    """Names in a folder, in no order and without an object for each; none where it is not there."""
    try:
        return os.listdir(folder)  # noqa: PTH208 - see above
    except (FileNotFoundError, NotADirectoryError):
        return []


def flush(path: Path) -> None:
    """Have the disk hold a file, or the names in a folder, before anything else happens."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
