"""``hourglass adopt``: what did not come from this lake's own steps becomes part of it.

That is a work folder that was copied, moved or restored, and what other programs committed.
"""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pipeline.workspace import CommandContext
from training.loop.copied_settings import adopted_settings

if TYPE_CHECKING:
    from pipeline.adopt.moved_metadata import MovedTable
    from pipeline.lake.commits import ForeignCommits
    from pipeline.settings.settings import Settings

Plan = Annotated[bool, typer.Option("--plan", help="only show what would be done")]
Alone = Annotated[
    bool,
    typer.Option(
        "--alone",
        help="nobody uses this catalog, MLflow store or linked folder for another lake any more",
    ),
]


@dataclass(frozen=True)
class Moved:
    """What names another place: the lake's tables, and addresses in MLflow's store.

    ``formers`` are the folders that were named instead of the lake's and the work folder.
    """

    tables: tuple[MovedTable, ...]
    stores: tuple[Path, ...]

    @property
    def formers(self) -> list[str]:
        """Folders named so far, for people."""
        lakes = {Path(former).parent for each in self.tables for former in each.formers}
        folders = lakes.union(self.stores)
        return sorted(str(each) for each in folders if not folders.intersection(each.parents))


def adopt(context: typer.Context, plan: Plan = False, alone: Alone = False) -> None:
    """Make a copied, moved or restored lake one of its own; let other programs' commits stand."""
    from pipeline.lake.catalog import existing_catalog

    ctx: CommandContext = context.obj
    settings = adopted_settings(ctx.settings.file, ctx.settings, plan=True)
    ctx = replace(ctx, settings=settings)
    existing_catalog(settings.resolved_catalog_uri, settings.resolved_warehouse)
    commits: list[ForeignCommits] = []
    with nullcontext() if plan else ctx.writing(opens=False), ctx.status("adopting"):
        moved = _relocate(settings, plan, alone)
        adopted_settings(context.obj.settings.file, context.obj.settings, plan)
        if not (plan and moved.tables):
            commits = _let_stand(ctx, plan)
    ctx.print_result(
        _sentence(settings, moved, commits, plan), _facts(settings, moved, commits, plan)
    )


def _let_stand(ctx: CommandContext, plan: bool) -> list[ForeignCommits]:
    from pipeline.adopt.accept_commits import accept, commits_of_others
    from pipeline.errors import explaining_full_disk

    if plan:
        return commits_of_others(ctx.lake)
    with explaining_full_disk(ctx.settings.work, ctx.settings.resolved_warehouse):
        return accept(ctx.lake, ctx.compute)


def _relocate(settings: Settings, plan: bool, alone: bool) -> Moved:
    """Find what names another place, check that all of it is here, and let it name this one.

    Raises:
        HourglassError: something is missing here, or may be used by another lake too; nothing
            was changed then.
    """
    from pipeline.adopt.relocation import check_whole, moved_tables, relocate
    from pipeline.lake.catalog import existing_catalog
    from training.registry.mlflow_addresses import check_files, readdress
    from training.registry.mlflow_registry import named_errors

    uri, work = settings.resolved_mlflow_uri, settings.work.absolute()
    catalog = existing_catalog(settings.resolved_catalog_uri, settings.resolved_warehouse)
    tables = moved_tables(catalog, settings.resolved_warehouse)
    with named_errors("find out what its store names"):
        moved = Moved(tuple(tables), tuple(_former_works(settings)))
        check_whole(moved.tables)
        for former in moved.stores:
            check_files(uri, former, work)
        if not alone:
            _check_own(settings, moved)
        if not plan:
            relocate(catalog, moved.tables)
            if moved.stores:
                readdress(uri, moved.stores, work)
    return moved


def _former_works(settings: Settings) -> list[Path]:
    from training.registry.mlflow_addresses import former_folders

    return former_folders(
        settings.resolved_mlflow_uri,
        settings.registered_model,
        settings.path("models"),
        settings.path("mlflow"),
    )


def _check_own(settings: Settings, moved: Moved) -> None:
    from pipeline.adopt.relocation import check_catalog_is_own, check_links

    folders = (settings.resolved_warehouse, settings.work)
    if moved.tables:
        check_links(settings.resolved_warehouse, moved.tables)
        former = str(Path(moved.tables[0].formers[0]).parent)
        check_catalog_is_own(settings.resolved_catalog_uri, folders, former)
        _check_server_is_own(settings, former)
    for store in moved.stores:
        check_catalog_is_own(settings.resolved_mlflow_uri, folders, str(store))


def _check_server_is_own(settings: Settings, former: str) -> None:
    """Refuse where the first lake's models are live at the same MLflow server.

    Two lakes that promote one registered model there would each find the other's changes forged.

    Raises:
        HourglassError: it may be so.
    """
    from pipeline.errors import HourglassError
    from training.registry.mlflow_addresses import is_server
    from training.registry.mlflow_registry import chain_head, open_registry

    uri, name = settings.resolved_mlflow_uri, settings.registered_model
    if not is_server(uri):
        return
    registry = open_registry(uri, name, settings.path("models"), settings.path("mlflow"))
    if chain_head(registry) is not None:
        raise HourglassError(
            f"MLflow at {uri} holds the record of {name} for the lake in {former} as well; "
            "nothing was changed: give this copy a registered_model of its own in the settings, "
            "or pass --alone where nobody uses it for the lake there any more"
        )


def _sentence(settings: Settings, moved: Moved, commits: list[ForeignCommits], plan: bool) -> str:
    parts = [*_places(settings, moved, plan), *(each.sentence for each in commits)]
    if commits and plan:
        parts.append("`hourglass adopt` lets it stand")
    elif commits:
        parts.append("it stands: `hourglass backfill` computes what follows from it")
    if commits:
        parts.append(
            "a raw file that is read anew brings its rows back, so take them out of the raw files "
            "too"
        )
    if not parts:
        return (
            f"nothing to adopt: the lake at {settings.resolved_warehouse} names its own files, "
            "and all commits are its own"
        )
    return "; ".join(parts)


def _places(settings: Settings, moved: Moved, plan: bool) -> list[str]:
    from training.registry.mlflow_addresses import is_server

    if not moved.formers:
        return []
    what = [f"{len(moved.tables)} tables"] if moved.tables else []
    what += ["MLflow's store"] if moved.stores else []
    done = "would name" if plan else "name"
    work, formers = settings.work.absolute(), ", ".join(moved.formers)
    parts = [f"{' and '.join(what)} {done} {work} instead of {formers}"]
    uri = settings.resolved_mlflow_uri
    if is_server(uri):
        parts.append(
            f"MLflow at {uri} was not copied: where the first lake uses it too, set another "
            "registered_model"
        )
    if plan and moved.tables:
        parts.append("whether other programs committed is looked at after that")
    return parts


def _facts(
    settings: Settings, moved: Moved, commits: list[ForeignCommits], plan: bool
) -> dict[str, Any]:
    return {
        "plan": plan,
        "warehouse": settings.resolved_warehouse,
        "former": moved.formers,
        "tables": [table.row.table for table in moved.tables],
        "mlflow": [str(store) for store in moved.stores],
        "commits": [
            {
                "table": each.spec.name,
                "snapshots": each.snapshots,
                "rows": each.rows,
                "hours": None if each.hours is None else [str(hour) for hour in each.hours],
            }
            for each in commits
        ],
    }
