"""Raw logs of a day, from a seed: clean records, some that come again, some that are broken."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as arrow_csv
import pyarrow.parquet as pq

from pipeline.hours import HOUR_S, Hour

Format = Literal["csv", "json", "parquet"]
Layout = Literal["hours", "minutes", "one"]

FIRST = Hour.parse("2016-03-01T00")
HOURS = 24
_HOUR_MS = HOUR_S * 1000
_USERS, _ITEMS = 200_000, 50_000
_KINDS = ("view", "view", "view", "view", "cart", "buy")
# Of the records of a file: those that the next one brings again, and those without a user.
_AGAIN, _BROKEN = 0.01, 0.001
_PARTS = {"hours": 1, "minutes": 60, "one": 1}
ENDINGS = {"csv": "csv", "json": "jsonl", "parquet": "parquet"}


def write_log(folder: Path, form: Format, layout: Layout, records: int, seed: int) -> Path:
    """Write a log of so many records, unless it is there; they lie in folders of their hours.

    Times are milliseconds, each once, so that no two records of a file are equal.  In one large
    file no record comes again.
    """
    log = folder / f"{form}-{layout}-{records}-{seed}"
    if (log / "written").exists():
        return log
    rng = np.random.default_rng(seed)
    previous: pa.Table | None = None
    single: list[pa.Table] = []
    for nth in range(HOURS):
        rows = _hour(rng, nth, records // HOURS)
        if layout == "one":
            single.append(rows)
            continue
        if previous is not None:
            again = rng.choice(len(previous), int(_AGAIN * len(previous)), replace=False)
            rows = pa.concat_tables([previous.take(pa.array(np.sort(again))), rows])
        previous = rows.slice(len(rows) - records // HOURS)
        parts = _PARTS[layout]
        size = -(-len(rows) // parts)
        for part in range(parts):
            path = log / str(FIRST + nth) / f"{part:02d}.{ENDINGS[form]}"
            _write(rows.slice(part * size, size), path, form)
    if single:
        _write(pa.concat_tables(single), log / f"all.{ENDINGS[form]}", form)
    (log / "written").touch()
    return log


def _hour(rng: np.random.Generator, nth: int, records: int) -> pa.Table:
    start_ms = (FIRST + nth).index * _HOUR_MS
    time_ms = np.sort(rng.choice(_HOUR_MS, records, replace=False)) + start_ms
    users = rng.zipf(1.3, records) % _USERS
    user = pc.binary_join_element_wise("u", pa.array(users).cast(pa.string()), "")
    is_broken = pa.array(rng.random(records) < _BROKEN)
    item = pa.array(rng.zipf(1.2, records) % _ITEMS).cast(pa.string())
    return pa.table(
        {
            "ts": time_ms,
            "user": pc.if_else(is_broken, "", user),
            "item": pc.binary_join_element_wise("i", item, ""),
            "kind": pa.array(_KINDS).take(pa.array(rng.integers(0, len(_KINDS), records))),
            "price": np.round(rng.gamma(2, 10, records), 2),
            "device": pa.array(["web", "app"]).take(pa.array(users % 2)),
        }
    )


def _write(rows: pa.Table, path: Path, form: Format) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if form == "csv":
        options = arrow_csv.WriteOptions(quoting_style="none")
        arrow_csv.write_csv(rows, path, options)
    elif form == "parquet":
        pq.write_table(rows, path, compression="zstd")
    else:
        lines = [
            json.dumps({"ctx": {"device": record.pop("device")}, **record}, separators=(",", ":"))
            for record in rows.to_pylist()
        ]
        path.write_text("\n".join([*lines, ""]), encoding="utf-8")
