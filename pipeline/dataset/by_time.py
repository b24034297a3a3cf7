"""Which folder is of which hour, where their names are digests, without reading what is in each.

An empty file beside them, ``.by_time/<hour>-<name>``, notes the hour when a folder is met first.  A
name is the digest of what went in, the hour among it, so a note never changes; it stays where the
folder goes.  Finding the newest of a year's data sets thus reads names and one manifest.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from pipeline.dataset.manifest import MANIFEST_NAME, read_manifest
from pipeline.errors import HourglassError, UsageError
from pipeline.hours import Hour
from pipeline.settings.names import plain_name

_INDEX = ".by_time"
_HOUR_CHARS = 13
# Nothing else is a note, such as what a network's file system leaves behind.
_NOTE = re.compile(r"\d{4}-\d\d-\d\dT\d\d-.+")


def hours_by_name(
    parent: Path, file: str, hour_of: Callable[[Path], Hour | None]
) -> dict[str, str]:
    """The hour of each folder that is or was there and holds a file, as text, which sorts as time.

    Args:
        parent: of the folders.
        file: that they hold.
        hour_of: reads the hour of a folder that was not met before; None is asked for again, and
            is empty in what is returned.
    """
    index = parent / _INDEX
    notes = filter(_NOTE.fullmatch, _names(index))
    hours = {note[_HOUR_CHARS + 1 :]: note[:_HOUR_CHARS] for note in notes}
    for name in _names(parent) - hours.keys():
        folder = parent / name
        if name.startswith(".") or not (folder / file).is_file():
            continue
        hour = hour_of(folder)
        hours[name] = "" if hour is None else str(hour)
        # Whoever may only read the folder reads the same again next time.
        with suppress(OSError):
            if hour is not None:
                index.mkdir(exist_ok=True)
                (index / f"{hour}-{name}").touch()
    return hours


def datasets_by_time(shards: Path, damaged_come_last: bool = False) -> list[tuple[str, str]]:
    """Hour and name of every data set that is or was there, newest first.

    Args:
        shards: their folder.
        damaged_come_last: those whose manifest cannot be read have an empty hour; it is for those
            who look for some of the data sets, whatever became of the others.

    Raises:
        HourglassError: a manifest that was not met before is damaged.
    """

    def hour_of(folder: Path) -> Hour | None:
        try:
            return read_manifest(folder).as_of
        except HourglassError:
            if damaged_come_last:
                return None
            raise

    hours = hours_by_name(shards, MANIFEST_NAME, hour_of)
    return sorted(((hour, name) for name, hour in hours.items()), reverse=True)


def dataset_folder(shards: Path, text: str, option: str = "--dataset") -> Path:
    """Folder of a data set by its id; ``last`` is the one of the latest time, then made last.

    Raises:
        UsageError: there is no such data set, or the text, which ``option`` names, is no id.
        HourglassError: a manifest is damaged.
    """
    if text != "last":
        plain_name(option, text)
        if not (shards / text / MANIFEST_NAME).is_file():
            raise UsageError(f"no data set {text!r} in {shards}: run `hourglass dataset`")
        return shards / text
    latest, folders = "", []
    for hour, name in datasets_by_time(shards):
        manifest = shards / name / MANIFEST_NAME
        if hour < latest:
            break
        if manifest.is_file():
            latest = hour
            folders.append((manifest.stat().st_mtime_ns, manifest.parent))
    if not folders:
        raise UsageError(f"no data set in {shards} yet: run `hourglass dataset`")
    return max(folders)[1]


def _names(folder: Path) -> set[str]:
    try:
        with os.scandir(folder) as entries:
            return {entry.name for entry in entries}
    except FileNotFoundError:
        return set()
