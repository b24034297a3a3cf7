"""Whether engines made the same tables: counts and sums of hashes, which no order can change."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from pipeline.errors import HourglassError

_COMPARED = {
    "sessions": (
        "hour, user_id, event_key, event_us, item_id, event_type, value, session_us, "
        "position, CAST(ROUND(dwell_s * 1e6) AS BIGINT)",
        "COUNT(DISTINCT session_id)",
    ),
    "open_sessions": (
        "hour, user_id, event_key, event_us, item_id, event_type, value, session_us, "
        "position, chain_us",
        "COUNT(DISTINCT session_id)",
    ),
    "item_hours": ("hour, item_id, events, users", "NULL"),
    # The last digits of sums of fractions depend on the order in which they are added up.
    "dwell_hours": (
        "hour, n, CAST(ROUND(min_s * 1e6) AS BIGINT), CAST(ROUND(max_s * 1e6) AS BIGINT)",
        "SUM(mean_s) + SUM(m2_s2)",
    ),
}
_AS_US = {"hour": "hour", "event_us": "event_time", "session_us": "session_start"}


def checksums(paths: Mapping[str, list[str]], memory: str) -> dict[str, list[Any]]:
    """By table: number of rows, sum of the rows' hashes, and one figure more."""
    import duckdb

    found = {}
    with duckdb.connect(config={"memory_limit": memory}) as connection:
        connection.execute("SET TimeZone = 'UTC'")
        for table, files in paths.items():
            columns, figure = _COMPARED[table]
            times = _AS_US | ({"chain_us": "chain_start"} if table == "open_sessions" else {})
            for name, column in times.items():
                columns = columns.replace(name, f"EPOCH_US({column})")
            rows, total, more = connection.execute(
                f"SELECT COUNT(*), SUM(HASH({columns})), {figure} "  # noqa: S608 - constants above
                "FROM read_parquet($1, hive_partitioning = false)",
                [files],
            ).fetchall()[0]
            found[table] = [rows, str(total), more]
    return found


def compare(by_engine: Mapping[str, Mapping[str, list[Any]]]) -> None:
    """Demand that all engines made the same of every table that they made.

    Raises:
        HourglassError: two of them differ.
    """
    first: dict[str, tuple[str, list[Any]]] = {}
    for engine, tables in by_engine.items():
        for table, found in tables.items():
            other, expected = first.setdefault(table, (engine, found))
            if not _same(found, expected):
                raise HourglassError(
                    f"{engine} and {other} disagree about {table}: {found} and {expected} "
                    "(rows, sum of hashes, and distinct sessions or the sum of moments)"
                )


def _same(found: list[Any], expected: list[Any]) -> bool:
    if isinstance(found[2], float) and isinstance(expected[2], float):
        return found[:2] == expected[:2] and math.isclose(found[2], expected[2], rel_tol=1e-9)
    return found == expected
