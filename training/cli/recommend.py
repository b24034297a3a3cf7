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
from training.cli.options import DataSet
from training.fit.model_lines import judged_dataset
from training.steps.hour_data import HourData
from training.steps.recommend import champion_at, recommend_step, tradeoff_step
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


def tradeoff(
    context: typer.Context,
    dataset: DataSet = "last",
    model: Annotated[
        str | None,
        typer.Option(help="name of a configured model of the data set; default: the live one"),
    ] = None,
    knob: Annotated[
        list[str] | None,
        typer.Option(
            metavar="KEY=VALUE,VALUE",
            help="values of a key of `recommend:` to compare, over the settings; may be repeated",
        ),
    ] = None,
) -> None:
    """Show what the knobs of `recommend:` cost, and what they bring.

    The events that judge the data set's models are answered by one model without knobs, as the
    settings say, and with each value: accuracy beside coverage, Gini, novelty, new items and
    diversity.  Nothing is written that the gate reads.
    """
    ctx: CommandContext = context.obj
    data = HourData(ctx, judged_dataset(ctx, dataset))
    print_result(ctx, tradeoff_step(ctx, data, model, knob or []))


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
