"""Data sets by their time, though their names are digests."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from test_dataset_quality import manifest

from pipeline.dataset import by_time
from pipeline.dataset.by_time import (
    dataset_folder,
    datasets_by_time,
    gone_by_time,
    hours_by_name,
)
from pipeline.dataset.manifest import Manifest, read_manifest
from pipeline.errors import HourglassError, UsageError
from pipeline.hours import Hour
from pipeline.sealed_json import dated_records, write_record

HOUR = Hour.parse("2016-03-14T13")


def add(shards: Path, name: str, hours_later: int) -> Path:
    """A data set of which there is a manifest alone."""
    folder = shards / name
    folder.mkdir(parents=True)
    text = manifest(dataset_id=name, as_of=str(HOUR + hours_later)).text
    (folder / "manifest.json").write_text(text)
    return folder


@pytest.fixture
def met(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the data sets whose manifest is read."""
    names: list[str] = []

    def read(folder: Path) -> Manifest:
        names.append(folder.name)
        return read_manifest(folder)

    monkeypatch.setattr(by_time, "read_manifest", read)
    return names


def test_only_what_was_not_met_before_is_read(tmp_path: Path, met: list[str]) -> None:
    later = add(tmp_path, "aa", 1)
    add(tmp_path, "bb", 0)
    assert dataset_folder(tmp_path, "last") == later
    assert sorted(met) == ["aa", "bb"]
    newest = add(tmp_path, "cc", 2)
    assert dataset_folder(tmp_path, "last") == newest
    assert sorted(met) == ["aa", "bb", "cc"]
    assert datasets_by_time(tmp_path) == [
        (str(HOUR + 2), "cc"),
        (str(HOUR + 1), "aa"),
        (str(HOUR), "bb"),
    ]
    assert len(met) == 3


def test_what_is_gone_is_not_the_last(tmp_path: Path) -> None:
    first, second = add(tmp_path, "aa", 0), add(tmp_path, "bb", 1)
    assert dataset_folder(tmp_path, "last") == second
    second.rename(tmp_path / ".removed-bb")
    assert dataset_folder(tmp_path, "last") == first
    # Its hour is still known: models that were trained on it may be there.
    assert list(gone_by_time(tmp_path)) == [("2016-03-14T14", "bb")]


def test_of_one_hour_what_was_made_last_is_the_last(tmp_path: Path) -> None:
    first, second = add(tmp_path, "aa", 0), add(tmp_path, "bb", 0)
    for last, other in ((first, second), (second, first)):
        os.utime(last / "manifest.json", ns=(9, 9))
        os.utime(other / "manifest.json", ns=(5, 5))
        assert dataset_folder(tmp_path, "last") == last


def test_a_folder_that_does_not_tell_its_hour_is_asked_again(tmp_path: Path) -> None:
    (tmp_path / "aa").mkdir()
    (tmp_path / "aa" / "file").write_text("")
    answers = iter([None, HOUR])
    assert hours_by_name(tmp_path, "file", lambda _: next(answers)) == {"aa": ""}
    for _ in range(2):
        assert hours_by_name(tmp_path, "file", lambda _: next(answers)) == {"aa": str(HOUR)}


def test_a_damaged_one_stops_only_those_who_ask_for_all(tmp_path: Path) -> None:
    add(tmp_path, "aa", 0)
    damaged = add(tmp_path, "bb", 1)
    (damaged / "manifest.json").write_text("")
    with pytest.raises(HourglassError, match=r"bb/manifest\.json"):
        datasets_by_time(tmp_path)
    assert datasets_by_time(tmp_path, damaged_come_last=True) == [(str(HOUR), "aa"), ("", "bb")]


def test_where_no_note_can_be_left_it_is_read_again(
    tmp_path: Path, met: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = add(tmp_path, "aa", 0)

    def refused(*_: object, **__: object) -> None:
        raise PermissionError

    monkeypatch.setattr(Path, "mkdir", refused)
    for _ in range(2):
        assert dataset_folder(tmp_path, "last") == folder
    assert met == ["aa", "aa"]


def test_what_is_no_note_is_passed_over(tmp_path: Path) -> None:
    (tmp_path / ".by_time").mkdir()
    (tmp_path / ".by_time" / ".nfs00000000001").touch()
    add(tmp_path, "aa", 0)
    assert datasets_by_time(tmp_path) == [(str(HOUR), "aa")]


def test_what_is_no_data_set_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no data set in"):
        dataset_folder(tmp_path / "none", "last")
    (tmp_path / "aa").mkdir()
    with pytest.raises(UsageError, match="no data set 'aa' in"):
        dataset_folder(tmp_path, "aa")
    (tmp_path / "aa" / "manifest.json").write_text("{")
    with pytest.raises(HourglassError, match=r"aa/manifest\.json"):
        dataset_folder(tmp_path, "last")


def test_records_of_some_hours_are_found_by_their_names(tmp_path: Path) -> None:
    assert list(dated_records(tmp_path / "none")) == []
    paths = [
        write_record(tmp_path, f"{HOUR + hour}-m", {"format": 1, "n": hour}) for hour in range(4)
    ]
    write_record(tmp_path, "rollback-m", {"format": 1})
    (tmp_path / f"{HOUR + 1}.json").write_text("no record")
    everything = [(HOUR + hour, path) for hour, path in enumerate(paths)]
    assert list(dated_records(tmp_path)) == everything
    assert list(dated_records(tmp_path, newest_first=True)) == everything[::-1]
    assert list(dated_records(tmp_path, HOUR + 1, HOUR + 3)) == everything[1:3]
