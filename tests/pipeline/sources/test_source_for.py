"""Which source a name stands for, and what its files are called."""

from pathlib import Path

import pytest

from pipeline.errors import UsageError
from pipeline.hours import Hour
from pipeline.settings.source import SourceSettings
from pipeline.sources import SOURCE_NAMES, source_for


def test_an_unknown_name_lists_the_known() -> None:
    with pytest.raises(UsageError, match="'imdb' is not a source: use one of access_log, adressa"):
        source_for(SourceSettings(name="imdb"))


@pytest.mark.parametrize("setting", [{"delimiter": ";"}, {"epoch": "2000-01-01T00"}])
def test_a_setting_that_a_source_fixes_is_refused(setting: dict[str, str]) -> None:
    with pytest.raises(
        UsageError, match=f"source.{next(iter(setting))} is set, but source 'taobao'"
    ):
        source_for(SourceSettings(name="taobao", **setting))


@pytest.mark.parametrize(
    ("chosen", "fault"),
    [
        ({"quote": ""}, "source.quote = '' is not one character"),
        ({"quote": '""'}, "source.quote = '\"\"' is not one character"),
        ({"quote": ","}, "source.delimiter and source.quote are both ','"),
        ({"delimiter": "\n"}, r"source.delimiter = '\\n' cannot stand in a line"),
        ({"quote": "\r"}, r"source.quote = '\\r' cannot stand in a line"),
    ],
)
def test_marks_that_cannot_cut_a_line_are_refused(chosen: dict[str, str], fault: str) -> None:
    with pytest.raises(UsageError, match=fault):
        source_for(SourceSettings(name="delimited", **chosen))


def test_the_pattern_is_the_formats_unless_set() -> None:
    assert source_for(SourceSettings(name="movielens")).pattern == "**/*.inter*"
    assert source_for(SourceSettings(name="movielens", pattern="x*")).pattern == "x*"


@pytest.mark.parametrize(
    ("name", "file", "hour"),
    [
        ("gharchive", "a/2015-01-01-0.json.gz", "2015-01-01T00"),
        ("gharchive", "a/2015-01-01-23.json.gz", "2015-01-01T23"),
        ("gharchive", "a/2015-01-01-24.json.gz", None),
        ("simulator", "landing/2026-01-05T13/events-00.jsonl.gz", "2026-01-05T13"),
        ("simulator", "landing/2026-13-05T13/events-00.jsonl.gz", None),
        ("wikipedia", str(Path("2026-01-05T13") / "w.csv"), "2026-01-05T13"),
        ("wikipedia", "wikipedia.csv", None),
    ],
)
def test_arrival_hours(name: str, file: str, hour: str | None) -> None:
    found = source_for(SourceSettings(name=name)).arrival_hour(file)
    assert found == (Hour.parse(hour) if hour else None)


def test_only_ratings_below_their_film_need_the_lines_before() -> None:
    sources = {name: source_for(SourceSettings(name=name)) for name in SOURCE_NAMES}
    assert {name for name, source in sources.items() if not source.lines_stand_alone} == {"netflix"}
