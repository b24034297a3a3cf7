"""Files that must lie below a folder, wherever links in it point, until they are open."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import BinaryIO

from pipeline.errors import HourglassError

LEAVES = "a link that leads out of source.path: put the file itself there"


def resolve_inside(root: Path, path: Path) -> Path | None:
    """Where a path really lies, links resolved; None where that is not below ``root``.

    ``root`` is resolved already.

    Raises:
        OSError: the path's links lead round in a circle.
    """
    try:
        real = path.resolve()
    except RuntimeError as error:
        raise OSError("its links lead round in a circle") from error
    return real if real.is_relative_to(root) else None


def resolve_in_landing(path: Path, landing: Path) -> tuple[Path | None, Path]:
    """Where a file really lies, and the landing zone, resolved, if that is where it must stay.

    Elsewhere the settings name the file, and a link is as good as a file.

    Raises:
        HourglassError: it lies in the landing zone by a link that leads out of it.
        OSError: its links lead round in a circle.
    """
    if not path.absolute().is_relative_to(landing.absolute()):
        return None, path
    root = landing.resolve()
    real = resolve_inside(root, path)
    if real is None:
        raise HourglassError(f"{path}: {LEAVES}")
    return root, real


def open_inside(root: Path, path: Path) -> BinaryIO:
    """Open a file below ``root`` for reading; both are resolved, so no link is followed.

    What was a file or folder when its path was resolved may have become a link since: each step
    on the way is opened as what it was.

    Raises:
        OSError: there is no such file, it cannot be read, or a link stands in the way.
    """
    *folders, name = path.relative_to(root).parts
    flags = os.O_NOFOLLOW | os.O_CLOEXEC
    # To pass through a folder takes no right to list it, where the system can tell the two apart.
    pass_through = flags | os.O_DIRECTORY | getattr(os, "O_PATH", os.O_RDONLY)
    folder = os.open(root, pass_through)
    try:
        for step in folders:
            below = os.open(step, pass_through, dir_fd=folder)
            os.close(folder)
            folder = below
        # Not to wait for a writer where a pipe has taken the file's place.
        file = os.open(name, flags | os.O_RDONLY | os.O_NONBLOCK, dir_fd=folder)
    finally:
        os.close(folder)
    mode = os.fstat(file).st_mode
    if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):
        os.close(file)
        raise OSError("it is no file")
    try:
        return os.fdopen(file, "rb")
    except OSError:
        os.close(file)
        raise
