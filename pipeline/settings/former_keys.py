"""Keys that were renamed: the former name is read for one version, with a warning."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

from pipeline.errors import UsageError

#: Former path of a key and its present one; both are in the same section.
RENAMED: Mapping[tuple[str, str], tuple[str, str]] = {("gate", "floor"): ("gate", "baseline")}
_warned: set[tuple[str, str]] = set()


def present_path(path: tuple[str, ...]) -> tuple[str, ...]:
    """Where a key stands now that may be called by its former name."""
    return next((new for old, new in RENAMED.items() if old == path), path)


def with_present_names(content: dict[str, Any], where: str) -> dict[str, Any]:
    """The settings with every renamed key under its present name; says so on stderr, once.

    Args:
        content: nested as in a settings file; it is not changed.
        where: the file, or what else the settings come from, for the warning.

    Raises:
        UsageError: a key stands there under both names.
    """
    for former, present in RENAMED.items():
        section, old = former
        below = content.get(section)
        if not isinstance(below, dict) or old not in below:
            continue
        names = ".".join(former), ".".join(present)
        if present[-1] in below:
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
        renamed = {present[-1] if key == old else key: value for key, value in below.items()}
        content = {**content, section: renamed}
    return content
