"""Which snapshots of the tables must stay, and the expiry of all others.

What a reader may still be on is decided by when a snapshot was *replaced*, not by when it was made:
the state of a lake that rested for a month has readers until the next step commits.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Mapping
from contextlib import suppress
from typing import TYPE_CHECKING

from pipeline.errors import HourglassError
from pipeline.lake.lake import STATE_PROPERTY, Lake
from pipeline.lake.tables import ALL_TABLES, FILLED_HOURS

if TYPE_CHECKING:
    from pyiceberg.table import Table
    from pyiceberg.table.metadata import TableMetadata

# Snapshot ids by the name of their table.
Snapshots = Mapping[str, frozenset[int]]


def retained_snapshots(lake: Lake, replaced_since_ms: int, pinned: Snapshots) -> Snapshots:
    """The snapshots that must stay, for every table.

    These are: the current one; those replaced at or after ``replaced_since_ms`` (milliseconds since
    1970) and those made since; heads of branches and tags; the ``pinned`` ones; and, for every
    snapshot of ``filled_hours`` that stays, those of all tables which it names.
    """
    metadata = {spec.name: lake.table(spec).metadata for spec in ALL_TABLES}
    staying = {
        name: (_in_use(table_metadata, replaced_since_ms) | pinned.get(name, frozenset()))
        & _ids(table_metadata)
        for name, table_metadata in metadata.items()
    }
    states = metadata[FILLED_HOURS.name]
    for snapshot in states.snapshots:
        state = snapshot.summary[STATE_PROPERTY] if snapshot.summary else None
        if snapshot.snapshot_id not in staying[FILLED_HOURS.name] or state is None:
            continue
        for name, snapshot_id in json.loads(state).items():
            if name in staying and snapshot_id in _ids(metadata[name]):
                staying[name] |= {snapshot_id}
    return staying


def expired_snapshots(lake: Lake, retained: Snapshots) -> Snapshots:
    """The snapshots that need not stay, for every table that has some."""
    existing = {spec.name: _ids(lake.table(spec).metadata) for spec in ALL_TABLES}
    left = {name: ids - retained[name] for name, ids in existing.items()}
    return {name: ids for name, ids in left.items() if ids}


def expire(lake: Lake, expired: Snapshots) -> None:
    """Take snapshots out of their tables' metadata, one commit a table; their files stay.

    Raises:
        HourglassError: another program committed to a table meanwhile.
    """
    # States first: none that is left may name a snapshot that is gone.
    for spec in sorted(ALL_TABLES, key=lambda spec: spec.name != FILLED_HOURS.name):
        if spec.name in expired:
            _expire(lake, lake.table(spec), expired[spec.name])


def _expire(lake: Lake, table: Table, ids: frozenset[int]) -> None:
    """One update of the metadata.

    PyIceberg's own ``maintenance.expire_snapshots`` needs 1.8 s where this needs 0.03 s (98 of 103
    snapshots, PyIceberg 0.12): it copies all metadata for every single snapshot.  And it
    commits although another program has made a commit, a branch or a tag meanwhile.
    """
    from pyiceberg.exceptions import CommitFailedException
    from pyiceberg.table.update import AssertRefSnapshotId, RemoveSnapshotsUpdate

    refs = table.metadata.refs
    unchanged = tuple(
        AssertRefSnapshotId(ref=name, snapshot_id=ref.snapshot_id) for name, ref in refs.items()
    )
    # Branches and tags would go with what they point to.
    ids -= {ref.snapshot_id for ref in refs.values()}
    try:
        done = lake.catalog.commit_table(
            table, unchanged, (RemoveSnapshotsUpdate(snapshot_ids=ids),)
        )
    except CommitFailedException as error:
        raise HourglassError(
            f"table {table.name()[-1]}: another program committed while its snapshots were being "
            "expired; nothing was lost: run `hourglass maintain` again"
        ) from error
    # As every commit through a table does it: the oldest version makes room for the newest.
    listed = {entry.metadata_file for entry in done.metadata.metadata_log}
    for entry in table.metadata.metadata_log:
        if entry.metadata_file not in listed:
            with suppress(FileNotFoundError):
                table.io.delete(entry.metadata_file)


def _ids(metadata: TableMetadata) -> frozenset[int]:
    return frozenset(snapshot.snapshot_id for snapshot in metadata.snapshots)


def _in_use(metadata: TableMetadata, since_ms: int) -> frozenset[int]:
    replaced = {
        former.snapshot_id
        for former, following in itertools.pairwise(metadata.snapshot_log)
        if following.timestamp_ms >= since_ms
    }
    recent = {s.snapshot_id for s in metadata.snapshots if s.timestamp_ms >= since_ms}
    heads = {ref.snapshot_id for ref in metadata.refs.values()}
    current = metadata.current_snapshot()
    return frozenset(replaced | recent | heads | ({current.snapshot_id} if current else set()))
