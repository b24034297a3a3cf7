"""Which folder is of which hour, where their names are digests, without reading what is in each.

An empty file beside them, ``.by_time/<hour>-<name>``, notes the hour when a folder is met first.  A
name is the digest of what went in, the hour among it, so a note never changes.  Where the folder
goes, it is moved to ``.by_time/gone/<month>``: models that learned from it may stay, and who looks
for their hour reads the latest months.  So finding the newest reads the names of what is there and
one manifest, however much there was before.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from pathlib import Path

from pipeline.dataset.manifest import MANIFEST_NAME, read_manifest
from pipeline.errors import HourglassError, UsageError
from pipeline.files import names_in
from pipeline.hours import Hour
from pipeline.settings.folders import plain_name

_INDEX, _GONE, _COMPLETE = ".by_time", "gone", ".complete"
_HOUR_CHARS, _MONTH_CHARS = 13, 7
# Nothing else is a note, such as what a network's file system leaves behind.
_NOTE = re.compile(r"\d{4}-\d\d-\d\dT\d\d-.+")


def hours_by_name(
    parent: Path, file: str, hour_of: Callable[[Path], Hour | None]
) -> dict[str, str]:
    """The hour of each folder that is there and holds a file, as text, which sorts as time.

    Args:
        parent: of the folders.
        file: that they hold.
        hour_of: reads the hour of a folder that was not met before; None is asked for again, and
            is empty in what is returned.
    """
    index = parent / _INDEX
    notes = list(filter(_NOTE.fullmatch, names_in(index)))
    names = set(names_in(parent))  # after the notes: what is noted meanwhile is not taken for gone
    hours: dict[str, str] = {}
    for note in notes:
        hour, name = _read(note)
        if name in names:
            hours[name] = hour
        elif _note_gone(parent, hour, name):
            (index / note).unlink(missing_ok=True)
    for name in names - hours.keys():
        folder = parent / name
        if name.startswith(".") or not (folder / file).is_file():
            continue
        noted = hour_of(folder)
        hours[name] = "" if noted is None else str(noted)
        # Whoever may only read the folder reads the same again next time.
        with suppress(OSError):
            if noted is not None:
                index.mkdir(exist_ok=True)
                (index / f"{noted}-{name}").touch()
    return hours


def note_forgotten(parent: Path, forgotten: Callable[[], Iterable[tuple[str, str]]]) -> None:
    """Note, once, hour and name of folders that went before anybody noted them."""
    mark = parent / _INDEX / _GONE / _COMPLETE
    if not mark.exists() and all(_note_gone(parent, *entry) for entry in forgotten()):
        with suppress(OSError):
            mark.parent.mkdir(parents=True, exist_ok=True)
            mark.touch()


def _note_gone(parent: Path, hour: str, name: str) -> bool:
    """Note the hour of a folder that is not there any more; False where no note can be left."""
    month = parent / _INDEX / _GONE / hour[:_MONTH_CHARS]
    try:
        month.mkdir(parents=True, exist_ok=True)
        (month / f"{hour}-{name}").touch()
    except OSError:
        return False
    return True


def gone_by_time(parent: Path) -> Iterator[tuple[str, str]]:
    """Hour and name of the folders that are gone, newest first, read a month at a time."""
    gone = parent / _INDEX / _GONE
    for month in sorted(names_in(gone), reverse=True):
        yield from map(_read, sorted(filter(_NOTE.fullmatch, names_in(gone / month)), reverse=True))


def _read(note: str) -> tuple[str, str]:
    return note[:_HOUR_CHARS], note[_HOUR_CHARS + 1 :]


def datasets_by_time(shards: Path, damaged_come_last: bool = False) -> list[tuple[str, str]]:
    """Hour and name of every data set that is there, newest first.

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
