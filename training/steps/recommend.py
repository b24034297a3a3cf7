"""The live model recommends, as of a time; what the knobs of its lists cost."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.errors import HourglassError, UsageError
from pipeline.hours import Hour
from pipeline.text.wording import counted
from pipeline.workspace import CommandContext, progress_bar
from training.deployment.champion_history import champion_during, champion_periods
from training.registry.mlflow_registry import LiveModel, artefact_folder, champion
from training.steps.hour_data import HourData
from training.steps.result import StepResult

if TYPE_CHECKING:
    from training.recommend.knobs.tradeoff import Cost
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
    short = short_lists(done.rows, done.users, ctx.settings.recommend.k)
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
        f"{counted(done.rows, 'recommendation')} for {users}{new if done.new_users else ''}"
        f"{short} by {live.model_id} (version {live.version}) as of {at:%Y-%m-%dT%H:%M}, "
        f"{done.users_per_s:,.0f} users/s: {done.path}",
    )


def short_lists(rows: int, users: int, k: int) -> str:
    """What is said where rules, or a small catalogue, made lists shorter than k."""
    return f", {rows / users:.1f} of {k} in a list" if rows < k * users else ""


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


def tradeoff_step(
    ctx: CommandContext, data: HourData, name: str | None, values: Sequence[str]
) -> StepResult[list[Cost]]:
    """What the knobs cost on the events that judge a data set's models, with a progress bar.

    Args:
        ctx: settings, lake and output.
        data: the data set, and what follows it.
        name: of a configured model; None: the live one.
        values: `key=value,value` of `recommend:`, each value a row of the table.

    Raises:
        UsageError: there is no such model or key, a value is none, no knob is on, or a category
            is that of no item.
        HourglassError: the model learned from the events that would judge it, or cannot be read.
    """
    from pipeline.lake.tables import ITEMS
    from training.evaluation.evaluate import PredictsValues, with_current_popularity
    from training.recommend.knobs.item_facts import FACT_COLUMNS
    from training.recommend.knobs.tradeoff import costs
    from training.recommend.knobs.tradeoff_table import facts, render, render_lists
    from training.recommend.knobs.variants import variants_of
    from training.registry.artefact import load_model

    settings = ctx.settings
    variants = variants_of(settings.recommend, values)
    folder = _model_folder(ctx, data, name)
    test_set = data.test_set
    model = load_model(folder)
    if model.card.as_of > test_set.manifest.window_start:
        raise HourglassError(
            f"{folder.name} learned from the events after {test_set.manifest.window_start}: name a "
            "model of the data set by --model"
        )
    model = with_current_popularity(model, test_set)
    if isinstance(model.model, PredictsValues):
        raise UsageError(f"{folder.name}: predicts values, it does not rank items: name another")
    metadata = ctx.lake.arrow(ITEMS, columns=FACT_COLUMNS)
    with progress_bar(ctx, "weighing") as show:

        def report(done: int, total: int) -> None:
            show(f"{done:,} of {counted(total, 'event')}", done / max(1, total))

        rows = costs(
            model.model,
            model.item_ids,
            data.learned,
            test_set,
            metadata,
            settings.evaluation,
            variants,
            report,
        )
    return StepResult(
        rows,
        f"{counted(len(rows), 'row')} of {folder.name}",
        {"model_id": folder.name, "start": str(test_set.manifest.window_start), **facts(rows)},
        text="",
        tables=lambda: [render(rows, folder.name), render_lists(rows)],
    )


def _model_folder(ctx: CommandContext, data: HourData, name: str | None) -> Path:
    from training.registry.candidates import configured
    from training.registry.champion_card import trusted
    from training.registry.mlflow_registry import registry_of
    from training.registry.model_store import available

    registry = registry_of(ctx)
    if name is None:
        live = champion(registry)
        if live is None:
            raise UsageError("no model is live yet: name one by --model")
        available(registry, live.model_id)
        return trusted(registry, live).folder
    models = configured(ctx.settings, data.folder.name)
    if name not in models:
        raise UsageError(f"no model {name!r} of this data set: use one of {', '.join(models)}")
    return available(registry, models[name])
