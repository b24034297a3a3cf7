"""The tables of the lake: their columns, and what a row is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import pyarrow as pa

TIMESTAMP = pa.timestamp("us", tz="UTC")
CONTEXT = pa.map_(pa.string(), pa.string())


@dataclass(frozen=True)
class TableSpec:
    """One Iceberg table.

    ``partition`` says how its ``hour`` column parts it, if it does; ``row`` what one row is, for
    the reference pages.
    """

    name: str
    schema: pa.Schema
    partition: Literal["hour", "day"] | None
    row: str = ""


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

EVENTS = TableSpec(
    "events",
    _schema(hour=TIMESTAMP, **_EVENT_FIELDS, source_file=pa.string(), line=pa.int64()),
    "hour",
    row=(
        "One accepted interaction. `hour` is the hour of `event_time`. A user's events of equal "
        "time are in the order of their records: `source_file` (as text), then `line`, the "
        "record's first line in it."
    ),
)

REPEATED_KEYS = TableSpec(
    "repeated_keys",
    _schema(
        hour=TIMESTAMP,
        event_time=TIMESTAMP,
        event_key=pa.string(),
        source_file=pa.string(),
        line=pa.int64(),
    ),
    "hour",
    row=(
        "A key of the log's own (`event_key`) that occurs in `hour` although its event stays in "
        "an earlier hour; the first such record of the hour, by time, file and line."
    ),
)

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
    row="One refused raw record, with the reason. `hour` is the hour in which its file arrived.",
)

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
        read_by=pa.string(),
        removed=pa.int64(),
        removed_by=pa.string(),
        ignored=pa.int64(),
    ),
    None,
    row=(
        "One ingested raw file: records = accepted + duplicates + quarantined + ignored, as they "
        "stand now. "
        "A file that has grown replaces its row; a file whose content is another one has a row "
        "for each content. `read_by` is the digest of the settings that decided what its records "
        "became (null: a version that did not record it). `removed` counts records that another "
        "program took out since (below 0: put in), `removed_by` names its snapshot. `ignored` "
        "counts those that `source.ignore` leaves out (null: a version that left none out)."
    ),
)

LATE_RANGES = TableSpec(
    "late_ranges",
    _schema(source_file=pa.string(), late_from=TIMESTAMP, late_to=TIMESTAMP),
    None,
    row=(
        "A range of event times, [`late_from`, `late_to`), from which a file's records were "
        "accepted on purpose although they came too late. They stay accepted when the file is "
        "ingested again."
    ),
)

_IN_SESSION = {
    "session_id": pa.string(),
    "session_start": TIMESTAMP,
    "position": pa.int32(),
}
# Where the log has several events of a user at the same microsecond: the event's place among them,
# from 1, in the order of their records.  Null elsewhere, and where an earlier version wrote the row
# (then event_key decided).
_TIE = {"tie_rank": pa.int32()}
# True where the event is marked as a robot's, null elsewhere; and the id that the log has, where
# ``user_id`` is the person whom the table ``people`` names.
_LATER = {**_TIE, "is_robot": pa.bool_(), "anonymous_id": pa.string()}

SESSIONS = TableSpec(
    "sessions",
    _schema(hour=TIMESTAMP, **_IN_SESSION, **_EVENT_FIELDS, dwell_s=pa.float64(), **_LATER),
    "hour",
    row=(
        "One event of a closed session. `hour` is the hour in which the session closed; `dwell_s` "
        "is the time to the next event of the session, or to the last event of "
        "`sessions.passive_types` on the item before that (null where neither is, as on the last "
        "event of a log without such types). `tie_rank` counts, from "
        "1, a user's events of the same microsecond in the order of their records; it is null "
        "elsewhere, and in rows of earlier versions. `is_robot` is true of a robot's events by "
        "`sessions.robot_events_per_hour` or `sessions.robot_run_hours`, and null elsewhere. Where "
        "`people` names a person for the event's id at its time, `user_id` is that person and "
        "`anonymous_id` the id (null elsewhere)."
    ),
)

OPEN_SESSIONS = TableSpec(
    "open_sessions",
    _schema(
        hour=TIMESTAMP,
        **_IN_SESSION,
        **_EVENT_FIELDS,
        chain_start=TIMESTAMP,
        **_LATER,
        passive_until=TIMESTAMP,
    ),
    "hour",
    row=(
        "One event of a session that is still open at the end of `hour`. `chain_start` is the "
        "first event since the last silence: where an endless session is cut, its pieces are "
        "counted from there. `tie_rank`, `is_robot` and `anonymous_id` as in `sessions`. "
        "`passive_until` is the time of the last passive event on its item before the next event, "
        "if there is one."
    ),
)

ITEM_HOURS = TableSpec(
    "item_hours",
    _schema(hour=TIMESTAMP, item_id=pa.string(), events=pa.int64(), users=pa.int64()),
    "hour",
    row=(
        "Events and users of one item in one hour. Events of robots, by `is_robot` of `sessions`, "
        "and of passive types do not count."
    ),
)

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
    row=(
        "Mergeable moments of the dwell times of the sessions that closed in `hour`, those of "
        "robots' events aside: count, mean, sum of squared deviations, least, greatest."
    ),
)

# Many rows fit a day's file, so a day is the partition.
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
    row=(
        "One filled hour of one step, with digests of what went in and came out, by which stale "
        "hours are recognised. `state_digest` is of the open sessions alone: where it comes out "
        "as before, later hours stand."
    ),
)

PROFILES = TableSpec(
    "profiles",
    _schema(hour=TIMESTAMP, distribution=pa.string(), bin=pa.string(), weight=pa.float64()),
    "day",
    row=(
        "One bin of one distribution of an hour when it was validated; comparisons and drift are "
        "computed from here. `weight` counts events, users, sessions ...; of the distribution "
        "`fact` it is the fact's value."
    ),
)

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
    row=(
        "One expectation that an hour broke when it was last validated. `accepted` is the reason "
        "that a person gave for going on all the same."
    ),
)

INCIDENTS = TableSpec(
    "incidents",
    _schema(
        hour=TIMESTAMP,
        kind=pa.string(),
        number=pa.int64(),
        at=TIMESTAMP,
        by=pa.string(),
        verdict=pa.string(),
        cause=pa.string(),
        reason=pa.string(),
        sentence=pa.string(),
        expectations=pa.list_(pa.string()),
    ),
    "day",
    row=(
        "One change of the verdict on an hour that broke a critical expectation; never changed "
        "afterwards. `number` counts the changes of a kind and hour from 1, `verdict` is what it "
        "became. `cause` says why a critical hour passes now: data_changed, expectation_changed, "
        "settings_changed or compared_anew. `reason` is that of the person who accepted it, `by` "
        "who did or else who ran the validation, `at` when; the last two are null where nobody "
        "knows."
    ),
)

_METADATA = {
    "categories": pa.list_(pa.string()),
    "numbers": pa.map_(pa.string(), pa.float64()),
    "text": pa.string(),
    "available_from": TIMESTAMP,
    "available_to": TIMESTAMP,
}
ITEMS = TableSpec(
    "items",
    _schema(item_id=pa.string(), **_METADATA),
    None,
    row="Metadata of one item, as it is now: the table has no history.",
)
USERS = TableSpec(
    "users",
    _schema(user_id=pa.string(), **_METADATA),
    None,
    row="Metadata of one user, as it is now: the table has no history.",
)

PEOPLE = TableSpec(
    "people",
    _schema(
        anonymous_id=pa.string(),
        person_id=pa.string(),
        valid_from=TIMESTAMP,
        valid_to=TIMESTAMP,
    ),
    None,
    row=(
        "One interval of event time, [`valid_from`, `valid_to`), in which an id of the log is a "
        "person (null: without a beginning, or an end), as the files of `source.people_path` say "
        "now. Intervals of one id do not overlap, and what was withdrawn has none."
    ),
)

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
        propensity=pa.float64(),
    ),
    "hour",
    row=(
        "One recommended item of one user at `made_at`, which lies in `hour`. `source` is "
        "`model`, or `popularity` where the model knows nothing of the user or may offer no more; "
        "then `score` is the number of recent events. Where `recommend.exploration` is above 0, "
        "`source` is `exploration` in a place that was drawn, and `propensity` the chance that the "
        "item had to stand in this place; else it is null, and the files lack it."
    ),
)

# Columns that a lake of an earlier version lacks: its rows hold null in them, and the next commit
# to the table adds them.
ADDED_LATER = {
    "source": pa.string(),
    "propensity": pa.float64(),
    "read_by": pa.string(),
    "removed": pa.int64(),
    "removed_by": pa.string(),
    "ignored": pa.int64(),
    "passive_until": TIMESTAMP,
    **_LATER,
}

ALL_TABLES = (
    EVENTS,
    REPEATED_KEYS,
    QUARANTINE,
    SOURCE_FILES,
    LATE_RANGES,
    SESSIONS,
    OPEN_SESSIONS,
    ITEM_HOURS,
    DWELL_HOURS,
    PROFILES,
    FAILED_EXPECTATIONS,
    INCIDENTS,
    FILLED_HOURS,
    ITEMS,
    USERS,
    PEOPLE,
    RECOMMENDATIONS,
)

# Filled together, several by one step; each of the others is complete after any one commit.
STEP_TABLES = (
    EVENTS,
    REPEATED_KEYS,
    QUARANTINE,
    SOURCE_FILES,
    LATE_RANGES,
    SESSIONS,
    OPEN_SESSIONS,
    ITEM_HOURS,
    DWELL_HOURS,
    PROFILES,
    FAILED_EXPECTATIONS,
    INCIDENTS,
)

# What is known of items, users and persons: each is complete after any one commit.
KNOWLEDGE_TABLES = (ITEMS, USERS, PEOPLE)
