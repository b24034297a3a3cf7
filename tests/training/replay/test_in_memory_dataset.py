"""Cuts in memory are the data sets that are frozen, and know nothing of what comes later."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from replay_lake import STOP
from session_oracle import HOUR_US
from staging import DAY, Log

from pipeline.dataset.build import freeze, freeze_test_set
from pipeline.dataset.rows.event_log import NEVER
from pipeline.errors import HourglassError
from pipeline.hours import HourRange
from pipeline.lake.tables import ITEMS, USERS
from pipeline.settings.settings import Settings
from pipeline.settings.tables import DatasetSettings
from pipeline.spark.compute import Compute
from training.data.in_memory import ReplayLog, build_in_memory, in_memory_test_set, read_replay_log
from training.data.reader import DataSet, Features, read_dataset

STRICT = {
    "event_types": ("view", "buy"),
    "support_passes": "fixed_point",
    "min_session_events": 3,
    "min_user_sessions": 2,
    "max_history_events": 0,
    "history": "30h",
}
COLD = {"cold_items": True, "min_token_items": 1}
HISTORY_COLUMNS = (
    *("offsets", "n_context", "item", "time_us", "session_start"),
    *("dwell_s", "dwell_bin", "event_type", "value", "context"),
)


def with_rules(log: Log, **changed: object) -> Settings:
    rules = DatasetSettings(**{**log.settings.dataset.model_dump(), **changed})
    return log.settings.model_copy(update={"dataset": rules})


def flat(log: Log, settings: Settings, stop: int = STOP) -> ReplayLog:
    state = {**log.lake.state(), **{t.name: log.lake.snapshot(t) for t in (ITEMS, USERS)}}
    return read_replay_log(log.lake, settings.dataset, HourRange(DAY, DAY + stop), state)


def assert_same(found: DataSet, expected: DataSet) -> None:
    """Equal to the last bit; users and items come in the same order too."""
    for name in ("item_ids", "item_events"):
        assert getattr(found, name).tolist() == getattr(expected, name).tolist()
    assert found.histories.user_ids.tolist() == expected.histories.user_ids.tolist()
    for name in HISTORY_COLUMNS:
        one, other = getattr(found.histories, name), getattr(expected.histories, name)
        assert one.dtype == other.dtype, name
        np.testing.assert_array_equal(one, other, name)
    assert found.histories.event_types == expected.histories.event_types
    for name in ("item", "hour_index", "events"):
        one, other = getattr(found.popularity, name), getattr(expected.popularity, name)
        assert one.dtype == other.dtype
        np.testing.assert_array_equal(one, other)
    for name in ("item_features", "user_features"):
        assert_same_features(getattr(found, name), getattr(expected, name))
    theirs = {"dataset_id", "base_dataset_id", "files", "code_version"}
    assert found.manifest.model_dump(exclude=theirs) == expected.manifest.model_dump(exclude=theirs)


def assert_same_features(found: Features | None, expected: Features | None) -> None:
    assert (found is None) == (expected is None)
    if found is not None and expected is not None:
        for name in ("offsets", "token", "token_names", "numbers", "number_names"):
            np.testing.assert_array_equal(getattr(found, name), getattr(expected, name))


@pytest.mark.parametrize(
    ("hour", "changed"), [(33, STRICT), (36, COLD)], ids=["strict", "cold items"]
)
def test_a_cut_is_what_is_frozen(
    compute: Compute, log: Log, hour: int, changed: dict[str, Any]
) -> None:
    settings, as_of = with_rules(log, **changed), DAY + hour
    whole = flat(log, settings)
    base = freeze(compute, log.lake, settings, as_of)
    cut = build_in_memory(whole, settings, as_of)
    # Sessions stand open at that hour, in which some dwell times are known and some are not.
    stop_us = as_of.index * HOUR_US
    opened = (whole.closes >= as_of.index) & (whole.time_us < stop_us)
    assert (opened & (whole.told_us < stop_us)).any()
    assert (opened & (whole.told_us >= stop_us) & (whole.told_us < NEVER)).any()
    assert_same(cut.data, read_dataset(base))
    hours = HourRange(as_of, as_of + 3)
    part = read_dataset(freeze_test_set(compute, log.lake, settings, base, hours))
    assert part.manifest.left_out_events
    assert_same(in_memory_test_set(whole, settings, cut, hours).data, part)


def test_a_cut_extends_another_as_data_sets_do(compute: Compute, log: Log) -> None:
    base = freeze(compute, log.lake, log.settings, DAY + 24)
    later = with_rules(log, window="4h", min_item_events=1)
    expected = freeze(compute, log.lake, later, DAY + 30, base)
    whole = flat(log, log.settings)
    before = build_in_memory(whole, log.settings, DAY + 24)
    assert_same(before.data, read_dataset(base))
    found = build_in_memory(whole, later, DAY + 30, before.encoding)
    assert_same(found.data, read_dataset(expected))
    old = before.data.item_ids
    assert found.data.item_ids[: len(old)].tolist() == old.tolist()
    assert len(found.data.item_ids) > len(old)


@pytest.mark.parametrize("hour", [5, 24, 31])
def test_nothing_of_the_future_changes_a_bit(log: Log, hour: int) -> None:
    """A log that is read up to that hour alone gives the same cut as one that goes on."""
    settings = with_rules(log, min_item_events=1)
    past, whole = (flat(log, settings, stop) for stop in (hour, STOP))
    assert len(past) < len(whole)
    one, other = (build_in_memory(found, settings, DAY + hour) for found in (past, whole))
    assert_same(one.data, other.data)
    later = build_in_memory(whole, settings, DAY + hour + 1)
    assert later.data.manifest.n_targets != one.data.manifest.n_targets


def test_a_field_that_no_event_has_is_named(log: Log) -> None:
    settings = with_rules(log, context=("device", "colour"))
    with pytest.raises(HourglassError, match="no event has the context field 'colour'"):
        flat(log, settings)
