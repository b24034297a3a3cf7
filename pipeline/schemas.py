"""The tables of the lake: their columns, and what a row is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import pyarrow as pa

TIMESTAMP = pa.timestamp("us", tz="UTC")
CONTEXT = pa.map_(pa.string(), pa.string())


@dataclass(frozen=True)
class TableSpec:
    """One Iceberg table; ``partition`` says how its ``hour`` column parts it, if it does."""

    name: str
    schema: pa.Schema
    partition: Literal["hour", "day"] | None


def _schema(**columns: pa.DataType) -> pa.Schema:
    return pa.schema([pa.field(name, kind) for name, kind in columns.items()])


_EVENT_FIELDS = {
    "event_time": TIMESTAMP,
    "user_id": pa.string(),
    "item_id": pa.string(),
    "event_type": pa.string(),
    "value": pa.float64(),
    "given_session": pa.string(),
    "context": CONTEXT,
    "event_key": pa.string(),
}

# One accepted interaction; `hour` is the hour of event_time.
EVENTS = TableSpec(
    "events",
    _schema(hour=TIMESTAMP, **_EVENT_FIELDS, source_file=pa.string(), line=pa.int64()),
    "hour",
)

# One refused raw record; `hour` is the hour in which its file arrived.
QUARANTINE = TableSpec(
    "quarantine",
    _schema(
        hour=TIMESTAMP,
        reason=pa.string(),
        source_file=pa.string(),
        line=pa.int64(),
        raw=pa.string(),
    ),
    "hour",
)

# One ingested raw file: records = accepted + duplicates + quarantined, as they stand now.  A file
# that changes is ingested again: what it has grown to takes the place of what it was, and one whose
# content is another has a row for each.  `removed` records were taken out of the tables since by
# another program, `removed_by`, and are counted as nothing else; below 0 it put some in.
SOURCE_FILES = TableSpec(
    "source_files",
    _schema(
        source_file=pa.string(),
        arrival=TIMESTAMP,
        modified=TIMESTAMP,
        bytes=pa.int64(),
        sha256=pa.string(),
        records=pa.int64(),
        accepted=pa.int64(),
        duplicates=pa.int64(),
        quarantined=pa.int64(),
        removed=pa.int64(),
        removed_by=pa.string(),
    ),
    None,
)

# A range of event times, [late_from, late_to), from which a file's records were let in on purpose
# though they had come too late; they stay let in when the file is ingested again.
LATE_RANGES = TableSpec(
    "late_ranges",
    _schema(source_file=pa.string(), late_from=TIMESTAMP, late_to=TIMESTAMP),
    None,
)

_IN_SESSION = {
    "session_id": pa.string(),
    "session_start": TIMESTAMP,
    "position": pa.int32(),
}

# One event of a closed session; `hour` is the hour in which the session closed.
SESSIONS = TableSpec(
    "sessions",
    _schema(hour=TIMESTAMP, **_IN_SESSION, **_EVENT_FIELDS, dwell_s=pa.float64()),
    "hour",
)

# One event of a session still open at the end of `hour`.  `chain_start` is the first event since
# the last silence: where an endless session is cut, its pieces are counted from there.
OPEN_SESSIONS = TableSpec(
    "open_sessions",
    _schema(hour=TIMESTAMP, **_IN_SESSION, **_EVENT_FIELDS, chain_start=TIMESTAMP),
    "hour",
)

ITEM_HOURS = TableSpec(
    "item_hours",
    _schema(hour=TIMESTAMP, item_id=pa.string(), events=pa.int64(), users=pa.int64()),
    "hour",
)

# Mergeable moments of the dwell times of the sessions that closed in `hour`.
DWELL_HOURS = TableSpec(
    "dwell_hours",
    _schema(
        hour=TIMESTAMP,
        n=pa.int64(),
        mean_s=pa.float64(),
        m2_s2=pa.float64(),
        min_s=pa.float64(),
        max_s=pa.float64(),
    ),
    "hour",
)

# One filled hour of one step: digests of what went in and came out, so that stale hours can be
# found.  `state_digest` is of the open sessions alone: where it comes out as it was, later hours
# stand.  Many rows fit a day's file, so a day is the partition.
FILLED_HOURS = TableSpec(
    "filled_hours",
    _schema(
        hour=TIMESTAMP,
        step=pa.string(),
        input_digest=pa.string(),
        output_digest=pa.string(),
        state_digest=pa.string(),
        config_digest=pa.string(),
        code_version=pa.string(),
        rows=pa.int64(),
    ),
    "day",
)

# How an hour was distributed when it was validated: one row per bin of each distribution.  What
# validation compares an hour with, and what the report calls drift, comes from here, so that
# neither reads old events.  `weight` counts events, users, sessions ...; of the distribution
# `fact` it is the fact's value.
PROFILES = TableSpec(
    "profiles",
    _schema(hour=TIMESTAMP, distribution=pa.string(), bin=pa.string(), weight=pa.float64()),
    "day",
)

# One expectation that an hour broke when it was last validated.  `accepted` is the reason that a
# person gave for going on all the same.
FAILED_EXPECTATIONS = TableSpec(
    "failed_expectations",
    _schema(
        hour=TIMESTAMP,
        batch=pa.string(),
        suite=pa.string(),
        expectation=pa.string(),
        severity=pa.string(),
        sentence=pa.string(),
        observed=pa.string(),
        limit=pa.string(),
        examples=pa.list_(pa.string()),
        accepted=pa.string(),
    ),
    "day",
)

_METADATA = {
    "categories": pa.list_(pa.string()),
    "numbers": pa.map_(pa.string(), pa.float64()),
    "text": pa.string(),
    "available_from": TIMESTAMP,
    "available_to": TIMESTAMP,
}
ITEMS = TableSpec("items", _schema(item_id=pa.string(), **_METADATA), None)
USERS = TableSpec("users", _schema(user_id=pa.string(), **_METADATA), None)

# One recommended item of one user at `made_at`, which lies in `hour`.  `source` says whether the
# model ranked it, or popularity where the model knows nothing of the user or may offer no more;
# then `score` is the number of recent events.
RECOMMENDATIONS = TableSpec(
    "recommendations",
    _schema(
        hour=TIMESTAMP,
        user_id=pa.string(),
        rank=pa.int32(),
        item_id=pa.string(),
        score=pa.float32(),
        model=pa.string(),
        model_version=pa.string(),
        made_at=TIMESTAMP,
        source=pa.string(),
    ),
    "hour",
)

# Columns that a lake of an earlier version lacks: its rows hold null in them, and the next commit
# to the table adds them.
ADDED_LATER = {"source": pa.string(), "removed": pa.int64(), "removed_by": pa.string()}

ALL_TABLES = (
    EVENTS,
    QUARANTINE,
    SOURCE_FILES,
    LATE_RANGES,
    SESSIONS,
    OPEN_SESSIONS,
    ITEM_HOURS,
    DWELL_HOURS,
    PROFILES,
    FAILED_EXPECTATIONS,
    FILLED_HOURS,
    ITEMS,
    USERS,
    RECOMMENDATIONS,
)

# Filled together, several by one step; each of the others is complete after any one commit.
STEP_TABLES = (
    EVENTS,
    QUARANTINE,
    SOURCE_FILES,
    LATE_RANGES,
    SESSIONS,
    OPEN_SESSIONS,
    ITEM_HOURS,
    DWELL_HOURS,
    PROFILES,
    FAILED_EXPECTATIONS,
)
