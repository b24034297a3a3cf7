"""The lake: Iceberg tables whose files Spark writes and PyIceberg commits.

A step replaces the partitions of its hours in one transaction per table.  Steps that fill several
tables commit ``filled_hours`` last, with the snapshot ids of all the others; who reads through
:meth:`Lake.state` therefore sees every table as one step left it, never half of a step.
"""

from __future__ import annotations

import json
import uuid
import warnings
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, fields
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.errors import HourglassError
from pipeline.hours import DAY_H, US_PER_HOUR, Hour, HourRange, contiguous
from pipeline.lake.catalog import NAMESPACE, open_catalog
from pipeline.lake.commits import (
    REMEDY,
    STEP_PROPERTY,
    WITHDRAWN_PROPERTY,
    ForeignCommits,
    Since,
    ancestry,
    describe_commits,
    is_own,
    marked,
    own_properties,
    since,
)
from pipeline.lake.location import local_path
from pipeline.lake.parquet_files import HourFile, read_by_hour, read_file, write_by_hour
from pipeline.lake.table_use import TableUse
from pipeline.lake.tables import (
    ADDED_LATER,
    ALL_TABLES,
    FILLED_HOURS,
    KNOWLEDGE_TABLES,
    RECOMMENDATIONS,
    STEP_TABLES,
    TIMESTAMP,
    TableSpec,
)

if TYPE_CHECKING:
    from pyiceberg.catalog.sql import SqlCatalog
    from pyiceberg.expressions import BooleanExpression
    from pyiceberg.manifest import DataFile
    from pyiceberg.table import Table, TableScan, Transaction
    from pyiceberg.table.snapshots import Snapshot
    from pyiceberg.table.update.snapshot import _SnapshotProducer
    from pyspark.sql import DataFrame, SparkSession

STATE_PROPERTY = "hourglass.tables"
_STABLE_PROPERTY = "hourglass.settled"
State = Mapping[str, int | None]
# A range, or ranges in order.
Hours = HourRange | Sequence[HourRange]
# More files than these are not replaced one by one: Iceberg names each of their partitions.
_FEW_FILES = 64


@dataclass(frozen=True)
class FilledHour:
    """What a step recorded of one hour."""

    input_digest: str
    output_digest: str
    state_digest: str
    config_digest: str
    rows: int


@dataclass(frozen=True)
class Lake:
    """The catalog and the folder of the table files."""

    catalog_uri: str
    warehouse: Path
    used: TableUse = field(default_factory=TableUse, compare=False, repr=False)
    _opened: dict[str, SqlCatalog] = field(default_factory=dict, compare=False, repr=False)

    @property
    def catalog(self) -> SqlCatalog:
        """The Iceberg catalog, opened (and on first use created) with all its tables."""
        if "catalog" not in self._opened:
            self._opened["catalog"] = open_catalog(self.catalog_uri, self.warehouse)
        return self._opened["catalog"]

    def table(self, spec: TableSpec) -> Table:
        """The current version of a table."""
        return self.catalog.load_table(f"{NAMESPACE}.{spec.name}")

    def snapshots(self) -> dict[str, int | None]:
        """Current snapshot id of every table (None: still empty)."""
        return {spec.name: _snapshot_id(self.table(spec)) for spec in ALL_TABLES}

    def snapshot(self, spec: TableSpec) -> int | None:
        """Current snapshot id of a table (None: still empty)."""
        return _snapshot_id(self.table(spec))

    def versions(self) -> dict[str, str]:
        """What any commit to a table, or the loss of one, changes; lists for people aside."""
        of_steps = (spec for spec in ALL_TABLES if spec != RECOMMENDATIONS)
        return {spec.name: self.table(spec).metadata_location for spec in of_steps}

    def properties(self, spec: TableSpec, state: State | None = None) -> Mapping[str, str]:
        """What the table's last commit (as of a state) recorded of itself; empty before any."""
        table = self.table(spec)
        snapshot_id = _snapshot_id(table) if state is None else state.get(spec.name)
        snapshot = None if snapshot_id is None else table.snapshot_by_id(snapshot_id)
        if snapshot is None or snapshot.summary is None:
            return {}
        return dict(snapshot.summary.additional_properties)

    def stable_from(self, rules: str, state: State | None = None) -> Hour | None:
        """Hour before which all sessions were found to be right, made by these rules, if any."""
        text = self.properties(FILLED_HOURS, state).get(_STABLE_PROPERTY)
        if text is None or text.split()[0] != rules:
            return None
        return Hour(int(text.split()[1]))

    def state(self) -> State:
        """Snapshot ids of the tables as the last finished step left them.

        Raises:
            HourglassError: another program committed to the table that records them.
        """
        snapshot = self.table(FILLED_HOURS).current_snapshot()
        if snapshot is None:
            return dict.fromkeys((spec.name for spec in ALL_TABLES), None)
        recorded = _state_of(snapshot)
        if recorded is None:
            raise HourglassError(
                f"table {FILLED_HOURS.name}: its snapshot {snapshot.snapshot_id} was committed by "
                f"another program; {REMEDY}"
            )
        return recorded

    def holds(self, state: State) -> bool:
        """Whether what was recorded of the hours in a state can still be read."""
        snapshot_id = state.get(FILLED_HOURS.name)
        return snapshot_id is not None and (
            self.table(FILLED_HOURS).snapshot_by_id(snapshot_id) is not None
        )

    def base_state(self) -> State | None:
        """The state below what other programs committed to ``filled_hours``; None: it is gone."""
        table = self.table(FILLED_HOURS)
        if table.current_snapshot() is None:
            return self.state()
        return next(filter(None, map(_state_of, ancestry(table))), None)

    def states_before(self, steps: Collection[str]) -> Iterator[State]:
        """States below the last finished steps, the newest first, while those are of ``steps``.

        What took events away is not looked behind.
        """
        for snapshot, former in pairwise(ancestry(self.table(FILLED_HOURS))):
            properties, recorded = own_properties(snapshot), _state_of(former)
            is_of_steps = properties.get(STEP_PROPERTY) in steps
            if not is_of_steps or WITHDRAWN_PROPERTY in properties or recorded is None:
                return
            yield recorded

    def foreign_commits(self, recorded: State | None = None) -> list[ForeignCommits]:
        """What other programs committed since a state (default: the last finished step's).

        Recommendations are left out: nothing is made from them, and nothing takes them back.

        Raises:
            HourglassError: as :meth:`state` and :meth:`files`.
        """
        recorded = self.state() if recorded is None else recorded
        changes = []
        for spec in (*STEP_TABLES, *KNOWLEDGE_TABLES):
            table, before = self.table(spec), recorded.get(spec.name)
            head = table.current_snapshot()
            if before == _snapshot_id(table):
                continue
            if spec in STEP_TABLES:
                chain = since(table, before)
            else:
                # Whole after any one commit, so only the last one counts.
                chain = Since((head,) if head else (), descends=head is not None)
            if chain.is_foreign:
                changes.append(self.describe_foreign(spec, before, chain))
        return changes

    def describe_foreign(
        self, spec: TableSpec, before: int | None, chain: Since | None = None
    ) -> ForeignCommits:
        """What happened to a table since a snapshot, by the commits and by the files."""
        table = self.table(spec)
        chain = since(table, before) if chain is None else chain
        lost = before is not None and table.snapshot_by_id(before) is None
        former = None if lost else self._data_files(spec, state={spec.name: before})
        current = _snapshot_id(table)
        return describe_commits(spec, before, chain, current, former, self._data_files(spec))

    def refuse_foreign(self) -> None:
        """Stop where another program committed: what follows from it is not computed yet.

        Raises:
            HourglassError: one did, since the last finished step.
        """
        if changes := self.foreign_commits():
            raise HourglassError(f"{'; '.join(each.sentence for each in changes)}; {REMEDY}")

    def undo_unfinished(self) -> list[str]:
        """Take back what a step committed before it was killed; the names of the tables mended.

        Only the lake's one writer may call this: what a living step has committed so far looks
        the same.  The files that are given up stay where they are.

        Raises:
            HourglassError: another program committed, which is never taken back.
        """
        self.refuse_foreign()
        recorded = self.state()
        return [spec.name for spec in STEP_TABLES if self.roll_back(spec, recorded.get(spec.name))]

    def roll_back(self, spec: TableSpec, before: int | None) -> bool:
        """Let a table be as it was in a snapshot (None: empty); whether that changed anything."""
        table = self.table(spec)
        if _snapshot_id(table) in (None, before):
            return False
        if before is not None:
            with _alone(spec), table.manage_snapshots() as snapshots:
                snapshots.set_current_snapshot(before)
        elif any(True for _ in table.scan().plan_files()):
            with _alone(spec):
                table.delete(snapshot_properties=marked({}))
        else:
            return False
        return True

    def arrow(
        self,
        spec: TableSpec,
        hours: Hours | None = None,
        state: State | None = None,
        columns: tuple[str, ...] = ("*",),
    ) -> pa.Table:
        """Rows of a table (of some hours) in memory; for tables known to be small."""
        schema = spec.schema if columns == ("*",) else pa.schema(map(spec.schema.field, columns))
        by_row = hours is not None and spec.partition != "hour"
        names = [*schema.names, *({"hour"} - {*schema.names} if by_row else ())]
        # Iceberg's own reader takes several ms a file, and some files hold large strings.
        parts = [read_file(file.path, names) for file in self.files(spec, hours, state)]
        if by_row and hours is not None:
            parts = [rows.filter(_in_hours(rows["hour"], hours)) for rows in parts]
        tables = [rows.select(schema.names).cast(schema) for rows in parts]
        return pa.concat_tables(tables) if tables else schema.empty_table()

    def read(
        self,
        spark: SparkSession,
        spec: TableSpec,
        hours: Hours | None = None,
        state: State | None = None,
    ) -> DataFrame:
        """Rows of a table (of some hours) as a Spark data frame."""
        return read_by_hour(spark, spec.schema, self.files(spec, hours, state))

    def files(
        self, spec: TableSpec, hours: Hours | None = None, state: State | None = None
    ) -> list[HourFile]:
        """The Parquet files that hold the rows.

        Raises:
            HourglassError: another writer left row-level deletes, which plain Parquet readers
                would not see.
        """
        return [_described(file, spec) for file in self._data_files(spec, hours, state)]

    def stage(self, frame: DataFrame, spec: TableSpec) -> list[HourFile]:
        """Write a frame's rows as Parquet files of the table, one hour a file, uncommitted.

        A kill here leaves files that no reader knows of.
        """
        return write_by_hour(frame, spec.schema, self.staging(spec))

    def staging(self, spec: TableSpec) -> str:
        """A new folder, not made yet, for files that :meth:`replace` may commit."""
        # As the table itself names its folder, which may be reached by other names as well.
        folder = Path(local_path(self.table(spec).location()))
        return str(folder / "data" / uuid.uuid4().hex)

    def replace(
        self,
        spec: TableSpec,
        hours: Hours,
        files: Sequence[HourFile],
        properties: Mapping[str, str],
    ) -> None:
        """Put staged files in the place of all rows of the given hours, in one transaction.

        Raises:
            HourglassError: another process committed to the table meanwhile, or upkeep removed a
                file that was staged longer ago than `maintain.grace`.
        """
        from pipeline.lake.iceberg.fast_pyiceberg import AppendFiles, ReplaceFiles

        if lost := next((file.path for file in files if not Path(file.path).is_file()), None):
            raise HourglassError(f"{lost}: removed before it was committed: run the step again")
        properties = marked(properties)
        former = self._data_files(spec, hours)
        if not former and not files:
            return
        with self._committing(spec) as tx:
            if 0 < len(former) <= _FEW_FILES:
                # One snapshot: each is a burden to all later commits.
                with ReplaceFiles(tx, properties) as swap:
                    for file in former:
                        swap.delete_data_file(file)
                    _add(swap, tx, files)
                return
            if former:
                tx.delete(_within(hours), snapshot_properties=dict(properties))
            if files:
                with AppendFiles(tx, properties) as add:
                    _add(add, tx, files)

    def overwrite(
        self,
        spec: TableSpec,
        where: str,
        rows: pa.Table,
        properties: Mapping[str, str],
    ) -> None:
        """Put rows in the place of those that match, in one transaction (small tables)."""
        properties = marked(properties)
        with self._committing(spec) as tx:
            former = tx.table_metadata.current_snapshot_id
            tx.delete(where, snapshot_properties=properties)
            # Nothing in the place of nothing is to be remembered, too.
            if rows.num_rows or tx.table_metadata.current_snapshot_id == former:
                tx.append(rows.cast(spec.schema), snapshot_properties=properties)

    def append(self, spec: TableSpec, rows: pa.Table, properties: Mapping[str, str]) -> None:
        """Add rows in one transaction (small tables)."""
        with self._committing(spec) as tx:
            tx.append(rows.cast(spec.schema), snapshot_properties=marked(properties))

    def adopt_foreign_commit(
        self, spec: TableSpec, expected: int | None, properties: Mapping[str, str]
    ) -> None:
        """Commit nothing on top of another program's commit: from here on it is the lake's own.

        What the last own commit said of the table goes on being said.

        Args:
            spec: the table.
            expected: the snapshot that is to stand, which was looked at.
            properties: what the commit records.

        Raises:
            HourglassError: another one is current by now.
        """
        from pipeline.lake.iceberg.fast_pyiceberg import ReplaceFiles

        table = self.table(spec)
        if _snapshot_id(table) != expected:
            raise _committed_beside(spec, _snapshot_id(table))
        own = next(filter(None, map(own_properties, ancestry(table))), {})
        with (
            self._committing(spec, over_foreign=True) as tx,
            ReplaceFiles(tx, marked({**own, **properties})),
        ):
            pass

    def record_filled(
        self,
        step: str,
        hours: Hours,
        rows: pa.Table,
        properties: Mapping[str, str],
        invalidates: bool = True,
    ) -> None:
        """Mark hours as filled by a step, and make what it committed visible as one state.

        ``rows`` take the place of the step's former rows of these hours.  Each touched day is
        written anew as one file, so that hourly steps do not leave thousands of small ones.
        Sessions of hours from the first one on are no longer taken for settled, unless the step
        changes nothing about sessions or the properties say until where they are.

        Raises:
            HourglassError: another program committed while the step was at work.
        """
        tables = self.snapshots()
        # After the ids are read: what is committed still later is none of this state.
        self.refuse_foreign()
        self._record((step,), hours, rows, properties, tables, invalidates)

    def record_accepted(
        self,
        steps: Sequence[str],
        hours: Hours,
        rows: pa.Table,
        properties: Mapping[str, str],
        former: State,
    ) -> None:
        """As :meth:`record_filled`, of several steps, after other programs' commits.

        They become part of the state; those to ``filled_hours`` too.  ``former`` is the state that
        they were compared with.

        Raises:
            HourglassError: another program committed once more meanwhile, which nobody looked at.
        """
        tables = self.snapshots()
        for spec in (*STEP_TABLES, *KNOWLEDGE_TABLES):
            head = self.table(spec).current_snapshot()
            if head and not is_own(head) and head.snapshot_id != former.get(spec.name):
                raise _committed_beside(spec, head.snapshot_id)
        self._record(steps, hours, rows, properties, tables, True, over_foreign=True)

    def _record(
        self,
        steps: Sequence[str],
        hours: Hours,
        rows: pa.Table,
        properties: Mapping[str, str],
        tables: State,
        invalidates: bool,
        over_foreign: bool = False,
    ) -> None:
        parts = [hours] if isinstance(hours, HourRange) else list(hours)
        state = {k: v for k, v in tables.items() if k != FILLED_HOURS.name}
        changed = [hour_range.first for hour_range in parts if invalidates]
        settled = self._stable_before(min(changed, default=None))
        recorded = {**settled, **properties, STATE_PROPERTY: json.dumps(state)}

        def of_steps(former: pa.Table) -> pa.Array:
            return pc.is_in(former["step"], value_set=pa.array(steps, pa.string()))

        self.rewrite_days(FILLED_HOURS, parts, rows, recorded, of_steps, over_foreign)

    def rewrite_days(
        self,
        spec: TableSpec,
        hours: Hours,
        rows: pa.Table,
        properties: Mapping[str, str],
        replaced: Callable[[pa.Table], pa.Array],
        over_foreign: bool = False,
    ) -> None:
        """Put rows in the place of those former rows of the hours that ``replaced`` marks.

        For tables whose partition is a day: each touched day becomes one file.  ``over_foreign``
        is for who has looked at what another program committed before.
        """
        from pyiceberg.io.pyarrow import _dataframe_to_data_files

        from pipeline.lake.iceberg.fast_pyiceberg import AppendFiles, ReplaceFiles

        properties = marked(properties)
        parts = [hours] if isinstance(hours, HourRange) else list(hours)
        starts = pa.array([hour.start for hour_range in parts for hour in hour_range], TIMESTAMP)
        days = _days_of(parts)
        former = self.arrow(spec, days)
        gone = pc.and_(pc.is_in(former["hour"], value_set=starts), replaced(former))
        merged = pa.concat_tables([former.filter(pc.invert(gone)), rows.cast(spec.schema)])
        files = self._data_files(spec, days)
        with self._committing(spec, over_foreign) as tx:
            many = len(files) > _FEW_FILES
            for day in days if many else []:
                tx.delete(_within(day), snapshot_properties=dict(properties))
            # Even when there is no row: the snapshot may carry what the properties say.
            with (ReplaceFiles if files and not many else AppendFiles)(tx, properties) as swap:
                for file in [] if many else files:
                    swap.delete_data_file(file)
                data_files = _dataframe_to_data_files(
                    table_metadata=tx.table_metadata,
                    df=merged,
                    io=self.table(spec).io,
                    write_uuid=swap.commit_uuid,
                )
                for file in data_files:
                    swap.append_data_file(file)

    @contextmanager
    def _committing(self, spec: TableSpec, over_foreign: bool = False) -> Iterator[Transaction]:
        """A transaction that ends in one commit, on top of none of another program's."""
        table = self.table(spec)
        head = table.current_snapshot()
        judged = not over_foreign and spec != RECOMMENDATIONS
        if judged and head is not None and not is_own(head):
            # One that was let stand is part of the state.
            self.refuse_foreign()
        self.used.written.add(spec.name)
        with _committing(table, spec) as tx:
            yield tx

    def _stable_before(self, hour: Hour | None) -> dict[str, str]:
        text = self.properties(FILLED_HOURS).get(_STABLE_PROPERTY)
        if text is None:
            return {}
        rules, index = text.split()
        return stable_property(rules, min(Hour(int(index)), hour or Hour(int(index))))

    def span(self, spec: TableSpec, state: State | None = None) -> HourRange:
        """Hours outside which the table has no row, as its lists of files tell, unopened."""
        from pipeline.lake.iceberg.manifests import partition_span

        table = self.table(spec)
        snapshot_id = _snapshot_id(table) if state is None else state.get(spec.name)
        snapshot = None if snapshot_id is None else table.snapshot_by_id(snapshot_id)
        ends = None if snapshot is None else partition_span(snapshot.manifests(table.io))
        if ends is None:
            return HourRange(Hour(0), Hour(0))
        first, last = (end // US_PER_HOUR if spec.partition == "hour" else end for end in ends)
        unit_h = 1 if spec.partition == "hour" else DAY_H
        return HourRange(Hour(first * unit_h), Hour((last + 1) * unit_h))

    def filled_steps(
        self, since: Hour | None = None, state: State | None = None
    ) -> dict[str, dict[Hour, FilledHour]]:
        """By step, the hours from ``since`` on that it has filled, and what it recorded of them."""
        hours = None if since is None else HourRange(since, Hour.parse("9999-01-01T00"))
        steps: dict[str, dict[Hour, FilledHour]] = {}
        for step, hour, filled in _filled_rows(self.arrow(FILLED_HOURS, hours, state)):
            steps.setdefault(step, {})[hour] = filled
        return steps

    def filled(
        self, step: str, hours: Hours | None = None, state: State | None = None
    ) -> dict[Hour, FilledHour]:
        """The hours that a step has filled, and what it recorded of them."""
        rows = self.arrow(FILLED_HOURS, hours, state)
        of_step = rows.filter(pc.equal(rows["step"], step))
        return {hour: filled for _, hour, filled in _filled_rows(of_step)}

    def _data_files(
        self, spec: TableSpec, hours: Hours | None = None, state: State | None = None
    ) -> list[DataFile]:
        scan = self._scan(spec, hours, state)
        tasks: list[Any] = [] if scan is None else list(scan.plan_files())
        scattered = None if hours is None else _scattered(hours)
        if scattered is not None and spec.partition is not None:
            by_hour = spec.partition == "hour"
            wanted = {h.index * US_PER_HOUR if by_hour else h.index // DAY_H for h in scattered}
            tasks = [task for task in tasks if task.file.partition[0] in wanted]
        if any(task.delete_files for task in tasks):
            raise HourglassError(
                f"table {spec.name} has row-level deletes, which Hourglass never writes: "
                "rewrite it with the program that made them"
            )
        return [task.file for task in tasks]

    def _scan(self, spec: TableSpec, hours: Hours | None, state: State | None) -> TableScan | None:
        table = self.table(spec)
        snapshot_id = _snapshot_id(table) if state is None else state.get(spec.name)
        if snapshot_id is None or (hours is not None and not hours):
            return None
        # Iceberg's plan of a snapshot that is gone has no files: that would pass for no rows.
        if table.snapshot_by_id(snapshot_id) is None:
            raise HourglassError(
                f"table {spec.name} no longer holds the state that was asked for (snapshot "
                f"{snapshot_id}): upkeep let it go"
            )
        self.used.read.add(spec.name)
        scan = table.scan(snapshot_id=snapshot_id)
        if hours is None:
            return scan
        # Of scattered hours all from the first to the last: Iceberg would work through a set of
        # them anew for each file, which takes minutes for a few thousand.
        whole = hours if isinstance(hours, HourRange) else HourRange(hours[0].first, hours[-1].stop)
        return scan.filter(_within(whole))


def _committed_beside(spec: TableSpec, snapshot_id: int | None) -> HourglassError:
    return HourglassError(
        f"table {spec.name}: another program committed snapshot {snapshot_id} while "
        "`hourglass adopt` was at work; nothing was lost: run it again"
    )


def _state_of(snapshot: Snapshot) -> State | None:
    """The state that a snapshot of ``filled_hours`` records; None in those of other programs."""
    text = snapshot.summary[STATE_PROPERTY] if snapshot.summary else None
    if text is None:
        return None
    recorded: dict[str, int | None] = json.loads(text)
    return recorded | {FILLED_HOURS.name: snapshot.snapshot_id}


def stable_property(rules: str, until: Hour) -> dict[str, str]:
    """What a commit of ``filled_hours`` says when all before an hour is right by these rules."""
    return {_STABLE_PROPERTY: f"{rules} {until.index}"}


def _filled_rows(rows: pa.Table) -> Iterator[tuple[str, Hour, FilledHour]]:
    """Step, hour and what was recorded, column by column: there may be thousands of rows."""
    indices = pc.divide(rows["hour"].cast(pa.int64()), US_PER_HOUR).to_pylist()
    recorded = (rows[field.name].to_pylist() for field in fields(FilledHour))
    for step, index, values in zip(
        rows["step"].to_pylist(), indices, zip(*recorded, strict=True), strict=True
    ):
        yield step, Hour(index), FilledHour(*values)


def _described(file: DataFile, spec: TableSpec) -> HourFile:
    hour = Hour(file.partition[0] // US_PER_HOUR) if spec.partition == "hour" else None
    return HourFile(file.file_path, file.file_size_in_bytes, file.record_count, hour)


def _add(snapshot: _SnapshotProducer[Any], tx: Transaction, files: Sequence[HourFile]) -> None:
    """Add files of known hours, without opening them all again to find out what they hold."""
    from pyiceberg.manifest import DataFile, DataFileContent, FileFormat
    from pyiceberg.typedef import Record

    metadata = tx.table_metadata
    hour_id = metadata.schema().find_field("hour").field_id
    for file in files:
        if file.hour is None:
            raise ValueError(f"{file.path}: only files of an hour can be added")
        hour_us = file.hour.index * US_PER_HOUR
        bound = hour_us.to_bytes(8, "little", signed=True)
        snapshot.append_data_file(
            DataFile.from_args(
                _table_format_version=metadata.format_version,
                content=DataFileContent.DATA,
                file_path=file.path,
                file_format=FileFormat.PARQUET,
                partition=Record(hour_us),
                record_count=file.rows,
                file_size_in_bytes=file.bytes,
                value_counts={hour_id: file.rows},
                null_value_counts={hour_id: 0},
                lower_bounds={hour_id: bound},
                upper_bounds={hour_id: bound},
                spec_id=metadata.default_spec_id,
            )
        )


def _scattered(hours: Hours) -> set[Hour] | None:
    """The hours one by one where they are no single range."""
    if isinstance(hours, HourRange) or len(hours) == 1:
        return None
    return {hour for hour_range in hours for hour in hour_range}


def _in_hours(starts: pa.ChunkedArray, hours: Hours) -> pa.ChunkedArray:
    """Which of some starts of hours (N,) are of the hours, (N,)."""
    scattered = _scattered(hours)
    if scattered is not None:
        return pc.is_in(starts, value_set=pa.array([h.start for h in scattered], TIMESTAMP))
    (hour_range,) = [hours] if isinstance(hours, HourRange) else hours
    first, stop = (pa.scalar(hour.start, TIMESTAMP) for hour in (hour_range.first, hour_range.stop))
    return pc.and_(pc.greater_equal(starts, first), pc.less(starts, stop))


def _days_of(parts: Sequence[HourRange]) -> list[HourRange]:
    """The whole days, joined where they touch, that hold the hours."""
    days = {hour.index // DAY_H for hour_range in parts for hour in hour_range}
    return contiguous(Hour(day * DAY_H + h) for day in days for h in range(DAY_H))


def _snapshot_id(table: Table) -> int | None:
    snapshot = table.current_snapshot()
    return None if snapshot is None else snapshot.snapshot_id


def _within(hours: Hours) -> BooleanExpression:
    """Rows of the hours; a range is two comparisons, scattered hours are one set."""
    from pyiceberg.expressions import In
    from pyiceberg.expressions.parser import parse

    if isinstance(hours, HourRange):
        first, stop = hours.first.start.isoformat(), hours.stop.start.isoformat()
        return parse(f"hour >= '{first}' AND hour < '{stop}'")
    return In(
        term="hour",
        literals={hour.start.isoformat() for hour_range in hours for hour in hour_range},
    )


@contextmanager
def _committing(table: Table, spec: TableSpec) -> Iterator[Transaction]:
    """A transaction that ends in one commit."""
    from pipeline.lake.iceberg.fast_pyiceberg import CachedTransaction

    with _alone(spec), warnings.catch_warnings():
        # Replacing the rows of an hour that had none is what a first run does.
        warnings.filterwarnings("ignore", message="Delete operation did not match")
        with CachedTransaction(table) as tx:
            _add_columns(tx, spec)
            yield tx


def _add_columns(tx: Transaction, spec: TableSpec) -> None:
    """Give a table of an earlier version the columns that came later."""
    from pyiceberg.types import (
        BooleanType,
        DoubleType,
        IcebergType,
        IntegerType,
        LongType,
        StringType,
        TimestamptzType,
    )

    present = tx.table_metadata.schema().column_names
    absent = (ADDED_LATER.keys() & set(spec.schema.names)).difference(present)
    if absent:
        kinds: dict[pa.DataType, IcebergType] = {
            pa.string(): StringType(),
            pa.int32(): IntegerType(),
            pa.int64(): LongType(),
            pa.bool_(): BooleanType(),
            pa.float64(): DoubleType(),
            TIMESTAMP: TimestamptzType(),
        }
        with tx.update_schema() as update:
            for name in sorted(absent):
                update.add_column(name, kinds[ADDED_LATER[name]])


@contextmanager
def _alone(spec: TableSpec) -> Iterator[None]:
    """Say it in one sentence when somebody else was faster to commit."""
    from pyiceberg.exceptions import CommitFailedException, ValidationException

    try:
        yield
    except (CommitFailedException, ValidationException) as error:
        raise HourglassError(
            f"table {spec.name}: another process committed at the same time; nothing was lost: "
            "run the step again"
        ) from error
