"""Index arrays against the loops they stand for."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from synthetic import AS_OF_S, write_dataset

from training.data.arrays import (
    distinct,
    known_events,
    padded,
    ranges,
    scoring_batches,
    session_of_event,
)
from training.data.reader import Histories, Requests, read_dataset

lengths_lists = st.lists(st.integers(0, 40), min_size=1, max_size=20)


def histories_of(lengths: list[int], contexts: list[int]) -> Histories:
    n = sum(lengths)
    return Histories(
        user_ids=np.arange(len(lengths)).astype(object),
        offsets=np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
        n_context=np.array(contexts, np.int32),
        item=np.ones(n, np.int32),
        time_us=np.zeros(n, np.int64),
        session_start=np.zeros(n, bool),
        dwell_s=np.zeros(n, np.float32),
        dwell_bin=np.zeros(n, np.int16),
        event_type=np.zeros(n, np.int16),
        value=np.zeros(n, np.float32),
        context=np.zeros((n, 0), np.int32),
    )


@given(st.lists(st.integers(-3, 3)))
def test_distinct_values_are_those_of_a_set(values: list[int]) -> None:
    assert distinct(np.array(values, np.int64)).tolist() == sorted(set(values))


@given(st.lists(st.tuples(st.integers(0, 50), st.integers(0, 6)), max_size=12))
def test_ranges(pairs: list[tuple[int, int]]) -> None:
    starts = np.array([start for start, _ in pairs], np.int64)
    lengths = np.array([length for _, length in pairs], np.int64)
    row, entry = ranges(starts, lengths)
    expected = [(i, x) for i, (start, n) in enumerate(pairs) for x in range(start, start + n)]
    assert list(zip(row.tolist(), entry.tolist(), strict=True)) == expected


def test_known_events() -> None:
    histories = histories_of([4, 2], [0, 0])
    requests = Requests(np.array([1, 0, 0]), np.array([2, 0, 3]), np.zeros(3, np.int64))
    row, event = known_events(histories, requests)
    assert (row.tolist(), event.tolist()) == ([0, 0, 2, 2, 2], [4, 5, 0, 1, 2])
    row, event = known_events(histories, requests, most=2)
    assert (row.tolist(), event.tolist()) == ([0, 0, 2, 2], [4, 5, 1, 2])


def test_sessions_are_numbered_over_users(tmp_path: Path) -> None:
    hour = 3600
    users = {
        "a": [("x", AS_OF_S - 9 * hour), ("x", AS_OF_S - 9 * hour + 5), ("x", AS_OF_S - hour)],
        "b": [("x", AS_OF_S - hour)],
    }
    data = read_dataset(write_dataset(tmp_path / "d", users))
    assert session_of_event(data.histories).tolist() == [0, 0, 1, 2]


@given(lengths_lists, st.integers(1, 60))
def test_batches_hold_every_row_once_and_not_too_many_cells(lengths: list[int], size: int) -> None:
    lengths = np.array(lengths, np.int64)
    groups = list(scoring_batches(lengths, size))
    assert sorted(np.concatenate(groups).tolist()) == list(range(len(lengths)))
    for rows in groups:
        assert len(rows) == 1 or len(rows) * lengths[rows].max() <= size


@pytest.mark.parametrize("lengths", [[3, 1], [2, 2], [0, 2]])
def test_padding_repeats_the_last_position(lengths: list[int]) -> None:
    starts = np.array([10, 20], np.int64)
    cells, real = padded(starts, np.array(lengths, np.int64))
    for row, (start, length) in enumerate(zip(starts, lengths, strict=True)):
        for step in range(max(lengths)):
            assert real[row, step] == (step < length)
            assert cells[row, step] == start + min(step, max(length - 1, 0))
