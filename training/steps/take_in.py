"""The first steps of a loop and of the demo: what has arrived, and the sessions it makes."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

from pipeline.errors import HourglassError
from pipeline.hours import Hour, HourRange
from pipeline.ingest import ingest
from pipeline.ingest.metadata.item_user_tables import LoadedMetadata, load_metadata
from pipeline.ingest.summary import and_ignored, and_no_arrival, and_refused
from pipeline.lake.stale_hours import stale_hours
from pipeline.lake.steps import INGEST, first_filled, last_filled
from pipeline.lake.tables import PEOPLE
from pipeline.text.wording import counted
from pipeline.workspace import CommandContext
from training.steps.result import StepResult, Steps

if TYPE_CHECKING:
    from pipeline.sessions.sessionize import SessionizeSummary


def take_in(ctx: CommandContext, steps: Steps) -> HourRange:
    """Take in all that lies in the landing zone; returns the hours from first to last event.

    Raises:
        HourglassError: there is no event yet.
    """
    with steps("metadata") as done:
        done(metadata_step(ctx).line)
    with steps("ingest") as done:
        done(ingest_step(ctx).line)
    first, last = first_filled(ctx.lake, INGEST), last_filled(ctx.lake, INGEST)
    if first is None or last is None:
        path = ctx.settings.source.path
        raise HourglassError(f"{path}: no record became an event: see quarantine")
    return HourRange(first, last + 1)


def metadata_step(ctx: CommandContext) -> StepResult[LoadedMetadata]:
    """Load the tables of items, users and people anew whose files changed."""
    with ctx.writing():
        loaded = load_metadata(ctx.lake, ctx.settings)
    counts = [f"{n:,} {what}" for what, n in loaded.rows.items() if what != PEOPLE.name]
    rows = "; ".join([", ".join(counts) or "none", *loaded.notes])
    line = "; left out: ".join([rows, *loaded.faults, *loaded.former_faults])
    return StepResult(loaded, line, asdict(loaded))


def ingest_step(ctx: CommandContext) -> StepResult[ingest.IngestSummary]:
    """Take in the raw files that came."""
    done = ingest.ingest(ctx.compute, ctx.lake, ctx.settings, ctx.clock, alone=ctx.writing)
    line = (
        f"{counted(done.records, 'record')} = {done.accepted:,} accepted + "
        f"{counted(done.duplicates, 'duplicate')} + {done.quarantined:,} quarantined"
        f"{and_refused(done)}"
        f"{and_ignored(done)}{and_no_arrival(done.no_arrival)}"
        if done.files
        else f"nothing new in {counted(done.known_files, 'file')}"
    )
    return StepResult(done, line, asdict(done))


def sessionize_step(ctx: CommandContext, stop: Hour) -> StepResult[SessionizeSummary | None]:
    """Fill every hour before ``stop`` whose sessions are missing or were made from other events.

    Raises:
        HourglassError: as `pipeline.sessions.sessionize.sessionize`.
    """
    from pipeline.sessions.sessionize import sessionize

    stale = stale_hours(ctx.lake, ctx.settings, stop)
    if not stale:
        return StepResult(None, "all hours are filled already", {"hours": 0})
    hours = HourRange(stale[0], stop)
    done = sessionize(ctx.compute, ctx.lake, ctx.settings, hours, alone=ctx.writing)
    n_hours = sum(map(len, done.filled))
    line = f"{counted(done.events, 'event')} of {counted(n_hours, 'hour')} in sessions"
    return StepResult(done, line, asdict(done))
