"""A file is read again when the settings that it was read by have changed."""

from __future__ import annotations

import os
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from fuzzed_logs import H0
from landing_place import CLOCK, Place
from test_ingest_killed import dying_after, seen_by_readers

from pipeline.hours import HourRange
from pipeline.ingest.ingest import IngestSummary
from pipeline.ingest.reading_rules import FORMAT_PROPERTY, reading_digest
from pipeline.lake.tables import EVENTS, FILLED_HOURS, LATE_RANGES, QUARANTINE, SOURCE_FILES
from pipeline.sessions.backfill import backfill, plan_backfill
from pipeline.settings.settings import Settings
from pipeline.settings.source import SourceSettings
from pipeline.settings.tables import IngestSettings
from pipeline.sources import SOURCE_NAMES, source_for
from pipeline.spark.compute import Compute

NOW = H0.index * 3600
HEADER = "event_time,user,item_id,kind,device"
RIGHT = {
    "columns": {"user_id": "user", "event_type": "kind", "context": {"device": "device"}},
    "event_types": ("view", "cart"),
}
_MODIFIED_S = 1_457_960_000

# Of each way to be wrong: source settings that differ from the right ones.
WRONG: dict[str, dict[str, Any]] = {
    "time unit": {"time_unit": "ms"},
    "zero of an hour earlier": {"epoch": "1969-12-31T23"},
    "unmapped type": {"columns": {"user_id": "user", "context": {"device": "device"}}},
    "unmapped context": {"columns": {"user_id": "user", "event_type": "kind"}},
    "another column": {
        "columns": {"user_id": "device", "event_type": "kind", "context": {"device": "device"}}
    },
    "known types": {"event_types": ("view",)},
}


def set_source(place: Place, **changed: Any) -> None:
    source = SourceSettings(
        **{"name": "delimited", "path": place.landing, **RIGHT, **changed}  # type: ignore[arg-type]
    )
    place.settings = place.settings.model_copy(update={"source": source})


def put_logs(place: Place) -> None:
    header = HEADER
    files = {
        # Both tell of the same events in part; which is whose depends on the settings.
        "0.csv": [
            f"{NOW},u,x,view,phone",
            f"{NOW + 5},u,x,cart,",
            f"{NOW + 5},u,x,cart,tablet",
            "bad",
        ],
        f"{H0}/b.csv": [f"{NOW},u,x,view,tablet", f"{NOW - 3600},v,y,cart,pc", f"{NOW},,y,view,pc"],
        f"{H0 + 1}/c.csv": [f"{NOW + 5},u,x,view,", f"{NOW + 5},u,x,cart,phone"],
    }
    for name, lines in files.items():
        path = place.put(name, *lines, header=header)
        os.utime(path, (_MODIFIED_S, _MODIFIED_S))


def tables(place: Place) -> dict[str, str]:
    """Digests of the tables that ingest fills but ``filled_hours``."""
    names = {EVENTS.name, QUARANTINE.name, SOURCE_FILES.name, LATE_RANGES.name}
    return {name: digest for name, digest in place.digests().items() if name in names}


@pytest.fixture
def place(tmp_path: Path, compute: Compute) -> Place:
    return Place(tmp_path, compute)


@dataclass(frozen=True)
class Right:
    """A place whose files were read right at first, and what was in it then."""

    place: Place
    tables: dict[str, str]
    accounts: dict[str, tuple[int, ...]]
    events: list[tuple[Any, ...]]


@pytest.fixture(scope="module")
def right(tmp_path_factory: pytest.TempPathFactory, compute: Compute) -> Right:
    place = Place(tmp_path_factory.mktemp("right"), compute)
    put_logs(place)
    set_source(place)
    summary = place.ingest()
    assert (summary.files, summary.accepted, summary.duplicates) == (3, 5, 2)
    place.remember()
    return Right(place, tables(place), place.accounts(), place.events())


@pytest.fixture
def read_right(right: Right) -> Place:
    """The place, as after its first reading."""
    right.place.put_back()
    return right.place


@pytest.mark.parametrize(
    "kinds",
    [
        pytest.param(("time unit", "unmapped type"), id="quick"),
        pytest.param(tuple(WRONG), id="all", marks=pytest.mark.nightly),
    ],
)
def test_settings_put_right_end_as_if_they_had_been_right_at_first(
    place: Place, right: Right, kinds: tuple[str, ...]
) -> None:
    put_logs(place)
    by_wrong: dict[str, dict[str, str]] = {}
    for kind in kinds:
        set_source(place, **WRONG[kind])
        place.ingest()
        by_wrong[kind] = tables(place)
        assert by_wrong[kind] != right.tables
        set_source(place)
        assert plan(place).read_again == 3
        summary = place.ingest(CLOCK + timedelta(hours=5))
        assert (summary.files, summary.read_again, summary.outdated) == (3, 3, ())
        assert tables(place) == right.tables
        assert place.accounts() == right.accounts
    before = place.lake.snapshots()
    assert place.ingest(CLOCK + timedelta(hours=6)) == IngestSummary(files=0, known_files=3)
    assert place.lake.snapshots() == before
    # And back again.
    set_source(place, **WRONG[kinds[0]])
    place.ingest()
    assert tables(place) == by_wrong[kinds[0]]


def plan(place: Place) -> Any:
    return plan_backfill(place.lake, place.settings, CLOCK, None)


def test_another_delimiter_makes_files_that_were_no_log_a_log(place: Place, right: Right) -> None:
    put_logs(place)
    # Where no file at all has the columns nothing is taken in, so one of them has another form.
    other = place.put(
        "z.csv", f"{NOW + 9};w;x;view;pc", header="event_time;user;item_id;kind;device"
    )
    os.utime(other, (_MODIFIED_S, _MODIFIED_S))
    set_source(place, delimiter=";")
    assert place.ingest().accepted == 1
    set_source(place)
    assert place.ingest().read_again == 4
    other.unlink()
    assert place.accounts().pop("z.csv") == (1, 0, 0, 1)
    assert place.events() == right.events


def test_a_key_that_is_mapped_later_ends_as_if_it_had_been_mapped_at_first(
    place: Place, tmp_path: Path, compute: Compute
) -> None:
    header = HEADER + ",id"
    by_key = {**RIGHT["columns"], "event_key": "id"}
    right = Place(tmp_path / "right", compute)
    for each in (place, right):
        # Of one key on both sides of an hour's end, and of one that is told by two files.
        each.put("a.csv", f"{NOW - 1},u,x,view,,k", f"{NOW + 1},u,x,view,,k", "bad", header=header)
        each.put("b.csv", f"{NOW + 2},v,y,view,,k", f"{NOW + 3},v,y,view,,m", header=header)
        for path in each.landing.glob("*.csv"):
            os.utime(path, (_MODIFIED_S, _MODIFIED_S))
    set_source(right, columns=by_key)
    right.ingest()
    assert [row[:2] for row in right.events()] == [(NOW - 1, "u"), (NOW + 3, "v")]
    set_source(place)
    place.ingest()
    without_keys = tables(place)
    assert len(place.events()) == 4
    set_source(place, columns=by_key)
    place.ingest()
    assert tables(place) == tables(right)
    assert place.accounts() == right.accounts()
    # And back again.
    set_source(place)
    place.ingest()
    assert tables(place) == without_keys
    set_source(place, columns=by_key)
    place.ingest()
    assert tables(place) == tables(right)
    assert place.accounts() == right.accounts()


def test_sessions_follow_what_is_read_again(place: Place, tmp_path: Path, compute: Compute) -> None:
    later = CLOCK + timedelta(hours=3)
    right = Place(tmp_path / "right", compute)
    for each in (place, right):
        put_logs(each)
    set_source(place, epoch="1969-12-31T21")
    set_source(right)
    backfill(compute, place.lake, place.settings, later, None)
    set_source(place)
    for each in (place, right):
        backfill(compute, each.lake, each.settings, later, None)
    by_table = place.digests()
    # Hours in which nothing happened after all are filled too.
    del by_table[FILLED_HOURS.name]
    expected = right.digests()
    assert by_table == {name: expected[name] for name in by_table}


def test_what_can_no_longer_be_read_again_is_named_and_stays(place: Place) -> None:
    put_logs(place)
    set_source(place, columns={"user_id": "user", "event_type": "kind"})
    place.ingest()
    gone = place.landing / "0.csv"
    content = gone.read_bytes()
    gone.unlink()
    set_source(place)
    assert plan(place).outdated == ("0.csv",)
    summary = place.ingest()
    assert (summary.read_again, summary.outdated) == (2, ("0.csv",))
    rows = [row[:2] for row in place.events() if row[5] == "0.csv"]
    assert rows == [(NOW, "u"), (NOW + 5, "u"), (NOW + 5, "u")]
    # It is said as long as it is so, and over when the file is there again.
    summary = place.ingest()
    assert (summary.files, summary.outdated) == (0, ("0.csv",))
    gone.write_bytes(content)
    summary = place.ingest()
    assert (summary.read_again, summary.outdated) == (1, ())
    assert {row[4] for row in place.events() if row[5] == "0.csv"} == {"phone", "", "tablet"}


def test_files_of_other_hours_wait_for_their_turn(place: Place, right: Right) -> None:
    put_logs(place)
    set_source(place, default_event_type="cart", columns={"user_id": "user"})
    place.ingest()
    set_source(place)
    summary = place.ingest(hours=HourRange(H0, H0 + 1))
    assert (summary.read_again, summary.outdated) == (2, ())
    place.ingest()
    assert tables(place) == right.tables


def test_of_a_file_that_was_another_once_nothing_is_lost(place: Place) -> None:
    set_source(place, time_unit="ms", epoch="1990-01-01T00")
    header = HEADER
    place.put("a.csv", "1000,u,x,view,", header=header)
    place.ingest()
    place.put("a.csv", "2000,u,y,view,", "bad", header=header)
    place.ingest()
    set_source(place, epoch="1990-01-01T00")
    summary = place.ingest()
    # Nobody can tell which of the rows were told by the content that is gone.
    assert (summary.read_again, summary.outdated) == (1, ("a.csv",))
    assert sorted(row[2] for row in place.events()) == ["x", "y", "y"]
    assert place.ingest().files == 0


def without_readers(place: Place, recorded: bool) -> None:
    """Make the lake one of a version that did not record by which settings a file was read."""
    rows = place.lake.arrow(SOURCE_FILES)
    blank = rows.set_column(
        rows.schema.get_field_index("read_by"),
        rows.schema.field("read_by"),
        pa.nulls(rows.num_rows, pa.string()),
    )
    made_by = {FORMAT_PROPERTY: place.settings.digest("source")} if recorded else {}
    place.lake.overwrite(SOURCE_FILES, "true", blank, made_by)
    if not recorded:
        place.lake.overwrite(EVENTS, "true", place.lake.arrow(EVENTS), {})
    place.lake.record_filled("forget", [], FILLED_HOURS.schema.empty_table(), {})


@pytest.mark.parametrize("recorded", [True, False], ids=["recorded", "not recorded"])
def test_files_of_a_lake_of_before_are_known_as_far_as_it_tells(
    read_right: Place, right: Right, recorded: bool
) -> None:
    place = read_right
    # What all versions did that had no such setting.
    place.set_rules(equal_records="duplicates")
    without_readers(place, recorded)
    expected = IngestSummary(files=0, known_files=3, unknown_settings=0 if recorded else 3)
    assert place.ingest() == expected
    set_source(place, **WRONG["unmapped type"])
    assert place.ingest().read_again == (3 if recorded else 0)
    if recorded:
        set_source(place)
        place.set_rules(equal_records="events")
        place.ingest()
        assert tables(place) == right.tables


def test_what_a_lake_of_before_tells_is_written_down_with_the_next_file(
    read_right: Place,
) -> None:
    place = read_right
    without_readers(place, recorded=True)
    place.put("d.csv", header=HEADER)
    place.ingest()
    assert {row["read_by"] for row in place.rows(SOURCE_FILES)} == {
        reading_digest(place.settings, source_for(place.settings.source))
    }


def test_killed_while_files_are_read_again_it_ends_as_if_undisturbed(
    place: Place, right: Right, monkeypatch: pytest.MonkeyPatch
) -> None:
    put_logs(place)
    set_source(place, **WRONG["zero of an hour earlier"])
    place.ingest()
    before = seen_by_readers(place.lake)
    set_source(place)
    for commits in (1, 4):
        with dying_after(commits, monkeypatch):
            place.ingest()
        assert seen_by_readers(place.lake) == before
    place.ingest()
    assert tables(place) == right.tables


def digest(**changed: Any) -> str:
    source = SourceSettings(**{"name": "delimited", **changed.pop("source", {})})
    settings = Settings(source=source, ingest=IngestSettings(**changed))
    return reading_digest(settings, source_for(settings.source))


@pytest.mark.parametrize(
    ("changed", "counts"),
    [
        ({"source": {"path": "elsewhere", "pattern": "*.csv"}}, False),
        ({"source": {"items_path": "items.jsonl"}}, False),
        ({"source": {"encoding": "UTF8"}}, False),
        ({"source": {"columns": {"context": {"b": "b", "a": "a"}}}}, True),
        ({"source": {"encoding": "latin-1"}}, True),
        ({"source": {"quote": None}}, True),
        ({"max_lateness": None}, False),
        ({"max_skew_s": 0}, True),
        ({"earliest": "2000-01-01T00"}, True),
        ({"max_id_chars": 9}, True),
    ],
    ids=str,
)
def test_only_what_changes_a_record_counts(changed: dict[str, Any], counts: bool) -> None:
    assert (digest(**changed) != digest()) is counts


def test_the_order_of_names_does_not_count() -> None:
    def of(*names: str) -> str:
        columns = {"context": {name: name for name in names}}
        return digest(source={"columns": columns, "event_types": names})

    assert of("a", "b") == of("b", "a") != of("a", "c")


def test_a_preset_counts_by_what_it_stands_for() -> None:
    by_name = {
        name: reading_digest(settings, source_for(settings.source))
        for name in SOURCE_NAMES
        for settings in [Settings(source=SourceSettings(name=name))]
        if name != "delimited"
    }
    assert len(set(by_name.values())) == len(by_name)
    spelt_out = {
        "columns": {"user_id": "u", "item_id": "i", "event_time": "ts"}
        | {"context": {"state_label": "label"}},
        "epoch": "2018-04-01T00",
        "default_event_type": "edit",
    }
    assert digest(source=spelt_out) == by_name["wikipedia"]
