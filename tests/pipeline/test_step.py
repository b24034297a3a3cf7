"""Which hours a step takes in: the pending ones, and the silence in which sessions close."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.hours import HOUR_S, Hour, HourRange
from pipeline.lake.lake import FilledHour
from pipeline.sessions.step import Step, first_step

FAR = Hour(10_000)
Spans = list[tuple[int, int]]


def step_of(
    pending: set[int],
    known: set[int] | None = None,
    rows: dict[int, int] | None = None,
    gap_h: int = 1,
    most_hours: int = 1000,
    last: Hour = FAR,
    plain: bool = False,
) -> Step:
    arrived = {Hour(h): FilledHour("", "", "", "", n) for h, n in (rows or {}).items()}
    return first_step(
        set(map(Hour, pending)),
        set(map(Hour, known or ())),
        arrived,
        last,
        gap_h * HOUR_S,
        most_hours,
        100,
        plain,
    )


def spans(ranges: tuple[HourRange, ...] | list[HourRange]) -> Spans:
    return [(part.first.index, part.stop.index) for part in ranges]


@pytest.mark.parametrize(
    ("step", "runs", "silences"),
    [
        pytest.param(step_of({5}), [(5, 6)], [(6, 8)], id="one hour and what closes it"),
        pytest.param(
            step_of({5, 6, 90}), [(5, 7), (90, 91)], [(7, 9), (91, 93)], id="hours far apart"
        ),
        pytest.param(
            step_of({5, 7}), [(5, 6), (7, 8)], [(6, 7), (8, 10)], id="another run comes first"
        ),
        pytest.param(
            step_of({5, 90}, known={40}), [(5, 6)], [(6, 8)], id="known hours are not gone over"
        ),
        pytest.param(
            step_of({5, 90}, known={7}), [(5, 6)], [(6, 6)], id="no silence where one is known"
        ),
        pytest.param(step_of({5}, last=Hour(6)), [(5, 6)], [(6, 7)], id="up to the last"),
        pytest.param(step_of({5}, last=Hour(5)), [(5, 6)], [(6, 6)], id="nothing after the last"),
        pytest.param(
            step_of({5, 6, 7, 8}, most_hours=3), [(5, 8)], [(8, 8)], id="so many hours at once"
        ),
        pytest.param(
            step_of({5, 20, 40, 60}, most_hours=2),
            [(5, 6), (20, 21)],
            [(6, 8), (21, 23)],
            id="so many hours far apart",
        ),
        pytest.param(
            step_of({5, 6, 7}, rows={5: 60, 6: 60, 7: 1}), [(5, 7)], [(7, 7)], id="so many rows"
        ),
        pytest.param(
            step_of({5, 6}, rows={5: 500}), [(5, 6)], [(6, 6)], id="an hour is not parted"
        ),
        pytest.param(step_of({5, 90}, plain=True), [(5, 6)], [(6, 6)], id="the first run alone"),
    ],
)
def test_a_step_takes_what_lies_before_the_next_wall(
    step: Step, runs: Spans, silences: Spans
) -> None:
    assert (spans(step.runs), spans(step.silences)) == (runs, silences)


def test_silence_is_filled_only_where_a_session_is_open_at_its_beginning() -> None:
    step = step_of({5, 20})
    assert spans(step.filled({})) == [(5, 6), (20, 21)]
    assert spans(step.filled({Hour(5): ("d", 1)})) == [(5, 8), (20, 21)]
    assert spans(step.filled({Hour(6): ("d", 1)})) == [(5, 6), (20, 21)]
    assert spans(step.filled({Hour(5): ("0-0", 0), Hour(20): ("d", 1)})) == [(5, 6), (20, 23)]


@given(
    st.sets(st.integers(0, 60), min_size=1),
    st.sets(st.integers(0, 60)),
    st.integers(1, 30),
    st.integers(1, 12),
)
def test_steps_take_every_pending_hour_once_in_order_and_no_known_one(
    pending: set[int], known: set[int], gap_h: int, most_hours: int
) -> None:
    known -= pending
    left = set(pending)
    while left:
        step = step_of(left, known, gap_h=gap_h, most_hours=most_hours)
        taken = [hour.index for run in step.runs for hour in run]
        assert taken == sorted(left)[: len(taken)]
        assert 0 < len(taken) == step.pending <= most_hours
        reached = {hour.index for part in step.reach for hour in part}
        assert not reached & (known | (left - {*taken}))
        assert len(reached) == len(taken) + sum(map(len, step.silences))
        for a, b in pairwise(taken):
            assert not known & set(range(a, b))
        left -= {*taken}
