"""Events with the person in the place of the id that the log has, as the table ``people`` says.

The log's ids come only from events; sessions that are carried in hold persons already.  The rows of
the table do not travel with the plan: tasks read its files, as they read those of the events.
"""

from __future__ import annotations

from functools import lru_cache

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.lake.parquet_files import read_file
from pipeline.lake.people import Intervals, intervals_of
from pipeline.lake.tables import PEOPLE


def as_persons(events: pa.Table, people: tuple[str, ...]) -> pa.Table:
    """The rows with the person in ``user_id`` where an event's id is one at its time.

    Args:
        events: columns user_id and event_time, and perhaps anonymous_id, which then holds the ids
            that a person took the place of, and null elsewhere.
        people: paths of the files of ``people``.
    """
    if not people or not events.num_rows:
        return events
    intervals = intervals_of_people(people)
    time_us = events["event_time"].cast(pa.int64()).fill_null(0).to_numpy()
    index = intervals.at(events["user_id"], time_us)
    is_person = index >= 0
    if not is_person.any():
        return events
    ids, persons = events["user_id"], intervals.persons
    if persons is None:
        raise ValueError("the intervals of people name no persons")
    names = persons.take(pa.array(index, mask=~is_person)).cast(ids.type)
    columns = {"user_id": pc.coalesce(names, ids)}
    if "anonymous_id" in events.column_names:
        log_ids = pc.if_else(pa.array(is_person), ids, pa.scalar(None, ids.type))
        columns["anonymous_id"] = log_ids.cast(pa.string())
    for name, values in columns.items():
        events = events.set_column(events.column_names.index(name), name, values)
    return events


# The files are never written anew, and each task of a process looks at the same ones.
@lru_cache(maxsize=1)
def intervals_of_people(people: tuple[str, ...]) -> Intervals:
    """Who is who when, by the files of ``people``; threads share what the first call has read."""
    parts = [read_file(path, PEOPLE.schema.names).cast(PEOPLE.schema) for path in people]
    return intervals_of(pa.concat_tables(parts))
