"""Where the checkpoints of unfinished fits lie: ``checkpoints/<model_id>/`` of the work folder."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from pipeline.errors import HourglassError


@dataclass(frozen=True)
class ResumePoint:
    """What an earlier attempt at a fit left."""

    parts: int  # parts of the fit that are done: a search for the number of epochs is one
    position: str | None  # where to go on, for people; None begins anew


@contextmanager
def locked_checkpoint_dir(folder: Path, fresh: bool) -> Iterator[ResumePoint]:
    """Be the only process that works at this fit, and say what an earlier attempt left.

    The system gives the folder free when the process is killed; what is in it stays.

    Args:
        folder: of the fit's checkpoints.
        fresh: remove what lies there.

    Raises:
        HourglassError: another process works at it, or the folder cannot be used.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        handle = os.open(folder, os.O_RDONLY)
    except OSError as error:
        raise HourglassError(f"{folder}: cannot keep checkpoints: {error.strerror}") from error
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise HourglassError(
                f"another process trains {folder.name} already: wait until it has finished"
            ) from error
        if fresh:
            for below in folder.iterdir():
                shutil.rmtree(below)
        yield _resume_point(folder)
    finally:
        os.close(handle)


def remove_checkpoints(folder: Path) -> None:
    """Remove the checkpoints of a fit whose model is safe."""
    shutil.rmtree(folder, ignore_errors=True)


def _resume_point(folder: Path) -> ResumePoint:
    """Read the places of all checkpoints; one that cannot be read is left for the fit to refuse."""
    from safetensors import SafetensorError, safe_open

    done = 0
    position: str | None = None
    for path in sorted(folder.glob("**/*.safetensors"), key=lambda path: path.stat().st_mtime_ns):
        try:
            with safe_open(path, "np") as file:
                state = json.loads((file.metadata() or {})["place"])
        except (SafetensorError, OSError, ValueError, KeyError):
            continue
        done += bool(state["finished"])
        position = f"{path.parent.name}, epoch {state['epoch']}, batch {state['batch'] + 1}"
        if state["finished"]:
            position = f"{path.parent.name}, done"
    return ResumePoint(done, position)
