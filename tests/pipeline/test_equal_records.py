"""Equal records of a log without keys: events in one file, duplicates between two."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from fuzzed_logs import H0
from hypothesis import given
from hypothesis import strategies as st
from landing_place import CLOCK, Place
from staging import NO_SPARK
from test_reading_rules import without_readers

from pipeline.engine.choice import run_on_engine
from pipeline.engine.engine import Engine
from pipeline.engine.in_process import ArrowFrame
from pipeline.engine.spark_engine import SparkFrame
from pipeline.ingest.in_passes import shared_key_ends
from pipeline.ingest.ingest import IngestSummary
from pipeline.ingest.reading_rules import reading_digest
from pipeline.ingest.summary import equal_lines
from pipeline.lake.tables import EVENTS
from pipeline.settings.settings import Settings
from pipeline.settings.source import SourceSettings
from pipeline.settings.tables import IngestSettings
from pipeline.sources import source_for
from pipeline.spark.compute import Compute

NOW = H0.index * 3600
HEADER = "event_time,user_id,item_id"


def without_keys(folder: Path, compute: Compute, **rules: Any) -> Place:
    place = Place(folder, compute)
    source = SourceSettings(name="delimited", path=place.landing)
    place.settings = Settings(work=folder / "work", source=source, ingest=IngestSettings(**rules))
    return place


@pytest.fixture
def place(tmp_path: Path, compute: Compute) -> Place:
    return without_keys(tmp_path, compute)


def click(second: int = 0, user: str = "u") -> str:
    return f"{NOW + second},{user},i"


def put(place: Place, files: Mapping[str, Sequence[str]]) -> None:
    for name, lines in files.items():
        place.put(name, *lines, header=HEADER)


def clicks(place: Place) -> Counter[str]:
    """How often each record is an event."""
    rows = place.rows(EVENTS)
    assert len({row["event_key"] for row in rows}) == len(rows)
    return Counter(
        f"{row['event_time'].timestamp():.0f},{row['user_id']},{row['item_id']}" for row in rows
    )


def expected_clicks(files: Mapping[str, Sequence[str]]) -> Counter[str]:
    """The slow way: each record as often as in the file that has it most often."""
    most: Counter[str] = Counter()
    for lines in files.values():
        most |= Counter(lines)
    return most


def test_two_equal_records_of_one_file_are_two_events(place: Place) -> None:
    put(place, {"a.csv": [click(), click(), click(1)]})
    done = place.ingest()
    assert (done.accepted, done.duplicates, done.repeats) == (3, 0, 1)
    assert clicks(place) == {click(): 2, click(1): 1}
    assert equal_lines(done) == (
        "\n1 accepted record says the same as an earlier one of its file and is an event too "
        "(ingest.equal_records: events)"
    )
    assert place.ingest().files == 0


def test_the_first_of_them_has_the_key_that_it_always_had(tmp_path: Path, compute: Compute) -> None:
    former = without_keys(tmp_path / "former", compute, equal_records="duplicates")
    place = without_keys(tmp_path / "present", compute)
    for each in (former, place):
        put(each, {"a.csv": [click(), click(), click(1)]})
        each.ingest()
    keys = {row["line"]: row["event_key"] for row in place.rows(EVENTS)}
    assert {row["line"]: row["event_key"] for row in former.rows(EVENTS)} == {
        2: keys[2],
        4: keys[4],
    }
    assert keys[3] == f"{keys[2]}-2"


def test_a_file_that_comes_twice_adds_nothing(place: Place) -> None:
    put(place, {"b.csv": [click(), click(), click(1)]})
    place.ingest()
    put(place, {"a.csv": [click(), click(), click(1)], "c.csv": [click(1), click()]})
    done = place.ingest()
    assert (done.records, done.accepted, done.duplicates) == (5, 3, 2)
    assert clicks(place) == {click(): 2, click(1): 1}
    assert place.accounts() == {"a.csv": (3, 3, 0, 0), "b.csv": (3, 0, 3, 0), "c.csv": (2, 0, 2, 0)}


def test_a_file_that_grows_tells_of_one_more(place: Place) -> None:
    put(place, {"a.csv": [click()]})
    place.ingest()
    put(place, {"a.csv": [click(), click()]})
    place.ingest()
    put(place, {"a.csv": [click(), click(), click(1), click()]})
    place.ingest()
    assert clicks(place) == {click(): 3, click(1): 1}
    assert place.accounts() == {"a.csv": (4, 4, 0, 0)}


def test_records_that_differ_in_context_alone_are_equal(tmp_path: Path, compute: Compute) -> None:
    place = without_keys(tmp_path, compute)
    columns = place.settings.source.columns.model_copy(update={"context": {"server": "server"}})
    source = place.settings.source.model_copy(update={"columns": columns})
    place.settings = place.settings.model_copy(update={"source": source})
    place.put("a.csv", f"{click()},one", f"{click()},two", header=f"{HEADER},server")
    place.put("b.csv", f"{click()},three", header=f"{HEADER},server")
    assert (place.ingest().accepted, place.accounts()["b.csv"]) == (2, (1, 0, 1, 0))


def test_set_to_duplicates_all_is_as_before_the_setting(tmp_path: Path, compute: Compute) -> None:
    place = without_keys(tmp_path, compute, equal_records="duplicates")
    put(place, {"a.csv": [click(), click(), click(1)]})
    done = place.ingest()
    assert (done.accepted, done.duplicates, done.repeats) == (2, 1, 0)
    assert equal_lines(done) == (
        "\nequal records of one file count as duplicates (ingest.equal_records: duplicates)"
    )


@pytest.mark.parametrize("rules", [("duplicates", "events"), ("events", "duplicates")], ids=str)
def test_another_rule_reads_the_files_again_and_says_so(
    tmp_path: Path, compute: Compute, rules: tuple[str, str]
) -> None:
    place = without_keys(tmp_path / "changed", compute, equal_records=rules[0])
    right = without_keys(tmp_path / "right", compute, equal_records=rules[1])
    for each in (place, right):
        put(each, {"a.csv": [click(), click()], "b.csv": [click(), click(), click(), click(1)]})
        each.ingest()
    assert clicks(place) != clicks(right)
    place.set_rules(equal_records=rules[1])
    assert place.ingest().read_again == 2
    assert place.content() == right.content()
    assert place.accounts() == right.accounts()


@pytest.mark.parametrize("recorded", [True, False], ids=["recorded", "not recorded"])
def test_files_of_a_version_without_the_rule_are_read_again(place: Place, recorded: bool) -> None:
    """They were read as if equal records were duplicates, whether or not they recorded how."""
    put(place, {"a.csv": [click(), click()]})
    place.set_rules(equal_records="duplicates")
    place.ingest()
    without_readers(place, recorded=recorded)
    place.set_rules(equal_records="events")
    done = place.ingest()
    assert (done.read_again, done.accepted) == (1, 2)


@pytest.mark.parametrize("seed", range(4))
def test_any_order_of_arrival_ends_in_the_same_events(
    tmp_path: Path, compute: Compute, seed: int
) -> None:
    """Files of few possible records: whole, twice, cut anew, growing, in any order."""
    rng = random.Random(seed)
    log = [click(rng.randrange(3), rng.choice("uv")) for _ in range(12)]
    cut = rng.randrange(1, 11)
    files = {
        "whole.csv": log,
        "again.csv": log,
        f"{H0}/first.csv": log[:cut],
        f"{H0}/second.csv": log[cut:],
        "other.csv": [click(rng.randrange(3)) for _ in range(5)],
    }
    ends = []
    for delivery in range(2):
        place = without_keys(tmp_path / str(delivery), compute)
        names = rng.sample(sorted(files), len(files))
        for at, name in enumerate(names):
            if rng.random() < 0.5:
                # Not whole yet.
                put(place, {name: files[name][: rng.randrange(1, len(files[name]) + 1)]})
                place.ingest()
            put(place, {name: files[name]})
            if rng.random() < 0.7 or at == len(names) - 1:
                place.ingest()
        assert clicks(place) == expected_clicks(files)
        accounts = place.accounts()
        assert {n: a[0] for n, a in accounts.items()} == {n: len(ls) for n, ls in files.items()}
        ends.append((place.content()["events"], accounts))
    assert ends[0] == ends[1]


def digest(rule: str, **source: Any) -> str:
    settings = Settings(
        source=SourceSettings(**{"name": "delimited", **source}),
        ingest=IngestSettings.model_validate({"equal_records": rule}),
    )
    return reading_digest(settings, source_for(settings.source))


def test_the_rule_counts_only_for_logs_without_keys() -> None:
    assert digest("events") != digest("duplicates")
    keyed = {"columns": {"event_key": "id"}}
    assert digest("events", **keyed) == digest("duplicates", **keyed)
    # Of the release before the setting: what it read as duplicates need not be read again.
    as_before = {"trim": False, "bad_values": "refuse"}
    assert digest("duplicates", **as_before) == "e11337064185ba25"


def test_nothing_is_said_where_the_rule_did_not_matter() -> None:
    assert equal_lines(IngestSummary(1, 0, 3, 2, 1, equal_records="events")) == ""
    assert equal_lines(IngestSummary(1, 0, 3, 3, 0, equal_records="duplicates")) == ""
    assert equal_lines(IngestSummary(1, 0, 3, 2, 1)) == ""


ROWS = st.lists(
    st.tuples(st.sampled_from(["a", "b"]), st.sampled_from(["k", "l", "m"])), max_size=12
)


def numbered(engine: Engine, frame: Any) -> list[tuple[Any, ...]]:
    shared = shared_key_ends(engine, frame.select("event_key"))
    views = {"arrived": frame.select("source_file", "event_key"), "shared": shared}
    pairs = engine.query("equal_records", views)
    rows = engine.query("number_equal_records", {"arrived": frame, "repeated": pairs}).collect()
    return sorted((row.source_file, row.line, row.event_key, row.user_id) for row in rows)


def expected_numbers(pairs: Sequence[tuple[str, str]]) -> list[tuple[Any, ...]]:
    times: Counter[tuple[str, str]] = Counter()
    rows: list[tuple[Any, ...]] = []
    for line, (file, key) in enumerate(pairs):
        times[file, key] += 1
        nth = times[file, key]
        rows.append((file, line, key if nth == 1 else f"{key}-{nth}", f"u{line}"))
    return sorted(rows)


def table_of(pairs: Sequence[tuple[str, str]]) -> pa.Table:
    rows = [
        {
            "hour": H0.start,
            "event_time": CLOCK,
            "user_id": f"u{line}",
            "context": [("device", "pc")] if line % 2 else None,
            "event_key": key,
            "source_file": file,
            "line": line,
        }
        for line, (file, key) in enumerate(pairs)
    ]
    # In an order that says nothing.
    return pa.Table.from_pylist(rows[::-1], EVENTS.schema)


@given(ROWS)
def test_keys_are_numbered_by_file_and_line(pairs: list[tuple[str, str]]) -> None:
    here = run_on_engine(NO_SPARK, 0, lambda e: numbered(e, ArrowFrame(table_of(pairs))))
    assert here == expected_numbers(pairs)


@pytest.mark.slow
def test_spark_numbers_them_as_this_process_does(on_spark: Compute) -> None:
    rng = random.Random(3)
    pairs = [(rng.choice("ab"), rng.choice("klm")) for _ in range(30)]
    frame = on_spark.spark.createDataFrame(table_of(pairs))
    assert run_on_engine(on_spark, 0, lambda e: numbered(e, SparkFrame(frame))) == expected_numbers(
        pairs
    )
