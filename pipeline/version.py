"""The version of the code that made something."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from functools import cache
from importlib import metadata, resources
from importlib.resources.abc import Traversable

_SOURCES = {"pipeline": (".py", ".yaml"), "training": (".py", ".yaml"), "sql": (".sql",)}


@cache
def code_version() -> str:
    """Released version and a digest of this installation's own sources.

    The digest tells apart two states of a working copy that carry the same release number, also
    where there is no git.
    """
    digest = hashlib.sha256()
    for package, kinds in _SOURCES.items():
        for name, content in sorted(_files(resources.files(package), package, kinds)):
            digest.update(name.encode() + b"\0" + content)
    return f"{metadata.version('hourglass')}+{digest.hexdigest()[:10]}"


def _files(folder: Traversable, name: str, kinds: tuple[str, ...]) -> Iterator[tuple[str, bytes]]:
    for entry in folder.iterdir():
        path = f"{name}/{entry.name}"
        if entry.is_dir():
            yield from _files(entry, path, kinds)
        elif entry.name.endswith(kinds):
            yield path, entry.read_bytes()
