"""Sessions of a few users' events, as tables in memory: what `hourglass sessionize` would fill.

For whoever asks what the tables would say if some events had not come.  The kernel is the same, so
the rows are, but for the order in which they come.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from pipeline.hours import HourRange
from pipeline.lake.tables import ITEM_HOURS, OPEN_SESSIONS, SESSIONS
from pipeline.sessions.compute_range import session_rules
from pipeline.sessions.gap_kernel import assign_sessions
from pipeline.sessions.item_counts import item_hours
from pipeline.sessions.stages import EVENT_COLUMNS, LOG_ORDER, Plan, events_of, scan, session_rows
from pipeline.settings.tables import SessionSettings

#: What must be known of an event.
COLUMNS = (*EVENT_COLUMNS, *(name for name in LOG_ORDER if name not in EVENT_COLUMNS))


@dataclass(frozen=True)
class SessionRows:
    """Rows of ``sessions`` that closed in the hours, of ``open_sessions`` at their end, and counts.

    ``item_hours`` are of these users' events alone.
    """

    closed: pa.Table
    opened: pa.Table
    item_hours: pa.Table


def sessions_in_memory(
    events: pa.Table, carried: pa.Table, rules: SessionSettings, hours: HourRange
) -> SessionRows:
    """Sessions of all events that some users have in ``hours``.

    Args:
        events: their events, in any order, with :data:`COLUMNS`; ``user_id`` is the person where
            somebody is one.
        carried: their rows of ``open_sessions`` at the end of the hour before.
        rules: when sessions end, and who is a robot.
        hours: in a row.

    Raises:
        HourglassError: an event lacks what ingest gives every event.
    """
    if not events.num_rows and not carried.num_rows:
        return SessionRows(
            *(spec.schema.empty_table() for spec in (SESSIONS, OPEN_SESSIONS, ITEM_HOURS))
        )
    tables = (*((carried,) if carried.num_rows else ()), *((events,) if events.num_rows else ()))
    plan = Plan(
        hours=hours,
        rules=session_rules(rules),
        sessions_given=rules.given,
        passive_types=tuple(sorted(rules.passive_types)),
        robot_events_per_hour=rules.robot_events_per_hour,
        sources=tables,
        carried=int(carried.num_rows > 0),
        scans=tuple(range(len(tables) + 1)),
        bucket_bits=0,
        groups=(hours.first.index, hours.stop.index),
        folders={},
    )
    run = scan(plan)
    index = [block for task in range(len(tables)) for *_, block in run(task)]
    assigned = assign_sessions(index, plan.rules)
    if not assigned.num_rows:
        # Passive events alone are in no session.
        return sessions_in_memory(events.slice(0, 0), carried.slice(0, 0), rules, hours)
    rows_of, rows = events_of(plan, assigned)
    hour, close = (assigned[name].to_numpy() for name in ("hour", "close_hour"))
    is_open = close >= hours.stop.index
    (closed,) = np.nonzero(~is_open)
    (opened,) = np.nonzero(is_open)
    last = np.full(len(opened), hours.stop.index - 1)
    (counted,) = np.nonzero((hour >= hours.first.index) & ~assigned["is_robot"].to_numpy())
    of_events = rows_of.select(["user_id", "item_id"]).take(pa.array(rows[counted]))
    return SessionRows(
        session_rows(assigned, rows_of, rows, closed, close[closed], SESSIONS),
        session_rows(assigned, rows_of, rows, opened, last, OPEN_SESSIONS),
        item_hours(hour[counted].astype(np.int64), of_events),
    )
