"""The live model recommends, as of a time."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

from pipeline.errors import UsageError
from pipeline.hours import Hour
from pipeline.text.wording import counted
from pipeline.workspace import CommandContext, progress_bar
from training.deployment.champion_history import champion_during, champion_periods
from training.registry.mlflow_registry import LiveModel, artefact_folder, champion
from training.steps.result import StepResult

if TYPE_CHECKING:
    from training.recommend.recommend import Recommended
    from training.recommend.users import RequestedUsers
    from training.registry.mlflow_registry import Registry


def recommend_step(
    ctx: CommandContext, live: LiveModel, at: datetime, requested: RequestedUsers | None = None
) -> StepResult[Recommended]:
    """Read the histories and publish, with a progress bar.

    Raises:
        HourglassError: as `training.recommend.recommend.recommend`, the model's card is not
            the one that was recorded, or an hour before is not sessionized.
    """
    from pipeline.dataset.build import histories_at
    from pipeline.dataset.by_time import dataset_folder
    from training.recommend.publish import note_published, one_at_a_time
    from training.recommend.recommend import recommend as run
    from training.registry.champion_card import verify_card
    from training.registry.model_card import read_card

    verify_card(live)
    hour = Hour.of(at)
    base = dataset_folder(ctx.settings.path("shards"), read_card(live.folder).dataset_id)
    with ctx.status(f"reading the histories as of {hour}"):
        histories = histories_at(ctx.compute, ctx.lake, ctx.settings, base, hour)
    published = ctx.settings.path("recommendations")
    with progress_bar(ctx, "recommending") as show, one_at_a_time(published, ctx.print_line):

        def report(users: int, total: int) -> None:
            show(f"{users:,} of {counted(total, 'user')}", users / max(1, total))

        done = run(ctx.settings, ctx.lake, live, histories, at, report, requested, ctx.writing)
    if requested is None:
        note_published(done.path.parent, ctx.now())
    users, new = counted(done.users, "user"), f", {done.new_users:,} of them new"
    return StepResult(
        done,
        f"{counted(done.rows, 'row')} for {users} by {live.model_id}",
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
        f"{counted(done.rows, 'recommendation')} for {users}{new if done.new_users else ''} by "
        f"{live.model_id} (version {live.version}) as of {at:%Y-%m-%dT%H:%M}, "
        f"{done.users_per_s:,.0f} users/s: {done.path}",
    )


def champion_at(registry: Registry, hour: Hour) -> LiveModel:
    """The live model or, of an hour before its time, the one that was live then.

    Raises:
        UsageError: there is none yet.
        HourglassError: the model of that hour is not known, its artefact is gone, or its card is
            not the one that was recorded.
    """
    from training.registry.champion_card import trusted
    from training.registry.model_card import read_card
    from training.registry.model_store import available

    live = champion(registry)
    if live is None:
        raise UsageError("no model is live yet: run `hourglass gate`, which installs the baseline")
    available(registry, live.model_id)
    live = trusted(registry, live)
    if read_card(live.folder).as_of <= hour:
        return live
    then = champion_during(champion_periods(registry, registry.records, hour), hour)
    if then is None or then.model_id == live.model_id:
        raise UsageError(
            f"{live.model_id} knows what came after {hour}, and no model was live then: "
            "recommend for a later hour"
        )
    available(registry, then.model_id)
    folder = artefact_folder(registry, then.model_id)
    record = then.record.name if then.record else None
    return trusted(registry, LiveModel(then.model_id, then.version, folder, record))
