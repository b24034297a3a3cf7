"""The scrambled future keeps what a request knows, and nothing else."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from synthetic import AS_OF_S, Event, write_dataset

from pipeline.settings.learning import EvaluationSettings
from training.data.reader import DataSet, Histories, Requests, read_dataset
from training.gate.artefact_checks import check_artefact, scramble_future

COLUMNS = ("item", "time_us", "dwell_s", "dwell_bin", "event_type", "value", "context")


@pytest.fixture(scope="module")
def frozen(tmp_path_factory: pytest.TempPathFactory) -> DataSet:
    users = {
        f"u{user}": [
            Event(f"i{(user + at) % 4}", AS_OF_S - 900 + 60 * at, "buy", 2.0, {"c": f"c{at % 2}"})
            for at in range(3 + user % 3)
        ]
        for user in range(6)
    }
    folder = tmp_path_factory.mktemp("soundness") / "frozen"
    return read_dataset(write_dataset(folder, users, context=("c",)))


@settings(deadline=None)
@given(st.lists(st.none() | st.integers(0, 2), min_size=6, max_size=6), st.integers(0, 99))
def test_only_what_follows_a_request_changes(
    frozen: DataSet, lengths: list[int | None], seed: int
) -> None:
    h = frozen.histories
    asked = [(user, length) for user, length in enumerate(lengths) if length is not None]
    user = np.array([row for row, _ in asked], np.int64)
    length = np.array([n for _, n in asked], np.int64)
    requests = Requests(user, length, np.zeros(len(asked), np.int64))
    scrambled = scramble_future(h, requests, 4, np.random.default_rng(seed))
    for row in range(6):
        first, stop = h.offsets[row], h.offsets[row + 1]
        target = stop if lengths[row] is None else first + lengths[row]
        for name in COLUMNS:
            old, new = getattr(h, name), getattr(scrambled, name)
            np.testing.assert_array_equal(old[first:target], new[first:target])
        if target == stop:
            continue
        assert (np.diff(scrambled.time_us[first:stop]) >= 0).all()
        assert scrambled.time_us[target] == h.time_us[target]
        assert (scrambled.time_us[target + 1 : stop] > h.time_us[target + 1 : stop]).all()
        assert not scrambled.context[target:stop].any()
        assert not scrambled.event_type[target:stop].any()
        assert np.isnan(scrambled.value[target:stop]).all()
    assert h.context.all()


class Card(NamedTuple):
    model_id: str = "m"
    system: str = "peeker"
    dataset_id: str = "frozen"
    as_of: str = "2016-03-14T13"


class Loaded(NamedTuple):
    model: Peeker
    item_ids: np.ndarray
    card: Card = Card()


class Peeker:
    """Scores by one column of the event at ``ahead`` of the target, as a faulty system might."""

    def __init__(self, column: str, ahead: int) -> None:
        self.column, self.ahead = column, ahead

    def score(self, histories: Histories, requests: Requests) -> np.ndarray:
        place = histories.offsets[requests.user] + requests.length + self.ahead
        place = np.minimum(place, histories.offsets[requests.user + 1] - 1)
        seen = np.nan_to_num(getattr(histories, self.column)[place].astype(np.float64), nan=-1.0)
        seen = np.where(requests.length + self.ahead < 0, 0, seen.reshape(len(requests), -1)[:, 0])
        return np.outer(seen, np.arange(1, 5)).astype(np.float32)


@pytest.mark.parametrize(
    ("column", "ahead", "codes"),
    [
        ("item", -1, []),
        ("item", 0, ["sees_the_future"]),
        ("time_us", 0, []),
        ("time_us", 1, ["sees_the_future"]),
        ("context", 0, ["sees_the_future"]),
        ("value", 0, ["sees_the_future"]),
    ],
)
def test_a_system_that_looks_ahead_is_found_out(
    frozen: DataSet, column: str, ahead: int, codes: list[str]
) -> None:
    histories = frozen.histories
    # Times hours apart, so that what the scores tell of them is no matter of rounding.
    spread = replace(histories, time_us=np.arange(len(histories.item)) * 10**13)
    model = Loaded(Peeker(column, ahead), frozen.item_ids)
    result = check_artefact(
        Path("models/m"),
        replace(frozen, histories=spread),
        EvaluationSettings(repeats="keep"),
        lambda _: model,
        seed=1,
    )
    assert [defect.code for defect in result.defects] == codes
