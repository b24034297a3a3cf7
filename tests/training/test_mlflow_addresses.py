"""A store of MLflow that was copied with its work folder: it stops, and `adopt` moves it."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
import yaml

from pipeline.errors import HourglassError
from pipeline.lake.lake import Lake
from pipeline.settings.settings import Settings
from training.cli.adopt import _check_server_is_own
from training.cli.main import run
from training.loop.copied_settings import MADE_BY
from training.registry.mlflow_addresses import check_addresses
from training.registry.mlflow_registry import champion, open_registry

NAME = "hourglass"
_TABLES = (
    "experiments (name, artifact_location)",
    "runs (run_uuid, artifact_uri)",
    "model_versions (name, version, source, storage_location)",
    "trace_tags (key, value)",
)


@pytest.fixture
def work(tmp_path: Path) -> Path:
    """A work folder with an empty lake and a store of one run."""
    work = tmp_path / "a work"
    (work / "models" / "pop-1").mkdir(parents=True)
    (work / "mlflow" / "r" / "artifacts").mkdir(parents=True)
    settings = Settings(work=work)
    Lake(settings.resolved_catalog_uri, settings.resolved_warehouse).snapshots()
    model = (work / "models" / "pop-1").as_uri()
    with closing(sqlite3.connect(work / "mlflow.db")) as store:
        for table in _TABLES:
            store.execute(f"CREATE TABLE {table}")
        rows = (
            ("experiments", (NAME, (work / "mlflow").as_uri())),
            ("experiments", ("Default", "/somewhere/mlruns/0")),
            ("runs", ("r", (work / "mlflow" / "r" / "artifacts").as_uri())),
            ("model_versions", (NAME, 1, model, model)),
            ("trace_tags", ("mlflow.artifactLocation", str(work / "mlflow" / "t"))),
            ("trace_tags", ("note", f"see {work}/mlflow")),
        )
        for table, row in rows:
            marks = ", ".join("?" * len(row))
            store.execute(f"INSERT INTO {table} VALUES ({marks})", row)  # noqa: S608
        store.commit()
    return work


def check(work: Path, store: Path | None = None) -> None:
    uri = f"sqlite:///{store or work / 'mlflow.db'}"
    check_addresses(uri, NAME, work / "models", work / "mlflow")


def dumped(store: Path) -> list[str]:
    with closing(sqlite3.connect(store)) as connection:
        return list(connection.iterdump())


def config_for(work: Path, **more: str) -> Path:
    config = work.with_name(f"{work.name}.yaml")
    config.write_text(yaml.safe_dump({"work": str(work), **more}))
    return config


def test_a_copied_store_is_not_opened_until_it_is_adopted(
    work: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    check(work)
    copy = tmp_path / "copy"
    shutil.copytree(work, copy)
    first, before = (work / "mlflow.db").read_bytes(), dumped(copy / "mlflow.db")
    with pytest.raises(HourglassError, match="moved, copied or linked") as caught:
        open_registry(f"sqlite:///{copy}/mlflow.db", NAME, copy / "models", copy / "mlflow")
    assert str(work / "mlflow") in str(caught.value)
    assert str(copy / "mlflow") in str(caught.value)
    assert dumped(copy / "mlflow.db") == before

    assert run(["--config", str(config_for(copy)), "adopt"]) == 0
    check(copy)
    expected = [
        line.replace(work.as_uri(), copy.as_uri()).replace(f"'{work}/", f"'{copy}/")
        for line in before
    ]
    assert dumped(copy / "mlflow.db") == expected
    assert "/somewhere/mlruns/0" in "".join(expected)
    capsys.readouterr()
    assert run(["--config", str(config_for(copy)), "adopt"]) == 0
    assert "nothing to adopt" in capsys.readouterr().out
    assert (work / "mlflow.db").read_bytes() == first


def _not_there(store: Path) -> None:
    store.unlink()


def _empty(store: Path) -> None:
    store.write_bytes(b"")


def _elsewhere_on_purpose(store: Path) -> None:
    with closing(sqlite3.connect(store)) as connection:
        connection.execute("UPDATE experiments SET artifact_location = 'file:///data/runs'")
        connection.commit()


def _object_store(store: Path) -> None:
    with closing(sqlite3.connect(store)) as connection:
        connection.execute("UPDATE experiments SET artifact_location = 's3://bucket/runs'")
        connection.commit()


@pytest.mark.parametrize("change", [_not_there, _empty, _elsewhere_on_purpose, _object_store])
def test_stores_that_are_no_copies_are_opened(work: Path, change: Callable[[Path], None]) -> None:
    change(work / "mlflow.db")
    check(work)


def test_a_store_reached_through_a_link_is_opened(work: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(work)
    check(tmp_path / "link")


def test_a_store_that_the_first_work_folder_uses_too_is_refused(
    work: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    copy, store = tmp_path / "copy", tmp_path / "shared.db"
    (work / "mlflow.db").rename(store)
    shutil.copytree(work, copy)
    config = config_for(copy, mlflow_uri=f"sqlite:///{store}")
    before = dumped(store)
    catalog = (copy / "lake" / "catalog.db").read_bytes()
    assert run(["--config", str(config), "adopt"]) == 1
    assert "may be what the lake there uses too" in capsys.readouterr().err
    assert dumped(store) == before
    assert (copy / "lake" / "catalog.db").read_bytes() == catalog
    assert run(["--config", str(config), "adopt", "--alone"]) == 0
    check(copy, store)


def test_a_copy_without_all_models_is_refused(
    work: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(work, copy)
    shutil.rmtree(copy / "models" / "pop-1")
    assert run(["--config", str(config_for(copy)), "adopt"]) == 1
    assert f"the first is {copy / 'models' / 'pop-1'}" in capsys.readouterr().err
    assert str(copy) not in "".join(dumped(copy / "mlflow.db"))


def test_a_real_store_moves_with_its_work_folder(mlflow_tables: None, tmp_path: Path) -> None:
    first, copy = tmp_path / "first", tmp_path / "copy"
    settings = Settings(work=first)
    Lake(settings.resolved_catalog_uri, settings.resolved_warehouse).snapshots()
    registry = open_registry(f"sqlite:///{first}/mlflow.db", NAME, first / "models", first / "runs")
    registry.client.create_experiment(NAME, (first / "mlflow").as_uri())
    registry.client.create_registered_model(NAME)
    first.rename(copy)
    with pytest.raises(HourglassError, match="moved, copied or linked"):
        open_registry(f"sqlite:///{copy}/mlflow.db", NAME, copy / "models", copy / "mlflow")
    assert run(["--config", str(config_for(copy)), "adopt"]) == 0
    uri = f"sqlite:///{copy}/mlflow.db"
    moved = open_registry(uri, NAME, copy / "models", copy / "mlflow")
    assert champion(moved) is None
    experiment = moved.client.get_experiment_by_name(NAME)
    assert experiment.artifact_location == (copy / "mlflow").as_uri()


def test_settings_of_the_demo_that_were_copied_name_their_own_work_folder_again(
    work: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    content = {"work": str(work), "source": {"path": str(work / "landing")}}
    text = f"{MADE_BY} --source simulator`.\n{yaml.safe_dump(content)}"
    for path in (work / "hourglass.yaml", tmp_path / "hourglass.yaml"):
        path.write_text(text)
    # Where the demo put them, and where people copy them to, they are right.
    mine = tmp_path / "mine" / "hourglass.yaml"
    mine.parent.mkdir()
    mine.write_text(text)
    for path in (work / "hourglass.yaml", tmp_path / "hourglass.yaml", mine):
        assert run(["--config", str(path), "where"]) == 0
    shutil.copytree(work, tmp_path / "other" / work.name)
    copied = tmp_path / "other" / work.name
    (copied.parent / "hourglass.yaml").write_text(text)
    capsys.readouterr()
    for config in (copied / "hourglass.yaml", copied.parent / "hourglass.yaml"):
        assert run(["--config", str(config), "where"]) == 1
        error = capsys.readouterr().err
        assert str(work) in error
        assert str(copied) in error
    assert run(["--config", str(copied / "hourglass.yaml"), "adopt"]) == 0
    for config in (copied / "hourglass.yaml", copied.parent / "hourglass.yaml"):
        assert run(["--config", str(config), "where"]) == 0
        written = yaml.safe_load(config.read_text())
        assert written == {"work": str(copied), "source": {"path": str(copied / "landing")}}
    assert (work / "hourglass.yaml").read_text() == text


@pytest.mark.parametrize("head", ["3:abc", None])
def test_a_server_with_the_first_lake_s_record_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, head: str | None
) -> None:
    monkeypatch.setattr("training.registry.mlflow_registry.open_registry", lambda *arguments: None)
    monkeypatch.setattr("training.registry.mlflow_registry.chain_head", lambda registry: head)
    served = Settings(work=tmp_path / "copy", mlflow_uri="http://127.0.0.1:9")
    if head is None:
        _check_server_is_own(served, "/first")
    else:
        with pytest.raises(HourglassError, match=r"in /first .* registered_model of its own"):
            _check_server_is_own(served, "/first")
    _check_server_is_own(Settings(work=tmp_path / "copy"), "/first")
