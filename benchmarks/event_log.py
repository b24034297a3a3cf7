"""A plausible event log on disk: one Parquet file an hour, as ingest leaves them."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from pipeline.hours import DAY_H, HOUR_S, Hour, HourRange
from pipeline.lake.lake import Lake
from pipeline.lake.parquet_files import HourFile
from pipeline.lake.steps import INGEST
from pipeline.lake.tables import EVENTS, FILLED_HOURS
from pipeline.settings.settings import Settings

START = Hour.parse("2024-03-01T00")

# Rises whenever the same arguments would give another log.
_VERSION = 2
_HOUR_US = HOUR_S * 1_000_000
_EVENTS_PER_USER = 50
_EVENTS_PER_SESSION = 6.0
_EVENTS_PER_ITEM = 100
_ROBOT_GAP_S = 200.0
_EVENTS_PER_ROBOT = 1_000_000
_TYPES = (("view", 0.9), ("cart", 0.07), ("buy", 0.03))
_DEVICES = (("phone", 0.6), ("desktop", 0.3), ("tablet", 0.1))
_COUNTRIES = ("de", "fr", "it", "es", "pl", "nl", "at", "ch", "be", "cz", "dk", "se")
_HEX = np.frombuffer(b"0123456789abcdef", np.uint8)

Ints = NDArray[np.int64]


@dataclass(frozen=True)
class EventLog:
    """The files of a log; ``digests`` stand for what ingest would record of each hour."""

    files: tuple[HourFile, ...]
    digests: tuple[str, ...]

    @property
    def hours(self) -> HourRange:
        """From the first hour with events to the last."""
        return HourRange.covering(file.hour for file in self.files if file.hour is not None)

    @property
    def events(self) -> int:
        """How many there are."""
        return sum(file.rows for file in self.files)

    def between(self, hours: HourRange) -> EventLog:
        """The part of the log that lies in the hours."""
        chosen = [i for i, file in enumerate(self.files) if file.hour and file.hour in hours]
        return EventLog(
            tuple(self.files[i] for i in chosen), tuple(self.digests[i] for i in chosen)
        )


def generate(folder: Path, events: int, days: int, seed: int) -> EventLog:
    """The log of these arguments, made below ``folder`` unless it is there from an earlier call.

    Users come about once a day on average (some much more often, a few are robots that never
    stop), stay for a geometric number of events with lognormal pauses, and touch items by Zipf's
    law.  Times are spread over the day as people's are; sessions run over hours and midnights.
    Within an hour rows lie in no particular order, as deduplication leaves them.
    """
    made = folder / f"{events}-events-{days}-days-seed-{seed}-v{_VERSION}"
    listing = made / "files.json"
    if not listing.is_file():
        shutil.rmtree(made, ignore_errors=True)
        (made / "data").mkdir(parents=True)
        rng = np.random.default_rng(seed)
        rows = [
            (path.name, path.stat().st_size, count, hour.index, digest)
            for path, count, hour, digest in _write(made / "data", rng, events, days)
        ]
        listing.write_text(json.dumps(rows), encoding="utf-8")
    rows = json.loads(listing.read_text(encoding="utf-8"))
    files = (
        HourFile(str(made.absolute() / "data" / name), size, count, Hour(index))
        for name, size, count, index, _ in rows
    )
    return EventLog(tuple(files), tuple(row[4] for row in rows))


def arrive(lake: Lake, log: EventLog, hours: HourRange) -> None:
    """Let the log's events of some hours arrive in a lake, by reference, as ingest commits them."""
    part = log.between(hours)
    filled = [
        {
            "hour": file.hour.start,
            "step": INGEST,
            "input_digest": "",
            "output_digest": digest,
            "state_digest": "",
            "config_digest": "",
            "code_version": "",
            "rows": file.rows,
        }
        for file, digest in zip(part.files, part.digests, strict=True)
        if file.hour is not None
    ]
    lake.replace(EVENTS, hours, part.files, {})
    rows = pa.Table.from_pylist(filled, FILLED_HOURS.schema)
    lake.record_filled(INGEST, hours, rows, {})


def lake_of(settings: Settings) -> Lake:
    """The lake of the settings, still empty where its folder is new."""
    return Lake(settings.resolved_catalog_uri, settings.resolved_warehouse)


def _write(
    folder: Path, rng: np.random.Generator, events: int, days: int
) -> Iterator[tuple[Path, int, Hour, str]]:
    """Times and users first, which are small; all else is drawn an hour at a time."""
    users = max(events // _EVENTS_PER_USER, 10)
    user, since_us = _visits(rng, events, users, days)
    order = np.argsort(since_us, kind="stable")
    user, since_us = user[order], since_us[order]
    bounds = np.searchsorted(since_us, np.arange(days * DAY_H + 1) * _HOUR_US)
    user_names = pa.array([f"user{number:08d}" for number in range(users)])
    item_names, item_shares = _items(max(events // _EVENTS_PER_ITEM, 50))
    for nth in range(days * DAY_H):
        rows = slice(bounds[nth], bounds[nth + 1])
        shuffled = rng.permutation(bounds[nth + 1] - bounds[nth])
        if not len(shuffled):
            continue
        hour = START + nth
        event_us = START.index * _HOUR_US + since_us[rows][shuffled]
        item = np.searchsorted(item_shares, rng.random(len(shuffled)))
        keys = _keys(rng, len(shuffled))
        table = _table(
            rng,
            hour,
            event_us,
            user_names.take(pa.array(user[rows][shuffled])),
            item_names.take(pa.array(item)),
            keys,
        )
        path = folder / f"{hour}.parquet"
        plain = [name for name in table.column_names if name != "event_key"]
        pq.write_table(table, path, compression="zstd", use_dictionary=plain)
        digest = hashlib.sha256(memoryview(keys.buffers()[2])).hexdigest()[:16]
        yield path, table.num_rows, hour, digest


def _visits(
    rng: np.random.Generator, events: int, users: int, days: int
) -> tuple[NDArray[np.int32], Ints]:
    """User and time (microseconds since the log's start, whole milliseconds) of every event."""
    robots = max(events // _EVENTS_PER_ROBOT, 1)
    each = min(int(days * DAY_H * HOUR_S / _ROBOT_GAP_S), events // 20 // robots)
    human = events - robots * each
    activity = rng.lognormal(0.0, 1.2, users)
    # A session begins at every event that starts one; its user is drawn by activity.
    starts = rng.random(human) < 1 / _EVENTS_PER_SESSION
    starts[:1] = True
    first = np.flatnonzero(starts)
    session = np.cumsum(starts) - 1
    shares = np.cumsum(activity) / activity.sum()
    owner = np.searchsorted(shares, rng.random(len(first))).astype(np.int32)
    pause_s = rng.lognormal(np.log(40.0), 1.4, human)
    # Now and then two clicks fall into the same instant.
    pause_s[rng.random(human) < 0.001] = 0.0
    pause_s[starts] = 0.0
    passed_s = np.cumsum(pause_s)
    begin_s = _daily(rng, len(first), days)
    time_s = begin_s[session] + passed_s - passed_s[first][session]
    del pause_s, passed_s
    robot_user = np.repeat(np.arange(robots, dtype=np.int32), each)
    robot_s = (rng.exponential(_ROBOT_GAP_S, (robots, each))).cumsum(axis=1).reshape(-1)
    user = np.concatenate([owner[session], robot_user])
    milliseconds = (np.concatenate([time_s, robot_s]) * 1000).astype(np.int64)
    # What would run out of the log comes in again at its start.
    return user, milliseconds % (days * DAY_H * HOUR_S * 1000) * 1000


def _daily(rng: np.random.Generator, n: int, days: int) -> NDArray[np.float64]:
    """Seconds since the log's start, more of them in the evening than at night."""
    hour = np.arange(DAY_H)
    shares = np.cumsum(1.0 + 0.8 * np.cos((hour - 19) * 2 * np.pi / DAY_H))
    chosen = np.searchsorted(shares / shares[-1], rng.random(n))
    day = rng.integers(0, days, n)
    return (day * DAY_H + chosen + rng.random(n)) * HOUR_S


def _items(count: int) -> tuple[pa.Array, NDArray[np.float64]]:
    """Names, and cumulative shares after Zipf."""
    shares = np.cumsum(1.0 / np.arange(1, count + 1))
    return pa.array([f"item{number:08d}" for number in range(count)]), shares / shares[-1]


def _table(
    rng: np.random.Generator,
    hour: Hour,
    event_us: Ints,
    users: pa.Array,
    items: pa.Array,
    keys: pa.Array,
) -> pa.Table:
    n = len(event_us)
    columns = {
        "hour": pa.array(np.full(n, hour.index * _HOUR_US)),
        "event_time": pa.array(event_us),
        "user_id": users,
        "item_id": items,
        "event_type": _drawn(rng, _TYPES, n),
        "value": pa.array(rng.random(n).round(2) * 100, mask=rng.random(n) > 0.05),
        "given_session": pa.nulls(n, pa.string()),
        "context": _contexts(rng, n),
        "event_key": keys,
        "source_file": pa.array([f"{hour}/clicks.csv.gz"]).take(pa.array(np.zeros(n, np.int64))),
        "line": pa.array(np.arange(2, n + 2)),
    }
    return pa.table(
        [columns[field.name].cast(field.type) for field in EVENTS.schema], schema=EVENTS.schema
    )


def _drawn(rng: np.random.Generator, shares: tuple[tuple[str, float], ...], n: int) -> pa.Array:
    names = pa.array([name for name, _ in shares])
    return names.take(pa.array(rng.choice(len(shares), n, p=[share for _, share in shares])))


def _contexts(rng: np.random.Generator, n: int) -> pa.Array:
    """A device always, a country in half of the rows."""
    with_country = rng.random(n) < 0.5
    offsets = np.concatenate([[0], np.cumsum(1 + with_country)]).astype(np.int32)
    is_country = np.zeros(offsets[-1], np.bool_)
    is_country[offsets[1:][with_country] - 1] = True
    devices = rng.choice(len(_DEVICES), len(is_country), p=[share for _, share in _DEVICES])
    countries = rng.integers(0, len(_COUNTRIES), len(is_country)) + len(_DEVICES)
    values = pa.array([*(name for name, _ in _DEVICES), *_COUNTRIES])
    return pa.MapArray.from_arrays(
        pa.array(offsets),
        pa.array(["device", "country"]).take(pa.array(is_country.astype(np.int64))),
        values.take(pa.array(np.where(is_country, countries, devices))),
    )


def _keys(rng: np.random.Generator, n: int) -> pa.Array:
    """Keys of 32 random hexadecimal digits."""
    octets = np.frombuffer(rng.bytes(16 * n), np.uint8)
    digits = np.empty((len(octets), 2), np.uint8)
    digits[:, 0], digits[:, 1] = _HEX[octets >> 4], _HEX[octets & 15]
    offsets = np.arange(0, 32 * n + 1, 32, dtype=np.int32)
    return pa.StringArray.from_buffers(n, pa.py_buffer(offsets), pa.py_buffer(digits.reshape(-1)))
