"""Validate: hold the events and sessions of hours to their expectations, and record the verdict."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

import pyarrow as pa

from pipeline import ingest, staleness
from pipeline.hours import Hour, HourRange
from pipeline.lake import FilledHour, Lake
from pipeline.schemas import EVENTS, FILLED_HOURS, SESSIONS, SOURCE_FILES
from pipeline.session_range import NOTHING
from pipeline.settings import Settings
from pipeline.version import code_version

if TYPE_CHECKING:
    from pipeline.quality.outcomes import ValidationOutcome

STEP = "validate"
# Up to a day is judged hour by hour; a longer range in a few large batches, because a page for each
# of its hours would help nobody.
HOURLY_UP_TO_H = 24
MOST_LARGE_BATCHES = 8
_EVENT_COLUMNS = tuple(name for name in EVENTS.schema.names if name not in ("hour", "context"))
_SESSION_COLUMNS = tuple(name for name in SESSIONS.schema.names if name != "context")


def validate(lake: Lake, settings: Settings, hours: HourRange) -> list[ValidationOutcome]:
    """Judge every hour of the range, or batches of hours when it is long.

    Sessions are judged where the hours are sessionized already.

    Returns the outcomes; verdicts are kept in ``filled_hours``, where the gate looks for them.
    """
    from pipeline.quality.facts import events_frame, hour_facts, sessions_frame
    from pipeline.quality.suite import load_suite, suite_values
    from pipeline.quality.validate import Batch, validate_batches

    lake.undo_unfinished()
    files = lake.arrow(SOURCE_FILES)
    large_h = -(-len(hours) // MOST_LARGE_BATCHES)
    parts = list(hours.steps(1 if len(hours) <= HOURLY_UP_TO_H else large_h))
    arrived = lake.filled(ingest.STEP, hours)
    sessionized = lake.filled(staleness.STEP, hours)
    own = settings.quality.suites

    def batches() -> Iterator[Batch]:
        for part in parts:
            events = lake.arrow(EVENTS, part, columns=_EVENT_COLUMNS)
            values = {**suite_values(part.stop - 1, settings), "hour_start": part.first.start}
            frames = {
                "events": events_frame(events),
                "hours": hour_facts(part, events, files),
            }
            if all(hour in sessionized for hour in part if hour in arrived):
                sessions = lake.arrow(SESSIONS, part, columns=_SESSION_COLUMNS)
                frames["sessions"] = sessions_frame(sessions)
            for suite, frame in frames.items():
                yield Batch(load_suite(suite, values, own), frame, batch_name(part))

    outcomes = validate_batches(batches(), settings.path("data_docs"), settings.quality.keep)
    rows: list[dict[str, object]] = []
    for part in parts:
        verdicts = (o.verdict for o in outcomes if o.batch_name == batch_name(part))
        worst = max(verdicts, key=_VERDICTS.index)
        rows.extend(_row(hour, worst, content_of(arrived, hour), settings) for hour in part)
    verdicts_now = pa.Table.from_pylist(rows, FILLED_HOURS.schema)
    lake.record_filled(STEP, hours, verdicts_now, {}, unsettles=False)
    return outcomes


def batch_name(part: HourRange) -> str:
    """What Data Docs call a range of hours."""
    return str(part.first) if len(part) == 1 else f"{part.first}+{len(part)}h"


_VERDICTS = ("ok", "warning", "critical")


def _row(hour: Hour, verdict: str, content: str, settings: Settings) -> dict[str, object]:
    return {
        "hour": hour.start,
        "step": STEP,
        "input_digest": content,
        "output_digest": verdict,
        "state_digest": "",
        "config_digest": settings.digest("quality", "source", "ingest"),
        "code_version": code_version(),
        "rows": 0,
    }


def content_of(arrived: Mapping[Hour, FilledHour], hour: Hour) -> str:
    """Digest of the events that a verdict is about."""
    return arrived[hour].output_digest if hour in arrived else NOTHING


def quality_passed(lake: Lake, learned: HourRange, judged: HourRange) -> bool | None:
    """Whether the hours that a model learned from, and those that judge it, may be trusted.

    False where one was found critical; None where one that judges was never validated, or has
    changed since.
    """
    state = lake.state()
    hours = HourRange(learned.first, judged.stop)
    arrived = lake.filled(ingest.STEP, hours, state)
    verdicts = lake.filled(STEP, hours, state)
    current = {h: v for h, v in verdicts.items() if v.input_digest == content_of(arrived, h)}
    if any(verdict.output_digest == "critical" for verdict in current.values()):
        return False
    return True if all(hour in current for hour in judged) else None
