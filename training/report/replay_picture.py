"""The picture of the newest replay."""

from __future__ import annotations

import base64
import os
from dataclasses import dataclass
from pathlib import Path

from training.replay.store import newest_picture

_MOST_BYTES = 400_000


@dataclass(frozen=True)
class ReplayPicture:
    """The picture of a replay: its run, where it lies beside the report, and what it holds."""

    run: str
    href: str
    data: str | None  # an address that holds the picture, where it is light enough


def replay_picture(folder: Path, page: Path) -> ReplayPicture | None:
    """The picture of the replay that ended last, carried in the page where it is light enough.

    Args:
        folder: of the replays, ``<work>/replay``.
        page: where the report will lie.
    """
    newest = newest_picture(folder)
    if newest is None:
        return None
    data = None
    if newest.stat().st_size <= _MOST_BYTES:
        data = f"data:image/png;base64,{base64.b64encode(newest.read_bytes()).decode()}"
    return ReplayPicture(newest.parent.name, os.path.relpath(newest, page.parent), data)
