"""Folders of the work folder that nobody needs: old data sets, and what killed runs left."""

from __future__ import annotations

import math
import os
import re
import shutil
from collections.abc import Iterator, Set
from contextlib import suppress
from pathlib import Path

from pipeline.dataset.manifest import MANIFEST_NAME, Manifest, read_manifest
from pipeline.errors import HourglassError
from pipeline.maintenance.orphans import OrphanFile

SHARDS, FROZEN, CHECKPOINTS = "shards", "frozen", "checkpoints"
_SCRATCH = re.compile(r"(parsed|spilled|spark|blockmgr)-.+")
_PART = re.compile(r"[^.].*")
_REMOVED = ".removed-"
_CHECKPOINT = re.compile(r"[^.].*|" + re.escape(_REMOVED) + ".+")
_STAGED = re.compile(r"\.[0-9a-f]{16}-[0-9a-f]{32}|" + re.escape(_REMOVED) + ".+")


def pinned_parts(work: Path, datasets: Set[str]) -> list[Path]:
    """Folders of the data sets, and of the parts that judge their models.

    A part without a window of its own, made to recommend once, judges nothing and is none of them.
    """
    return [folder for folder, manifest in _parts(work) if _is_pinned(manifest, datasets)]


def old_datasets(work: Path, pinned: Set[str], older_than_s: float) -> list[OrphanFile]:
    """Data sets and their parts that were made before an instant and belong to no pinned one."""
    return sorted(
        OrphanFile(folder, _bytes_below(folder))
        for folder, manifest in _parts(work)
        if not _is_pinned(manifest, pinned) and _changed_s(folder / MANIFEST_NAME) < older_than_s
    )


def old_scratch(work: Path, older_than_s: float) -> list[OrphanFile]:
    """What killed runs left: parsed files, Spark's folders, data sets half written, checkpoints.

    A folder in which anything changed since is of a living run.  What a killed upkeep had begun to
    remove is old at once.
    """
    left = [
        *_folders(work / "scratch", _SCRATCH),
        *_folders(work / CHECKPOINTS, _CHECKPOINT),
        *_folders(work / SHARDS, _STAGED),
        *_folders(work / FROZEN, _STAGED),
    ]
    return sorted(
        OrphanFile(folder, _bytes_below(folder))
        for folder in left
        if folder.name.startswith(_REMOVED) or _last_change_s(folder) < older_than_s
    )


def remove_folder(folder: Path) -> None:
    """Remove a folder such that no reader sees half of it: it is hidden first."""
    hidden = folder
    if not folder.name.startswith("."):
        hidden = folder.with_name(f"{_REMOVED}{folder.name}")
        folder.rename(hidden)
    shutil.rmtree(hidden, ignore_errors=True)


def _folders(parent: Path, name: re.Pattern[str]) -> list[Path]:
    """Real folders of that name in a place that is itself no link."""
    if parent.is_symlink() or not parent.is_dir():
        return []
    matching = [path for path in parent.iterdir() if name.fullmatch(path.name)]
    return [path for path in matching if path.is_dir() and not path.is_symlink()]


def _parts(work: Path) -> Iterator[tuple[Path, Manifest]]:
    """Folders with a manifest that names them; anything else is not ours."""
    for parent in (work / SHARDS, work / FROZEN):
        for folder in sorted(_folders(parent, _PART)):
            with suppress(OSError, HourglassError):
                manifest = read_manifest(folder)
                if manifest.dataset_id == folder.name:
                    yield folder, manifest


def _is_pinned(manifest: Manifest, datasets: Set[str]) -> bool:
    if manifest.base_dataset_id is None:
        return manifest.dataset_id in datasets
    return manifest.base_dataset_id in datasets and manifest.window_start != manifest.as_of


def _bytes_below(folder: Path) -> int:
    return sum(status.st_size for status in _statuses(folder))


def _last_change_s(folder: Path) -> float:
    return max((status.st_mtime for status in _statuses(folder)), default=math.inf)


def _changed_s(path: Path) -> float:
    try:
        return path.lstat().st_mtime
    except FileNotFoundError:
        return math.inf


def _statuses(folder: Path) -> Iterator[os.stat_result]:
    """Status of the folder and of all in it, but what is just being removed; follows no link."""
    with suppress(FileNotFoundError):
        yield folder.lstat()
    for below, folders, files in os.walk(folder, followlinks=False):
        for name in (*folders, *files):
            with suppress(FileNotFoundError):
                yield Path(below, name).lstat()
