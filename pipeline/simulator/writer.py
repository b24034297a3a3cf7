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
from numpy.typing import NDArray

from pipeline.errors import UsageError
from pipeline.hours import Hour, HourRange
from pipeline.settings import SimulatorSettings
from pipeline.simulator.faults import (
    Damage,
    Deliveries,
    Fault,
    damaged,
    deliver,
    join_deliveries,
)
from pipeline.simulator.reading import Clicks, Readers, join_clicks
from pipeline.simulator.world import DEVICES, HOUR_US, World, build_world, topic_name

_TIMESTAMP = pa.timestamp("us", tz="UTC")


@dataclass(frozen=True)
class SimulationSummary:
    """What a simulation wrote; ``faults`` counts the records of the written hours by fault."""

    hours: int
    files: int
    records: int
    faults: dict[str, int]
    users: int
    items: int
    items_path: Path


@dataclass(frozen=True)
class _Log:
    """All that happened and all that was delivered before the end."""

    clicks: Clicks
    event_ids: list[str]
    deliveries: Deliveries


def simulate(
    settings: SimulatorSettings, landing: Path, truth: Path, hours: HourRange
) -> SimulationSummary:
    """Write the files that arrive in ``hours`` and the truth of all hours up to their end.

    The landing zone gets ``2026-01-05T13/events-00.jsonl.gz`` for each hour, empty if nothing
    arrived, and ``items.jsonl``.  The truth gets ``users``, ``items``, ``events`` (a row is a
    click before the end) and ``records`` (a row is a line of a landing file), all ``.parquet``,
    and ``faults.json``: per hour of arrival, how many records there are of each fault.

    The same seed gives the same bytes, and a range gives the same files whether it is simulated
    alone or as a part of a longer one.

    Raises:
        UsageError: the hours are none, or begin before ``simulator.start``.
    """
    start = Hour.parse(settings.start)
    if not hours or hours.first < start:
        raise UsageError(
            f"cannot simulate {hours}: the simulated world begins at {start} (simulator.start)"
        )
    world = build_world(settings, hours.stop)
    log = _happen(settings, world, hours.stop)
    lines = _lines(world, settings, log)
    file_of, line_of, files = _landing_files(settings, log.deliveries, start, hours.stop)
    written = 0
    arrival = log.deliveries.arrival_us // HOUR_US
    bounds = np.searchsorted(file_of, np.arange(len(files) + 1))
    for at, name in enumerate(files):
        if Hour.parse(name.split("/", 1)[0]) in hours:
            content = lines[bounds[at] : bounds[at + 1]]
            _write(landing / name, _gzipped(b"".join(line + b"\n" for line in content)))
            written += 1
    items_path = landing / "items.jsonl"
    _write(items_path, _item_lines(world))

    counts = _fault_counts(arrival, log.deliveries.fault, HourRange(start, hours.stop))
    _write(truth / "faults.json", json.dumps(counts, indent=1).encode() + b"\n")
    _write_table(truth / "users.parquet", _user_table(world, settings))
    _write_table(truth / "items.parquet", _item_table(world))
    _write_table(truth / "events.parquet", _event_table(world, settings, log, hours.stop))
    _write_table(truth / "records.parquet", _record_table(log, files, file_of, line_of))
    in_hours = (arrival >= hours.first.index) & (arrival < hours.stop.index)
    of_kind = np.bincount(log.deliveries.fault[in_hours], minlength=len(Fault))
    return SimulationSummary(
        hours=len(hours),
        files=written,
        records=int(in_hours.sum()),
        faults={fault.name.lower(): int(of_kind[fault]) for fault in Fault},
        users=settings.users,
        items=len(world.items.ids),
        items_path=items_path,
    )


def _happen(settings: SimulatorSettings, world: World, stop: Hour) -> _Log:
    clicks: list[Clicks] = []
    deliveries: list[Deliveries] = []
    event_ids: list[str] = []
    for hour, of_hour in Readers(world, settings).hours(stop):
        hours_before = hour.index - world.start.index
        deliveries.append(deliver(settings, of_hour, hours_before, len(event_ids)))
        clicks.append(of_hour)
        event_ids += [f"{hours_before:05d}-{n:06d}" for n in range(len(of_hour))]
    delivered = join_deliveries(deliveries)
    order = np.argsort(delivered.arrival_us, kind="stable")
    order = order[delivered.arrival_us[order] < stop.index * HOUR_US]
    return _Log(
        join_clicks(clicks),
        event_ids,
        Deliveries(
            delivered.arrival_us[order],
            delivered.click[order],
            delivered.fault[order],
            delivered.damage[order],
        ),
    )


def _lines(world: World, settings: SimulatorSettings, log: _Log) -> list[bytes]:
    """The line of each record, in order of arrival."""
    clicks = log.clicks
    times = np.datetime_as_string(clicks.time_us.astype("datetime64[us]"), timezone="UTC")
    device = np.concatenate([world.users.device, np.ones(settings.robots, dtype=np.int64)])
    user_ids = _user_ids(world, settings)
    lines = []
    for row, fault, damage in zip(
        log.deliveries.click.tolist(),
        log.deliveries.fault.tolist(),
        log.deliveries.damage.tolist(),
        strict=True,
    ):
        user = clicks.user[row]
        rank = clicks.rank[row]
        place = f'"front","rank":{rank}' if rank else '"story"'
        line = (
            f'{{"id":"{log.event_ids[row]}","ts":"{times[row]}","user":"{user_ids[user]}",'
            f'"item":"{world.items.ids[clicks.item[row]]}",'
            f'"type":"{"like" if clicks.liked[row] else "view"}",'
            f'"device":"{DEVICES[device[user]]}","place":{place}}}'
        ).encode()
        lines.append(damaged(line, Damage(damage)) if fault == Fault.MALFORMED else line)
    return lines


def _user_ids(world: World, settings: SimulatorSettings) -> list[str]:
    robots = range(settings.users, settings.users + settings.robots)
    return world.users.ids + [f"u{robot:06d}" for robot in robots]


def _landing_files(
    settings: SimulatorSettings, deliveries: Deliveries, start: Hour, stop: Hour
) -> tuple[NDArray[np.int64], NDArray[np.int64], list[str]]:
    """For each record its file (rows never go back) and its line from 1; and the files' names."""
    of_hour = settings.files_per_hour
    names = [
        f"{hour}/events-{part:02d}.jsonl.gz"
        for hour in HourRange(start, stop)
        for part in range(of_hour)
    ]
    since = deliveries.arrival_us - start.index * HOUR_US
    # Records are in order of arrival, so that a file holds a stretch of its hour.
    file_of = since * of_hour // HOUR_US
    starts = np.searchsorted(file_of, np.arange(len(names)))
    line_of = np.arange(len(file_of)) - starts[file_of] + 1
    return file_of, line_of, names


def _fault_counts(
    arrival: NDArray[np.int64], fault: NDArray[np.int64], hours: HourRange
) -> dict[str, dict[str, int]]:
    counts = np.zeros((len(hours), len(Fault)), dtype=np.int64)
    np.add.at(counts, (arrival - hours.first.index, fault), 1)
    return {
        str(hour): {
            "records": int(row.sum()),
            **{kind.name.lower(): int(row[kind]) for kind in Fault},
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
            "text": f"{topic} story {items.story[row]}, part {items.part[row] + 1}",
            "available_from": str(born[row]),
        }
        lines.append(json.dumps(content, separators=(",", ":")) + "\n")
    return "".join(lines).encode()


def _user_table(world: World, settings: SimulatorSettings) -> pa.Table:
    users = world.users
    people, robots = len(users.ids), settings.robots
    no_number = [None] * robots
    return pa.table(
        {
            "user_id": _user_ids(world, settings),
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
            "part": items.part,
            "vector": pa.array(items.vector.tolist(), pa.list_(pa.float64())),
            "quality": items.quality,
            "born": pa.array(items.born_us, _TIMESTAMP),
            "peak_h": items.peak_h,
        }
    )


def _event_table(world: World, settings: SimulatorSettings, log: _Log, stop: Hour) -> pa.Table:
    happened = np.flatnonzero(log.clicks.time_us < stop.index * HOUR_US)
    happened = happened[np.argsort(log.clicks.time_us[happened], kind="stable")]
    clicks = log.clicks.take(happened)
    user_ids, item_ids = np.array(_user_ids(world, settings)), np.array(world.items.ids)
    fault = np.full(len(log.clicks), -1)
    arrival_us = np.full(len(log.clicks), -1)
    whole = (log.deliveries.fault != Fault.DUPLICATE) & (log.deliveries.fault != Fault.MALFORMED)
    fault[log.deliveries.click[whole]] = log.deliveries.fault[whole]
    arrival_us[log.deliveries.click[whole]] = log.deliveries.arrival_us[whole]
    fault, arrival_us = fault[happened], arrival_us[happened]
    # Only a late record can still be under way at the end.
    fault_name = [Fault(kind).name.lower() if kind >= 0 else "late" for kind in fault.tolist()]
    return pa.table(
        {
            "event_id": [log.event_ids[row] for row in happened.tolist()],
            "event_time": pa.array(clicks.time_us, _TIMESTAMP),
            "user_id": user_ids[clicks.user],
            "item_id": item_ids[clicks.item],
            "event_type": np.where(clicks.liked, "like", "view"),
            "session_start": pa.array(clicks.session, _TIMESTAMP),
            "position": clicks.position,
            "dwell_s": pa.array(clicks.dwell_s, from_pandas=True),
            "front_page_rank": pa.array(clicks.rank, mask=clicks.rank == 0),
            "affinity": pa.array(clicks.affinity, from_pandas=True),
            "fault": fault_name,
            "arrival": pa.array(arrival_us, _TIMESTAMP, mask=arrival_us < 0),
        }
    )


def _record_table(
    log: _Log, files: list[str], file_of: NDArray[np.int64], line_of: NDArray[np.int64]
) -> pa.Table:
    return pa.table(
        {
            "file": np.array(files)[file_of],
            "line": line_of,
            "event_id": [log.event_ids[row] for row in log.deliveries.click.tolist()],
            "fault": [Fault(kind).name.lower() for kind in log.deliveries.fault.tolist()],
        }
    )


def _gzipped(content: bytes) -> bytes:
    # No name and no time in the gzip header: the bytes depend on the content alone.
    return gzip.compress(content, compresslevel=6, mtime=0)


def _write(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.part")
    partial.write_bytes(content)
    partial.replace(path)


def _write_table(path: Path, table: pa.Table) -> None:
    content = io.BytesIO()
    pq.write_table(table, content)
    _write(path, content.getvalue())
