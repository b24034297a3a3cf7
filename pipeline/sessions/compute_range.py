"""Compute the session tables of one range of hours, and commit them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pyarrow as pa

from pipeline.hours import US_PER_HOUR, US_PER_S, Hour, HourRange
from pipeline.lake.lake import Hours, Lake
from pipeline.lake.parquet_files import HourFile
from pipeline.lake.tables import DWELL_HOURS, EVENTS, ITEM_HOURS, OPEN_SESSIONS, PEOPLE, SESSIONS
from pipeline.process.machine import usable_cores
from pipeline.sessions import arrow_exchange, in_process
from pipeline.sessions.gap_kernel import SessionRules
from pipeline.sessions.people import intervals_of_people
from pipeline.sessions.stages import REPORT, WRITTEN_KIND, Plan, assigning, scan, writing
from pipeline.settings.tables import SessionSettings
from pipeline.spark.compute import Compute

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

OUTPUTS = (SESSIONS, OPEN_SESSIONS, ITEM_HOURS, DWELL_HOURS)
# What a task aims to hold at once (an hour's files, and a trail, are never parted): marks are 40
# bytes a row, events some hundred.
_ROWS_PER_SCAN = 1_000_000
_ROWS_PER_BUCKET = 2_000_000
_ROWS_PER_GROUP = 750_000
_FILES_PER_TASK = 256
# Of what all tasks hold together: ten million events took 2.1 GiB in all, with two threads.
_BYTES_PER_ROW = 230
# Each holds what a task holds.
_MOST_THREADS = 8
# Below this a second task costs more than it brings.
_ROWS_WORTH_A_TASK = 100_000


@dataclass(frozen=True)
class Computed:
    """Files of each table, uncommitted, and digest and number of rows of each hour's sessions.

    ``robot_events`` counts the rows of closed sessions that are marked as robots'.
    """

    files: Mapping[str, Sequence[HourFile]]
    closed: Mapping[Hour, tuple[str, int]]
    opened: Mapping[Hour, tuple[str, int]]
    robot_events: int = 0


def compute_sessions(
    compute: Compute, lake: Lake, rules: SessionSettings, hours: Hours
) -> Computed:
    """Write the session tables' files of hours, from their events and what is carried into them.

    Who the users of the events are is as the table ``people`` says now.

    Ranges of hours are in order, and between two of them nothing happens and nothing is open.

    Raises:
        TaskError: a task that ran in this process failed, as where an event lacks what ingest
            gives every event; one of Spark's ends in Spark's own error.
    """
    first = _ranges(hours)[0].first
    carried = lake.files(OPEN_SESSIONS, HourRange(first - 1, first))
    events = sorted(lake.files(EVENTS, hours), key=_by_hour)
    if not carried and not events:
        return Computed({spec.name: () for spec in OUTPUTS}, {}, {})
    folders = {spec.name: lake.staging(spec) for spec in OUTPUTS}
    inputs = (*carried, *events)
    people = lake.files(PEOPLE)
    size_bytes, rows = (
        sum(sizes) for sizes in ((f.bytes for f in inputs), (f.rows for f in inputs))
    )
    if compute.is_done_here(size_bytes, rows, _BYTES_PER_ROW):
        threads = min(usable_cores(), _MOST_THREADS)
        if people:
            # Threads that all missed what the first reads would each read it.
            intervals_of_people(tuple(file.path for file in people))
        plan = make_plan(rules, hours, carried, events, folders, threads, people)
        return run_in_process(plan, threads)
    cores = compute.spark.sparkContext.defaultParallelism
    plan = make_plan(rules, hours, carried, events, folders, cores, people)
    return run_on_spark(compute.spark, plan)


def run_in_process(plan: Plan, threads: int = 1) -> Computed:
    """Run the tasks of a plan here, so many at once."""
    marks = in_process.first_stage(len(plan.scans) - 1, scan(plan), threads)
    places = in_process.next_stage(marks, assigning(plan), threads)
    written = in_process.next_stage(places, writing(plan), threads)
    return computed(in_process.collected(written, WRITTEN_KIND))


def run_on_spark(spark: SparkSession, plan: Plan) -> Computed:
    """Run the tasks of a plan as one Spark job."""
    marks = arrow_exchange.first_stage(spark, len(plan.scans) - 1, scan(plan))
    places = arrow_exchange.next_stage(marks, plan.buckets, assigning(plan))
    written = arrow_exchange.next_stage(places, len(plan.groups) - 1, writing(plan))
    return computed(arrow_exchange.collect_tables(written, WRITTEN_KIND))


def computed(reports: Iterable[pa.Table]) -> Computed:
    """What the tasks' reports say."""
    files: dict[str, list[HourFile]] = {spec.name: [] for spec in OUTPUTS}
    digests: dict[str, dict[Hour, tuple[str, int]]] = {spec.name: {} for spec in OUTPUTS}
    robot_events = 0
    # An hour of passive events alone leaves nothing.
    for row in pa.concat_tables([REPORT.empty_table(), *reports]).to_pylist():
        hour = Hour(row["hour"])
        files[row["table"]].append(HourFile(row["path"], row["bytes"], row["rows"], hour))
        if row["digest"]:
            digests[row["table"]][hour] = row["digest"], row["rows"]
        robot_events += (row["robot_rows"] or 0) if row["table"] == SESSIONS.name else 0
    return Computed(files, digests[SESSIONS.name], digests[OPEN_SESSIONS.name], robot_events)


def commit(lake: Lake, hours: Hours, computed: Computed, made_by: Mapping[str, str]) -> None:
    """Put the files in the place of what the tables hold of the hours, a transaction each."""
    inputs = {spec.name: lake.snapshot(spec) for spec in (EVENTS, OPEN_SESSIONS, PEOPLE)}
    recorded = {**made_by, "hourglass.inputs": json.dumps(inputs)}
    for spec in OUTPUTS:
        lake.replace(spec, hours, computed.files[spec.name], recorded)


def make_plan(
    rules: SessionSettings,
    hours: Hours,
    carried: Sequence[HourFile],
    events: Sequence[HourFile],
    folders: Mapping[str, str],
    cores: int,
    people: Sequence[HourFile] = (),
) -> Plan:
    """How the work on hours is parted; ``events`` are in the order of their hours."""
    ranges = _ranges(hours)
    n_carried, n_events = (sum(file.rows for file in files) for files in (carried, events))
    rows_per_scan = max(min(_ROWS_PER_SCAN, n_events // cores), _ROWS_WORTH_A_TASK)
    scans = [0, *([len(carried)] if carried else [])]
    scans += [len(carried) + bound for bound in _chunks(events, rows_per_scan)]
    rows = n_carried + n_events
    wanted = max(-(-rows // _ROWS_PER_BUCKET), cores if rows > cores * _ROWS_WORTH_A_TASK else 1)
    return Plan(
        hours=HourRange(ranges[0].first, ranges[-1].stop),
        rules=session_rules(rules),
        sessions_given=rules.given,
        passive_types=tuple(sorted(rules.passive_types)),
        robot_events_per_hour=rules.robot_events_per_hour,
        sources=tuple(file.path for file in (*carried, *events)),
        carried=len(carried),
        scans=tuple(scans),
        bucket_bits=(wanted - 1).bit_length(),
        groups=_groups(ranges, events, rows, cores),
        folders=folders,
        people=tuple(file.path for file in people),
    )


def session_rules(rules: SessionSettings) -> SessionRules:
    """The settings as the kernel has them."""
    return SessionRules(
        rules.gap_s * US_PER_S,
        rules.max_session_hours * US_PER_HOUR,
        None if rules.robot_run_hours is None else rules.robot_run_hours * US_PER_HOUR,
    )


def _chunks(events: Sequence[HourFile], rows_per_chunk: int) -> list[int]:
    """Ends of chunks of about equal size; an hour's files stay together."""
    ends: list[int] = []
    start = rows = 0
    for index, file in enumerate(events):
        rows += file.rows
        last_of_hour = index + 1 == len(events) or events[index + 1].hour != file.hour
        full = rows >= rows_per_chunk or index + 1 - start >= _FILES_PER_TASK
        if last_of_hour and (full or index + 1 == len(events)):
            ends.append(index + 1)
            start, rows = index + 1, 0
    return ends


def _ranges(hours: Hours) -> Sequence[HourRange]:
    return [hours] if isinstance(hours, HourRange) else hours


def _groups(
    ranges: Sequence[HourRange], events: Sequence[HourFile], rows: int, cores: int
) -> tuple[int, ...]:
    """Bounds of groups of hours with about as many events each; a group is written by one task."""
    hours = [hour for hour_range in ranges for hour in hour_range]
    tasks = max(-(-rows // _ROWS_PER_GROUP), -(-len(hours) // _FILES_PER_TASK))
    if rows > cores * _ROWS_WORTH_A_TASK or len(hours) > cores * _FILES_PER_TASK // 8:
        # As many rounds as there are, no core should stand idle in the last.
        tasks = -(-tasks // cores) * cores
    rows_of_hour = dict.fromkeys(hours, 0)
    for file in events:
        if file.hour in rows_of_hour:
            rows_of_hour[file.hour] += file.rows
    # An hour costs something even where it is silent.
    share = (sum(rows_of_hour.values()) + len(hours)) / tasks
    bounds, total = [hours[0].index], 0.0
    for hour, count in rows_of_hour.items():
        total += count + 1
        if total >= share * len(bounds) and hour < hours[-1]:
            bounds.append((hour + 1).index)
    return (*bounds, (hours[-1] + 1).index)


def _by_hour(file: HourFile) -> tuple[int, str]:
    return (file.hour.index if file.hour else 0), file.path
