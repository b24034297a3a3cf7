"""The deadline of an hour: its recommendations are published some minutes after its end.

Of the hours whose deadline is over the newest counts, by the clock: that no file arrived, or that
nothing is scheduled any more, is what a deadline is for.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from pipeline.errors import HourglassError
from pipeline.files import names_in
from pipeline.hours import Hour, HourRange
from pipeline.lake.steps import INGEST, SESSIONIZE
from pipeline.settings.settings import Settings
from pipeline.workspace import CommandContext
from training.recommend.publish import first_published, is_published
from training.steps.result import StepResult


@dataclass(frozen=True)
class Missed:
    """A deadline that was missed: of the hour, and the newest published before it, if any."""

    hour: Hour
    last: Hour | None
    due: datetime
    published: datetime | None  # late; None: not yet

    @property
    def sentence(self) -> str:
        """What is late, and since when."""
        due = f"due at {self.due:%H:%M} (UTC)"
        if self.published is not None:
            return (
                f"the recommendations of hour {self.hour}, {due}, were published at "
                f"{self.published:%Y-%m-%dT%H:%M}"
            )
        last = f"the last are of hour {self.last}" if self.last else "no hour has any yet"
        return f"the recommendations of hour {self.hour}, {due}, are not published; {last}"


def missed_deadline(settings: Settings, clock: datetime) -> Missed | None:
    """Whether the newest hour whose deadline is over missed it; None where it did not.

    Recommendations of hour H are as of its end, in the folder of hour H + 1.  An hour that was
    published by an earlier version, which noted no time, was in time.
    """
    wait = timedelta(minutes=settings.notify.deadline_min)
    folder = settings.path("recommendations")
    as_of = Hour.of(clock - wait)
    due = as_of.start + wait
    published = first_published(folder / str(as_of))
    if published is not None and published <= due:
        return None
    if published is None and is_published(folder / str(as_of)):
        return None
    earlier = [name for name in names_in(folder) if name < str(as_of)]
    last = next((n for n in sorted(earlier, reverse=True) if is_published(folder / n)), None)
    return Missed(as_of - 1, Hour.parse(last) - 1 if last else None, due, published)


def deadline_step(ctx: CommandContext) -> StepResult[Missed | None]:
    """Look at the clock, and tell people once of each hole: until hours are published again."""
    settings = ctx.settings
    if not settings.notify.deadline_min:
        sentence = "there is no deadline: notify.deadline_min is 0"
        return StepResult(None, sentence, {"missed": False, "sentence": sentence})
    missed = missed_deadline(settings, ctx.clock)
    if missed is None:
        sentence = "the newest hour whose deadline is over was published in time"
        return StepResult(None, sentence, {"missed": False, "sentence": sentence})
    ctx.notify(
        f"deadline-after-{missed.last or 'none'}",
        f"deadline missed, hour {missed.hour}",
        missed.sentence,
        "look for a run that is late" if missed.published else _next_step(ctx, missed.hour),
    )
    facts = {"missed": True, "sentence": missed.sentence, "hour": str(missed.hour)}
    return StepResult(missed, missed.sentence, facts)


def _next_step(ctx: CommandContext, hour: Hour) -> str:
    """What a person does about an hour without recommendations, by how far it has come."""
    try:
        only = HourRange(hour, hour + 1)
        filled, taken_in = (ctx.lake.filled(step, only) for step in (SESSIONIZE, INGEST))
    except HourglassError:
        return "`hourglass doctor` and `hourglass ingest` say what is wrong with the lake"
    if hour in filled:
        return "its sessions are filled: see the runs of `retrain`, or run `hourglass recommend`"
    if hour in taken_in:
        return "its events are there: see the runs of `sessions_hourly`, or `hourglass backfill`"
    return "no event of it was taken in: see whether its files arrive, and who runs the hours"
