"""Robots by behaviour and passive events: what data sets, test sets and popularity make of them."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from dataset_oracle import (
    Frame,
    before_window,
    histories,
    in_window,
    known_events,
    supported,
    vocabulary_of,
    width_s,
)
from replay_lake import DATASET, STOP, a_log
from session_oracle import HOUR_US, US, Event, Rules, robots
from staging import DAY, DAY_US, NO_SPARK, Log
from test_in_memory_dataset import assert_same, flat

from pipeline.dataset.build import freeze, freeze_test_set, histories_at
from pipeline.hours import HourRange
from pipeline.lake.tables import ITEM_HOURS
from pipeline.sessions.sessionize import sessionize
from pipeline.spark.compute import Compute
from training.data.in_memory import build_in_memory, in_memory_test_set
from training.data.reader import DataSet, read_dataset

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

RULES = Rules(
    max_session_hours=3, passive_types=("like",), robot_events_per_hour=9, robot_run_hours=4
)
AS_OF = 33
FRAME = Frame(DAY.index + AS_OF - 25, DAY.index + AS_OF - 14, DAY.index + AS_OF)


def events() -> set[Event]:
    """The usual log; heartbeats on many of its events; a scraper, and one who never sleeps."""
    usual = a_log()
    beats = {
        Event(event.time_us + nth * 20 * US, f"{event.key}b{nth}", event.user, event.item, "like")
        for event in sorted(usual)[::3]
        for nth in range(1, 4)
        if event.time_us + nth * 20 * US < DAY_US + STOP * HOUR_US
    }
    # As many as are still a person's, and one more.
    busy = {
        Event(DAY_US + 27 * HOUR_US + n * US, f"{user} {n}", user, f"item {n % 4}", "view")
        for user, many in (("at the limit", 9), ("scraper", 10))
        for n in range(many)
    }
    sleepless = {
        Event(
            DAY_US + 25 * HOUR_US + n * 1800 * US, f"sleepless {n}", "sleepless", "item 2", "view"
        )
        for n in range(24)
    }
    return usual | beats | busy | sleepless


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Log:
    filled = Log(tmp_path_factory.mktemp("lake"), RULES, **{**DATASET, "context": ()})
    filled.arrive(events())
    sessionize(NO_SPARK, filled.lake, filled.settings, HourRange(DAY, DAY + STOP))
    return filled


def dwell_of(data: DataSet) -> dict[str, list[float | None]]:
    """Dwell times of each user's events, None where they are not known."""
    rows = data.histories
    bounds = zip(rows.user_ids, rows.offsets[:-1], rows.offsets[1:], strict=True)
    return {
        str(user): [None if np.isnan(dwell_s) else float(dwell_s) for dwell_s in rows.dwell_s[a:b]]
        for user, a, b in bounds
    }


def test_a_data_set_knows_no_robot_and_what_passive_events_tell(log: Log) -> None:
    data = read_dataset(freeze(NO_SPARK, log.lake, log.settings, DAY + AS_OF))
    rules = log.settings.dataset
    known = known_events(log.events, RULES, FRAME)
    assert {"scraper", "sleepless"}.isdisjoint(one.event.user for one in known)
    assert "at the limit" in {one.event.user for one in known}
    stays, steps = supported(
        in_window(known, FRAME), rules.min_item_events, rules.min_session_events, 1, False
    )
    vocabulary = vocabulary_of(stays)
    assert list(data.item_ids) == vocabulary
    assert [vars(step) for step in data.manifest.steps] == steps
    n_dwells, width = width_s(log.events, RULES, FRAME)
    assert data.manifest.dwell.n == n_dwells
    assert data.manifest.dwell.width_s == pytest.approx(width, rel=1e-9)
    types = sorted({one.event.event_type for one in known})
    assert "like" not in types
    expected = histories(
        before_window(known, FRAME), stays, vocabulary, types,
        data.manifest.dwell.width_s, rules.max_dwell_bins, rules.max_history_events,
    )  # fmt: skip
    assert dwell_of(data) == {
        user: [None if row[3] is None else float(np.float32(row[3])) for row in rows]
        for user, (_, rows) in expected.items()
    }
    # Beats tell of last events too, of which nothing else does.
    assert any(dwells[-1] is not None for dwells in dwell_of(data).values())


def test_popularity_counts_neither_robots_nor_passive_events(log: Log) -> None:
    active = [e for e in log.events if e.event_type not in RULES.passive_types]
    marked = robots(active, RULES)
    assert {e.user for e in marked} >= {"scraper", "sleepless"}
    expected = Counter((e.item, e.hour) for e in active if e not in marked)
    rows = log.lake.arrow(ITEM_HOURS, HourRange(DAY, DAY + STOP)).to_pylist()
    assert {
        (row["item_id"], int(row["hour"].timestamp()) // 3600): row["events"] for row in rows
    } == expected


@pytest.mark.parametrize("hour", [26, 28, 29, AS_OF])
def test_a_cut_in_memory_is_the_data_set_before_and_after_a_robot_shows(
    log: Log, hour: int
) -> None:
    """A user is a person until the hour in which too much was done has ended."""
    whole = flat(log, log.settings)
    base = freeze(NO_SPARK, log.lake, log.settings, DAY + hour)
    cut = build_in_memory(whole, log.settings, DAY + hour)
    assert_same(cut.data, read_dataset(base))
    assert ("sleepless" in cut.data.histories.user_ids) == (hour <= 29)
    hours = HourRange(DAY + hour, DAY + hour + 3)
    part = read_dataset(freeze_test_set(NO_SPARK, log.lake, log.settings, base, hours))
    assert_same(in_memory_test_set(whole, log.settings, cut, hours).data, part)
    assert "scraper" not in part.histories.user_ids
    past = flat(log, log.settings, hour)
    assert_same(build_in_memory(past, log.settings, DAY + hour).data, cut.data)


@pytest.mark.nightly
def test_spark_makes_the_same_bytes(spark: SparkSession, log: Log, tmp_path: Path) -> None:
    written = []
    for name, engine in (("in process", NO_SPARK), ("spark", Compute(lambda: spark, from_mib=0))):
        settings = log.settings.model_copy(update={"work": tmp_path / name})
        base = freeze(engine, log.lake, settings, DAY + AS_OF)
        freeze_test_set(engine, log.lake, settings, base, HourRange(DAY + AS_OF, DAY + AS_OF + 3))
        histories_at(engine, log.lake, settings, base, DAY + AS_OF + 1)
        written.append(
            {
                p.relative_to(tmp_path / name): p.read_bytes()
                for p in settings.work.rglob("*.*")
                if p.is_file()
            }
        )
    assert len(written[0]) > 6
    assert written[0] == written[1]
