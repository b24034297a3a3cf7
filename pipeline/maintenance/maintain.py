"""Upkeep of a lake and its work folder: expire, compact, and remove what nobody needs any more.

Only the lake's one writer may call :func:`maintain`.  Every change is whole by itself (a commit, a
rename, the removal of a file that nothing names), so a killed upkeep leaves a sound lake, and the
next one does the rest.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from pipeline.dataset.manifest import read_state
from pipeline.hours import parse_duration_h
from pipeline.lake.lake import Lake
from pipeline.maintenance.compact import Fragments, compact, fragments
from pipeline.maintenance.expire import Snapshots, expire, expired_snapshots, retained_snapshots
from pipeline.maintenance.orphans import OrphanFile, check_folders, find_orphans, remove_files
from pipeline.maintenance.unused_datasets import (
    old_datasets,
    old_scratch,
    pinned_parts,
    remove_folder,
)
from pipeline.settings.settings import Settings
from pipeline.text.wording import counted

_MIB = 1 << 20
_REMOVED = (("file", ""), ("data set", ""), ("leftover", " of killed runs"))


@dataclass(frozen=True)
class ModelInputs:
    """What recorded models were trained from: ids of data sets, snapshot ids by table."""

    datasets: frozenset[str] = frozenset()
    snapshots: Snapshots = field(default_factory=dict)


@dataclass(frozen=True)
class MaintenanceResult:
    """What there is to do, or what was done; ``undone`` are tables whose last step was taken back.

    ``files`` hold nothing that a remaining snapshot needs, ``scratch`` is what killed runs left.
    """

    fragments: Sequence[Fragments]
    snapshots: Snapshots
    files: Sequence[OrphanFile]
    datasets: Sequence[OrphanFile]
    scratch: Sequence[OrphanFile]
    undone: Sequence[str] = ()

    @property
    def freed_bytes(self) -> int:
        """Size of all that is removed."""
        return sum(each.bytes for removed in self._removed for each in removed)

    @property
    def sentence(self) -> str:
        """Counts and MiB for people; empty where there is nothing."""
        joined = sum(len(fragment.files) for fragment in self.fragments)
        counts = (
            (len(self.undone), "unfinished commit", " taken back"),
            (joined, "small file", f" joined into {len(self.fragments)}"),
            (sum(map(len, self.snapshots.values())), "snapshot", " expired"),
            *(
                (len(removed), name, f"{of} removed ({_mib(removed)} MiB)")
                for removed, (name, of) in zip(self._removed, _REMOVED, strict=True)
            ),
        )
        return ", ".join(f"{counted(count, what)}{rest}" for count, what, rest in counts if count)

    @property
    def facts(self) -> Mapping[str, Any]:
        """The same for machines; sizes in bytes."""
        names = ("files", "datasets", "scratch")
        removed = {
            name: {"count": len(items), "bytes": sum(each.bytes for each in items)}
            for name, items in zip(names, self._removed, strict=True)
        }
        return {
            "undone": list(self.undone),
            "joined_files": sum(len(fragment.files) for fragment in self.fragments),
            "joined_into": len(self.fragments),
            "joined_bytes": sum(fragment.bytes for fragment in self.fragments),
            "snapshots": {name: len(ids) for name, ids in sorted(self.snapshots.items())},
            **removed,
            "freed_bytes": self.freed_bytes,
        }

    @property
    def _removed(self) -> tuple[Sequence[OrphanFile], ...]:
        return (self.files, self.datasets, self.scratch)


def plan_maintenance(
    lake: Lake, settings: Settings, trained_from: ModelInputs, clock: datetime
) -> MaintenanceResult:
    """What :func:`maintain` would do; changes nothing, and may run beside a writer.

    Raises:
        HourglassError: the tables do not lie where the lake says, or lack files.
    """
    rules, work = settings.maintain, settings.work.absolute()
    keep_from = clock - timedelta(hours=parse_duration_h(rules.keep))
    grace_from_s = (clock - timedelta(hours=parse_duration_h(rules.grace))).timestamp()
    check_folders(lake)
    pinned = _joined(
        trained_from.snapshots,
        *(_lineage(dataset) for dataset in pinned_parts(work, trained_from.datasets)),
    )
    retained = retained_snapshots(lake, int(keep_from.timestamp() * 1000), pinned)
    return MaintenanceResult(
        fragments=fragments(lake, rules.target_mib * _MIB),
        snapshots=expired_snapshots(lake, retained),
        files=find_orphans(lake, retained, grace_from_s),
        datasets=old_datasets(work, trained_from.datasets, keep_from.timestamp()),
        scratch=old_scratch(work, grace_from_s),
    )


def maintain(
    lake: Lake, settings: Settings, trained_from: ModelInputs, clock: datetime
) -> MaintenanceResult:
    """Take back what a killed step left, compact, expire and remove; returns what was done.

    A reader keeps what it sees: any state that was current within ``maintain.keep`` of ``clock``
    stays readable as a whole, and so does whatever models were trained from.

    Raises:
        HourglassError: as :func:`plan_maintenance`; or a rewritten file does not read back as it
            should.
    """
    check_folders(lake)
    undone = tuple(lake.undo_unfinished())
    joined = fragments(lake, settings.maintain.target_mib * _MIB)
    compact(lake, joined)
    # Only now, because what compaction replaces must stay as long as any replaced state.
    plan = plan_maintenance(lake, settings, trained_from, clock)
    expire(lake, plan.snapshots)
    remove_files(plan.files)
    for folder in (*plan.datasets, *plan.scratch):
        remove_folder(folder.path)
    return MaintenanceResult(
        joined, plan.snapshots, plan.files, plan.datasets, plan.scratch, undone
    )


def _lineage(dataset: Path) -> Snapshots:
    """The snapshots that a data set was frozen from."""
    return {
        name: frozenset({snapshot_id})
        for name, snapshot_id in read_state(dataset).items()
        if snapshot_id is not None
    }


def _joined(*parts: Snapshots) -> Snapshots:
    joined: dict[str, frozenset[int]] = defaultdict(frozenset)
    for snapshots in parts:
        for name, ids in snapshots.items():
            joined[name] |= ids
    return joined


def _mib(removable: Sequence[OrphanFile]) -> str:
    return f"{sum(each.bytes for each in removable) / _MIB:,.1f}"
