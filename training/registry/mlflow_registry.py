"""Model versions in MLflow, and the alias ``champion``, which alone says what is live.

An alias is a pointer that moves in one statement, so readers see one champion at any instant;
``training.deployment.promote`` is what moves it.  The model before it is what the champion's
record says; the alias ``previous`` only shows it to people.
"""

from __future__ import annotations

import logging
import os
import re
import shlex
import sqlite3
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.errors import HourglassError, UsageError
from pipeline.hours import Hour
from pipeline.lake.catalog import sqlite_file
from pipeline.settings.folders import is_plain
from pipeline.text.masking import mask, remember_secrets
from training.registry.champion_record import ChampionChange, ModelRef, history
from training.registry.mlflow_addresses import check_addresses, is_server
from training.registry.mlflow_tables import MlflowTables, Version, readable_tables

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities.model_registry import ModelVersion

    from pipeline.workspace import CommandContext

CHAMPION = "champion"
PREVIOUS = "previous"
CHAMPION_RECORD = "live_record"
CARD_SHA256 = "card_sha256"  # tag of a version: the digest of its card
_CHAIN_HEAD = "record_chain"
_SAFE_NAME = re.compile(r"[A-Za-z0-9_.-]+")


@dataclass(frozen=True)
class Registry:
    """An open registry: one registered model, whose artefacts lie in ``models``.

    What is there is read from the tables of its store, where these can be read without MLflow.
    """

    open_client: Callable[[], MlflowClient]
    name: str
    models: Path
    artifacts: Path
    at_server: bool = False  # which keeps the artefacts itself
    tables: MlflowTables | None = None

    @cached_property
    def client(self) -> MlflowClient:
        """MLflow's client, opened on first use: that takes two seconds."""
        return self.open_client()

    @property
    def records(self) -> Path:
        """Folder of decisions and of the records of what went live."""
        return self.models.parent / "decisions"


@dataclass(frozen=True)
class LiveModel:
    """A model version that is live, or was and may be again."""

    model_id: str
    version: str
    folder: Path
    champion_record: (
        str | None
    )  # that made it live; None where it is not live, or was before records
    # SHA-256 of its card as recorded; None where it was not, or was not asked for.
    card_sha256: str | None = field(default=None, compare=False)


def open_registry(uri: str, name: str, models: Path, artifacts: Path) -> Registry:
    """Open MLflow's store, making its tables the first time (a few seconds).

    Args:
        uri: ``sqlite:///...`` or the address of an MLflow server.
        name: of the registered model and the experiment.
        models: folder of the artefacts, ``<models>/<model_id>``.
        artifacts: folder for the files of runs, used when the experiment is made; a server has
            a place of its own.

    Raises:
        UsageError: the name has characters that MLflow's queries cannot hold.
        HourglassError: the store cannot be opened, or is a copy that names another's files.
    """
    remember_secrets(uri)
    if not _SAFE_NAME.fullmatch(name):
        raise UsageError(
            f"registered_model = {name!r}: use only letters, digits, underscore, point and hyphen"
        )
    with named_errors(f"open {uri}"):
        check_addresses(uri, name, models, artifacts)
    tables = readable_tables(uri)
    registry = Registry(
        lambda: _client(uri), name, models.absolute(), artifacts, is_server(uri), tables
    )
    if tables is None:
        _ = registry.client
    return registry


def _client(uri: str) -> MlflowClient:
    # Read when MLflow is imported; an hourly job must not wait for a usage report.
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    # Files of a model are few: a bar for each would only fill the log of a task.
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    # Standard output is for results: a server's client would print the address of each run there.
    os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")
    from mlflow import MlflowClient

    for logger in ("mlflow", "alembic"):
        logging.getLogger(logger).setLevel(logging.ERROR)
    if (database := sqlite_file(uri)) is not None:
        database.parent.mkdir(parents=True, exist_ok=True)
    with named_errors(f"open {uri}"):
        return MlflowClient(tracking_uri=uri, registry_uri=uri)


def registry_of(ctx: CommandContext) -> Registry:
    """The model registry of a workspace.

    Raises:
        UsageError, HourglassError: as `open_registry`; or the work folder is a copy.
    """
    ctx.check_lake()
    settings = ctx.settings
    return open_registry(
        settings.resolved_mlflow_uri,
        settings.registered_model,
        settings.path("models"),
        settings.path("mlflow"),
    )


def ui_command(uri: str, artifacts: Path) -> str:
    """The command that shows runs and versions in a browser at http://localhost:5000.

    It is printed and stands on pages: whoever runs it fills a password in.
    """
    uri = mask(uri)
    if is_server(uri):
        return f"python -m webbrowser {shlex.quote(uri)}"
    root = shlex.quote(artifacts.absolute().as_uri())
    # Whoever reads it may have another environment active, or none.
    program = Path(sys.executable).with_name("mlflow")
    mlflow = shlex.quote(str(program)) if program.is_file() else "mlflow"
    return f"{mlflow} ui --backend-store-uri {shlex.quote(uri)} --default-artifact-root {root}"


def log_evaluation(
    registry: Registry, model_id: str, as_of: Hour, metrics: Mapping[str, float]
) -> None:
    """Add figures of an evaluation that ended at ``as_of``, such as ``mrr_at_20``, to the run.

    Its hours are the steps of the curve, so that MLflow shows the latest hour, not the best.

    Raises:
        HourglassError: the model was not registered, or MLflow refuses.
    """
    version = registered_version(registry, model_id)
    with named_errors(f"record the evaluation of {model_id}"):
        run_id = str(version.run_id)
        logged = _logged(registry, run_id, metrics)
        new = {
            name: value
            for name, value in metrics.items()
            if (as_of.index, value) not in logged[name]
        }
        if not new:
            return
        from mlflow.entities import Metric

        at_ms = int(as_of.start.timestamp() * 1000)
        registry.client.log_batch(
            run_id,
            metrics=[Metric(name, value, at_ms, as_of.index) for name, value in new.items()],
        )


def _logged(
    registry: Registry, run_id: str, names: Iterable[str]
) -> Mapping[str, list[tuple[int, float]]]:
    """Steps and values of a run's curves."""
    if registry.tables is not None:
        return registry.tables.points(run_id, names)
    histories = {name: registry.client.get_metric_history(run_id, name) for name in names}
    return {name: [(m.step, m.value) for m in points] for name, points in histories.items()}


def champion(registry: Registry) -> LiveModel | None:
    """The model that is live, or None where none was ever installed."""
    return _aliased(registry, CHAMPION)


def previous(registry: Registry) -> LiveModel | None:
    """The model a rollback would return to; None where there is none but the champion."""
    return aliased(registry)[1]


def aliased(registry: Registry) -> tuple[LiveModel | None, LiveModel | None]:
    """Champion and previous, read together."""
    live = champion(registry)
    behind = rollback_targets(registry, live)
    return live, live_model(registry, behind[0]) if behind else None


def chain_head(registry: Registry) -> str | None:
    """Number and digest of the last link of the chain of records; None where there is none."""
    with named_errors(f"read {registry.name}"):
        if registry.tables is not None:
            return (registry.tables.tags_of_model(registry.name) or {}).get(_CHAIN_HEAD)
        from mlflow.exceptions import MlflowException

        try:
            model = registry.client.get_registered_model(registry.name)
        except MlflowException as error:
            if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                raise
            return None
    head: str | None = model.tags.get(_CHAIN_HEAD)
    return head


def set_chain_head(registry: Registry, head: str) -> None:
    """Move the head of the chain of records; the registered model is made where it is missing."""
    with named_errors(f"note the last record of {registry.name}"):
        make_registered_model(registry)
        registry.client.set_registered_model_tag(registry.name, _CHAIN_HEAD, head)


def champion_changes(
    registry: Registry, live: LiveModel | None
) -> Iterator[tuple[Path, ChampionChange]]:
    """How a model came to be live, latest first; empty where that was not recorded.

    Each record is read when it is met, so whoever knows how far back to look pays for no more.
    """
    return history(registry.records, live.champion_record if live else None)


def rollback_targets(registry: Registry, live: LiveModel | None) -> tuple[ModelRef, ...]:
    """The models that rollbacks from ``live`` return to, nearest first."""
    if live is None:
        return ()
    for _, event in history(registry.records, live.champion_record):
        return event.stack
    # Installed before there were records, or its record is lost.
    before = _aliased(registry, PREVIOUS)
    if before is None or before.version == live.version:
        return ()
    return (model_ref(registry, before.version),)


def _aliased(registry: Registry, alias: str) -> LiveModel | None:
    with named_errors(f"read {registry.name}"):
        version = _version_by_alias(registry, alias)
    if version is None:
        return None
    model_id = version.tags["model_id"]
    return LiveModel(
        model_id,
        version.version,
        registry.models / model_id,
        version.tags.get(CHAMPION_RECORD),
        version.tags.get(CARD_SHA256),
    )


def _version_by_alias(registry: Registry, alias: str) -> Version | None:
    if registry.tables is not None:
        return registry.tables.aliased(registry.name, alias)
    from mlflow.exceptions import MlflowException

    try:
        return _read(registry.client.get_model_version_by_alias(registry.name, alias))
    except MlflowException as error:
        missing = error.error_code == "RESOURCE_DOES_NOT_EXIST" or (
            error.error_code == "INVALID_PARAMETER_VALUE" and "not found" in str(error)
        )
        if not missing:
            raise
        return None


def _version(registry: Registry, version: str) -> Version:
    """A version by its number; where there is none, MLflow says so."""
    row = registry.tables.version(registry.name, version) if registry.tables else None
    return row or _read(registry.client.get_model_version(registry.name, version))


def _read(version: ModelVersion) -> Version:
    """What MLflow's client says of a version."""
    return Version(str(version.version), version.run_id, version.source, dict(version.tags))


def _run_tags(registry: Registry, run_id: str) -> Mapping[str, str]:
    """Tags of a run; where there is none, MLflow says so."""
    tags = registry.tables.run_tags(run_id) if registry.tables else None
    if tags is None:
        tags = dict(registry.client.get_run(run_id).data.tags)
    return tags


def live_model(registry: Registry, ref: ModelRef) -> LiveModel:
    """A recorded model as one that may be live."""
    return LiveModel(ref.model_id, ref.version, registry.models / ref.model_id, None)


def recorded_card(registry: Registry, version: str) -> str | None:
    """SHA-256 of a version's card as recorded; None for a version from before that was done."""
    with named_errors(f"read version {version} of {registry.name}"):
        return _version(registry, version).tags.get(CARD_SHA256)


def model_ref(registry: Registry, version: str) -> ModelRef:
    """Model id and line of a version.

    Raises:
        HourglassError: MLflow has no such version, or cannot be read.
    """
    with named_errors(f"read version {version} of {registry.name}"):
        model_version = _version(registry, version)
        run_tags = _run_tags(registry, model_version.run_id) if model_version.run_id else {}
    name = (
        run_tags.get("model") or model_version.tags.get("system") or model_version.tags["model_id"]
    )
    return ModelRef(model_version.tags["model_id"], str(version), name)


def tag_of_run(registry: Registry, version: str, key: str) -> str | None:
    """A tag of the run that a version came from; None where there is no such run or tag.

    Raises:
        HourglassError: MLflow has no such version, or cannot be read.
    """
    with named_errors(f"read the run of version {version} of {registry.name}"):
        run_id = _version(registry, version).run_id
        return _run_tags(registry, run_id).get(key) if run_id else None


def registered_version(registry: Registry, model_id: str) -> Version:
    """MLflow's version of a model.

    Raises:
        HourglassError: the model was not registered, or MLflow cannot be read.
    """
    with named_errors(f"find {model_id}"):
        version = version_of(registry, model_id)
    if version is None:
        raise HourglassError(f"{model_id} is not registered: run hourglass train")
    return version


def version_of(registry: Registry, model_id: str) -> Version | None:
    """MLflow's version of a model; None where it was never registered."""
    _check_model_id(model_id)
    if registry.tables is not None:
        versions = registry.tables.tagged(registry.name, "model_id", model_id)
    else:
        query = f"name = '{registry.name}' and tag.model_id = '{model_id}'"
        versions = list(map(_read, registry.client.search_model_versions(query)))
    return min(versions, key=lambda version: int(version.version), default=None)


def make_registered_model(registry: Registry) -> None:
    """Have MLflow know the registered model."""
    from mlflow.exceptions import MlflowException

    try:
        registry.client.create_registered_model(registry.name)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise


def point(registry: Registry, alias: str, version: str) -> None:
    """Move an alias to a version."""
    registry.client.set_registered_model_alias(registry.name, alias, version)


def drop(registry: Registry, alias: str) -> None:
    """Remove an alias, if it is there."""
    registry.client.delete_registered_model_alias(registry.name, alias)


def tag(registry: Registry, version: str, **tags: str) -> None:
    """Set tags of a version."""
    for name, value in tags.items():
        registry.client.set_model_version_tag(registry.name, version, name, value)


def artefact_folder(registry: Registry, model_id: str) -> Path:
    """The folder of a model.

    Raises:
        HourglassError: it is not there.
    """
    _check_model_id(model_id)
    folder = registry.models / model_id
    if not folder.is_dir():
        raise HourglassError(f"{folder}: the artefact is missing: run hourglass train")
    return folder


def _check_model_id(model_id: str) -> None:
    if not is_plain(model_id):
        raise HourglassError(f"{model_id!r} is not a model id: see the folders in models")


@contextmanager
def named_errors(action: str) -> Iterator[None]:
    """Turn MLflow's and its database's errors into one sentence."""
    try:
        yield
    except HourglassError:
        raise
    except Exception as error:
        if not isinstance(error, (OSError, sqlite3.Error, *_foreign_errors())):
            raise
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise HourglassError(
            f"MLflow could not {action}: {reason}: check mlflow_uri in the settings"
        ) from error


def _foreign_errors() -> tuple[type[Exception], ...]:
    from mlflow.exceptions import MlflowException
    from sqlalchemy.exc import SQLAlchemyError

    return MlflowException, SQLAlchemyError
