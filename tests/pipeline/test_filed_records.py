"""Old records are filed away by month, and read by the names that they were written under."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline import sealed_json
from pipeline.errors import HourglassError
from pipeline.hours import Hour
from pipeline.sealed_json import (
    all_records,
    changed_ns,
    dated_records,
    file_away,
    file_away_oldest,
    file_each_away,
    find_record,
    folder_of,
    read_record,
    where_filed,
    write_record,
)

LAST_OF_MARCH = Hour.parse("2016-03-31T22")


def dated(folder: Path, hours: int) -> list[Path]:
    return [
        write_record(folder, f"{LAST_OF_MARCH + at}-m", {"format": 1, "n": at})
        for at in range(hours)
    ]


def test_a_record_is_filed_by_its_month_or_its_first_word(tmp_path: Path) -> None:
    (hourly,) = dated(tmp_path, 1)
    change = write_record(tmp_path, "promotion-m-0", {"format": 1})
    for path, drawer in ((hourly, "2016-03"), (change, "promotion")):
        file_away(path)
        filed = tmp_path / "past" / drawer / path.name
        assert [where_filed(path), where_filed(filed), find_record(path)] == [filed] * 3
        assert folder_of(filed) == folder_of(path) == tmp_path
        record = read_record(path)
        assert (record.path, record.folder) == (filed, tmp_path)
        assert record == read_record(filed)
    assert list(all_records(tmp_path)) == [where_filed(hourly), where_filed(change)]
    assert find_record(tmp_path / "promotion-x-0123456789ab.json") is None


def test_a_work_folder_that_is_called_past_is_none_of_ours(tmp_path: Path) -> None:
    folder = tmp_path / "past" / "decisions"
    (path,) = dated(folder, 1)
    assert folder_of(path) == folder
    file_away(path)
    assert folder_of(where_filed(path)) == folder


def test_what_is_filed_is_not_written_again(tmp_path: Path) -> None:
    (path,) = dated(tmp_path, 1)
    file_away(path)
    assert dated(tmp_path, 1) == [where_filed(path)]
    assert not path.exists()
    filed = where_filed(path)
    filed.chmod(0o644)
    filed.write_text("{}")
    with pytest.raises(HourglassError, match="holds something else"):
        dated(tmp_path, 1)
    with pytest.raises(HourglassError, match="changed after it was written"):
        read_record(path)


def test_a_range_is_found_across_what_is_filed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = dated(tmp_path, 5)  # two hours of March, three of April
    for path in (paths[0], paths[1], paths[2]):
        file_away(path)
    hours = [LAST_OF_MARCH + at for at in range(5)]
    assert [hour for hour, _ in dated_records(tmp_path)] == hours
    assert [hour for hour, _ in dated_records(tmp_path, newest_first=True)] == hours[::-1]
    assert [hour for hour, _ in dated_records(tmp_path, hours[1], hours[3])] == hours[1:3]
    # What is being moved just now is met once.
    paths[3].parent.joinpath("past", "2016-04", paths[3].name).write_bytes(paths[3].read_bytes())
    assert [hour for hour, _ in dated_records(tmp_path)] == hours
    listed: list[str] = []
    names = sealed_json.names_in

    def listing(folder: Path) -> list[str]:
        listed.append(folder.name)
        return names(folder)

    monkeypatch.setattr(sealed_json, "names_in", listing)
    assert next(dated_records(tmp_path, newest_first=True))[0] == hours[4]
    assert list(dated_records(tmp_path, hours[3])) == [(hours[3], paths[3]), (hours[4], paths[4])]
    assert "2016-03" not in listed


def test_the_oldest_are_filed_many_at_a_time(tmp_path: Path) -> None:
    paths = dated(tmp_path, 5)
    change = write_record(tmp_path, "promotion-m-0", {"format": 1})
    file_away_oldest(tmp_path, 3)
    assert all(path.is_file() for path in paths)
    file_away_oldest(tmp_path, 2)
    assert [path.is_file() for path in paths] == [False, False, False, True, True]
    assert change.is_file()
    file_away_oldest(tmp_path / "none", 2)


def test_of_a_copy_that_says_something_else_both_stay(tmp_path: Path) -> None:
    """A copy of half a record that was put back must not take the place of the whole one."""
    (path,) = dated(tmp_path, 1)
    whole = path.read_bytes()
    file_away(path)
    path.write_bytes(whole[:10])
    file_away(path)
    assert (path.read_bytes(), where_filed(path).read_bytes()) == (whole[:10], whole)
    path.write_bytes(whole)
    file_away(path)
    assert not path.exists()
    assert read_record(path).path == where_filed(path)


def test_what_another_process_filed_meanwhile_is_no_error(tmp_path: Path) -> None:
    first, second = dated(tmp_path, 2)
    file_away(first)
    file_each_away([first, second])
    assert [find_record(path) for path in (first, second)] == [
        where_filed(path) for path in (first, second)
    ]


def test_what_cannot_be_filed_stays(tmp_path: Path) -> None:
    paths = dated(tmp_path, 3)
    (tmp_path / "past").write_text("no folder can be made here")
    file_away_oldest(tmp_path, 1)
    assert [read_record(path).path for path in paths] == paths
    assert dated(tmp_path, 3) == paths


def test_what_is_filed_while_it_is_read_is_as_old_as_before(tmp_path: Path) -> None:
    (path,) = dated(tmp_path, 1)
    before, record = changed_ns(path), read_record(path)
    file_away(path)
    assert changed_ns(record.path) == changed_ns(where_filed(path)) == before
