"""Validate: hold the events and sessions of hours to their expectations, and record the verdict."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pyarrow as pa

from pipeline.hours import Hour, HourRange
from pipeline.lake import Lake
from pipeline.schemas import EVENTS, FILLED_HOURS, SESSIONS, SOURCE_FILES
from pipeline.settings import Settings
from pipeline.version import code_version

if TYPE_CHECKING:
    from pipeline.quality.outcomes import ValidationOutcome

STEP = "validate"
# Above this many hours a range is judged as one batch: a page for each would help nobody.
MOST_BATCHES = 48
_EVENT_COLUMNS = tuple(name for name in EVENTS.schema.names if name not in ("hour", "context"))
_SESSION_COLUMNS = tuple(name for name in SESSIONS.schema.names if name != "context")


def validate(lake: Lake, settings: Settings, hours: HourRange) -> list[ValidationOutcome]:
    """Judge every hour of the range (or the range as one batch, when it is long).

    Returns the outcomes; verdicts are kept in ``filled_hours``, where the gate looks for them.
    """
    from pipeline.quality.facts import events_frame, hour_facts, sessions_frame
    from pipeline.quality.suite import load_suite, suite_values
    from pipeline.quality.validate import Batch, validate_batches

    lake.undo_unfinished()
    files = lake.arrow(SOURCE_FILES)
    parts = [HourRange(hour, hour + 1) for hour in hours] if len(hours) <= MOST_BATCHES else [hours]
    own = settings.quality.suites

    def batches() -> Iterator[Batch]:
        for part in parts:
            events = lake.arrow(EVENTS, part, columns=_EVENT_COLUMNS)
            sessions = lake.arrow(SESSIONS, part, columns=_SESSION_COLUMNS)
            values = {**suite_values(part.stop - 1, settings), "hour_start": part.first.start}
            frames = {
                "events": events_frame(events),
                "hours": hour_facts(part, events, files),
                "sessions": sessions_frame(sessions),
            }
            for suite, frame in frames.items():
                yield Batch(load_suite(suite, values, own), frame, batch_name(part))

    outcomes = validate_batches(batches(), settings.path("data_docs"), settings.quality.keep)
    rows: list[dict[str, object]] = []
    for part in parts:
        verdicts = (o.verdict for o in outcomes if o.batch_name == batch_name(part))
        worst = max(verdicts, key=_VERDICTS.index)
        rows.extend(_row(hour, worst, settings) for hour in part)
    lake.record_filled(STEP, hours, pa.Table.from_pylist(rows, FILLED_HOURS.schema), {})
    return outcomes


def batch_name(part: HourRange) -> str:
    """What Data Docs call a range of hours."""
    return str(part.first) if len(part) == 1 else f"{part.first}+{len(part)}h"


_VERDICTS = ("ok", "warning", "critical")


def _row(hour: Hour, verdict: str, settings: Settings) -> dict[str, object]:
    return {
        "hour": hour.start,
        "step": STEP,
        "input_digest": "",
        "output_digest": verdict,
        "state_digest": "",
        "config_digest": settings.digest("quality", "source", "ingest"),
        "code_version": code_version(),
        "rows": 0,
    }


def quality_passed(lake: Lake, hours: HourRange) -> bool | None:
    """Whether no hour was found critical; None where one was never validated."""
    verdicts = lake.filled(STEP, hours)
    if any(verdict.output_digest == "critical" for verdict in verdicts.values()):
        return False
    return True if len(verdicts) == len(hours) else None
