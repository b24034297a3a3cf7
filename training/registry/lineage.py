"""What recorded models were trained from, so that upkeep of the lake leaves it alone."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.errors import HourglassError
from pipeline.lake.catalog import sqlite_file
from pipeline.maintenance.maintain import ModelInputs
from pipeline.text.wording import counted
from training.registry.mlflow_registry import Registry, aliased, named_errors, open_registry

if TYPE_CHECKING:
    from mlflow.entities.model_registry import ModelVersion

_PAGE = 1000


def trained_from(
    uri: str, name: str, models: Path, artifacts: Path, live_only: bool = False
) -> ModelInputs:
    """Data sets and snapshots that the model versions of a store were trained from.

    Args:
        uri: of MLflow's store; one that was never made is left unmade.
        name: of the registered model.
        models: folder of the artefacts.
        artifacts: as :func:`training.registry.mlflow_registry.open_registry` takes it.
        live_only: only of the champion and of the previous model, which a rollback brings back.
            Otherwise of all versions in the store, also of other registered models: the same lake
            may have trained them.

    Raises:
        HourglassError: the store cannot be read, it records no model though there are some in
            ``models``, or a version does not say what it was trained from.
    """
    if (database := sqlite_file(uri)) is not None and not database.is_file():
        _refuse_unrecorded(uri, models)
        return ModelInputs()
    registry = open_registry(uri, name, models, artifacts)
    with named_errors("read what models were trained from"):
        versions = list(_versions(registry))
        if not versions:
            _refuse_unrecorded(uri, models)
        if live_only:
            live = {model.version for model in aliased(registry) if model is not None}
            versions = [v for v in versions if v.name == name and str(v.version) in live]
        tags = _tags_of_runs(registry, {str(version.run_id) for version in versions})
    snapshots: dict[str, set[int]] = defaultdict(set)
    for version in versions:
        if str(version.run_id) not in tags:
            raise HourglassError(
                f"version {version.version} of {version.name} has no run in {uri} that says what "
                "it was trained from: restore the run, or delete the version"
            )
    for run_tags in tags.values():
        for table, snapshot_id in json.loads(run_tags.get("snapshots", "{}")).items():
            if snapshot_id is not None:
                snapshots[table].add(snapshot_id)
    return ModelInputs(
        frozenset(run_tags["dataset_id"] for run_tags in tags.values() if "dataset_id" in run_tags),
        {table: frozenset(ids) for table, ids in snapshots.items()},
    )


def _refuse_unrecorded(uri: str, models: Path) -> None:
    """A store without models beside a folder full of them is most likely the wrong one."""
    model_ids = sorted(path.parent.name for path in models.glob("[!.]*/model.json"))
    if model_ids:
        raise HourglassError(
            f"{models} holds {counted(len(model_ids), 'model')} but {uri} records none, so what "
            "they were trained from cannot be told: check mlflow_uri in the settings, or run "
            "`hourglass train`"
        )


def _versions(registry: Registry) -> Iterator[ModelVersion]:
    yield from _all(lambda token: registry.client.search_model_versions("", _PAGE, None, token))


def _tags_of_runs(registry: Registry, run_ids: set[str]) -> dict[str, dict[str, str]]:
    """Tags by run id; in pages, because asking for each run alone takes long for many."""
    if not run_ids:
        return {}
    experiments = [
        experiment.experiment_id
        for experiment in _all(lambda token: registry.client.search_experiments(page_token=token))
    ]
    runs = _all(
        lambda token: registry.client.search_runs(experiments, max_results=_PAGE, page_token=token)
    )
    return {run.info.run_id: run.data.tags for run in runs if run.info.run_id in run_ids}


def _all(page_after: Callable[[str | None], Any]) -> Iterator[Any]:
    """Everything from a query that answers in pages."""
    token = None
    while True:
        page = page_after(token)
        yield from page
        token = page.token
        if not token:
            return
