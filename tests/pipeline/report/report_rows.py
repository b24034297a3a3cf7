"""Small tables for the tests of the report."""

from __future__ import annotations

import pyarrow as pa

from pipeline.hours import Hour
from pipeline.lake.tables import SESSIONS, TableSpec

HOUR = Hour.parse("2016-03-14T13")


def table(spec: TableSpec, *rows: dict[str, object]) -> pa.Table:
    return pa.Table.from_pylist(list(rows), schema=spec.schema)


def sessions_of(sizes: list[int], dwell_s: list[float] | None = None) -> pa.Table:
    dwells = iter(dwell_s or [])
    return table(
        SESSIONS,
        *(
            {"hour": HOUR.start, "session_id": f"s{s}", "position": p, "dwell_s": next(dwells, 1.0)}
            for s, size in enumerate(sizes)
            for p in range(size)
        ),
    )
