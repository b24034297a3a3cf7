"""The books: for each raw file, what became of its records, kept true as other files arrive.

An event belongs to the first of its records by file and line.  When a file that sorts earlier
brings it too, its former owner has one accepted record less and one duplicate more.  So at any
time ``records = accepted + duplicates + quarantined + ignored`` for each file, and the accepted
records of all files are the rows of ``events``.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, fields, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pyarrow as pa

from pipeline.errors import HourglassError
from pipeline.lake.lake import Lake, State
from pipeline.lake.tables import SOURCE_FILES
from pipeline.text.wording import counted, verb

COUNTS = ("records", "accepted", "duplicates", "quarantined", "ignored")
_MOST_FILES = 64
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class FileAudit:
    """A row of ``source_files``: one content of one raw file."""

    source_file: str
    arrival: datetime
    modified: datetime
    bytes: int
    sha256: str
    records: int
    accepted: int
    duplicates: int
    quarantined: int
    #: Digest of the settings that it was read by; None where that was not recorded.
    read_by: str | None = None
    #: Records that another program took out of the tables since; and which one, how.
    removed: int = 0
    removed_by: str | None = None
    #: Records that are none of our business (``source.ignore``).
    ignored: int = 0


Versions = dict[str, list[FileAudit]]


def read_audits(lake: Lake, state: State | None = None) -> list[FileAudit]:
    """Every account that the lake keeps."""
    rows = lake.arrow(SOURCE_FILES, state=state)
    columns = (_values(rows[field.name], field.default) for field in fields(FileAudit))
    return [FileAudit(*values) for values in zip(*columns, strict=True)]


def _values(column: pa.ChunkedArray, default: object) -> list[Any]:
    """A column as Python has it; a null of before there was the column is its default.

    Arrow takes several times as long to make a time with its zone, and a year has thousands.
    """
    if pa.types.is_timestamp(column.type):
        return [_EPOCH + timedelta(microseconds=us) for us in column.cast(pa.int64()).to_pylist()]
    is_count = pa.types.is_integer(column.type) and default == 0
    return list((column.fill_null(0) if is_count else column).to_pylist())


def versions_of(audits: Iterable[FileAudit]) -> Versions:
    """The accounts of each file, its oldest content first."""
    versions: Versions = defaultdict(list)
    for account in audits:
        versions[account.source_file].append(account)
    for audits_of_file in versions.values():
        if len(audits_of_file) > 1:
            audits_of_file.sort(key=lambda each: (each.arrival, each.modified, each.sha256))
    return dict(versions)


def check_records(audits: Iterable[FileAudit]) -> None:
    """Every record that was read must have become something.

    Raises:
        HourglassError: those of a file do not add up.
    """
    for account in audits:
        accounted = account.accepted + account.duplicates + account.quarantined + account.ignored
        if account.records != accounted:
            raise HourglassError(
                f"{account.source_file}: {counted(account.records, 'record')} "
                f"{verb(account.records, 'was', 'were')} read but {accounted} "
                "accounted for; nothing was committed: please report this with the file"
            )


def reconcile(
    versions: Iterable[FileAudit], displaced: int, replaced: Collection[str] = ()
) -> list[FileAudit]:
    """The accounts of one file's known contents, oldest first, after it has lost events.

    Args:
        versions: the accounts as they stand, oldest content first.
        displaced: how many of the file's events now belong to another record.
        replaced: digests of contents whose account goes; what they own besides the displaced
            falls to the others.
    """
    versions = list(versions)
    owned = max(sum(account.accepted for account in versions) - displaced, 0)
    remaining = [account for account in versions if account.sha256 not in replaced]
    accepted = []
    for account in remaining:
        # The oldest keep theirs, so the newest content is the one to lose.
        accepted.append(min(owned, account.accepted))
        owned -= accepted[-1]
    for at, account in enumerate(remaining):
        more = min(owned, account.accepted + account.duplicates - accepted[at])
        accepted[at] += more
        owned -= more
    return [
        replace(account, accepted=now, duplicates=account.duplicates + account.accepted - now)
        for account, now in zip(remaining, accepted, strict=True)
    ]


def reconcile_all(
    versions: Versions, displaced: Mapping[str, int], replaced: Mapping[str, Collection[str]]
) -> Versions:
    """:func:`reconcile` for all files; the other two arguments are by file, where there are any."""
    return {
        name: reconcile(audits_of_file, displaced.get(name, 0), replaced.get(name, ()))
        if name in displaced or name in replaced
        else audits_of_file
        for name, audits_of_file in versions.items()
    }


def removed_from(
    versions: Versions, column: str, removed: Mapping[str | None, int], by: str
) -> Versions:
    """The accounts after another program took rows out of a table, or put some in.

    Args:
        versions: the accounts of each file, its oldest content first.
        column: what the rows were counted as, ``accepted`` or ``quarantined``.
        removed: how many of each file's rows are gone; below 0 where there are more.
        by: who did it.

    Returns:
        All accounts; of a file with several contents the newest is the first to lose.  Rows of
        files that were never taken in have an account of their own.
    """
    settled = dict(versions)
    for name, gone in removed.items():
        file = name or "(no source_file)"
        audits_of_file = list(settled.get(file, ())) or [_unknown(file)]
        left = gone
        for at in reversed(range(len(audits_of_file))):
            count = getattr(audits_of_file[at], column)
            less = left if at == 0 or left < 0 else min(left, count)
            left -= less
            if less:
                removers = (
                    by
                    if audits_of_file[at].removed_by is None
                    else f"{audits_of_file[at].removed_by}; {by}"
                )
                changed: dict[str, Any] = {
                    column: count - less,
                    "removed": audits_of_file[at].removed + less,
                    "removed_by": removers,
                }
                audits_of_file[at] = replace(audits_of_file[at], **changed)
        settled[file] = audits_of_file
    return settled


def _unknown(file: str) -> FileAudit:
    return FileAudit(file, _EPOCH, _EPOCH, 0, "", 0, 0, 0, 0)


def check_events(
    before: Versions,
    reconciled: Versions,
    arrived: Iterable[FileAudit],
    rows_before: int,
    rows_now: int,
) -> None:
    """What the files own must be what ``events`` holds, if it was so before.

    Raises:
        HourglassError: it no longer would be.
    """
    was_consistent = _accepted(*before.values()) == rows_before
    accepted = _accepted(*reconciled.values(), arrived)
    if was_consistent and accepted != rows_now:
        raise HourglassError(
            f"events would hold {counted(rows_now, 'row')} but the files account for {accepted} "
            "of them; nothing was committed: please report this"
        )


def _accepted(*accounts: Iterable[FileAudit]) -> int:
    return sum(account.accepted for each in accounts for account in each)


def commit_audits(
    lake: Lake,
    recorded: Versions,
    reconciled: Versions,
    arrived: Iterable[FileAudit],
    made_by: Mapping[str, str],
    all_again: bool = False,
) -> None:
    """Add the accounts of what has arrived, and put the settled ones in place of the known.

    ``all_again`` writes the known ones also where none has changed: the table lacks a column.
    """
    rows = audit_rows(arrived)
    if not all_again and recorded == reconciled and len(lake.files(SOURCE_FILES)) < _MOST_FILES:
        lake.append(SOURCE_FILES, rows, made_by)
        return
    # Also when there are many: hourly runs would leave thousands of small files, and each run
    # reads them all.
    standing = audit_rows(account for each in reconciled.values() for account in each)
    lake.overwrite(SOURCE_FILES, "true", pa.concat_tables([standing, rows]), made_by)


def audit_rows(audits: Iterable[FileAudit]) -> pa.Table:
    """The accounts as rows of ``source_files``."""
    rows: list[dict[str, Any]] = [vars(account) for account in audits]
    return pa.Table.from_pylist(rows, schema=SOURCE_FILES.schema)
