"""What is learned from and what is kept apart: by time, and never the other way round."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from synthetic import AS_OF_S, write_dataset

from pipeline.errors import HourglassError
from training.batching import targets
from training.batching.targets import learnable, split_targets, validation_requests
from training.data.reader import Histories, read_dataset


def histories_of(folder: Path, users: dict[str, list[tuple[str, float]]]) -> Histories:
    return read_dataset(write_dataset(folder, users)).histories


def many(seed: int, n_users: int = 40) -> dict[str, list[tuple[str, float]]]:
    rng = np.random.default_rng(seed)
    return {
        f"u{user:02d}": [
            (f"i{rng.integers(6)}", float(time))
            for time in np.sort(AS_OF_S - rng.integers(1, 90_000, size=rng.integers(1, 12)))
        ]
        for user in range(n_users)
    }


def test_repeats_are_left_out_but_not_across_users(tmp_path: Path) -> None:
    users = {
        "a": [("x", AS_OF_S - 9), ("x", AS_OF_S - 8), ("y", AS_OF_S - 7)],
        "b": [("y", AS_OF_S - 6), ("y", AS_OF_S - 5)],
    }
    histories = histories_of(tmp_path / "d", users)
    assert learnable("s", histories, repeats=True).tolist() == [True] * 5
    assert learnable("s", histories, repeats=False).tolist() == [True, False, True, True, False]


def test_nothing_but_repeats(tmp_path: Path) -> None:
    users = {"a": [("x", AS_OF_S - 9 + step) for step in range(3)]}
    data = read_dataset(write_dataset(tmp_path / "d", users))
    later = Histories(**{**vars(data.histories), "n_context": np.array([1], np.int32)})
    with pytest.raises(HourglassError, match="every event repeats the user's previous item"):
        learnable("s", later, repeats=False)


@settings(
    deadline=None, max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(seed=st.integers(0, 10_000), share=st.floats(0.0, 0.9))
def test_everything_kept_apart_is_later(
    tmp_path_factory: pytest.TempPathFactory,
    monkeypatch: pytest.MonkeyPatch,
    seed: int,
    share: float,
) -> None:
    monkeypatch.setattr(targets, "_FEWEST_VALIDATED", 3)
    histories = histories_of(tmp_path_factory.mktemp("split") / "d", many(seed))
    wanted = learnable("s", histories, repeats=False)
    split = split_targets(histories, wanted, share)
    kept = np.zeros_like(wanted)
    kept[split.validation] = True
    assert np.array_equal(split.learned | kept, wanted)
    assert not (split.learned & kept).any()
    if kept.any():
        assert split.learned.any()
        assert histories.time_us[split.learned].max() < histories.time_us[kept].min()
        assert (np.diff(histories.time_us[split.validation]) >= 0).all()
    else:
        assert int(wanted.sum() * share) < 3 or len(np.unique(histories.time_us[wanted])) < 2


def test_too_few_to_validate_on(tmp_path: Path) -> None:
    histories = histories_of(tmp_path / "d", many(1, n_users=10))
    wanted = learnable("s", histories, repeats=False)
    split = split_targets(histories, wanted, 0.1)
    assert not len(split.validation)
    assert np.array_equal(split.learned, wanted)


def test_requests_know_what_came_before_them_and_no_more(tmp_path: Path) -> None:
    histories = histories_of(tmp_path / "d", many(2))
    event = np.flatnonzero(learnable("s", histories, repeats=True))[::3]
    requests, asked = validation_requests(histories, event[::-1].copy(), 6)
    assert np.array_equal(asked, event)
    for row, at in enumerate(asked):
        assert histories.offsets[requests.user[row]] + requests.length[row] == at
        assert histories.time_us[at] == requests.now_us[row]


def test_of_very_many_items_fewer_requests_are_asked(tmp_path: Path) -> None:
    histories = histories_of(tmp_path / "d", many(2, n_users=200))
    event = np.flatnonzero(learnable("s", histories, repeats=True))
    assert len(event) > 900
    _, all_of_them = validation_requests(histories, event, 1000)
    _, some = validation_requests(histories, event, 1_183_451)
    assert len(all_of_them) == len(event)
    assert 400 <= len(some) <= 500
    assert np.diff(np.searchsorted(event, some)).max() <= 3  # spread, not cut off


def test_what_is_known_while_validating_ends_where_validation_begins(tmp_path: Path) -> None:
    histories = histories_of(tmp_path / "d", many(4, n_users=150))
    wanted = learnable("s", histories, repeats=True)
    all_events = np.bincount(histories.item - 1, minlength=6)
    split = split_targets(histories, wanted, 0.2)
    assert split.begins_us is not None
    counted = np.zeros(6, int)
    for item, time_us in zip(histories.item, histories.time_us, strict=True):
        counted[item - 1] += time_us < split.begins_us
    assert np.array_equal(split.item_events(histories, all_events), counted)
    assert np.array_equal(split.whole(wanted).item_events(histories, all_events), all_events)


def test_nothing_known_already_is_kept_apart(tmp_path: Path) -> None:
    histories = histories_of(tmp_path / "d", many(4, n_users=150))
    wanted = learnable("s", histories, repeats=True)
    late_us = int(np.quantile(histories.time_us, 0.7))
    kept = split_targets(histories, wanted, 0.5, known_us=late_us).validation
    assert len(kept)
    assert histories.time_us[kept].min() >= late_us
    assert not len(split_targets(histories, wanted, 0.5, int(histories.time_us.max())).validation)
