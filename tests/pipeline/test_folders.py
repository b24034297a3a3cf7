from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.errors import UsageError
from pipeline.lake.catalog import sqlite_file
from pipeline.lake.lake import Lake
from pipeline.lake.tables import EVENTS
from pipeline.settings.folders import local_path, path_option
from pipeline.settings.settings import Settings

ELSEWHERE = (
    "s3://bucket/lake",
    "s3a://bucket",
    "S3:/bucket",
    " s3://bucket",
    "gs://bucket/lake",
    "abfs://container@account/lake",
    "abfss://container@account/lake",
    "hdfs://name:8020/lake",
    "http://host/lake",
    "https://host/lake",
    "file://host/lake",
    "file://host",
)


@pytest.mark.parametrize("text", ELSEWHERE, ids=lambda text: text.strip().replace("/", "_"))
def test_an_address_elsewhere_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="must be a path on this machine"):
        local_path(text)
    with pytest.raises(UsageError, match="must be a path on this machine"):
        path_option(text)


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("work", "work"),
        ("./~x", "./~x"),
        ("a~b/~", "a~b/~"),
        ("2016-03-14T13:00/x", "2016-03-14T13:00/x"),
        ("file:///x/y%20z", "/x/y z"),
        ("file://localhost/x", "/x"),
        ("FILE:/x", "/x"),
        ("~", "/home/anna"),
        ("~/lake", "/home/anna/lake"),
    ],
)
def test_a_path_is_taken_as_it_is_meant(
    text: str, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", "/home/anna")
    assert local_path(text) == path
    assert path_option(text) == Path(path)


def test_the_home_of_nobody_is_refused() -> None:
    with pytest.raises(ValueError, match=r"'~no-such-user' is nobody's home folder: write \./~no-"):
        local_path("~no-such-user/lake")


NAMES = ("a b", "a?b", "a%20b", "a%b", "100%", "a#b", "a;b", "a&b=c", "ü'\"", "%3F?", "a:b@c")


@pytest.mark.parametrize("name", NAMES)
def test_a_folder_of_any_name_has_an_address(tmp_path: Path, name: str) -> None:
    work = tmp_path / name
    settings = Settings(work=work)
    assert sqlite_file(settings.resolved_catalog_uri) == work / "lake" / "catalog.db"
    assert sqlite_file(settings.resolved_mlflow_uri) == work / "mlflow.db"


@pytest.mark.parametrize("name", ["a?b", "a%20b"])
def test_the_lake_lies_in_its_folder_whatever_it_is_called(tmp_path: Path, name: str) -> None:
    settings = Settings(work=tmp_path / name)
    lake = Lake(settings.resolved_catalog_uri, settings.resolved_warehouse)
    assert lake.arrow(EVENTS).num_rows == 0
    assert [path.name for path in tmp_path.iterdir()] == [name]
    assert (tmp_path / name / "lake" / "catalog.db").is_file()
