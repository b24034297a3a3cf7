"""Whose commits a table's snapshots are: those of the lake's own steps carry a mark.

A step that was killed leaves commits that are to be taken back.  What another program committed,
say the deletion of a person's rows, never is.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pipeline.hours import DAY_H, US_PER_HOUR, Hour, HourRange, contiguous
from pipeline.lake.tables import TableSpec

if TYPE_CHECKING:
    from pyiceberg.manifest import DataFile
    from pyiceberg.table import Table
    from pyiceberg.table.snapshots import Snapshot

OWN_PREFIX = "hourglass."
# In a commit of an ingest that took events away: what it says instead counts at once.
WITHDRAWN_PROPERTY = f"{OWN_PREFIX}withdrawn"
# The step that made a commit.
STEP_PROPERTY = f"{OWN_PREFIX}step"
_MARK = f"{OWN_PREFIX}commit"
_MOST_RANGES = 4
REMEDY = (
    "nothing was undone: `hourglass adopt --plan` shows what changed, `hourglass adopt` lets it "
    "stand, and `hourglass backfill` then computes what follows from it"
)


def marked(properties: Mapping[str, str]) -> dict[str, str]:
    """The properties of a commit, with the mark of the lake's own."""
    return {_MARK: "own", **properties}


def own_properties(snapshot: Snapshot) -> dict[str, str]:
    """What a snapshot of the lake's own says; nothing of another program's.

    Before there was the mark, each of the lake's commits carried some other such property.
    """
    properties = snapshot.summary.additional_properties if snapshot.summary else {}
    return {name: text for name, text in properties.items() if name.startswith(OWN_PREFIX)}


def is_own(snapshot: Snapshot) -> bool:
    """Whether the lake itself committed a snapshot."""
    return bool(own_properties(snapshot))


@dataclass(frozen=True)
class Since:
    """The snapshots that lead from a recorded one to the current one, the oldest first.

    ``descends`` is False where the recorded one is no ancestor: the table was set back, or its
    history is gone.  Then nothing leads from there to here.
    """

    snapshots: tuple[Snapshot, ...]
    descends: bool

    @property
    def foreign(self) -> tuple[int, ...]:
        """Ids of those that another program committed."""
        return tuple(each.snapshot_id for each in self.snapshots if not is_own(each))

    @property
    def is_foreign(self) -> bool:
        """Whether another program had a hand in it."""
        return bool(self.foreign) or not self.descends


def ancestry(table: Table) -> Iterator[Snapshot]:
    """The current snapshot and those that it followed, the newest first, as far as they are known.

    One that upkeep let go ends it.
    """
    from pyiceberg.table.snapshots import ancestors_of

    yield from ancestors_of(table.current_snapshot(), table.metadata)


def since(table: Table, recorded: int | None) -> Since:
    """What was committed to a table since a recorded snapshot (None: since it was empty)."""
    chain: list[Snapshot] = []
    for snapshot in ancestry(table):
        if snapshot.snapshot_id == recorded or (recorded is None and _is_empty(snapshot)):
            return Since(tuple(reversed(chain)), descends=True)
        chain.append(snapshot)
    if recorded is not None:
        # What lies below the current one was let stand long ago, or nobody knows of it any more.
        return Since((), descends=False)
    return Since(tuple(reversed(chain)), descends=True)


def _is_empty(snapshot: Snapshot) -> bool:
    properties = snapshot.summary.additional_properties if snapshot.summary else {}
    return properties.get("total-records") == "0"


@dataclass(frozen=True)
class ForeignCommits:
    """What other programs committed to a table since its recorded snapshot.

    ``hours`` are those whose files differ, None where that is not known any more; a table without
    hours has none.  ``rows`` is how many there are more (or fewer), None where not known.
    """

    spec: TableSpec
    recorded: int | None
    current: int | None
    snapshots: tuple[int, ...]
    hours: tuple[HourRange, ...] | None
    rows: int | None
    mixed: bool

    @property
    def sentence(self) -> str:
        """Table, snapshots, and what changed, for people."""
        if self.snapshots:
            ids = ", ".join(map(str, self.snapshots))
            what = f"another program committed snapshot {ids}"
        else:
            what = f"another program set it to snapshot {self.current}"
        rows = "" if self.rows is None else f", {self.rows:+,} rows"
        return f"table {self.spec.name}: {what}{rows}{self._changed}"

    @property
    def _changed(self) -> str:
        if self.hours is None:
            return ", and which hours changed is not known any more"
        if not self.hours:
            return ""
        n = sum(map(len, self.hours))
        shown = ", ".join(map(str, self.hours[:_MOST_RANGES]))
        more = " ..." if len(self.hours) > _MOST_RANGES else ""
        return f", {n:,} hour{'' if n == 1 else 's'} changed ({shown}{more})"


def describe_commits(
    spec: TableSpec,
    recorded: int | None,
    chain: Since,
    current: int | None,
    before: Sequence[DataFile] | None,
    after: Sequence[DataFile],
) -> ForeignCommits:
    """Foreign commits by the files of the table before (None: not known any more) and after."""
    own_first = False
    mixed = False
    for snapshot in chain.snapshots:
        if is_own(snapshot):
            own_first = True
        elif own_first:
            mixed = True
    hours: tuple[HourRange, ...] | None = None
    rows = None
    if before is not None:
        old, new = ({file.file_path: file for file in files} for files in (before, after))
        changed = [file for path, file in (old | new).items() if path not in old.keys() & new]
        hours = tuple(contiguous(hours_of(spec, changed)))
        rows = sum(f.record_count for f in after) - sum(f.record_count for f in before)
    if any(map(is_own, chain.snapshots)):
        # The files tell of what a killed step did too.
        rows = sum(_more_rows(each) for each in chain.snapshots if not is_own(each))
    return ForeignCommits(spec, recorded, current, chain.foreign, hours, rows, mixed)


def _more_rows(snapshot: Snapshot) -> int:
    properties = snapshot.summary.additional_properties if snapshot.summary else {}
    return int(properties.get("added-records", "0")) - int(properties.get("deleted-records", "0"))


def hours_of(spec: TableSpec, files: Iterable[DataFile]) -> set[Hour]:
    """The hours that files hold rows of, by their partitions."""
    if spec.partition is None:
        return set()
    indices = {int(file.partition[0]) for file in files}
    if spec.partition == "hour":
        return {Hour(index // US_PER_HOUR) for index in indices}
    return {Hour(day * DAY_H + h) for day in indices for h in range(DAY_H)}
