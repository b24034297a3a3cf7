"""The report queries on small tables, by hand, in DuckDB and in Spark."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.hours import Hour
from pipeline.lake.sql import statement
from pipeline.lake.tables import ITEM_HOURS, QUARANTINE, SESSIONS, TableSpec
from pipeline.spark.compute import Compute

if TYPE_CHECKING:
    from pathlib import Path


HOUR = Hour.parse("2016-03-14T13")


def session_event(
    hour: int, session: str, user: str, start_s: float, after_s: float, dwell_s: float | None
) -> dict[str, Any]:
    start = HOUR.start + timedelta(seconds=start_s)
    return {
        "hour": (HOUR + hour).start,
        "session_id": session,
        "user_id": user,
        "session_start": start,
        "event_time": start + timedelta(seconds=after_s),
        "dwell_s": dwell_s,
    }


DAY_S = 86_400
ROWS: dict[TableSpec, list[dict[str, Any]]] = {
    SESSIONS: [
        session_event(1, "a1", "ann", 0, 0, 59.5),
        session_event(1, "a1", "ann", 0, 59.5, 60),
        session_event(1, "a1", "ann", 0, 119.5, None),
        session_event(1, "b1", "bob", 10, 0, None),
        session_event(40, "a2", "ann", DAY_S + 3 * 3600, 0, 61),
        session_event(40, "a2", "ann", DAY_S + 3 * 3600, 61, None),
    ],
    ITEM_HOURS: [
        {"hour": (HOUR + h).start, "item_id": item, "events": n, "users": 1}
        for item, h, n in [("tea", 0, 2), ("tea", 1, 4), ("pot", 1, 1), ("cup", 0, 1)]
    ],
    QUARANTINE: [
        {"hour": (HOUR + h).start, "reason": reason, "source_file": file, "line": 1, "raw": raw}
        for reason, h, file, raw in [
            ("no user", 0, "a", "x,"), ("no user", 2, "b", "w,"), ("no user", 1, "b", "y,"),
            ("bad time", 0, "a", "?"),
        ]
    ],
}  # fmt: skip

WANTED: dict[str, tuple[list[str], list[tuple[Any, ...]]]] = {
    "sessions_per_hour": (
        ["hour", "sessions", "users", "events", "events_per_session", "mean_dwell_s"],
        [((HOUR + 1).start, 2, 2, 4, 2.0, 59.75), ((HOUR + 40).start, 1, 1, 2, 2.0, 61.0)],
    ),
    "session_gaps": (
        ["user_id", "session_id", "session_start", "gap_s"],
        [
            ("ann", "a1", HOUR.start, None),
            # a day and three hours, less 119.5 s, in whole seconds
            ("ann", "a2", HOUR.start + timedelta(days=1, hours=3), DAY_S + 3 * 3600 - 120),
            ("bob", "b1", HOUR.start + timedelta(seconds=10), None),
        ],
    ),
    "dwell_times": (["dwell_min", "events", "share"], [(0, 1, 1 / 3), (1, 2, 2 / 3)]),
    "top_items": (
        ["item_id", "events", "hours", "share"],
        [("tea", 6, 2, 0.75), ("cup", 1, 1, 0.125), ("pot", 1, 1, 0.125)],
    ),
    "quarantine_reasons": (
        ["reason", "records", "files", "first_hour", "last_hour", "example"],
        [
            ("no user", 3, 2, HOUR.start, (HOUR + 2).start, "w,"),
            ("bad time", 1, 1, HOUR.start, HOUR.start, "?"),
        ],
    ),
}


def check(found: pa.Table, name: str) -> None:
    columns, rows = WANTED[name]
    assert found.column_names == columns
    got = [tuple(row.values()) for row in found.to_pylist()]
    assert len(got) == len(rows)
    for one, other in zip(got, rows, strict=True):
        assert [pytest.approx(float(v), abs=1e-6) if _is_number(v) else v for v in one] == [
            float(v) if _is_number(v) else v for v in other
        ]


def _is_number(value: object) -> bool:
    return hasattr(value, "__float__")


@pytest.mark.parametrize("name", sorted(WANTED))
def test_in_duckdb(name: str) -> None:
    connection = duckdb.connect()
    connection.execute("SET TimeZone = 'UTC'")
    for spec, rows in ROWS.items():
        connection.register(spec.name, pa.Table.from_pylist(rows, schema=spec.schema))
    check(connection.sql(statement(f"reports/{name}")).to_arrow_table(), name)


def test_every_report_query_has_an_answer_worked_out_by_hand() -> None:
    from importlib import resources

    files = resources.files("sql").joinpath("reports").iterdir()
    assert {file.name for file in files if file.name.endswith(".sql")} == {
        f"{name}.sql" for name in WANTED
    }


@pytest.mark.slow
def test_in_spark(compute: Compute, tmp_path: Path) -> None:
    for spec, rows in ROWS.items():
        path = str(tmp_path / f"{spec.name}.parquet")
        pq.write_table(pa.Table.from_pylist(rows, schema=spec.schema), path)
        compute.spark.read.parquet(path).createOrReplaceTempView(spec.name)
    for name in WANTED:
        check(compute.spark.sql(statement(f"reports/{name}")).toArrow(), name)
