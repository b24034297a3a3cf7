"""Who behaves as nobody does: the events that are marked as robots'."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

import pyarrow as pa
import pyarrow.compute as pc


@dataclass(frozen=True)
class Robot:
    """A user with marked events: how many, and when the first and the last of them were."""

    user_id: str
    events: int
    first: datetime
    last: datetime


@dataclass(frozen=True)
class Robots:
    """``events`` of all ``of_events`` are marked, of so many ``users``; ``busiest`` come first."""

    events: int
    of_events: int
    users: int
    busiest: tuple[Robot, ...]

    @property
    def share(self) -> float:
        """Of all events."""
        return self.events / self.of_events


def robots(events: pa.Table, most_named: int = 5) -> Robots | None:
    """Sum up the marked events; None where there are none.

    Args:
        events: user_id, event_time and is_robot, of closed and of open sessions.
        most_named: how many users are named, by their events and then by id.
    """
    marked = events.filter(pc.fill_null(events["is_robot"], False))
    if not marked.num_rows:
        return None
    by_user = marked.group_by("user_id").aggregate(
        [([], "count_all"), ("event_time", "min"), ("event_time", "max")]
    )
    by_user = by_user.sort_by([("count_all", "descending"), ("user_id", "ascending")])
    busiest = tuple(
        Robot(row["user_id"], row["count_all"], row["event_time_min"], row["event_time_max"])
        for row in by_user.slice(0, most_named).to_pylist()
    )
    return Robots(marked.num_rows, events.num_rows, by_user.num_rows, busiest)


def without_robots(sessions: pa.Table) -> pa.Table:
    """Rows of the sessions that have no marked event."""
    marked = pc.unique(sessions["session_id"].filter(pc.fill_null(sessions["is_robot"], False)))
    if not len(marked):
        return sessions
    return sessions.filter(pc.invert(pc.is_in(sessions["session_id"], value_set=marked)))
