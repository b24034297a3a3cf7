"""Records that are ignored and fields that are dropped are counted wherever records are."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from fuzzed_logs import H0
from hypothesis import given
from hypothesis import strategies as st
from landing_place import CLOCK, Place

from pipeline.errors import HourglassError
from pipeline.hours import HourRange
from pipeline.ingest.file_audit import check_records, read_audits
from pipeline.ingest.summary import and_ignored, ignored_lines, refused_lines
from pipeline.ingest.tally import Tally
from pipeline.lake.lake import Lake
from pipeline.lake.tables import EVENTS, QUARANTINE, SESSIONS, SOURCE_FILES
from pipeline.quality.hour_metrics import hour_facts
from pipeline.report.intake import hour_table, intake_rates, later_files
from pipeline.report.traffic_lights import conservation_light
from pipeline.settings.source import SourceSettings
from pipeline.spark.compute import Compute

NOW = H0.index * 3600
PING = {"name": "pings", "column": "device", "equals": ["ping"]}
HOURS = HourRange(H0, H0 + 1)


@pytest.fixture
def place(tmp_path: Path, compute: Compute) -> Place:
    place = Place(tmp_path, compute)
    set_rules(place, PING, {"name": "no item", "column": "item_id", "present": False})
    place.put(
        f"{H0}/a.csv",
        f"{NOW},u,i,12,,phone",
        f"{NOW},u,i,12,,phone",
        f"{NOW + 1},u,i,dear,,phone",
        f"{NOW + 2},u,i,inf,,phone",
        f"{NOW},,,,,ping",
        f"{NOW},u,i,,,ping",
        f"{NOW},u,,,,phone",
        "soon,u,i,,,phone",
    )
    return place


def set_rules(place: Place, *rules: dict[str, Any], **changed: Any) -> None:
    settings = place.settings.source.model_dump() | {"ignore": rules} | changed
    source = SourceSettings(**settings)
    place.settings = place.settings.model_copy(update={"source": source})


def test_what_is_ignored_is_counted_apart(place: Place) -> None:
    done = place.ingest()
    assert (done.records, done.accepted, done.duplicates, done.quarantined) == (8, 3, 1, 1)
    assert (done.ignored, done.ignored_by) == (3, {"pings": 2, "no item": 1})
    assert done.dropped == {"value is not a finite number": 2}
    assert and_ignored(done) == " + 3 ignored"
    assert refused_lines(done).splitlines()[1:] == ["1 quarantined: event_time is not a number 1"]
    assert ignored_lines(done).splitlines()[1:] == [
        "3 ignored: pings 2, no item 1",
        "2 values dropped, their records stay: value is not a finite number 2",
    ]
    (row,) = place.rows(SOURCE_FILES)
    assert (row["records"], row["ignored"]) == (8, 3)
    assert len(place.rows(QUARANTINE)) == 1
    assert sorted(str(event["value"]) for event in place.rows(EVENTS)) == ["12.0", "None", "None"]


def test_the_law_has_ignored_records(place: Place) -> None:
    place.ingest()
    (account,) = read_audits(place.lake)
    check_records([account])
    with pytest.raises(HourglassError, match="8 records were read but 7 accounted for"):
        check_records([replace(account, ignored=2)])


def test_rates_are_of_the_records_that_are_our_business(place: Place) -> None:
    place.ingest()
    events, files = (place.lake.arrow(spec) for spec in (EVENTS, SOURCE_FILES))
    (facts,) = hour_facts(H0, events, files, min_events=1).to_dict("records")
    assert (facts["records"], facts["ignored"], facts["unaccounted"]) == (8, 3, 0)
    assert facts["quarantine_rate"] == pytest.approx(1 / 5)
    assert facts["duplicate_rate"] == pytest.approx(1 / 5)
    fewer = files.set_column(files.column_names.index("ignored"), "ignored", [[1]])
    (facts,) = hour_facts(H0, events, fewer, min_events=1).to_dict("records")
    assert facts["unaccounted"] == 2


def test_the_report_counts_them_where_there_are_any(place: Place) -> None:
    place.ingest()
    events, files, refused = (place.lake.arrow(s) for s in (EVENTS, SOURCE_FILES, QUARANTINE))
    sessions = place.lake.arrow(SESSIONS)
    table = hour_table(HOURS, events, sessions, files, refused)
    (row,) = table.to_dict("records")
    assert (row["records"], row["quarantined"], row["ignored"]) == (8, 1, 3)
    rates = {rate.name: (rate.hits, rate.trials) for rate in intake_rates(table)}
    assert rates["quarantined"] == (1, 5)
    before = HourRange(H0 - 1, H0)
    later = later_files(before, files, refused)
    assert asdict(later) == {"records": 8, "duplicates": 1, "quarantined": 1, "ignored": 3}
    assert later.ours == 5
    none = files.set_column(
        files.column_names.index("ignored"), "ignored", [pa.nulls(1, pa.int64())]
    )
    assert "ignored" not in hour_table(HOURS, events, sessions, none, refused).columns


def test_the_light_of_conservation_has_them() -> None:
    counts = {"records": 10, "accepted": 5, "duplicates": 1, "quarantined": 1}
    light = conservation_light({**counts, "ignored": 3})
    assert light.colour == "green"
    assert light.sentence.endswith("+ 1 quarantined + 3 ignored.")
    assert conservation_light(counts).colour == "red"


def test_a_changed_rule_reads_the_file_again_and_ends_as_at_first(
    place: Place, tmp_path: Path, compute: Compute
) -> None:
    rules = place.settings.source.ignore
    place.ingest()
    first = place.content(), place.rows(SOURCE_FILES)
    set_rules(place)
    done = place.ingest(CLOCK)
    assert (done.read_again, done.ignored, done.accepted, done.quarantined) == (1, 0, 4, 3)
    set_rules(place, *(rule.model_dump() for rule in rules))
    assert place.ingest(CLOCK).read_again == 1
    assert (place.content(), place.rows(SOURCE_FILES)) == first
    renamed = [rule.model_copy(update={"name": "x"}).model_dump() for rule in rules]
    set_rules(place, *renamed)
    assert place.ingest(CLOCK).files == 0


def test_a_file_of_which_all_is_ignored(place: Place) -> None:
    place.put(f"{H0}/b.csv", *[f"{NOW},u,i,,,ping"] * 3)
    done = place.ingest()
    assert (done.files, done.ignored, done.unfit) == (2, 6, ())
    accounts = {row["source_file"]: row["ignored"] for row in place.rows(SOURCE_FILES)}
    assert accounts == {f"{H0}/a.csv": 3, f"{H0}/b.csv": 3}


def test_a_lake_that_has_no_such_column_goes_on(place: Place) -> None:
    set_rules(place)
    place.ingest()
    with place.lake.table(SOURCE_FILES).update_schema(allow_incompatible_changes=True) as update:
        update.delete_column("ignored")
    place.lake.catalog.close()
    place.lake = Lake(place.settings.resolved_catalog_uri, place.settings.resolved_warehouse)
    assert "ignored" not in place.lake.table(SOURCE_FILES).schema().column_names
    assert [account.ignored for account in read_audits(place.lake)] == [0]
    set_rules(place, PING)
    place.put(f"{H0}/b.csv", f"{NOW},u,i,,,ping")
    done = place.ingest()
    assert (done.read_again, done.ignored) == (1, 3)
    assert [account.ignored for account in read_audits(place.lake)] == [2, 1]


COUNTS = st.dictionaries(st.text(max_size=3), st.integers(1, 9), max_size=3)


@given(COUNTS, COUNTS)
def test_a_tally_is_what_was_written(ignored: dict[str, int], dropped: dict[str, int]) -> None:
    tally = Tally()
    tally.ignored.update(ignored)
    tally.dropped.update(dropped)
    text = tally.text()
    assert (text is None) == (not ignored and not dropped)
    if text is not None:
        assert Tally.of_text(text) == tally
        assert Tally.of_text(text).n_ignored == sum(ignored.values())
