"""A plausible data set folder, as ``hourglass dataset`` freezes it, of any size."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from pipeline.hours import DAY_H, HOUR_S, Hour
from training.data.reader import sha256_of

AS_OF = Hour.parse("2024-03-15T00")

# Rises whenever the same arguments would give another data set.
_VERSION = 1
_US_PER_S = 1_000_000
_EVENTS_PER_USER = 25.0
_EVENTS_PER_SESSION = 6.0
_GAP_S = HOUR_S
_PAUSE_S = 45.0
_AWAY_S = 20 * HOUR_S
_LAST_SEEN_S = 3 * DAY_H * HOUR_S
_DWELL_WIDTH_S, _DWELL_BINS = 120.0, 16
_PARTS = 4


def dataset(folder: Path, events: int, items: int, seed: int) -> Path:
    """The data set of these arguments, made below ``folder`` unless an earlier call did.

    Users of very different diligence (lognormal), sessions of six events on average with lognormal
    pauses, hours to days between them, items by Zipf's law.  All events are targets.  Each item has
    one event more than the histories show, so that none is cold.
    """
    made = folder / f"{events}-events-{items}-items-seed-{seed}-v{_VERSION}"
    if not (made / "manifest.json").is_file():
        shutil.rmtree(made, ignore_errors=True)
        made.mkdir(parents=True)
        _write(made, events, items, np.random.default_rng(seed))
    return made


def _write(folder: Path, n_events: int, n_items: int, rng: np.random.Generator) -> None:
    offsets = _offsets(n_events, rng)
    columns = _columns(offsets, n_items, rng)
    events = np.bincount(columns["item"], minlength=n_items + 1)[1:] + 1
    names = _write_parts(folder, offsets, columns)
    vocabulary = {
        "item": np.arange(1, n_items + 1, dtype=np.int32),
        "item_id": np.char.add("i", np.arange(1, n_items + 1).astype(str)),
        "events": events,
    }
    pq.write_table(pa.table(vocabulary), folder / "vocabulary.parquet")
    pq.write_table(_popularity(columns), folder / "popularity.parquet")
    names += ["vocabulary.parquet", "popularity.parquet"]
    dwell_s = columns["dwell_s"][~np.isnan(columns["dwell_s"])].astype(np.float64)
    manifest = {
        "format": 2,
        "dataset_id": folder.name,
        "as_of": str(AS_OF),
        "window_start": "1970-01-01T00",
        "history_start": "1970-01-01T00",
        "n_items": n_items,
        "n_users": len(offsets) - 1,
        "n_events": n_events,
        "n_targets": n_events,
        "event_types": ["view"],
        "dwell": {
            "n": len(dwell_s),
            "mean_s": float(dwell_s.mean()),
            "m2_s2": float(dwell_s.var() * len(dwell_s)),
            "width_s": _DWELL_WIDTH_S,
            "bins": _DWELL_BINS,
        },
        "popularity_window_h": DAY_H,
        "max_session_hours": 24,
        "gap_s": _GAP_S,
        "config_digest": "",
        "code_version": "benchmark",
        "files": {name: sha256_of(folder / name) for name in names},
    }
    (folder / "manifest.json").write_text(json.dumps(manifest, indent=1), encoding="utf-8")


def _offsets(n_events: int, rng: np.random.Generator) -> NDArray[np.int64]:
    users = max(1, int(n_events / _EVENTS_PER_USER))
    diligence = rng.lognormal(sigma=1.2, size=users)
    ends = np.floor(np.cumsum(diligence) / diligence.sum() * (n_events - users)).astype(np.int64)
    ends[-1] = n_events - users
    # Everybody is there at least once.
    return np.concatenate([[0], ends + np.arange(1, users + 1)])


def _columns(
    offsets: NDArray[np.int64], n_items: int, rng: np.random.Generator
) -> dict[str, NDArray[Any]]:
    n, lengths = int(offsets[-1]), np.diff(offsets)
    share = np.cumsum(1 / np.arange(1, n_items + 1))
    starts = rng.random(n) < 1 / _EVENTS_PER_SESSION
    pause_s = np.minimum(rng.lognormal(np.log(_PAUSE_S), 1.0, n), _GAP_S - 1)
    gap_s = np.where(starts, _GAP_S + rng.exponential(_AWAY_S, n), pause_s)  # to the event before
    clock_s = np.cumsum(gap_s)
    end_s = AS_OF.index * HOUR_S - 1 - rng.random(len(lengths)) * _LAST_SEEN_S
    time_s = clock_s + np.repeat(end_s - clock_s[offsets[1:] - 1], lengths)
    starts[offsets[:-1]] = True
    dwell_s = np.full(n, np.nan)
    goes_on = np.flatnonzero(~starts[1:])
    dwell_s[goes_on] = gap_s[goes_on + 1]
    filled = np.where(np.isnan(dwell_s), 0, dwell_s)
    bins = np.minimum(filled // _DWELL_WIDTH_S + 1, _DWELL_BINS)
    return {
        "item": np.searchsorted(share, rng.random(n) * share[-1]).astype(np.int32) + 1,
        "time_us": (time_s * _US_PER_S).astype(np.int64),
        "session_start": starts,
        "dwell_s": dwell_s.astype(np.float32),
        "dwell_bin": np.where(np.isnan(dwell_s), 0, bins).astype(np.int16),
        "event_type": np.zeros(n, np.int16),
        "value": np.full(n, np.nan, np.float32),
    }


def _write_parts(
    folder: Path, offsets: NDArray[np.int64], columns: dict[str, NDArray[Any]]
) -> list[str]:
    users = np.char.add("u", np.char.zfill(np.arange(len(offsets) - 1).astype(str), 9))
    names = []
    for number, rows in enumerate(np.array_split(np.arange(len(users)), _PARTS)):
        if not len(rows):
            continue
        first, stop = int(rows[0]), int(rows[-1]) + 1
        bounds = offsets[first : stop + 1]
        within = pa.array((bounds - bounds[0]).astype(np.int32))
        flat = slice(int(bounds[0]), int(bounds[-1]))
        lists = {
            name: pa.ListArray.from_arrays(
                within, pa.array(values[flat], from_pandas=values.dtype.kind == "f")
            )
            for name, values in columns.items()
        }
        table = pa.table(
            {"user_id": users[rows], "n_context": np.zeros(len(rows), np.int32), **lists}
        )
        names.append(f"part-{number:05d}.parquet")
        pq.write_table(table, folder / names[-1], compression="zstd")
    return names


def _popularity(columns: dict[str, NDArray[Any]]) -> pa.Table:
    hour = columns["time_us"] // (HOUR_S * _US_PER_S)
    recent = hour >= AS_OF.index - DAY_H
    pairs, events = np.unique(
        np.stack([columns["item"][recent], hour[recent]]), axis=1, return_counts=True
    )
    return pa.table({"item": pairs[0].astype(np.int32), "hour_index": pairs[1], "events": events})
