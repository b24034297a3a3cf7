"""``hourglass recommend``: what people ask for, turned into a model, a time and users."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from pipeline.errors import UsageError
from pipeline.hours import Hour
from pipeline.settings.folders import path_option
from pipeline.workspace import CommandContext
from training.steps.recommend import champion_at, recommend_step
from training.steps.result import print_result


def recommend(
    context: typer.Context,
    as_of: Annotated[
        str,
        typer.Option(
            help="an hour, or a time within one like 2016-03-14T13:45 (UTC); last: the end of the "
            "last filled hour"
        ),
    ] = "last",
    users: Annotated[
        Path | None,
        typer.Option(
            parser=path_option,
            metavar="PATH",
            help="only for these: one id a line, or CSV or Parquet with user_id and, if you like, "
            "context fields; default: every known user",
        ),
    ] = None,
) -> None:
    """Write the live model's top items for every known user, or for a file of users."""
    from training.recommend.users import read_users
    from training.registry.mlflow_registry import registry_of

    ctx: CommandContext = context.obj
    requested = None if users is None else read_users(users)
    at = (ctx.last_filled() + 1).start if as_of == "last" else time_of(as_of)
    live = champion_at(registry_of(ctx), Hour.of(at))
    print_result(ctx, recommend_step(ctx, live, at, requested))


def time_of(text: str) -> datetime:
    """Read an hour, or an instant within one; without a zone it is UTC.

    Raises:
        UsageError: it is neither.
    """
    try:
        return Hour.parse(text).start
    except UsageError:
        pass
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        at = None
    if at is None or "T" not in text:
        raise UsageError(
            f"{text!r} is not a time: write it like 2016-03-14T13 or 2016-03-14T13:45 (UTC)"
        )
    return at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)
