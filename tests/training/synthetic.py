"""Writes data set folders from plain lists, in the format that `read_dataset` reads."""

from __future__ import annotations

import itertools
import json
import shutil
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.hours import HOUR_S, Hour
from training.data.reader import sha256_of

AS_OF = "2016-03-14T13"
AS_OF_S = Hour.parse(AS_OF).index * HOUR_S


class Event(NamedTuple):
    """One event; ``time_s`` counts seconds from 1970 (`AS_OF_S` is the default as_of)."""

    item: str
    time_s: float
    event_type: str = "view"
    value: float | None = None
    context: Mapping[str, str] = {}


class Known(NamedTuple):
    """What is known of an item or user."""

    tokens: Sequence[str] = ()
    numbers: Mapping[str, float] = {}


def ring_walks(
    n_users: int, start_s: float, seed: int, n_items: int = 40
) -> dict[str, list[tuple[str, float]]]:
    """Users who walk along a ring of items, so that what comes next depends on the last item."""
    rng = np.random.default_rng(seed)
    return {
        f"user-{user:03d}": [
            (f"item-{(first + step) % n_items:02d}", start_s + 30 * step) for step in range(8)
        ]
        for user, first in enumerate(rng.integers(0, n_items, n_users))
    }


PART_SCHEMA = pa.schema(
    {
        "user_id": pa.string(),
        "n_context": pa.int32(),
        "item": pa.list_(pa.int32()),
        "time_us": pa.list_(pa.int64()),
        "session_start": pa.list_(pa.bool_()),
        "dwell_s": pa.list_(pa.float32()),
        "dwell_bin": pa.list_(pa.int16()),
        "event_type": pa.list_(pa.int16()),
        "value": pa.list_(pa.float32()),
    }
)


def write_dataset(
    folder: Path,
    users: Mapping[str, Sequence[Event | tuple[Any, ...]]],
    *,
    as_of: str = AS_OF,
    window_start: str = "1970-01-01T00",
    vocabulary: Sequence[str] | None = None,
    base: Path | None = None,
    gap_s: int = 3600,
    dwell_width_s: float = 60.0,
    dwell_bins: int = 16,
    popularity_window_h: int = 24,
    parts: int = 1,
    popularity: Sequence[tuple[str, str, int]] | None = None,
    context: Sequence[str] = (),
    items_known: Mapping[str, Known] | None = None,
    users_known: Mapping[str, Known] | None = None,
) -> Path:
    """Write one folder and return it; its data set id is the folder's name.

    - ``users``: user id -> events (item, time_s[, event_type[, value[, context]]]) in time order.
      Events before ``window_start`` are context; sessions follow ``gap_s``.
    - ``vocabulary``: item ids in index order; default: the sorted ids that occur. Events on
      other items are left out, as the pipeline does.
    - ``base``: folder of the training part; this folder is then its test part: vocabulary, dwell
      bins and item support are the base's, and its as_of should be this ``window_start``.
    - ``popularity``: (item id, hour, events); default: counted over the given events in
      ``[as_of - popularity_window_h, as_of)``.
    - ``context``: names of the context fields; their values are coded in alphabetical order.
    - ``items_known``, ``users_known``: item or user id -> what is known; tokens are numbered in
      alphabetical order.
    """
    folder.mkdir(parents=True)
    rows = {user: [Event(*event) for event in events] for user, events in users.items()}
    base_manifest: dict[str, Any] = {}
    if base:
        base_manifest = json.loads((base / "manifest.json").read_text())
        vocabulary = pq.read_table(base / "vocabulary.parquet")["item_id"].to_pylist()
        dwell_width_s = base_manifest["dwell"]["width_s"]
        dwell_bins = base_manifest["dwell"]["bins"]
    if vocabulary is None:
        vocabulary = sorted({event.item for events in rows.values() for event in events})
    index = {item: number for number, item in enumerate(vocabulary, start=1)}
    fields = _context_fields(context, rows, base_manifest)
    n_all = sum(len(events) for events in rows.values())
    rows = {user: [e for e in events if e.item in index] for user, events in rows.items()}
    kinds = sorted({e.event_type for events in rows.values() for e in events}) or ["view"]
    start_s = Hour.parse(window_start).index * HOUR_S
    stop = Hour.parse(as_of)

    histories = [
        {
            "user_id": user,
            "n_context": sum(event.time_s < start_s for event in rows[user]),
            "item": [index[event.item] for event in rows[user]],
            "time_us": [round(event.time_s * 1_000_000) for event in rows[user]],
            "event_type": [kinds.index(event.event_type) for event in rows[user]],
            "value": [event.value for event in rows[user]],
            **{
                f"context_{place}": [_code(values, event.context.get(name)) for event in rows[user]]
                for place, (name, values) in enumerate(fields.items())
            },
            **_sessions([e.time_s for e in rows[user]], gap_s, dwell_width_s, dwell_bins),
        }
        for user in sorted(rows)
        if rows[user]
    ]
    flat = [event for events in rows.values() for event in events]
    hourly = _hourly(flat, index, stop, popularity_window_h)
    if popularity is not None:
        hourly = [(index[item], Hour.parse(hour).index, n) for item, hour, n in popularity]

    names = _write_parts(folder, histories, parts, len(fields))
    support = Counter(e.item for e in flat if e.time_s >= start_s)
    if base:
        support = Counter(dict(zip(vocabulary, _column(base, "events"), strict=True)))
    _write(
        folder / "vocabulary.parquet",
        {
            "item": pa.array(range(1, len(index) + 1), pa.int32()),
            "item_id": pa.array(list(index), pa.string()),
            "events": pa.array([support[item] for item in index], pa.int64()),
        },
    )
    _write(
        folder / "popularity.parquet",
        {
            "item": pa.array([row[0] for row in hourly], pa.int32()),
            "hour_index": pa.array([row[1] for row in hourly], pa.int64()),
            "events": pa.array([row[2] for row in hourly], pa.int64()),
        },
    )
    names += ["vocabulary.parquet", "popularity.parquet"]
    known_users = [history["user_id"] for history in histories]
    scales = {
        "item_numbers": _item_features(folder, base, base_manifest, list(index), items_known),
        "user_numbers": _features(folder, "user", known_users, users_known),
    }
    names += sorted(path.name for path in folder.glob("*_[ft]*.parquet"))
    n_events = len(flat)
    sessions = sum(sum(history["session_start"]) for history in histories)
    manifest = {
        "format": 2,
        "dataset_id": folder.name,
        "as_of": as_of,
        "window_start": window_start,
        "history_start": "1970-01-01T00",
        "n_items": len(index),
        "n_users": len(histories),
        "n_events": n_events,
        "n_targets": n_events - sum(history["n_context"] for history in histories),
        "event_types": kinds,
        "steps": [
            {
                "step": "window",
                "events": n_events,
                "items": len(index),
                "users": len(histories),
                "sessions": sessions,
            }
        ],
        "dwell": {
            "n": n_events,
            "mean_s": 0.0,
            "m2_s2": 0.0,
            "width_s": dwell_width_s,
            "bins": dwell_bins,
        },
        "popularity_window_h": popularity_window_h,
        "max_session_hours": 24,
        "gap_s": gap_s,
        "snapshots": {"events": "1"},
        "config_digest": "0" * 16,
        "code_version": "test",
        "context_fields": [{"name": name, "values": values} for name, values in fields.items()],
        "n_cold_items": sum(support[item] == 0 for item in index),
        **scales,
        "files": {name: sha256_of(folder / name) for name in names},
    }
    if base_manifest:
        manifest["base_dataset_id"] = base_manifest["dataset_id"]
        manifest["left_out_events"] = n_all - n_events
    (folder / "manifest.json").write_text(json.dumps(manifest, indent=1))
    return folder


def _context_fields(
    names: Sequence[str], rows: Mapping[str, Sequence[Event]], base: dict[str, Any]
) -> dict[str, list[str]]:
    if base:
        return {field["name"]: field["values"] for field in base["context_fields"]}
    told = [event.context for events in rows.values() for event in events]
    return {name: sorted({one[name] for one in told if name in one}) for name in names}


def _code(values: list[str], value: str | None) -> int:
    return 0 if value is None or value not in values else values.index(value) + 1


def _hourly(
    events: Sequence[Event], index: Mapping[str, int], stop: Hour, hours: int
) -> list[tuple[int, int, int]]:
    counted = Counter((index[event.item], int(event.time_s // HOUR_S)) for event in events)
    first = stop.index - hours
    return sorted((i, h, n) for (i, h), n in counted.items() if first <= h < stop.index)


def _write_parts(
    folder: Path, histories: Sequence[dict[str, Any]], parts: int, n_fields: int
) -> list[str]:
    schema = PART_SCHEMA
    for place in range(n_fields):
        schema = schema.append(pa.field(f"context_{place}", pa.list_(pa.int32())))
    names = []
    size = max(1, -(-len(histories) // parts))
    for number in range(parts):
        names.append(f"part-{number:05d}.parquet")
        piece = histories[number * size : (number + 1) * size]
        pq.write_table(pa.Table.from_pylist(list(piece), schema), folder / names[-1])
    return names


def _item_features(
    folder: Path,
    base: Path | None,
    base_manifest: dict[str, Any],
    ids: Sequence[str],
    known: Mapping[str, Known] | None,
) -> list[dict[str, Any]]:
    if base is None:
        return _features(folder, "item", ids, known)
    for path in base.glob("item_*.parquet"):
        shutil.copy(path, folder / path.name)
    scales: list[dict[str, Any]] = base_manifest["item_numbers"]
    return scales


def _features(
    folder: Path, of: str, ids: Sequence[str], known: Mapping[str, Known] | None
) -> list[dict[str, Any]]:
    """Write tokens and standardised numbers; returns how the numbers were standardised."""
    if known is None:
        return []
    rows = [Known(*known.get(one, ())) for one in ids]
    tokens = sorted({token for row in rows for token in row.tokens})
    scales: list[dict[str, Any]] = []
    numbers: list[list[float | None]] = [[] for _ in rows]
    for name in sorted({name for row in rows for name in row.numbers}):
        values = [row.numbers[name] for row in rows if name in row.numbers]
        mean, std = float(np.mean(values)), float(np.std(values)) or 1.0
        scales.append({"name": name, "n": len(values), "mean": mean, "std": std})
        for row, found in zip(rows, numbers, strict=True):
            found.append((row.numbers[name] - mean) / std if name in row.numbers else None)
    places = [sorted(tokens.index(token) for token in row.tokens) for row in rows]
    columns = {
        "tokens": pa.array(places, pa.list_(pa.int32())),
        "numbers": pa.array(numbers, pa.list_(pa.float32())),
    }
    _write(folder / f"{of}_features.parquet", columns)
    _write(folder / f"{of}_tokens.parquet", {"name": pa.array(tokens, pa.string())})
    return scales


def _sessions(times_s: list[float], gap_s: int, width_s: float, bins: int) -> dict[str, Any]:
    gaps = [after - before for before, after in itertools.pairwise(times_s)]
    dwells = [gap if gap < gap_s else None for gap in gaps] + [None]
    return {
        "session_start": [True, *(gap >= gap_s for gap in gaps)],
        "dwell_s": dwells,
        "dwell_bin": [0 if d is None else min(int(d // width_s) + 1, bins) for d in dwells],
    }


def _write(path: Path, columns: Mapping[str, pa.Array]) -> None:
    pq.write_table(pa.table(dict(columns)), path)


def _column(folder: Path, name: str) -> list[int]:
    values: list[int] = pq.read_table(folder / "vocabulary.parquet")[name].to_pylist()
    return values
