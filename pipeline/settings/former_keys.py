"""Keys that were renamed: the former name is read for one version, with a warning."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

from pipeline.errors import UsageError

#: Former path of a section or key and its present one; only the last name of a path differs.
RENAMED: Mapping[tuple[str, ...], tuple[str, ...]] = {
    ("gate", "floor"): ("gate", "baseline"),
    ("watch",): ("monitor",),
}
_warned: set[tuple[str, str]] = set()


def present_path(path: tuple[str, ...]) -> tuple[str, ...]:
    """Where a section or key stands now that may be called, or lie, by a former name."""
    for former, present in RENAMED.items():
        if path[: len(former)] == former:
            return (*present, *path[len(former) :])
    return path


def with_present_names(content: dict[str, Any], where: str) -> dict[str, Any]:
    """The settings with every renamed key under its present name; says so on stderr, once.

    Args:
        content: nested as in a settings file; it is not changed.
        where: the file, or what else the settings come from, for the warning.

    Raises:
        UsageError: a key stands there under both names.
    """
    for former, present in RENAMED.items():
        around = _section_at(content, former[:-1])
        if around is None or former[-1] not in around:
            continue
        names = ".".join(former), ".".join(present)
        if present[-1] in around:
            raise UsageError(
                f"{where}: {names[0]} is the former name of {names[1]}, and both are set: "
                f"keep {names[1]} alone"
            )
        if (where, names[0]) not in _warned:
            _warned.add((where, names[0]))
            print(
                f"{where}: {names[0]} is now called {names[1]}: rename it, the next version will "
                "not read the former name",
                file=sys.stderr,
            )
        content = _with_key_renamed(content, former, present[-1])
    return content


def _section_at(content: dict[str, Any], path: tuple[str, ...]) -> dict[str, Any] | None:
    section: Any = content
    for key in path:
        section = section.get(key) if isinstance(section, dict) else None
    return section if isinstance(section, dict) else None


def _with_key_renamed(content: dict[str, Any], path: tuple[str, ...], name: str) -> dict[str, Any]:
    """A copy in which the key at a path that exists has another name, in the same place."""
    key, *rest = path
    if not rest:
        return {name if each == key else each: value for each, value in content.items()}
    return {**content, key: _with_key_renamed(content[key], tuple(rest), name)}
