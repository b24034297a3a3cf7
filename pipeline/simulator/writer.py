"""The simulated site's landing zone, and beside it the truth."""

from __future__ import annotations

import gzip
import io
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.array_types import Ints
from pipeline.errors import UsageError
from pipeline.files import written_whole
from pipeline.hours import US_PER_HOUR, Hour, HourRange
from pipeline.settings.simulator import SimulatorSettings
from pipeline.simulator.faults import Deliveries, Fault, join_deliveries
from pipeline.simulator.incidents import Incident
from pipeline.simulator.readers import Readers, join_clicks
from pipeline.simulator.records import RecordedClicks, lines_of, load_times, user_ids
from pipeline.simulator.scenarios import robot_count
from pipeline.simulator.world import World, build_world, topic_name

_AGAIN = "-again"
_TIMESTAMP = pa.timestamp("us", tz="UTC")


@dataclass(frozen=True)
class SimulationSummary:
    """What a simulation wrote; ``faults`` counts the records of the written hours by fault.

    Only a simulation with a scenario knows of the fault of that name.
    """

    hours: int
    files: int
    records: int
    faults: dict[str, int]
    users: int
    items: int
    items_path: Path


@dataclass(frozen=True)
class _Log:
    """All that happened and all that was delivered before the end.

    ``fault`` and ``arrival_us`` are of a click's first whole record, whenever it arrives.
    """

    recorded: RecordedClicks
    deliveries: Deliveries
    fault: Ints  # (N,) Fault
    arrival_us: Ints  # (N,)


def simulate(
    settings: SimulatorSettings, landing: Path, truth: Path, hours: HourRange
) -> SimulationSummary:
    """Write the files that arrive in ``hours`` and the truth of all hours up to their end.

    The landing zone gets ``2026-01-05T13/events-00.jsonl.gz`` for each hour, empty if nothing
    arrived, and ``items.jsonl``.  The truth gets ``users``, ``items``, ``events`` (a row is a
    click before the end) and ``records`` (a row is a line of a landing file), all ``.parquet``,
    and ``faults.json``: per hour of arrival, how many records there are of each fault.

    The same seed gives the same bytes, and a range gives the same files whether it is simulated
    alone or as a part of a longer one.  A scenario changes nothing before its first hour, and a
    file that it delivers again is ``events-00-again.jsonl.gz``.

    Raises:
        UsageError: the hours are none, or begin before ``simulator.start``, or a scenario is named
            without its first hour.
    """
    start = Hour.parse(settings.start)
    if not hours or hours.first < start:
        raise UsageError(
            f"cannot simulate {hours}: the simulated world begins at {start} (simulator.start)"
        )
    world = build_world(settings, hours.stop)
    incident = Incident.of(settings, world)
    log = _happen(settings, world, incident, hours.stop)
    file_of, line_of, files = _landing_files(settings, log.deliveries, start, hours.stop)
    written = 0
    arrival = log.deliveries.arrival_us // US_PER_HOUR
    in_hours = (arrival >= hours.first.index) & (arrival < hours.stop.index)
    lines = lines_of(world, settings, log.recorded, log.deliveries.take(in_hours))
    bounds = np.searchsorted(file_of[in_hours], np.arange(len(files) + 1))
    for at, name in enumerate(files):
        hour = Hour.parse(name.split("/", 1)[0])
        if hour in hours and (_AGAIN not in name or incident.delivers_again(hour)):
            content = lines[bounds[at] : bounds[at + 1]]
            _write(landing / name, _gzipped(b"".join(line + b"\n" for line in content)))
            written += 1
    items_path = landing / "items.jsonl"
    _write(items_path, _item_lines(world))

    kinds = [fault for fault in Fault if fault != Fault.SCENARIO or settings.scenario]
    counts = _fault_counts(arrival, log.deliveries.fault, HourRange(start, hours.stop), kinds)
    _write(truth / "faults.json", json.dumps(counts, indent=1).encode() + b"\n")
    _write_table(truth / "users.parquet", _user_table(world, settings))
    _write_table(truth / "items.parquet", _item_table(world))
    _write_table(truth / "events.parquet", _event_table(world, settings, log, hours.stop))
    _write_table(truth / "records.parquet", _record_table(log, files, file_of, line_of))
    of_kind = np.bincount(log.deliveries.fault[in_hours], minlength=len(Fault))
    return SimulationSummary(
        hours=len(hours),
        files=written,
        records=int(in_hours.sum()),
        faults={fault.name.lower(): int(of_kind[fault]) for fault in kinds},
        users=settings.users,
        items=len(world.items.ids),
        items_path=items_path,
    )


def _happen(settings: SimulatorSettings, world: World, incident: Incident, stop: Hour) -> _Log:
    hours_recorded, load_s = [], []
    event_ids: list[str] = []
    for hour, clicks in Readers(world, settings).hours(stop):
        hours_before = hour.index - world.start.index
        of_hour = incident.emit(hour, clicks, len(event_ids))
        n = len(of_hour.clicks)
        hours_recorded.append(of_hour)
        load_s.append(load_times(settings, hours_before, n))
        event_ids += [f"{hours_before:05d}-{row:06d}" for row in range(n)]
    delivered = join_deliveries([of_hour.deliveries for of_hour in hours_recorded])
    first = (delivered.fault != Fault.DUPLICATE) & (delivered.fault != Fault.MALFORMED)
    firsts = delivered.take(first)
    order = np.argsort(firsts.click)  # each click has exactly one
    # A file that comes again follows the others of its hour.
    by_file = (delivered.arrival_us, delivered.again, delivered.arrival_us // US_PER_HOUR)
    in_time = np.lexsort(by_file)
    in_time = in_time[delivered.arrival_us[in_time] < stop.index * US_PER_HOUR]
    return _Log(
        RecordedClicks(
            join_clicks([of_hour.clicks for of_hour in hours_recorded]),
            event_ids,
            np.concatenate([of_hour.time_us for of_hour in hours_recorded]),
            np.concatenate([of_hour.record_fault for of_hour in hours_recorded]),
            np.concatenate(load_s),
        ),
        delivered.take(in_time),
        firsts.fault[order],
        firsts.arrival_us[order],
    )


def _landing_files(
    settings: SimulatorSettings, deliveries: Deliveries, start: Hour, stop: Hour
) -> tuple[Ints, Ints, list[str]]:
    """For each record its file (rows never go back) and its line from 1; and the files' names."""
    of_hour = settings.files_per_hour
    names = [
        f"{hour}/events-{file_number:02d}{again}.jsonl.gz"
        for hour in HourRange(start, stop)
        for again in ("", _AGAIN)
        for file_number in range(of_hour)
    ]
    hour, since_us = np.divmod(deliveries.arrival_us - start.index * US_PER_HOUR, US_PER_HOUR)
    # Records are in order of arrival, so that a file holds a stretch of its hour.
    file_of = (2 * hour + deliveries.again) * of_hour + since_us * of_hour // US_PER_HOUR
    starts = np.searchsorted(file_of, np.arange(len(names)))
    line_of = np.arange(len(file_of)) - starts[file_of] + 1
    return file_of, line_of, names


def _fault_counts(
    arrival: Ints, fault: Ints, hours: HourRange, kinds: list[Fault]
) -> dict[str, dict[str, int]]:
    counts = np.zeros((len(hours), len(Fault)), dtype=np.int64)
    np.add.at(counts, (arrival - hours.first.index, fault), 1)
    return {
        str(hour): {
            "records": int(row.sum()),
            **{kind.name.lower(): int(row[kind]) for kind in kinds},
        }
        for hour, row in zip(hours, counts, strict=True)
    }


def _item_lines(world: World) -> bytes:
    items = world.items
    born = np.datetime_as_string(items.born_us.astype("datetime64[us]"), timezone="UTC")
    lines = []
    for row, item_id in enumerate(items.ids):
        topic = topic_name(int(items.topic[row]))
        content = {
            "item_id": item_id,
            "categories": [topic],
            "numbers": {"words": int(items.words[row])},
            "text": f"{topic} story {items.story[row]}, part {items.instalment[row] + 1}",
            "available_from": str(born[row]),
        }
        lines.append(json.dumps(content, separators=(",", ":")) + "\n")
    return "".join(lines).encode()


def _user_table(world: World, settings: SimulatorSettings) -> pa.Table:
    users = world.users
    people, robots = len(users.ids), robot_count(settings)
    no_number = [None] * robots
    return pa.table(
        {
            "user_id": user_ids(world, settings),
            "robot": [False] * people + [True] * robots,
            "cluster": users.cluster.tolist() + no_number,
            "taste": pa.array(users.taste.tolist() + no_number, pa.list_(pa.float64())),
            "sessions_per_day": users.sessions_per_day.tolist() + no_number,
            "session_events": users.session_events.tolist() + no_number,
            "phase_h": users.phase_h.tolist() + no_number,
        }
    )


def _item_table(world: World) -> pa.Table:
    items = world.items
    return pa.table(
        {
            "item_id": items.ids,
            "topic": items.topic,
            "story": items.story,
            "part": items.instalment,
            "vector": pa.array(items.vector.tolist(), pa.list_(pa.float64())),
            "quality": items.quality,
            "born": pa.array(items.born_us, _TIMESTAMP),
            "peak_h": items.peak_h,
        }
    )


def _event_table(world: World, settings: SimulatorSettings, log: _Log, stop: Hour) -> pa.Table:
    recorded = log.recorded
    happened = np.flatnonzero(recorded.clicks.time_us < stop.index * US_PER_HOUR)
    happened = happened[np.argsort(recorded.clicks.time_us[happened], kind="stable")]
    clicks = recorded.clicks.take(happened)
    people_and_robots, item_ids = np.array(user_ids(world, settings)), np.array(world.items.ids)
    arrival_us = log.arrival_us[happened]
    return pa.table(
        {
            "event_id": [recorded.event_ids[row] for row in happened.tolist()],
            "event_time": pa.array(clicks.time_us, _TIMESTAMP),
            "user_id": people_and_robots[clicks.user],
            "item_id": item_ids[clicks.item],
            "event_type": np.where(clicks.liked, "like", "view"),
            "session_start": pa.array(clicks.session, _TIMESTAMP),
            "position": clicks.position,
            "dwell_s": pa.array(clicks.dwell_s, from_pandas=True),
            "front_page_rank": pa.array(clicks.rank, mask=clicks.rank == 0),
            "affinity": pa.array(clicks.affinity, from_pandas=True),
            "load_s": recorded.load_s[happened],
            "fault": [Fault(kind).name.lower() for kind in log.fault[happened].tolist()],
            "arrival": pa.array(
                arrival_us, _TIMESTAMP, mask=arrival_us >= stop.index * US_PER_HOUR
            ),
        }
    )


def _record_table(log: _Log, files: list[str], file_of: Ints, line_of: Ints) -> pa.Table:
    return pa.table(
        {
            "file": np.array(files)[file_of],
            "line": line_of,
            "event_id": [log.recorded.event_ids[row] for row in log.deliveries.click.tolist()],
            "fault": [Fault(kind).name.lower() for kind in log.deliveries.fault.tolist()],
        }
    )


def _gzipped(content: bytes) -> bytes:
    # No name and no time in the gzip header: the bytes depend on the content alone.
    return gzip.compress(content, compresslevel=6, mtime=0)


def _write(path: Path, content: bytes) -> None:
    written_whole(path, lambda unfinished: unfinished.write_bytes(content))


def _write_table(path: Path, table: pa.Table) -> None:
    content = io.BytesIO()
    pq.write_table(table, content)
    _write(path, content.getvalue())
