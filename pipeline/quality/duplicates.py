"""What doubled records are: a file delivered twice, one that changed, or records that repeat."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from typing import Any, Literal

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.errors import UsageError
from pipeline.hours import US_PER_S
from pipeline.settings.settings import Settings
from pipeline.sources import source_for

_WHOLE_SECONDS = (
    "its times are whole seconds, so equal records cannot be told apart: if they are events of "
    "their own, set ingest.equal_records: events, map source.columns.event_key to a column that "
    "differs, or log finer times"
)


#: How equal records of one file are told apart: by the log's keys, or by the setting of this name.
EqualRecords = Literal["keys", "events", "duplicates"]


def equal_records_of(settings: Settings) -> EqualRecords:
    """What decides whether two equal records of a file are two events."""
    try:
        has_keys = source_for(settings.source).has_keys
    except UsageError:
        # Advice about what was taken in does not wait until settings for more are right again.
        has_keys = settings.source.columns.event_key is not None
    return "keys" if has_keys else settings.ingest.equal_records


def duplicate_cause(
    arrived: pa.Table,
    files: pa.Table,
    events: pa.Table,
    equal_records: EqualRecords = "duplicates",
) -> str | None:
    """What is known of the duplicates of some files, as a sentence that says what to do.

    Args:
        arrived: rows of ``source_files`` with the duplicates that are asked about.
        files: all of its rows.
        events: rows of ``events`` of the hours in question: hour, event_time, source_file.
        equal_records: see :func:`equal_records_of`.

    Returns:
        A sentence about the file with the most duplicates; None where there are none.
    """
    doubled = arrived.filter(pc.greater(arrived["duplicates"], 0)).to_pylist()
    if not doubled:
        return None
    worst = max(doubled, key=lambda row: (row["duplicates"], row["source_file"]))
    name = worst["source_file"]
    is_same = pc.equal(files["source_file"], name)
    others = files.filter(pc.invert(is_same))
    if copies := _equal(others, "sha256", worst["sha256"]):
        return f"{name} holds the same bytes as {copies[0]}: the file was delivered twice"
    if (pc.sum(is_same).as_py() or 0) > 1:
        return (
            f"{name} came again with other content, which repeats records that it had before: "
            "see whether the producer rewrites its files"
        )
    return _between(worst, others, events, equal_records) or _within(
        worst, events, equal_records, has_others=others.num_rows > 0
    )


def _between(
    worst: Mapping[str, Any], others: pa.Table, events: pa.Table, equal_records: EqualRecords
) -> str | None:
    """What another file has to do with it, if any has."""
    name = worst["source_file"]
    if not worst["accepted"]:
        alike = _equal(others, "records", worst["records"])
        which = f"; {alike[0]} has as many records" if alike else ""
        return f"no record of {name} is new, all are in other files{which}: see who sent them twice"
    hours = _hours_by_file(events)
    mine = hours.get(name, set())
    if not mine:
        return f"{name} has the most duplicates: compare it with other files of its hours"
    sharing = sorted(other for other, theirs in hours.items() if other != name and theirs & mine)
    if sharing and equal_records == "events":
        return (
            f"{name} repeats what another file says, perhaps {sharing[0]}, which has events of the "
            "same hours: compare the two"
        )
    if sharing:
        return (
            f"{name} repeats records of its own, or shares records with {sharing[0]}, which has "
            "events of the same hours: compare the two"
        )
    return None


def _within(
    worst: Mapping[str, Any], events: pa.Table, equal_records: EqualRecords, has_others: bool
) -> str:
    """Why a file repeats its own records, as far as anything tells that it does."""
    name = worst["source_file"]
    if equal_records == "events":
        return f"{name} tells of events that another file has told of: compare it with those before"
    own = events.filter(pc.equal(events["source_file"], name))
    far = "" if own.num_rows == worst["accepted"] else "as far as these hours show, "
    if equal_records == "keys":
        # Which event has a refused record's key is nowhere kept.
        where = "in it or in another file" if has_others else "in it"
        return (
            f"{name} tells of keys that an earlier record {where} has told of: see who sends an "
            "event twice, or gives two of them one key (source.columns.event_key)"
        )
    sentence = f"{far}{name} repeats records within itself"
    if _in_whole_seconds(own["event_time"]):
        return f"{sentence}; {_WHOLE_SECONDS}"
    return f"{sentence}: see why the producer writes them twice"


def _equal(files: pa.Table, column: str, value: object) -> list[str]:
    """Names of the files that have a value, in order; none where there is no value."""
    if value is None:
        return []
    names: list[str] = files.filter(pc.equal(files[column], value))["source_file"].to_pylist()
    return sorted(set(names))


def _hours_by_file(events: pa.Table) -> dict[str, set[int]]:
    """The hours in which each file has events, as microseconds since 1970."""
    pairs = pa.TableGroupBy(
        pa.table({"file": events["source_file"], "hour": pc.cast(events["hour"], pa.int64())}),
        ["file", "hour"],
    ).aggregate([])
    hours: dict[str, set[int]] = defaultdict(set)
    for file, hour in zip(pairs["file"].to_pylist(), pairs["hour"].to_pylist(), strict=True):
        hours[file].add(hour)
    return dict(hours)


def _in_whole_seconds(times: pa.ChunkedArray) -> bool:
    at_us = pc.cast(times, pa.int64())
    whole = pc.multiply(pc.divide(at_us, US_PER_S), US_PER_S)
    return bool(pc.all(pc.equal(whole, at_us)).as_py())
