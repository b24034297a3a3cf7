"""The first steps of a loop and of the demo: what has arrived, and the sessions it makes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pipeline.errors import HourglassError
from pipeline.hours import Hour, HourRange
from pipeline.ingest import ingest
from pipeline.ingest.item_user_tables import load_metadata
from pipeline.lake.stale_hours import stale_hours
from pipeline.lake.steps import INGEST
from pipeline.text.wording import counted
from pipeline.workspace import CommandContext

if TYPE_CHECKING:
    from training.steps.timed_steps import Steps


def ingest_step(ctx: CommandContext, steps: Steps) -> list[Hour]:
    """Take in all that lies in the landing zone; returns all hours with events, in order.

    Raises:
        HourglassError: there is no event yet.
    """
    settings, lake = ctx.settings, ctx.lake
    with steps("metadata") as done, ctx.writing():
        loaded = load_metadata(lake, settings)
        rows = ", ".join(f"{n:,} {what}" for what, n in loaded.rows.items()) or "none"
        done("; left out: ".join([rows, *loaded.faults, *loaded.former_faults]))
    with steps("ingest") as done, ctx.writing():
        summary = ingest.ingest(ctx.compute, lake, settings, ctx.clock)
        done(
            f"{counted(summary.records, 'record')} = {summary.accepted:,} accepted + "
            f"{counted(summary.duplicates, 'duplicate')} + {summary.quarantined:,} quarantined"
            if summary.files
            else f"nothing new in {counted(summary.known_files, 'file')}"
        )
    arrived = lake.filled(INGEST)
    if not arrived:
        raise HourglassError(f"{settings.source.path}: no record became an event: see quarantine")
    return sorted(arrived)


def sessionize_step(ctx: CommandContext, stop: Hour, steps: Steps) -> None:
    """Fill every hour before ``stop`` whose sessions are missing or were made from other events.

    Raises:
        HourglassError: as `pipeline.sessions.sessionize.sessionize`.
    """
    from pipeline.sessions.sessionize import sessionize

    with steps("sessionize") as done, ctx.writing():
        stale = stale_hours(ctx.lake, ctx.settings, stop)
        if stale:
            summary = sessionize(ctx.compute, ctx.lake, ctx.settings, HourRange(stale[0], stop))
            done(f"{counted(summary.events, 'event')} of {counted(len(stale), 'hour')} in sessions")
        else:
            done("all hours are filled already")
