"""Data sets of hours that may be learned from, judged as soon as they are frozen."""

from __future__ import annotations

from pathlib import Path

from pipeline.dataset.build import freeze
from pipeline.dataset.validate import validate_dataset
from pipeline.hours import Hour, HourRange, parse_duration_h
from pipeline.quality.checks.results import ValidationResult
from pipeline.quality.verdicts import refuse_learning_from
from pipeline.settings.settings import Settings
from pipeline.workspace import CommandContext


def freeze_and_validate(
    ctx: CommandContext, settings: Settings, as_of: Hour, base: Path | None = None
) -> tuple[Path, ValidationResult]:
    """Freeze a data set and ask its expectations; whoever may not use it must still refuse it.

    Args:
        ctx: the lake, and Spark, which starts only where the hours may be learned from.
        settings: those of the workspace, or with other rules for this data set.
        as_of: what is known at the start of this hour.
        base: folder of a data set whose vocabulary comes first.

    Raises:
        HourglassError: an hour to learn from is critical, or as `pipeline.dataset.build.freeze`.
    """
    reach_h = parse_duration_h(settings.dataset.window) + parse_duration_h(settings.dataset.history)
    refuse_learning_from(ctx.lake, HourRange(as_of - reach_h, as_of))
    compute = ctx.compute
    with ctx.status(f"freezing a data set as of {as_of}"):
        folder = freeze(compute, ctx.lake, settings, as_of, base)
    return folder, validate_dataset(ctx.lake, settings, folder)
