"""Published recommendations of a small popularity model, for tests of what is published."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from synthetic import AS_OF

from pipeline.hours import Hour, HourRange
from pipeline.lake.lake import Lake
from pipeline.lake.steps import SESSIONIZE
from pipeline.lake.tables import FILLED_HOURS, ITEM_HOURS, ITEMS, RECOMMENDATIONS, TableSpec
from pipeline.settings.settings import Settings, load_settings
from training.data.reader import read_dataset
from training.models import build
from training.recommend.recommend import recommend
from training.recommend.users import RequestedUsers
from training.registry.artefact import save_model
from training.registry.mlflow_registry import LiveModel

NOW = Hour.parse(AS_OF)


def learned(name: str, folder: Path, settings: Settings, **parameters: object) -> LiveModel:
    """A model of that system, fitted on a data set."""
    data = read_dataset(folder)
    system = build(name, parameters)
    metrics = system.fit(data, 0, lambda _progress: None)
    models = settings.path("models")
    model_id = save_model(models, system, parameters, data, 0, metrics, "test")
    return LiveModel(model_id, "1", models / model_id, None)


def ruled(settings: Settings, **rules: object) -> Settings:
    return load_settings(None, {"work": str(settings.work), "recommend": {"k": 3, **rules}})


def lake_of(settings: Settings) -> Lake:
    return Lake(settings.resolved_catalog_uri, settings.resolved_warehouse)


def publish(
    settings: Settings,
    live: LiveModel,
    known: Path,
    as_of: Hour | datetime = NOW,
    asked: RequestedUsers | None = None,
) -> list[dict]:
    recommend(settings, lake_of(settings), live, known, as_of, lambda _done, _all: None, asked)
    return published(settings)


def published(settings: Settings) -> list[dict]:
    rows = lake_of(settings).arrow(RECOMMENDATIONS)
    return rows.sort_by([("user_id", "ascending"), ("rank", "ascending")]).to_pylist()


def items_of(rows: list[dict], user: str) -> str:
    """Items in their order, those by popularity in capitals."""
    mine = [row for row in rows if row["user_id"] == user]
    assert [row["rank"] for row in mine] == list(range(1, len(mine) + 1))
    letters = [(row["item_id"], row["source"]) for row in mine]
    return "".join(item.upper() if source == "popularity" else item for item, source in letters)


def describe(settings: Settings, **available: tuple[str | None, str | None]) -> None:
    """The items table: when each item can be had."""

    def at(text: str | None) -> datetime | None:
        return None if text is None else datetime.fromisoformat(text).replace(tzinfo=UTC)

    rows = [
        {"item_id": item, "available_from": at(since), "available_to": at(until)}
        for item, (since, until) in available.items()
    ]
    lake_of(settings).overwrite(ITEMS, "true", pa.Table.from_pylist(rows, ITEMS.schema), {})


def count(settings: Settings, **events: int) -> None:
    """Events of the hour before."""
    rows = [
        {"hour": (NOW - 1).start, "item_id": item, "events": n, "users": 1}
        for item, n in events.items()
    ]
    step(settings, {ITEM_HOURS: rows})


def step(settings: Settings, tables: Mapping[TableSpec, list[dict[str, Any]]]) -> None:
    """Let a step end that added rows in the hour before."""
    lake = lake_of(settings)
    for spec, rows in tables.items():
        lake.append(spec, pa.Table.from_pylist(rows, spec.schema), {})
    nothing = FILLED_HOURS.schema.empty_table()
    lake.record_filled(SESSIONIZE, HourRange(NOW - 1, NOW), nothing, {})


def asking(*users: str, **context: list[str | None]) -> RequestedUsers:
    values = {name: np.array(texts, object) for name, texts in context.items()}
    return RequestedUsers(np.array(users, object), values)
