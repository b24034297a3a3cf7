"""What doubled records are: advice fits the cause and names the files."""

from __future__ import annotations

from datetime import datetime, timedelta

import pyarrow as pa
import pytest

from pipeline.hours import Hour, HourRange
from pipeline.lake.tables import EVENTS, SOURCE_FILES
from pipeline.quality.checks.suite import load_suite, suite_values
from pipeline.quality.duplicates import EqualRecords, duplicate_cause, equal_records_of
from pipeline.quality.hour_metrics import files_of
from pipeline.settings.settings import Settings

HOUR = Hour.parse("2016-03-14T13")


def file(
    name: str, accepted: int, duplicates: int = 0, sha256: str | None = None
) -> dict[str, object]:
    return {
        "source_file": name,
        "arrival": HOUR.start,
        "sha256": sha256 or f"of {name} {accepted}",
        "records": accepted + duplicates,
        "accepted": accepted,
        "duplicates": duplicates,
        "quarantined": 0,
    }


def events(counts: dict[str, int], step: timedelta = timedelta(seconds=1)) -> pa.Table:
    def at(n: int) -> datetime:
        return HOUR.start + n * step

    rows = [
        {"hour": HOUR.start, "event_time": at(n), "source_file": name}
        for name, count in counts.items()
        for n in range(count)
    ]
    return pa.Table.from_pylist(rows, EVENTS.schema)


def cause(*files: dict[str, object], of: pa.Table, rule: EqualRecords = "duplicates") -> str | None:
    table = pa.Table.from_pylist(list(files), SOURCE_FILES.schema)
    hours = HourRange(HOUR, HOUR + 1)
    return duplicate_cause(files_of(hours, of, table), table, of, rule)


def test_nothing_is_said_of_no_duplicates() -> None:
    assert cause(file("a.csv", 3), of=events({"a.csv": 3})) is None


def test_whole_seconds_within_one_file_are_no_second_delivery() -> None:
    said = cause(file("a.csv", 2, 1), of=events({"a.csv": 2}))
    assert said is not None
    assert said.startswith("a.csv repeats records within itself; its times are whole seconds")
    assert "source.columns.event_key" in said
    assert "ingest.equal_records: events" in said
    assert "delivered twice" not in said


def test_finer_times_and_keys_have_causes_of_their_own() -> None:
    fine = events({"a.csv": 2}, timedelta(milliseconds=1))
    assert cause(file("a.csv", 2, 1), of=fine) == (
        "a.csv repeats records within itself: see why the producer writes them twice"
    )
    keyed = cause(file("a.csv", 2, 1), of=events({"a.csv": 2}), rule="keys")
    assert keyed == (
        "a.csv tells of keys that an earlier record in it has told of: see who sends an event "
        "twice, or gives two of them one key (source.columns.event_key)"
    )


def test_keys_of_another_hour_are_not_said_to_repeat_within_a_file() -> None:
    later = events({"b.csv": 1})
    next_hour = pa.array([(HOUR + 1).start], later.schema.field("hour").type)
    later = later.set_column(later.schema.get_field_index("hour"), "hour", next_hour)
    of = pa.concat_tables([events({"a.csv": 3}), later])
    other = cause(file("a.csv", 3), file("b.csv", 1, 2), of=of, rule="keys")
    assert other is not None
    assert "in it or in another file" in other
    assert "within itself" not in other


def test_where_equal_records_are_events_a_file_repeats_nothing_within_itself() -> None:
    alone = cause(file("a.csv", 2, 1), of=events({"a.csv": 2}), rule="events")
    assert alone == (
        "a.csv tells of events that another file has told of: compare it with those before"
    )
    of = events({"a.csv": 5, "b.csv": 3})
    shared = cause(file("a.csv", 5, 2), file("b.csv", 3), of=of, rule="events")
    assert shared is not None
    assert shared.startswith("a.csv repeats what another file says, perhaps b.csv")


@pytest.mark.parametrize(
    ("source", "rule"),
    [
        pytest.param({"name": "delimited"}, "events", id="no keys"),
        pytest.param({"name": "delimited", "columns": {"event_key": "id"}}, "keys", id="a column"),
        pytest.param({"name": "gharchive"}, "keys", id="a known log of its own keys"),
    ],
)
def test_keys_come_before_the_rule_for_equal_records(source: dict[str, object], rule: str) -> None:
    assert equal_records_of(Settings.model_validate({"source": source})) == rule


@pytest.mark.parametrize(
    ("copy", "said"),
    [
        (file("b.csv", 0, 5, "same"), "b.csv holds the same bytes as a.csv"),
        (file("b.csv", 0, 5), "no record of b.csv is new, all are in other files; a.csv has as"),
    ],
    ids=["same bytes", "other bytes"],
)
def test_a_second_delivery_names_both_files(copy: dict[str, object], said: str) -> None:
    found = cause(file("a.csv", 5, 0, "same"), copy, of=events({"a.csv": 5}))
    assert found is not None
    assert found.startswith(said)


def test_a_file_that_changed_is_told_from_one_delivered_twice() -> None:
    found = cause(file("a.csv", 5), file("a.csv", 2, 5), of=events({"a.csv": 7}))
    assert found is not None
    assert found.startswith("a.csv came again with other content")


def test_files_of_the_same_hour_are_both_named_where_it_is_not_sure() -> None:
    found = cause(file("a.csv", 5, 2), file("b.csv", 3), of=events({"a.csv": 5, "b.csv": 3}))
    assert found is not None
    assert "repeats records of its own, or shares records with b.csv" in found


def test_what_lies_in_other_hours_is_not_claimed() -> None:
    found = cause(file("a.csv", 50, 2), of=events({"a.csv": 5}))
    assert found is not None
    assert found.startswith("as far as these hours show, a.csv repeats")
    assert "compare it with" in str(cause(file("a.csv", 50, 2), of=events({"b.csv": 5})))


def test_the_advice_joins_that_of_the_suite() -> None:
    suite = load_suite("hours", suite_values(HOUR, Settings()))
    told = suite.with_remedies({"duplicate_rate": "a.csv repeats itself"})
    by_name = {check.name: check.remedy for check in told.checks}
    assert by_name["duplicate_rate"].endswith("in source_files: a.csv repeats itself")
    assert "delivered twice" not in by_name["duplicate_rate"]
    before = {check.name: check.remedy for check in suite.checks if check.name != "duplicate_rate"}
    assert {**by_name, **before} == by_name
