from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.errors import UsageError
from pipeline.settings.folders import local_path, path_option

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
