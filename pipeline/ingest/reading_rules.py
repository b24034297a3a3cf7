"""By which settings a raw file is read: those that decide what its records become."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import replace

from pipeline.ingest.file_audit import FileAudit
from pipeline.lake.lake import Lake, State
from pipeline.lake.tables import EVENTS, SOURCE_FILES
from pipeline.settings.settings import Settings
from pipeline.sources import Source
from pipeline.sources.lines import line_encoding

#: What every commit of ingest records of the source's settings.
FORMAT_PROPERTY = "hourglass.source"
#: In the place of a digest: other settings than those of the run that found it out.
OTHER_SETTINGS = "other"
# They decide when a record comes too late or again, not what it says.  Those refused for lateness
# are let in by --accept-late; were the limit counted, a new one would read all files again and undo
# what was let in.
_NOT_COUNTED = {"key_window", "max_lateness"}
# What all versions did before there was a setting: not named in a digest, so that theirs stand.
_FORMER_RULES: dict[str, object] = {"equal_records": "duplicates"}


def numbers_equal_records(settings: Settings, source: Source) -> bool:
    """Whether equal records of one file are events of their own."""
    return not source.has_keys and settings.ingest.equal_records == "events"


def reading_digest(settings: Settings, source: Source) -> str:
    """Digest of all settings that decide what a line of a raw file becomes.

    Where the files lie is none of them, nor is a setting at its default, or one that the source
    has no use for.

    Raises:
        UsageError: ``source.encoding`` is no encoding that can be read.
    """
    counted = settings.ingest.model_dump(
        exclude_defaults=True, exclude={*_NOT_COUNTED, *_FORMER_RULES}
    )
    if numbers_equal_records(settings, source):
        counted["equal_records"] = settings.ingest.equal_records
    rules = {
        "source": source.rules(),
        "encoding": line_encoding(settings.source.encoding),
        "ingest": counted,
    }
    text = json.dumps(rules, sort_keys=True, ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def with_readers(
    lake: Lake, settings: Settings, audits: Iterable[FileAudit], source: Source, state: State
) -> tuple[list[FileAudit], int]:
    """The accounts, also those of versions that did not record by which settings a file was read.

    Such a file is taken for read by the settings of the last run of ingest.  Where that did not
    record them either, it is taken for read by today's; how many files that befalls is the second
    value.  What has become a setting since it did as all did then.
    """
    audits = list(audits)
    if all(account.read_by is not None for account in audits):
        return audits, 0
    commits = (lake.properties(spec, state) for spec in (SOURCE_FILES, EVENTS))
    recorded = next(
        (properties[FORMAT_PROPERTY] for properties in commits if FORMAT_PROPERTY in properties),
        None,
    )
    same = recorded is None or recorded == settings.digest("source")
    then = settings.ingest.model_copy(update=_FORMER_RULES)
    of_then = reading_digest(settings.model_copy(update={"ingest": then}), source)
    former = of_then if same else OTHER_SETTINGS
    silent = {account.source_file for account in audits if account.read_by is None}
    resolved = [
        replace(account, read_by=former) if account.read_by is None else account
        for account in audits
    ]
    return resolved, len(silent) if recorded is None else 0
