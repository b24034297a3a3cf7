"""MLflow's tables, read without MLflow, say what MLflow says."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
from lives import registry
from runs import register, training

from pipeline.errors import HourglassError
from pipeline.hours import Hour
from training.registry.mlflow_registry import (
    CARD_SHA256,
    CHAMPION,
    CHAMPION_RECORD,
    PREVIOUS,
    Registry,
    aliased,
    chain_head,
    champion,
    log_evaluation,
    model_ref,
    open_registry,
    point,
    recorded_card,
    set_chain_head,
    tag,
    tag_of_run,
    version_of,
)
from training.registry.mlflow_run import log_training
from training.registry.mlflow_tables import readable_tables

__all__ = ["registry"]
FIRST = Hour.parse("2016-03-14T13")


def answers(registry: Registry, version: str) -> list[object]:
    """All that is read of a registry."""
    return [
        champion(registry),
        aliased(registry),
        chain_head(registry),
        model_ref(registry, version),
        recorded_card(registry, version),
        version_of(registry, "hrnn-a"),
        version_of(registry, "hrnn-z"),
        tag_of_run(registry, version, "dataset_id"),
        tag_of_run(registry, version, "nothing"),
    ]


@pytest.fixture
def by_tables(registry: Registry, store: str) -> Registry:
    register(registry, "hrnn-a")
    register(registry, "hrnn-b")
    # The store is made by now, if it was not before.
    tables = readable_tables(store)
    assert tables is not None, "MLflow's tables are others now: compare them, and _REVISION"
    return replace(registry, tables=tables)


def test_the_tables_say_what_mlflow_says(by_tables: Registry) -> None:
    by_client = replace(by_tables, tables=None)
    assert answers(by_tables, "1") == answers(by_client, "1")
    assert champion(by_tables) is None
    point(by_tables, CHAMPION, "2")
    point(by_tables, PREVIOUS, "1")
    tag(by_tables, "2", **{CHAMPION_RECORD: "promotion.json", CARD_SHA256: "0" * 64})
    set_chain_head(by_tables, "3:abc")
    for version in ("1", "2"):
        assert answers(by_tables, version) == answers(by_client, version)
    live = champion(by_tables)
    assert live is not None
    assert (live.version, live.champion_record) == ("2", "promotion.json")


def test_a_version_that_was_removed_is_not_read(by_tables: Registry) -> None:
    point(by_tables, CHAMPION, "2")
    by_tables.client.delete_model_version(by_tables.name, "2")
    assert champion(by_tables) is None
    assert version_of(by_tables, "hrnn-b") is None
    sentences = []
    for each in (by_tables, replace(by_tables, tables=None)):
        with pytest.raises(HourglassError, match="could not read version 2") as refused:
            model_ref(each, "2")
        sentences.append(str(refused.value))
    assert sentences[0] == sentences[1]


def test_an_evaluation_that_is_recorded_already_is_not_written_again(by_tables: Registry) -> None:
    log_evaluation(by_tables, "hrnn-a", FIRST, {"mrr_at_20": 0.25, "recall_at_20": 0.5})

    def refused() -> None:
        raise AssertionError("MLflow was opened to write")

    closed = replace(by_tables, open_client=refused)  # type: ignore[arg-type]
    log_evaluation(closed, "hrnn-a", FIRST, {"mrr_at_20": 0.25, "recall_at_20": 0.5})
    with pytest.raises(AssertionError, match="opened to write"):
        log_evaluation(closed, "hrnn-a", FIRST, {"mrr_at_20": 0.125})


def test_a_model_that_is_recorded_already_is_not_written_again(by_tables: Registry) -> None:
    by_client = replace(by_tables, tables=None)
    recorded = log_training(by_client, training("hrnn-a"))

    def refused() -> None:
        raise AssertionError("MLflow was opened to write")

    closed = replace(by_tables, open_client=refused)  # type: ignore[arg-type]
    assert log_training(closed, training("hrnn-a")) == recorded
    version = version_of(by_tables, "hrnn-a")
    assert version is not None
    by_tables.client.update_run(str(version.run_id), status="RUNNING")
    with pytest.raises(AssertionError, match="opened to write"):
        log_training(closed, training("hrnn-a"))
    assert log_training(by_tables, training("hrnn-a")) == recorded
    assert by_tables.client.get_run(str(version.run_id)).info.status == "FINISHED"


def test_what_is_not_surely_the_same_is_left_to_mlflow(
    store: str, by_tables: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert by_tables.tables is not None
    copy = tmp_path / "copy.db"
    with (
        closing(sqlite3.connect(by_tables.tables.database)) as source,
        closing(sqlite3.connect(copy)) as target,
    ):
        source.backup(target)
        assert readable_tables(f"sqlite:///{copy}") is not None
        target.execute("UPDATE alembic_version SET version_num = 'another'")
        target.commit()
    assert readable_tables(f"sqlite:///{copy}") is None
    assert readable_tables(f"sqlite:///{tmp_path / 'missing.db'}") is None
    assert readable_tables("http://localhost:5000") is None
    (tmp_path / "text.db").write_text("no database")
    assert readable_tables(f"sqlite:///{tmp_path / 'text.db'}") is None
    monkeypatch.setenv("MLFLOW_ENABLE_WORKSPACES", "true")
    assert readable_tables(store) is None


def test_a_store_that_breaks_later_is_one_sentence(tmp_path: Path, by_tables: Registry) -> None:
    assert by_tables.tables is not None
    broken = tmp_path / "broken.db"
    broken.write_text("this is not a database, it only has the name of one")
    registry = replace(by_tables, tables=replace(by_tables.tables, database=broken))
    with pytest.raises(HourglassError, match=r"MLflow could not read .*check mlflow_uri"):
        champion(registry)


def test_an_open_registry_reads_the_tables(store: str, by_tables: Registry, tmp_path: Path) -> None:
    opened = open_registry(store, by_tables.name, by_tables.models, tmp_path / "runs")
    assert opened.tables is not None
    assert "client" not in vars(opened)
    assert version_of(opened, "hrnn-a") == version_of(by_tables, "hrnn-a")
    assert "client" not in vars(opened)
