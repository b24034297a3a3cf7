"""Where the fork server of this user, this code and this environment is met."""

from __future__ import annotations

import hashlib
import os
import stat
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final, NamedTuple

# What libraries read when they are imported or loaded; all else a command brings with it.
_READ_AT_IMPORT: Final = (
    "ARROW_",
    "CUDA_",
    "GX_",
    "HOME",
    "KMP_",
    "LANG",
    "LC_",
    "LD_",
    "MALLOC_",
    "MKL_",
    "MLFLOW_",
    "NUMEXPR_",
    "NVIDIA_",
    "OMP_",
    "OPENBLAS_",
    "PATH",
    "PYTHON",
    "TMPDIR",
    "TORCH",
    "TZ",
    "VIRTUAL_ENV",
    "XDG_",
)
# The path of a socket has 107 bytes at most, its name some thirty.
_MOST_FOLDER_BYTES: Final = 75


class Address(NamedTuple):
    """Files of one server: its socket, the lock it holds while it lives, and what it logs."""

    socket: Path
    lock: Path
    log: Path


def address_of(environ: Mapping[str, str], package_roots: tuple[Path, ...]) -> Address | None:
    """The address that commands of the same code and environment share, in a folder of this user.

    Code that was changed has another, so no command ever runs what was imported before.  None
    where such a folder cannot be had, or belongs to somebody else, and where the system is not one
    that names processes by descriptors.
    """
    if not hasattr(os, "pidfd_open"):
        return None
    folder = _private_folder(environ)
    if folder is None:
        return None
    stamp = hashlib.sha256()
    for text in _traits(environ, package_roots):
        stamp.update(text.encode("utf-8", "surrogateescape") + b"\0")
    name = stamp.hexdigest()[:24]
    return Address(*(folder / f"{name}.{ending}" for ending in ("sock", "lock", "log")))


def _traits(environ: Mapping[str, str], package_roots: tuple[Path, ...]) -> Iterator[str]:
    yield sys.executable
    yield repr((sys.version, tuple(sys.flags), sorted(sys._xoptions.items())))
    # What a fork inherits and cannot always change: rights, priority, and where it may look.
    yield repr((os.getuid(), os.geteuid(), os.getgid(), sorted(os.getgroups()), os.nice(0)))
    yield Path("/proc/self/cgroup").read_text(encoding="utf-8")
    yield from sorted(str(space.readlink()) for space in Path("/proc/self/ns").iterdir())
    for name in sorted(environ):
        if name.startswith(_READ_AT_IMPORT):
            yield f"{name}={environ[name]}"
    for root in package_roots:
        files = sorted(root.rglob("*.py"))
        newest_ns = max((file.stat().st_mtime_ns for file in files), default=0)
        yield f"{root} {len(files)} {newest_ns}"
    for entry in sys.path:
        # What is installed or removed changes the folder of all that is installed.
        if entry.endswith("site-packages") and (folder := Path(entry)).is_dir():
            yield f"{entry} {folder.stat().st_mtime_ns}"


def _private_folder(environ: Mapping[str, str]) -> Path | None:
    runtime = environ.get("XDG_RUNTIME_DIR")
    folder = Path(runtime or tempfile.gettempdir()) / f"hourglass-{os.getuid()}"
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        state = folder.lstat()
    except OSError:
        return None
    own = stat.S_ISDIR(state.st_mode) and state.st_uid == os.getuid()
    is_short = len(os.fsencode(folder)) <= _MOST_FOLDER_BYTES
    return folder if own and is_short and not state.st_mode & 0o077 else None
