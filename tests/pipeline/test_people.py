"""Who an id is at a time: by a slow reading of the definition, and by what the table becomes."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.ingest.people.changes import changed_intervals
from pipeline.ingest.people.records import NOT_TOLD_US, RECORDS
from pipeline.ingest.people.standing import Standing, resolve
from pipeline.lake.people import NO_END_US, NO_START_US, intervals_of, times_us
from pipeline.lake.tables import PEOPLE

TIMES = range(-1, 8)
IDS = ("a", "b", "ü p", "p")


class Record(NamedTuple):
    """A record of a file; times are small numbers, None where it does not tell."""

    anonymous: str
    person: str | None = "p"
    begin: int | None = None
    end: int | None = None
    told: int | None = None


def table_of(records: Sequence[Record]) -> pa.Table:
    rows = [
        {
            "anonymous_id": record.anonymous,
            "person_id": record.person,
            "from_us": NO_START_US if record.begin is None else record.begin,
            "to_us": NO_END_US if record.end is None else record.end,
            "told_us": NOT_TOLD_US if record.told is None else record.told,
            "file": 0,
            "line": nth,
        }
        for nth, record in enumerate(records, start=1)
    ]
    return pa.Table.from_pylist(rows, RECORDS)


def standing_records(records: Iterable[Record]) -> tuple[list[Record], set[tuple[str, int | None]]]:
    """The records that stand, and the (id, beginning) of contradictions that nobody corrected."""
    by_beginning: dict[tuple[str, int | None], set[Record]] = defaultdict(set)
    for record in records:
        by_beginning[record.anonymous, record.begin].add(record)
    standing, contradictory = [], set()
    for key, rows in by_beginning.items():
        tellings = {row.told for row in rows}
        for told in sorted(tellings, key=lambda told: -1 if told is None else told, reverse=True):
            sayings = [row for row in rows if row.told == told]
            if len(sayings) == 1:
                standing += sayings
                break
            contradictory.add(key)
    return [record for record in standing if record.person], contradictory


def person_of(records: Iterable[Record], anonymous: str, time: int) -> str:
    """Straight from the definition."""
    holding = [
        record
        for record in standing_records(records)[0]
        if record.anonymous == anonymous
        and (record.begin is None or record.begin <= time)
        and (record.end is None or time < record.end)
    ]
    latest = max(holding, key=lambda r: NO_START_US if r.begin is None else r.begin, default=None)
    return anonymous if latest is None else str(latest.person)


def persons_by(
    people: pa.Table, anonymous: Sequence[str | None], times: Sequence[int]
) -> list[str]:
    """What events of these ids and times are by the table."""
    intervals = intervals_of(people)
    assert intervals.persons is not None
    index = intervals.at(pa.chunked_array([pa.array(anonymous, pa.string())]), np.array(times))
    return [
        intervals.persons[int(nth)].as_py() if nth >= 0 else name
        for nth, name in zip(index, anonymous, strict=True)
    ]


@st.composite
def records(draw: st.DrawFn) -> Record:
    begin = draw(st.one_of(st.none(), st.integers(0, 5)))
    end = draw(st.one_of(st.none(), st.integers(0 if begin is None else begin + 1, 7)))
    return Record(
        draw(st.sampled_from(IDS)),
        draw(st.sampled_from(["p", "q", "r", None, "a"])),
        begin,
        end,
        draw(st.one_of(st.none(), st.integers(0, 2))),
    )


Everything = st.lists(records(), max_size=14)


@given(Everything, st.randoms(use_true_random=False))
def test_each_event_is_the_person_whom_the_definition_names_in_any_order(
    everything: list[Record], rng: random.Random
) -> None:
    standing = resolve(table_of(everything))
    events = [(name, time) for name in IDS for time in TIMES]
    found = persons_by(standing.people, *map(list, zip(*events, strict=True)))
    assert found == [person_of(everything, name, time) for name, time in events]
    # Shuffled, and some of them twice: as if other files had come in another order.
    twice = rng.choices(everything, k=3) if everything else []
    again = rng.sample(everything, len(everything)) + twice
    assert resolve(table_of(again)).people.equals(standing.people)


@given(Everything)
def test_the_table_is_in_order_and_has_no_interval_too_many(everything: list[Record]) -> None:
    people = resolve(table_of(everything)).people
    assert people.schema == PEOPLE.schema
    rows = list(
        zip(
            people["anonymous_id"].to_pylist(),
            times_us(people["valid_from"], NO_START_US).tolist(),
            times_us(people["valid_to"], NO_END_US).tolist(),
            people["person_id"].to_pylist(),
            strict=True,
        )
    )
    assert rows == sorted(rows)
    for name, begin, end, person in rows:
        assert begin < end
        assert person != name
    for (name, _, end, person), (after, begin, _, then) in pairwise(rows):
        assert name != after or end < begin or (end == begin and person != then)


def named(standing: Standing) -> set[tuple[str, int | None]]:
    pairs = zip(standing.contradicted.to_pylist(), standing.contradicting.to_pylist(), strict=True)
    keys = set()
    for first, other in pairs:
        same = ("anonymous_id", "from_us", "told_us")
        assert [first[name] for name in same] == [other[name] for name in same]
        assert (first["person_id"], first["to_us"]) != (other["person_id"], other["to_us"])
        keys.add((first["anonymous_id"], None if first["from_us"] < 0 else first["from_us"]))
    return keys


@given(Everything)
def test_contradictions_that_nobody_corrected_are_named(everything: list[Record]) -> None:
    assert named(resolve(table_of(everything))) == standing_records(everything)[1]


def test_the_latest_word_on_a_beginning_holds_and_a_withdrawal_brings_nothing_back() -> None:
    first, corrected = Record("a", "p", 0, None, 1), Record("a", "q", 0, None, 2)
    withdrawn = Record("a", None, 0, None, 3)
    for said, person in (
        ([first], "p"),
        ([first, corrected], "q"),
        ([first, corrected, withdrawn], "a"),
        ([Record("a", "p", 0), withdrawn], "a"),
        ([Record("a", "p", 0), Record("a", "q", 0, None, 0)], "q"),
    ):
        assert persons_by(resolve(table_of(said)).people, ["a"], [4]) == [person]


def test_of_two_at_once_neither_counts_and_what_was_said_before_stands() -> None:
    before = Record("a", "p", 0, None, 1)
    both = [Record("a", "q", 0, None, 2), Record("a", "r", 0, None, 2)]
    standing = resolve(table_of([before, *both]))
    assert persons_by(standing.people, ["a"], [4]) == ["p"]
    assert named(standing) == {("a", 0)}
    standing = resolve(table_of([before, *both, Record("a", "s", 0, None, 3)]))
    assert persons_by(standing.people, ["a"], [4]) == ["s"]
    assert named(standing) == set()
    # The same twice is no contradiction, another end is one.
    assert named(resolve(table_of([before, before]))) == set()
    assert named(resolve(table_of([before, before._replace(end=9)]))) == {("a", 0)}


def test_bounds_are_half_open_and_the_later_beginning_holds_as_long_as_it_lasts() -> None:
    people = resolve(table_of([Record("a", "p", 2, 9), Record("a", "q", 4, 6)])).people
    times = [1, 2, 3, 4, 5, 6, 8, 9]
    found = persons_by(people, ["a"] * len(times), times)
    assert found == ["a", "p", "p", "q", "q", "p", "p", "a"]


def test_a_person_is_not_looked_up_again() -> None:
    people = resolve(table_of([Record("a", "p"), Record("p", "q")])).people
    assert persons_by(people, ["a", "p", None], [0, 0, 0]) == ["p", "q", None]


def test_nobody_is_looked_up_where_there_is_nobody() -> None:
    people = resolve(table_of([])).people
    assert people.equals(PEOPLE.schema.empty_table())
    assert persons_by(people, ["a", None], [0, 0]) == ["a", None]
    people = resolve(table_of([Record("a")])).people
    assert persons_by(people, [], []) == []
    assert persons_by(people, [None], [0]) == [None]


@given(Everything, Everything)
def test_changed_intervals_are_those_in_which_an_id_is_another(
    before: list[Record], after: list[Record]
) -> None:
    changed = changed_intervals(resolve(table_of(before)).people, resolve(table_of(after)).people)
    rows = [
        (row["anonymous_id"], begin, end)
        for row, begin, end in zip(
            changed.to_pylist(),
            times_us(changed["valid_from"], NO_START_US).tolist(),
            times_us(changed["valid_to"], NO_END_US).tolist(),
            strict=True,
        )
    ]
    for name in IDS:
        for time in TIMES:
            inside = [row for row in rows if row[0] == name and row[1] <= time < row[2]]
            differs = person_of(before, name, time) != person_of(after, name, time)
            assert len(inside) == differs


@pytest.mark.parametrize("shift", [-(10**16), 10**16])
def test_times_long_ago_and_far_ahead_are_looked_up_like_any_other(shift: int) -> None:
    rows = [Record("a", "p", shift, shift + 5), Record("b", "q", shift + 2, None)]
    people = resolve(table_of(rows)).people
    times = [shift, shift + 4, shift + 5, shift + 1, shift + 2]
    assert persons_by(people, ["a", "a", "a", "b", "b"], times) == ["p", "p", "a", "b", "q"]
