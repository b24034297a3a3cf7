"""Which hours were judged: a small file for each, ``<work>/judged/<first hour>.json``.

It says what became of the hours that a data set is judged on, named by the first of them, once the
gate has decided, or has nothing to decide.  In a work folder from before there were such files, the
hours of its decisions count.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from pipeline.errors import UsageError
from pipeline.files import write_text
from pipeline.hours import Hour, HourRange
from pipeline.sealed_json import dated_records
from pipeline.settings.settings import Settings

QUIET = "quiet"  # nothing happened that anybody could be judged on
PASSED = "passed"  # what is live learned from it
_DECIDED = "decided"  # before there were such files
_FOLDER: Final = "judged"


def note_judged(settings: Settings, first: Hour, outcome: str, sentence: str) -> Path:
    """Note what became of the hours that begin with ``first``; again changes nothing but that."""
    folder = settings.path(_FOLDER)
    if not folder.is_dir():
        # Whole or not at all: once the folder is there, decisions are not asked any more.
        prepared = folder.with_name(f".{_FOLDER}")
        prepared.mkdir(parents=True, exist_ok=True)
        for hour in sorted(set(_decided(settings))):
            _note(prepared, hour, _DECIDED, "see the decisions")
        prepared.rename(folder)
    return _note(folder, first, outcome, sentence)


def judged_hours(settings: Settings, within: HourRange | None = None) -> set[Hour]:
    """First hours of what was judged; of those within a range each is asked for by its name."""
    folder = settings.path(_FOLDER)
    if not folder.is_dir():
        return set(_decided(settings))
    if within is not None:
        return {hour for hour in within if (folder / f"{hour}.json").is_file()}
    return {hour for path in folder.glob("[0-9]*.json") if (hour := _hour(path)) is not None}


def _note(folder: Path, first: Hour, outcome: str, sentence: str) -> Path:
    content = {"first": str(first), "outcome": outcome, "sentence": sentence}
    return write_text(folder / f"{first}.json", json.dumps(content, indent=1) + "\n")


def _decided(settings: Settings) -> Iterator[Hour]:
    return (hour for hour, _ in dated_records(settings.path("decisions")))


def _hour(path: Path) -> Hour | None:
    try:
        return Hour.parse(path.stem)
    except UsageError:
        return None
