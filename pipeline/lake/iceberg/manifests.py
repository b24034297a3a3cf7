"""How a table lists its files: a few short lists, each of hours that lie together.

Iceberg's library joins short lists into one of up to 8 MiB, which whoever looks for the files of
one hour reads whole: after a year of hours, some nine thousand entries at each look.  Here a list
is full at 96 files and stays; newer ones are joined when they are eight, in the order of their
hours.  A list names the first and last hour in it, so of the full ones only those are opened that
may hold what is looked for.

Example: after 200 hours by the hour there are lists of hours 1 to 96 and 97 to 192, and at most
seven short ones of those since.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from pyiceberg.manifest import ManifestContent, ManifestEntry, ManifestEntryStatus

if TYPE_CHECKING:
    from pyiceberg.manifest import ManifestFile
    from pyiceberg.table.update.snapshot import _SnapshotProducer

# Of the two, one costs each look at a table, the other each look at an hour: the square root of a
# year's hours is least.
FULL_FILES = 96
MOST_SHORT = 8


def arranged(
    producer: _SnapshotProducer[Any], manifests: Iterable[ManifestFile]
) -> list[ManifestFile]:
    """The manifests of a snapshot that is being made: short ones joined, overlong ones cut.

    What names nothing that is still there is left out.
    """
    living = [
        manifest
        for manifest in manifests
        if manifest.added_snapshot_id == producer.snapshot_id
        or manifest.has_added_files()
        or manifest.has_existing_files()
    ]
    by_spec: dict[int, list[ManifestFile]] = {}
    for manifest in living:
        if manifest.content == ManifestContent.DATA:
            by_spec.setdefault(manifest.partition_spec_id, []).append(manifest)
    joined: list[ManifestFile] = []
    gone: set[str] = set()
    for spec_id, of_spec in by_spec.items():
        rewriting = _to_rewrite(of_spec)
        joined += _rewritten(producer, spec_id, rewriting)
        gone.update(manifest.manifest_path for manifest in rewriting)
    return [*joined, *(manifest for manifest in living if manifest.manifest_path not in gone)]


def _to_rewrite(manifests: Sequence[ManifestFile]) -> list[ManifestFile]:
    # One that only tells what is gone is left out of the next snapshot.
    short = [manifest for manifest in manifests if 0 < _files(manifest) < FULL_FILES]
    overlong = [manifest for manifest in manifests if _files(manifest) >= 2 * FULL_FILES]
    return short + overlong if overlong or len(short) >= MOST_SHORT else []


def _files(manifest: ManifestFile) -> int:
    return (manifest.added_files_count or 0) + (manifest.existing_files_count or 0)


def _rewritten(
    producer: _SnapshotProducer[Any], spec_id: int, manifests: Sequence[ManifestFile]
) -> Iterator[ManifestFile]:
    """The entries of manifests in new ones, each full but for the last, in order of partitions."""
    entries = [entry for manifest in manifests for entry in producer.fetch_manifest_entry(manifest)]
    entries.sort(key=_order)
    for first in range(0, len(entries), FULL_FILES):
        with producer.new_manifest_writer(producer.spec(spec_id)) as writer:
            for entry in entries[first : first + FULL_FILES]:
                is_new = entry.status == ManifestEntryStatus.ADDED
                if is_new and entry.snapshot_id == producer.snapshot_id:
                    writer.add(entry)
                else:
                    writer.existing(entry)
        yield writer.to_manifest_file()


def _order(entry: ManifestEntry) -> tuple[tuple[bool, Any], ...]:
    partition = entry.data_file.partition
    values = [partition[nth] for nth in range(len(partition))]
    return tuple((value is not None, value if value is not None else 0) for value in values)


def partition_span(manifests: Iterable[ManifestFile]) -> tuple[int, int] | None:
    """The least and the greatest partition that manifests tell of, as the numbers that they are.

    No manifest is opened.  What is gone by now may count, so either may be further out than need
    be.
    """
    bounds = [
        int.from_bytes(bound, "little", signed=True)
        for manifest in manifests
        for partition in manifest.partitions or ()
        for bound in (partition.lower_bound, partition.upper_bound)
        if bound is not None
    ]
    return (min(bounds), max(bounds)) if bounds else None
