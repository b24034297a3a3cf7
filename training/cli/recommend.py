"""``hourglass recommend``: what people ask for, turned into a model, a time and users."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pipeline.errors import UsageError
from pipeline.hours import Hour
from pipeline.settings.folders import path_option
from pipeline.text.wording import counted
from pipeline.workspace import Workspace
from training.registry.mlflow_registry import LiveModel

if TYPE_CHECKING:
    from training.recommend.recommend import Recommended
    from training.recommend.users import Asked
    from training.registry.mlflow_registry import Registry


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

    space: Workspace = context.obj
    asked = None if users is None else read_users(users)
    at = (space.last_filled() + 1).start if as_of == "last" else time_of(as_of)
    live = live_at(registry_of(space), Hour.of(at))
    done = recommend_all(space, live, at, asked)
    new = f", {done.new_users:,} of them new" if done.new_users else ""
    space.say(
        f"{counted(done.rows, 'recommendation')} for {counted(done.users, 'user')}{new} by "
        f"{live.model_id} (version {live.version}) as of {at:%Y-%m-%dT%H:%M}, "
        f"{done.users_per_s:,.0f} users/s: {done.path}",
        {
            "users": done.users,
            "new_users": done.new_users,
            "rows": done.rows,
            "path": done.path,
            "model_id": live.model_id,
            "version": live.version,
            "as_of": at.isoformat(),
            "users_per_s": done.users_per_s,
            "seconds": done.seconds,
        },
    )


def recommend_all(
    space: Workspace, live: LiveModel, at: datetime, asked: Asked | None = None
) -> Recommended:
    """Read the histories and publish, with a progress bar.

    Raises:
        HourglassError: as `training.recommend.recommend.recommend`, the model's card is not the
        one that
            was recorded, or an hour before is not sessionized.
    """
    from pipeline.dataset.build import histories_at
    from training.cli.commands import bar
    from training.recommend.recommend import recommend as run
    from training.registry.champion_card import verify_card
    from training.registry.model_card import read_card

    verify_card(live)
    hour = Hour.of(at)
    base = space.dataset(read_card(live.folder).dataset_id)
    with space.status(f"reading the histories as of {hour}"):
        known = histories_at(space.spark, space.lake, space.settings, base, hour)
    with bar(space, "recommending") as (advance, _), space.writing():
        return run(
            space.settings, space.lake, live, known, at,
            lambda users, total: advance(users / max(1, total)), asked,
        )  # fmt: skip


def live_at(registry: Registry, hour: Hour) -> LiveModel:
    """The live model or, of an hour before its time, the one that was live then.

    Raises:
        UsageError: there is none yet.
        HourglassError: the model of that hour is not known, its artefact is gone, or its card is
            not the one that was recorded.
    """
    from training.deployment.champion_history import live_during, tenures
    from training.registry.champion_card import trusted
    from training.registry.mlflow_registry import artefact_folder, champion
    from training.registry.model_card import read_card
    from training.registry.model_store import available

    live = champion(registry)
    if live is None:
        raise UsageError("no model is live yet: run `hourglass gate`, which installs the floor")
    available(registry, live.model_id)
    live = trusted(registry, live)
    if read_card(live.folder).as_of <= hour:
        return live
    then = live_during(tenures(registry, registry.records), hour)
    if then is None or then.model_id == live.model_id:
        raise UsageError(
            f"{live.model_id} knows what came after {hour}, and no model was live then: "
            "recommend for a later hour"
        )
    available(registry, then.model_id)
    folder = artefact_folder(registry, then.model_id)
    record = then.record.name if then.record else None
    return trusted(registry, LiveModel(then.model_id, then.version, folder, record))


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
