"""Every real log is read whole: as many records as its publisher says, and none refused."""

from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest

from pipeline.hours import Hour
from pipeline.settings.source import SourceSettings
from pipeline.sources import ParsedEvent, source_for
from pipeline.sources.lines import read_lines

pytestmark = pytest.mark.real


Log = dict[str, list[ParsedEvent]]  # by file


def events_of(folder: Path, name: str) -> Log:
    source = source_for(SourceSettings(name=name, path=folder))
    events = {}
    for path in sorted(folder.glob(source.pattern)):
        lines = read_lines(path)
        header = next(lines).text if source.has_header else None
        parse = source.parser(header, path.name)
        events[path.name] = [parse(line.text) for line in lines if line.reason is None]
    return events


@pytest.fixture(scope="module")
def read_log() -> Callable[[Path, str], Log]:
    """Reads a log whole, the first time that a test asks for it."""
    return cache(events_of)


@pytest.mark.parametrize(
    ("name", "folder", "records", "users", "items"),
    [
        ("wikipedia", "wikipedia", [157_474], 8_227, 1_000),
        ("deskdrop", "deskdrop", [72_312], 1_895, 2_987),
        ("yoochoose", "yoochoose", [13_568, 70_278], 21_210, 2_933),
        ("movielens", "movielens-100k", [100_000], 943, 1_682),
        ("taobao", "taobao", [10_000], 114, 7_623),
        ("gharchive", "gharchive", [7_702, 7_427], 6_208, 7_112),
        ("access_log", "nasa-http", [9_999, 9_999], 1_752, 1_938),
    ],
)
def test_nothing_is_refused(
    *,
    datasets_dir: Path,
    read_log: Callable[[Path, str], Log],
    name: str,
    folder: str,
    records: list[int],
    users: int,
    items: int,
) -> None:
    files = read_log(datasets_dir / folder, name)
    events = [event for of_file in files.values() for event in of_file]
    assert [len(of_file) for of_file in files.values()] == records
    assert all(isinstance(event, ParsedEvent) for event in events)
    assert len({event.user_id for event in events}) == users
    assert len({event.item_id for event in events}) == items


def test_spans_and_types(datasets_dir: Path, read_log: Callable[[Path, str], Log]) -> None:
    hour_us = 3_600_000_000
    (wikipedia,) = read_log(datasets_dir / "wikipedia", "wikipedia").values()
    hours = {event.event_time_us // hour_us for event in wikipedia}
    assert (min(hours), max(hours) - min(hours) + 1) == (Hour.parse("2018-04-01T00").index, 744)
    (deskdrop,) = read_log(datasets_dir / "deskdrop", "deskdrop").values()
    assert {event.event_type for event in deskdrop} == {
        "VIEW",
        "LIKE",
        "FOLLOW",
        "COMMENT CREATED",
        "BOOKMARK",
    }
    (films,) = read_log(datasets_dir / "movielens-100k", "movielens").values()
    assert sum(event.value for event in films) / len(films) == pytest.approx(3.52986)


def test_gharchive_files_hold_their_hour(
    datasets_dir: Path, read_log: Callable[[Path, str], Log]
) -> None:
    source = source_for(SourceSettings(name="gharchive"))
    for name, events in read_log(datasets_dir / "gharchive", "gharchive").items():
        hour = source.arrival_hour(name)
        assert {event.event_time_us // 3_600_000_000 for event in events} == {hour.index}
        assert len({event.event_key for event in events}) == len(events)
