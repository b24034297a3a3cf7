"""What a data set is made from: the hours it covers, and a fingerprint of all that they hold."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pipeline.errors import HourglassError
from pipeline.hours import Hour, HourRange, parse_duration_h
from pipeline.lake import stale_hours
from pipeline.lake.lake import Lake, State
from pipeline.lake.sql import statement
from pipeline.lake.steps import INGEST, SESSIONIZE, first_filled
from pipeline.settings.settings import Settings
from pipeline.settings.tables import DatasetSettings

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


@dataclass(frozen=True)
class Frame:
    """The hours a data set covers: ``[history_start, window_start)`` is context."""

    history_start: Hour
    window_start: Hour
    as_of: Hour

    @property
    def all_hours(self) -> HourRange:
        """From the first hour of the context to the end."""
        return HourRange(self.history_start, self.as_of)

    def popular_hours(self, rules: DatasetSettings) -> HourRange:
        """Hours whose popularity is told.

        Each event of the window has a whole popularity window before it.  They reach up to the end,
        because a model that follows popularity is served it fresh every hour; of a test set it may
        use only the hours before that of a request.
        """
        return HourRange(self.window_start - parse_duration_h(rules.popularity_window), self.as_of)


def frame_before(rules: DatasetSettings, as_of: Hour) -> Frame:
    """The hours that a data set as of an hour covers."""
    window_start = as_of - parse_duration_h(rules.window)
    return Frame(window_start - parse_duration_h(rules.history), window_start, as_of)


def frame_of(rules: DatasetSettings, hours: HourRange) -> Frame:
    """The hours that a test set of ``hours`` covers: it begins where a data set ends."""
    reach_h = parse_duration_h(rules.history) + parse_duration_h(rules.window)
    return Frame(hours.first - reach_h, hours.first, hours.stop)


def inputs(
    lake: Lake, settings: Settings, frame: Frame, popular: HourRange, state: State
) -> dict[str, Any]:
    """Digests of all that the hours hold, and that they are all filled by the present rules.

    Content is named, not snapshots, so that a rebuilt lake gives the same data sets.
    """
    first = first_filled(lake, INGEST, state)
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
    filled, arrived = (lake.filled(step, needed, state) for step in (SESSIONIZE, INGEST))
    return {
        "sessions_in": [filled[h].output_digest if h in filled else "" for h in needed],
        "open_in": [stale_hours.state_digest(filled, hour) for hour in needed][-1:],
        "events_in": [arrived[h].output_digest if h in arrived else "" for h in needed],
        # By whichever engine: both follow the same definitions, and give the same bytes.
        "transforms": [statement(name) for name in _TRANSFORMS],
    }
