"""Plans of batches against a walk through them, step by step."""

from __future__ import annotations

import pickle
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.plan_waste import waste_of, waste_of_each
from pipeline.array_types import Bools
from training.batching.plan import lanes_plan, windows_plan
from training.data.reader import Histories
from training.trainer.interface import Batch, Plan

MakePlan = Callable[..., Any]


def histories_of(
    lengths: list[int], contexts: list[int] | None = None, starts: list[int] | None = None
) -> Histories:
    """Users with so many events, so many of them context; sessions begin at flat events."""
    n = sum(lengths)
    session_start = np.zeros(n, np.bool_)
    session_start[starts or []] = True
    return Histories(
        user_ids=np.arange(len(lengths)).astype(object),
        offsets=np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
        n_context=np.array(contexts or [0] * len(lengths), np.int32),
        item=np.ones(n, np.int32),
        time_us=np.zeros(n, np.int64),
        session_start=session_start,
        dwell_s=np.zeros(n, np.float32),
        dwell_bin=np.zeros(n, np.int16),
        event_type=np.zeros(n, np.int16),
        value=np.zeros(n, np.float32),
        context=np.zeros((n, 0), np.int32),
    )


@dataclass(frozen=True)
class Case:
    """Histories, what is learned of them, and where the state is to be forgotten."""

    histories: Histories
    learned: Bools
    unit: str = "users"

    def segment_of(self) -> list[int]:
        """First event of the segment of each event."""
        offsets = self.histories.offsets.tolist()
        begins = set(offsets)
        if self.unit == "sessions":
            begins |= set(np.flatnonzero(self.histories.session_start).tolist())
        firsts: list[int] = []
        for event in range(len(self.histories.item)):
            firsts.append(event if event in begins else firsts[-1])
        return firsts


@st.composite
def cases(draw: st.DrawFn, unit: str | None = None) -> Case:
    lengths = draw(st.lists(st.integers(0, 30), min_size=1, max_size=25))
    contexts = [draw(st.integers(0, length)) for length in lengths]
    n = sum(lengths)
    starts = draw(st.lists(st.integers(0, n - 1), max_size=30)) if n else []
    histories = histories_of(lengths, contexts, starts)
    left_out = draw(st.lists(st.integers(0, n - 1), max_size=20)) if n else []
    learned = histories.is_target
    learned[left_out] = False
    return Case(histories, learned, unit or draw(st.sampled_from(["users", "sessions"])))


sizes = st.fixed_dictionaries(
    {
        "batch_events": st.integers(1, 60),
        "bptt_steps": st.integers(1, 7),
        "min_batches": st.integers(1, 9),
        "warm_up": st.integers(0, 9),
        "seed": st.integers(0, 3),
    }
)


def lanes(case: Case, **given: int) -> Any:
    return lanes_plan(case.histories, case.learned, unit=case.unit, **given)


def steps_of(plan: Plan, epoch: int = 1, world: int = 1) -> list[tuple[int, list[int]]]:
    """Targets in the order they come, with the events that the state knows then, oldest first.

    A slow stand-in for a recurrent network: its state is the list of the steps it was told.
    """
    seen = []
    for rank in range(world):
        states: list[list[int]] = []
        for batch in plan.batches(epoch, rank, world):
            if not batch.carries:
                states = [[] for _ in batch.cells]
            assert len(states) == len(batch.cells)
            for step in range(batch.cells.shape[1]):
                for row, state in enumerate(states):
                    if not batch.keep[row, step]:
                        state.clear()
                    if not batch.real[row, step]:
                        assert not batch.target[row, step]
                        continue
                    event = int(batch.cells[row, step])
                    if batch.target[row, step]:
                        seen.append((event, list(state)))
                    state.append(event)
    return seen


def is_same(one: Batch, other: Batch) -> bool:
    names = ("cells", "real", "target", "keep")
    arrays = all(np.array_equal(getattr(one, name), getattr(other, name)) for name in names)
    return arrays and (one.carries, one.n_targets) == (other.carries, other.n_targets)


def is_same_plan(one: list[Batch], other: list[Batch]) -> bool:
    return len(one) == len(other) and all(map(is_same, one, other))


@given(cases(), sizes, st.integers(1, 3), st.integers(1, 3))
def test_lanes_learn_each_target_once_with_its_segment_before_it(
    case: Case, given: dict[str, int], epoch: int, world: int
) -> None:
    plan = lanes(case, **given)
    seen = steps_of(plan, epoch, world)
    assert sorted(event for event, _ in seen) == np.flatnonzero(case.learned).tolist()
    assert plan.n_targets == len(seen)
    segment = case.segment_of()
    fair = -(-kept_events(case) // max(1, given["batch_events"] // given["bptt_steps"]))
    for event, known in seen:
        # What the state knows are the latest events, one after the other, of the same segment.
        assert known == list(range(event - len(known), event))
        assert not known or known[0] >= segment[event]
        is_whole = len(known) == event - segment[event]
        assert is_whole or last_target(case, event) - segment[event] >= fair


def last_target(case: Case, event: int) -> int:
    segment, targets = case.segment_of(), np.flatnonzero(case.learned)
    return max(int(other) for other in targets if segment[other] == segment[event])


def kept_events(case: Case) -> int:
    """Events up to the last target of each segment."""
    last = dict.fromkeys(case.segment_of(), 0)
    segment = case.segment_of()
    for event in np.flatnonzero(case.learned).tolist():
        last[segment[event]] = event + 1 - segment[event]
    return sum(last.values())


@given(cases(), st.integers(1, 12), st.integers(1, 60), st.integers(1, 3))
def test_windows_learn_each_target_once_with_enough_before_it(
    case: Case, max_len: int, batch_events: int, world: int
) -> None:
    plan = windows_plan(
        case.histories,
        case.learned,
        unit=case.unit,
        max_len=max_len,
        batch_events=batch_events,
        min_batches=1,
        seed=0,
    )
    seen = steps_of(plan, 1, world)
    assert sorted(event for event, _ in seen) == np.flatnonzero(case.learned).tolist()
    begins = case.segment_of()
    for event, known in seen:
        there_are = event - begins[event]
        assert known == list(range(event - len(known), event))
        assert len(known) < max_len
        assert len(known) == there_are or len(known) >= max_len - max(1, max_len // 2)
    for batch in plan.batches(1):
        assert len(batch.cells) == 1 or batch.cells.size <= batch_events
        assert not batch.carries
        assert not batch.keep[:, 0].any()
        assert batch.keep[:, 1:].all()


def every_plan(case: Case, seed: int = 0) -> list[Any]:
    """Small plans of each kind."""
    some = {"batch_events": 40, "min_batches": 2, "seed": seed}
    by_lanes = [
        lanes_plan(case.histories, case.learned, unit=unit, bptt_steps=4, **some)
        for unit in ("users", "sessions")
    ]
    by_windows = windows_plan(case.histories, case.learned, unit=case.unit, max_len=9, **some)
    return [*by_lanes, by_windows]


@given(cases(), st.integers(1, 5))
def test_ranks_share_what_one_does_alone(case: Case, world: int) -> None:
    for plan in every_plan(case):
        shared = zip(*(plan.batches(2, rank, world) for rank in range(world)), strict=True)
        for alone, parts in zip(plan.batches(2), shared, strict=True):
            for name in ("cells", "real", "target", "keep"):
                whole = getattr(alone, name)
                rebuilt = np.empty_like(whole)
                for rank, part in enumerate(parts):
                    rebuilt[rank::world] = getattr(part, name)
                assert np.array_equal(whole, rebuilt)
            assert {part.carries for part in parts} == {alone.carries}
            assert {part.n_targets for part in parts} == {int(alone.target.sum())}
            assert alone.n_targets == alone.target.sum()


@given(cases())
def test_padding_is_what_a_recount_finds(case: Case) -> None:
    for plan in every_plan(case):
        for epoch in (1, 2):
            real = [batch.real for batch in plan.batches(epoch)]
            cells = sum(one.size for one in real)
            assert plan.n_cells == cells
            if cells:
                assert plan.padding == pytest.approx(sum((~one).sum() for one in real) / cells)
            else:
                assert plan.padding == 0


@given(cases())
def test_padding_comes_last_and_can_be_looked_up(case: Case) -> None:
    for plan in every_plan(case):
        over: Counter[int] = Counter()
        for batch in plan.batches(1):
            assert batch.cells.min() >= 0
            assert batch.cells.max() < len(case.learned)
            ends = batch.real.astype(int)
            assert (np.diff(ends, axis=1) <= 0).all()
            if batch.carries:
                assert not any(over[row] and batch.real[row].any() for row in range(len(ends)))
            over.update(dict(enumerate((~batch.real).sum(axis=1).tolist())))


def test_orders_follow_from_seed_and_epoch_alone() -> None:
    rng = np.random.default_rng(0)
    lengths = rng.integers(1, 20, 60).tolist()
    starts = np.flatnonzero(rng.random(sum(lengths)) < 0.2).tolist()
    case = Case(histories_of(lengths, starts=starts), np.ones(sum(lengths), np.bool_))
    for plan, again, other in zip(
        every_plan(case, 1), every_plan(case, 1), every_plan(case, 2), strict=True
    ):
        first = list(plan.batches(1))
        assert is_same_plan(first, list(again.batches(1)))
        assert is_same_plan(first, list(pickle.loads(pickle.dumps(plan)).batches(1)))  # noqa: S301
        assert not is_same_plan(first, list(plan.batches(2)))
        assert not is_same_plan(first, list(other.batches(1)))


def test_batches_are_the_next_steps_of_every_lane() -> None:
    histories = histories_of([3, 3])
    plan = lanes_plan(
        histories,
        np.ones(6, np.bool_),
        unit="users",
        batch_events=4,
        bptt_steps=2,
        min_batches=1,
        seed=0,
    )
    first, last = plan.batches(1)
    assert sorted(first.cells.tolist()) == [[0, 1], [3, 4]]
    assert sorted(last.cells.tolist()) == [[2], [5]]
    assert first.keep.tolist() == [[False, True]] * 2
    assert last.keep.tolist() == [[True]] * 2
    assert (first.carries, last.carries) == (False, True)
    assert (first.n_targets, last.n_targets) == (4, 2)


def test_a_session_is_forgotten_where_the_next_begins() -> None:
    histories = histories_of([5, 0, 2], starts=[3])
    options = {"batch_events": 9, "bptt_steps": 9, "min_batches": 1, "seed": 0}
    learned = np.ones(7, np.bool_)
    (batch,) = lanes_plan(histories, learned, unit="sessions", **options).batches(1)
    assert sorted(batch.cells[~batch.keep].tolist()) == [0, 3, 5]
    (batch,) = lanes_plan(histories, learned, unit="users", **options).batches(1)
    assert sorted(batch.cells[~batch.keep].tolist()) == [0, 5]


def test_context_warms_the_state_up_and_what_follows_the_last_target_is_left_out() -> None:
    learned = np.zeros(12, np.bool_)
    learned[[4, 5]] = True
    histories = histories_of([4, 4, 4], [4, 0, 4])
    plan = lanes_plan(
        histories, learned, unit="users", batch_events=4, bptt_steps=4, min_batches=1, seed=0
    )
    (batch,) = plan.batches(1)
    assert batch.cells.tolist() == [[4, 5]]
    learned[[4, 5, 6]] = [False, False, True]
    histories = histories_of([4, 4, 4], [4, 2, 4])
    plan = lanes_plan(
        histories, learned, unit="users", batch_events=4, bptt_steps=4, min_batches=1, seed=0
    )
    (batch,) = plan.batches(1)
    assert (batch.cells.tolist(), batch.target.tolist()) == ([[4, 5, 6]], [[False, False, True]])


def test_one_enormous_user_is_cut_and_its_pieces_are_warmed_up() -> None:
    lengths = [5] * 200 + [20_000] + [5] * 200
    case = Case(histories_of(lengths), np.ones(sum(lengths), np.bool_))
    plan = lanes(case, batch_events=400, bptt_steps=20, min_batches=1, warm_up=50, seed=0)
    assert plan.padding < 0.05
    begins, known = [], {}
    for event, state in steps_of(plan):
        known[event] = len(state)
        if 1000 <= event < 21_000 and (not state or event == 1000):
            begins.append(event)
    assert sorted(known) == list(range(len(case.learned)))
    assert begins == [1000]
    later = [n for event, n in known.items() if 1050 <= event < 21_000]
    assert min(later) == 50
    # Warming up costs little.
    assert waste_of(plan).targets > 0.93


def test_uneven_segments_fill_lanes_evenly() -> None:
    rng = np.random.default_rng(0)
    lengths = np.ceil(rng.lognormal(3, 1.2, 2000)).astype(int).tolist()
    starts = np.flatnonzero(rng.random(sum(lengths)) < 0.2).tolist()
    learned = np.ones(sum(lengths), np.bool_)
    waste = waste_of_each(
        histories_of(lengths, starts=starts),
        learned,
        batch_events=1024,
        bptt_steps=20,
        max_len=100,
        min_batches=10,
        seed=0,
    )
    assert waste["users"].padding < 0.01
    assert waste["sessions"].padding < 0.01
    assert waste["windows"].padding < 0.1
    # Windows of long histories see events twice.
    assert waste["sessions"].targets > waste["windows"].targets


@pytest.mark.parametrize("seed", range(6))
def test_the_longest_go_to_the_emptiest_lanes(seed: int) -> None:
    lengths = [60, 100, 36, 70]
    case = Case(histories_of(lengths), np.ones(sum(lengths), np.bool_))
    plan = lanes(case, batch_events=200, bptt_steps=100, min_batches=1, warm_up=0, seed=seed)
    assert plan.n_cells == 2 * (100 + 36)


@pytest.mark.parametrize(("n_users", "fewest"), [(1000, 1), (50, 10), (50, 40), (10, 40)])
def test_small_data_sets_get_several_batches(n_users: int, fewest: int) -> None:
    histories = histories_of([40] * n_users)
    learned = np.ones(40 * n_users, np.bool_)
    options = {"batch_events": 1000, "min_batches": fewest, "seed": 0}
    by_lanes = lanes_plan(histories, learned, unit="users", bptt_steps=10, **options)
    by_windows = windows_plan(histories, learned, unit="users", max_len=40, **options)
    for plan in (by_lanes, by_windows):
        found = list(plan.batches(1))
        largest = max(batch.cells.size for batch in found)
        assert largest <= 1000
        assert len(found) >= 0.8 * fewest or largest <= 64


@pytest.mark.parametrize("lengths", [[0], [0, 0], [4, 0, 3]])
def test_nothing_to_learn_is_an_empty_plan(lengths: list[int]) -> None:
    case = Case(histories_of(lengths), np.zeros(sum(lengths), np.bool_))
    for plan in every_plan(case):
        assert (plan.n_targets, plan.padding, list(plan.batches(1))) == (0, 0.0, [])
        assert waste_of(plan).targets == 0


@settings(max_examples=30)
@given(st.integers(1, 3), st.integers(2, 6))
def test_more_ranks_than_rows(n_users: int, world: int) -> None:
    histories = histories_of([3] * n_users)
    plan = lanes_plan(
        histories,
        np.ones(3 * n_users, np.bool_),
        unit="users",
        batch_events=2 * n_users,
        bptt_steps=2,
        min_batches=1,
        seed=0,
    )
    shapes = [
        [batch.cells.shape for batch in plan.batches(1, rank, world)] for rank in range(world)
    ]
    for rank, found in enumerate(shapes):
        rows = len(range(rank, n_users, world))
        assert found == [(rows, 2), (rows, 1)]
