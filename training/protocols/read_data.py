"""From a folder of raw files to what the logs of a protocol ask."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from pipeline.errors import UsageError, suggest
from training.protocols.events import Log
from training.protocols.metadata import ITEM_FORMATS, MetadataTable, read_items
from training.protocols.preparation import prepared
from training.protocols.protocol import Data, Protocol
from training.protocols.questions import Task, cold_exam_of, exam_of, search_exam_of
from training.protocols.raw_files import FORMATS, ROLES, Format, files_of, read_log
from training.protocols.search.raw_log import SEARCH_LOGS, files_of_search_log, read_search_log
from training.protocols.split_rules import ColdItems, FlaggedQueries


def files_of_logs(raw: Path, protocol: Protocol) -> dict[str, Sequence[Path]]:
    """The files of each log of a protocol that has some at or below a folder.

    Raises:
        UsageError: no log has any, or a format is wrong.
    """
    logs = {name: _files(raw, data) for name, data in protocol.data.items()}
    if not any(logs.values()):
        wanted = {pattern for data in protocol.data.values() for pattern in _patterns(data)}
        raise UsageError(
            f"{raw}: no file of {protocol.id} is there: it reads {', '.join(sorted(wanted))}: give "
            "their folder with --raw"
        )
    return {name: files for name, files in logs.items() if files}


def read_exam(files: Sequence[Path], protocol: Protocol, data: Data) -> tuple[Log, Log, Task]:
    """A log as it was read and as it was prepared, and what is asked of it.

    Raises:
        UsageError: the log is too small for the protocol, or a file or format is not there.
        HourglassError: a file cannot be read.
    """
    rules, split = protocol.preparation_of(data), protocol.split_of(data)
    if (data.format in SEARCH_LOGS) != isinstance(split, FlaggedQueries):
        raise UsageError(
            f"{protocol.id}: the split flagged_queries is of search logs, of format "
            f"{' or '.join(SEARCH_LOGS)}, and they have no other"
        )
    if isinstance(split, FlaggedQueries):
        search = read_search_log(files)
        log = prepared(search.clicks, rules)
        return search.clicks, log, search_exam_of(search, log, protocol, data, split)
    whole = read_log(files, _format(data), rules.gap_s, data.event_types)
    log, items = prepared(whole, rules), _items(files, data)
    if isinstance(split, ColdItems):
        return whole, log, cold_exam_of(log, protocol, data, split.seed, items)
    return whole, log, exam_of(log, protocol, data, items)


def _patterns(data: Data) -> Sequence[str]:
    if data.format in SEARCH_LOGS:
        return SEARCH_LOGS[data.format].patterns
    return data.files or _format(data).files


def _files(raw: Path, data: Data) -> Sequence[Path]:
    if data.format in SEARCH_LOGS:
        return files_of_search_log(raw, SEARCH_LOGS[data.format])
    return files_of(raw, _patterns(data))


def _items(events: Sequence[Path], data: Data) -> MetadataTable | None:
    """What the files beside those of the events say of items.

    Raises:
        UsageError: there is no such format or file.
    """
    if data.items is None:
        return None
    if data.items not in ITEM_FORMATS:
        raise UsageError(
            f"items {data.items!r}{suggest(data.items, ITEM_FORMATS)}: use one of "
            f"{', '.join(ITEM_FORMATS)}"
        )
    form = ITEM_FORMATS[data.items]
    patterns = data.item_files or form.files
    folders = sorted({path.parent for path in events})
    files = [path for folder in folders for path in files_of(folder, patterns)]
    if not files:
        raise UsageError(
            f"{folders[0]}: no file {' or '.join(patterns)} is there, which says what the items "
            "are: put it beside the events"
        )
    return read_items(files, form)


def _format(data: Data) -> Format:
    """The format of a log, with what the protocol says otherwise.

    Raises:
        UsageError: there is no such format, or a column's role is unknown.
    """
    if data.format == "own" and data.columns is not None:
        form = Format(data.files, data.columns)
    elif data.format in FORMATS:
        form = FORMATS[data.format]
    else:
        formats = {**FORMATS, **SEARCH_LOGS}
        raise UsageError(
            f"format {data.format!r}{suggest(data.format, formats)}: use one of "
            f"{', '.join(formats)}, or own with files and columns"
        )
    changes = {
        name: value
        for name in ("columns", "separator", "header", "time")
        if (value := getattr(data, name)) is not None
    }
    form = replace(form, **changes)
    roles = set(form.columns) | ({"item"} if form.item_lines else set())
    wrong = roles - set(ROLES) or {"user", "item", "time"} - roles
    if wrong:
        raise UsageError(
            f"columns: {sorted(wrong)[0]}: name user, item and time, and perhaps type and value"
        )
    return form
