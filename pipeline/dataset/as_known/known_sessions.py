"""What the session tables would say at an hour if what came later had not come."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.array_types import Ints
from pipeline.dataset.as_known.late_events import LateEvents
from pipeline.hours import US_PER_HOUR, US_PER_S, Hour, HourRange
from pipeline.sessions.in_memory import SessionRows, sessions_in_memory


@dataclass(frozen=True)
class KnownSessions:
    """Rows that stand, at an hour, in the place of all that the tables have of some users.

    ``former`` are those with what came later, as the tables have them.
    """

    user_ids: pa.Array
    rows: SessionRows
    former: SessionRows

    @property
    def change(self) -> pa.Table:
        """By how much the counts of ``item_hours`` change: hour, item_id, events."""
        columns = ["hour", "item_id", "events"]
        less = self.former.item_hours.select(columns)
        less = less.set_column(2, "events", pc.negate(less["events"]))
        both = pa.concat_tables([less, self.rows.item_hours.select(columns)])
        sums = both.group_by(columns[:2]).aggregate([("events", "sum")]).rename_columns(columns)
        return sums.filter(pc.not_equal(sums["events"], 0))

    @property
    def changed_hours(self) -> list[Hour]:
        """The hours in which sessions with other dwell times close, ascending."""
        before, now = (_dwells(rows.closed) for rows in (self.former, self.rows))
        sign = np.repeat([1, -1], [len(before), len(now)])
        distinct, row = np.unique(np.concatenate([before, now]), axis=0, return_inverse=True)
        difference = np.bincount(row.ravel(), weights=sign, minlength=len(distinct))
        return [Hour(index) for index in np.unique(distinct[difference != 0, 0]).tolist()]


def _dwells(closed: pa.Table) -> Ints:
    """Closing hour (``Hour.index``) and dwell time in microseconds, as ``dwell_hours`` counts."""
    is_told = pc.and_(pc.is_valid(closed["dwell_s"]), pc.is_null(closed["is_robot"]))
    rows = closed.filter(is_told)
    return np.stack(
        [
            rows["hour"].cast(pa.int64()).to_numpy() // US_PER_HOUR,
            dwells_us(rows["dwell_s"]),
        ],
        axis=1,
    )


def dwells_us(dwell_s: pa.ChunkedArray) -> Ints:
    """Dwell times in whole microseconds, which is what they were."""
    return np.asarray(np.rint(dwell_s.to_numpy() * US_PER_S), np.int64)


def known_sessions(late: LateEvents, as_of: Hour) -> KnownSessions | None:
    """Sessions at the start of ``as_of`` of what was known by then; None where nothing is late.

    Only users of whom something was not known yet differ from what the tables say.
    """
    unknown = late.unknown_at(as_of)
    users = np.unique(late.user[unknown])
    if not len(users):
        return None
    user_ids = late.user_ids.take(pa.array(users))
    theirs = np.isin(late.user, users) & (late.time_us < as_of.index * US_PER_HOUR)
    carried = late.carried.filter(pc.is_in(late.carried["user_id"], value_set=user_ids))
    hours = HourRange(late.hours.first, as_of)
    before, now = (
        sessions_in_memory(late.events.take(pa.array(rows)), carried, late.sessions, hours)
        for rows in (np.flatnonzero(theirs), np.flatnonzero(theirs & ~unknown))
    )
    return KnownSessions(user_ids, now, before)
