"""The files below a folder that a pattern finds, in one walk that looks at each file once.

A landing zone of a year holds thousands of folders and is listed every hour, because any of their
files may have grown: so no object is made, and no path is taken apart, that is not needed.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Collection, Iterator, Sequence
from fnmatch import translate
from pathlib import Path, PurePath
from typing import NamedTuple

from pipeline.contained_files import LEAVES, resolve_inside
from pipeline.ingest.landing.own_files import lies_in
from pipeline.sources.fields import is_storable

_ANY_DEPTH = "**"
_UNFINISHED = ".tmp"
_HIDDEN = (".", "_")
_NOT_UTF8 = "its name is not UTF-8: rename it"


class ListedFile(NamedTuple):
    """A regular file: its name below the folder, where it really lies, and what is known of it.

    ``is_link``: the file itself is one; ``is_below_link``: a folder on the way to it is one.
    """

    name: str
    real: str
    facts: os.stat_result
    is_link: bool
    is_below_link: bool


class _Folder(NamedTuple):
    path: str
    name: str  # below the root, with a slash behind it; of the root itself ""
    real: str
    states: frozenset[int]
    trail: tuple[str, ...]  # real folders of the links that led there


def list_files(
    root: Path, pattern: str, passed_over: Collection[Path] = ()
) -> tuple[list[ListedFile], dict[str, str]]:
    """The regular files below ``root`` that match, and why others cannot be looked at, by name.

    ``root`` may itself be the file, whatever the pattern.

    Hidden files and folders, those of a writer that has not finished (``*.tmp``, ``_*``), and what
    really is or lies in one of the real paths ``passed_over`` are left out.  A link is followed
    where it leads below the root, and does not lie in the folder that it leads to.

    Raises:
        OSError: ``root`` cannot be read.
        ValueError: the pattern is no relative glob.
    """
    if root.is_file():
        if not is_storable(root.name):
            return [], {root.name: _NOT_UTF8}
        real = root.resolve()
        return [ListedFile(root.name, str(real), real.lstat(), False, False)], {}
    glob = Glob(pattern)
    walk = _Walk(root, glob, passed_over)
    waiting = [_Folder(str(root), "", str(walk.real_root), glob.start, ())]
    while waiting:
        waiting += walk.look_into(waiting.pop())
    # As paths sort: folder by folder.
    return sorted(walk.files, key=lambda file: file.name.split("/")), walk.refused


class Glob:
    """A relative glob, matched as a walk goes down; a state is how many of its parts are behind.

    Raises:
        ValueError: it is none.
    """

    def __init__(self, pattern: str) -> None:
        path = PurePath(pattern)
        self._parts = path.parts
        if not self._parts or path.is_absolute() or ".." in self._parts:
            raise ValueError("it must name what lies below the folder")
        if any(_ANY_DEPTH in step and step != _ANY_DEPTH for step in self._parts):
            raise ValueError("'**' can only be an entire path component")
        self._below: dict[tuple[frozenset[int], tuple[int, ...]], frozenset[int]] = {}
        self._matchers = [re.compile(translate(step)).match for step in self._parts]
        self.start = self._closed({0})

    def below(self, states: frozenset[int], folder: str) -> frozenset[int]:
        """The states in a folder of a folder; none where nothing in it can match."""
        last = len(self._parts) - 1
        matched = tuple([at for at in states if at < last and self._matches(at, folder)])
        key = (states, matched)
        if key not in self._below:  # thousands of folders, and few ways to go on
            deeper = {at for at in states if self._parts[at] == _ANY_DEPTH}
            self._below[key] = self._closed(deeper | {at + 1 for at in matched})
        return self._below[key]

    def matches(self, states: frozenset[int], name: str) -> bool:
        """Whether a file of a folder is one that the glob finds."""
        last = len(self._parts) - 1
        return last in states and self._matches(last, name)

    def _matches(self, at: int, name: str) -> bool:
        return self._parts[at] != _ANY_DEPTH and self._matchers[at](name) is not None

    def _closed(self, states: Collection[int]) -> frozenset[int]:
        """With those that lie behind ``**``, which may stand for no folder at all."""
        closed = set(states)
        last = len(self._parts) - 1
        for at in sorted(states):
            while at < last and self._parts[at] == _ANY_DEPTH:
                at += 1  # noqa: PLW2901 - on to the next part
                closed.add(at)
        return frozenset(closed)


class _Walk:
    """What one walk has come across."""

    def __init__(self, root: Path, glob: Glob, passed_over: Collection[Path]) -> None:
        self.real_root = root.resolve()
        self.files: list[ListedFile] = []
        self.refused: dict[str, str] = {}
        self._glob = glob
        self._places = passed_over
        self._own = frozenset(map(str, passed_over))

    def look_into(self, folder: _Folder) -> Iterator[_Folder]:
        """Note what lies in a folder; yields the folders in it that are to be looked into."""
        try:
            with os.scandir(folder.path) as entries:
                for entry in entries:
                    if entry.name.startswith(_HIDDEN):
                        continue
                    if _is_folder(entry):
                        yield from self._folder(folder, entry)
                    else:
                        self._file(folder, entry)
        except OSError as error:
            if not folder.name:
                raise
            self._refuse(folder.name.rstrip("/"), error)

    def _folder(self, above: _Folder, entry: os.DirEntry[str]) -> Iterator[_Folder]:
        states = self._glob.below(above.states, entry.name)
        if not states:
            return
        name, real, trail = above.name + entry.name, f"{above.real}/{entry.name}", above.trail
        if entry.is_symlink():
            linked = None if entry.name.endswith(_UNFINISHED) else self._resolved(name, entry)
            if linked is None or lies_in(linked, self._places):
                return
            real = str(linked)
            if any(Path(each).is_relative_to(linked) for each in (above.real, *trail)):
                self.refused[name] = "a link to a folder that it lies in: remove it"
                return
            trail = (*trail, real)
        elif real in self._own:
            return
        yield _Folder(entry.path, f"{name}/", real, states, trail)

    def _file(self, folder: _Folder, entry: os.DirEntry[str]) -> None:
        if entry.name.endswith(_UNFINISHED) or not self._glob.matches(folder.states, entry.name):
            return
        name, is_link = folder.name + entry.name, entry.is_symlink()
        if not is_storable(name):
            self.refused[name] = _NOT_UTF8
            return
        try:
            if is_link:
                linked = self._resolved(name, entry)
                if linked is None or lies_in(linked, self._places):
                    return
                real, facts = str(linked), linked.lstat()
            else:
                real = f"{folder.real}/{entry.name}"
                facts = entry.stat(follow_symlinks=False)
        except OSError as error:
            self._refuse(name, error)
            return
        if stat.S_ISREG(facts.st_mode) and real not in self._own:
            self.files.append(ListedFile(name, real, facts, is_link, bool(folder.trail)))

    def _resolved(self, name: str, entry: os.DirEntry[str]) -> Path | None:
        """Where a link leads; None, and noted, where that is nowhere below the root."""
        try:
            real = resolve_inside(self.real_root, Path(entry.path))
        except OSError as error:
            self._refuse(name, error)
            return None
        if real is None:
            self.refused[name] = LEAVES
        return real

    def _refuse(self, name: str, error: OSError) -> None:
        self.refused[name] = error.strerror or str(error)


def _is_folder(entry: os.DirEntry[str]) -> bool:
    """Whether an entry is a folder, or a link to one."""
    try:
        return entry.is_dir()
    except OSError:  # a link that leads round in a circle
        return False


def once(files: Sequence[ListedFile], real_root: str) -> list[ListedFile]:
    """Files below links to folders by one name, their own where that matches too.

    A folder ``latest`` that leads to an hour's is no second log of that hour.  A file that is a
    link itself is one that somebody put there.
    """
    if not any(file.is_below_link for file in files):
        return list(files)
    names: dict[str, str] = {}
    for file in files:
        if not file.is_link:
            if file.real == f"{real_root}/{file.name}":
                names[file.real] = file.name
            names.setdefault(file.real, file.name)
    return [file for file in files if file.is_link or names[file.real] == file.name]
