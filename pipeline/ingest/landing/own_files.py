"""What lies below the source folder and is no log: this product's own files, and metadata."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from pipeline.settings.folders import MLFLOW_FILE, WORK_FOLDERS
from pipeline.settings.settings import Settings


def not_logs(settings: Settings) -> frozenset[Path]:
    """Real paths of files and folders that are no logs, though the pattern may find them.

    They are the settings file, the files of items and users, and the folders of work and tables
    where these are not, and do not hold, the source folder itself: it may lie in the work folder.
    Where it is that folder, its own folders are none.
    """
    source = settings.source
    root = source.path.resolve()
    files = (settings.file, source.items_path, source.users_path)
    folders = [settings.work, settings.resolved_warehouse]
    if settings.work.resolve() == root:
        folders += [settings.path(name) for name in WORK_FOLDERS]
        folders.append(settings.work / MLFLOW_FILE)
    return frozenset(
        [path.resolve() for path in files if path is not None]
        + [
            folder
            for folder in (path.resolve() for path in folders)
            if not root.is_relative_to(folder)
        ]
    ) - {root}


def lies_in(path: Path, places: Iterable[Path]) -> bool:
    """Whether a path is one of some places or lies below one."""
    return any(path.is_relative_to(other) for other in places)
