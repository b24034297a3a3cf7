"""What a data set is made from: the rows it reads, and a fingerprint of all that they hold."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from pipeline.dataset.write import Frame
from pipeline.errors import HourglassError
from pipeline.hours import HOUR_S, HourRange
from pipeline.lake import stale_hours
from pipeline.lake.lake import Lake, State
from pipeline.lake.sql import query, statement
from pipeline.lake.steps import INGEST, SESSIONIZE
from pipeline.lake.tables import DWELL_HOURS, OPEN_SESSIONS, SESSIONS
from pipeline.sessions.dwell import Moments, merged, moments_of_us
from pipeline.settings.settings import DatasetSettings, Settings

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

HOUR_US = HOUR_S * 1_000_000
_TRANSFORMS = (
    "history_events",
    "context_values",
    "context_codes",
    "support_items",
    "support_sessions",
    "support_users",
    "histories",
    "open_dwell",
    "window_popularity",
)


def inputs(
    lake: Lake, settings: Settings, frame: Frame, popular: HourRange, state: State
) -> dict[str, Any]:
    """Digests of all that the hours hold, and that they are all filled by the present rules.

    Content is named, not snapshots, so that a rebuilt lake gives the same data sets.
    """
    arrived = lake.filled(INGEST, state=state)
    first = min(arrived, default=None)
    if first is None or first >= frame.as_of:
        raise HourglassError(f"no event is known before {frame.as_of}: ingest some first")
    missing = stale_hours.stale_hours(lake, settings, frame.as_of, state)
    if missing:
        raise HourglassError(
            f"hours before {frame.as_of} are not sessionized, or were from other events or rules: "
            f"{len(missing)} at least, from {missing[0]} on: "
            f"run `hourglass backfill --from {missing[0]} --to {frame.as_of}`"
        )
    reach = min(frame.history_start, popular.first)
    needed = HourRange(max(first, reach), frame.as_of)
    filled = lake.filled(SESSIONIZE, needed, state)
    return {
        "sessions_in": [filled[h].output_digest if h in filled else "" for h in needed],
        "open_in": [stale_hours.state_digest(filled, hour) for hour in needed][-1:],
        "events_in": [arrived[h].output_digest if h in arrived else "" for h in needed],
        "transforms": [statement(name) for name in _TRANSFORMS],
    }


def session_rows(
    spark: SparkSession, lake: Lake, frame: Frame, state: State
) -> dict[str, DataFrame]:
    """``closed`` sessions of all hours, and those that stand ``opened`` at the end."""
    last = HourRange(frame.as_of - 1, frame.as_of)
    return {
        "closed": lake.read(spark, SESSIONS, frame.all_hours, state),
        "opened": lake.read(spark, OPEN_SESSIONS, last, state),
    }


def known_events(
    spark: SparkSession,
    sessions: dict[str, DataFrame],
    rules: DatasetSettings,
    context: Sequence[str],
    frame: Frame,
) -> DataFrame:
    """Columns of `history_events.sql`: each event once, its values of ``context`` as a list."""
    return query(
        spark,
        "history_events",
        sessions,
        since_us=frame.history_start.index * HOUR_US,
        as_of_us=frame.as_of.index * HOUR_US,
        all_types=not rules.event_types,
        event_types="\x1f".join(rules.event_types),
        context_fields="\x1f".join(context),
    )


def dwell_moments(spark: SparkSession, lake: Lake, frame: Frame, state: State) -> Moments:
    """Moments of the window's dwell times: of sessions that closed in it, and of the open ones."""
    window = HourRange(frame.window_start, frame.as_of)
    last = HourRange(frame.as_of - 1, frame.as_of)
    opened = query(spark, "open_dwell", {"opened": lake.read(spark, OPEN_SESSIONS, last, state)})
    dwell_us = opened.toArrow()["dwell_us"].drop_null().to_numpy()
    still_open = [moments_of_us(dwell_us)] if len(dwell_us) else []
    hours = lake.arrow(DWELL_HOURS, window, state).sort_by("hour").to_pylist()
    return merged([*hours, *still_open])
