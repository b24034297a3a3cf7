"""The support filter against loops, once as published and to a fixed point, by both engines."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import pyarrow as pa
import pytest
from dataset_oracle import Known, supported
from session_oracle import Event

from pipeline.dataset.rows import by_spark
from pipeline.dataset.rows.event_log import NEVER, flat_log
from pipeline.dataset.rows.support_filter import filter_support
from pipeline.lake.tables import ITEM_HOURS, TIMESTAMP
from pipeline.settings.tables import DatasetSettings

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

Steps = list[dict[str, object]]


def columns(known: list[Known]) -> dict[str, list[str]]:
    return {
        "event_key": [one.event.key for one in known],
        "user_id": [one.event.user for one in known],
        "session_id": [one.session for one in known],
        "item_id": [one.event.item for one in known],
    }


def in_process(known: list[Known], rules: DatasetSettings) -> tuple[list[str], Steps]:
    """Keys of the events that stay, and the counts."""
    n = len(known)
    rows = pa.table(
        {
            **columns(known),
            "closes": [NEVER] * n,
            # Its place is an event's time, so that the log's order is that of the events by user.
            "event_us": list(range(n)),
            "position": list(range(n)),
            "event_type": ["view"] * n,
            "value": pa.nulls(n, pa.float64()),
            "tie_rank": pa.nulls(n, pa.int32()),
            "is_robot": pa.nulls(n, pa.bool_()),
            "dwell_s": pa.nulls(n, pa.float64()),
            "passive_until": pa.nulls(n, TIMESTAMP),
        }
    )
    log = flat_log(rows, (), [], ITEM_HOURS.schema.empty_table())
    event, steps = filter_support(log, pa.array(range(n), pa.int64()).to_numpy(), rules)
    return [known[at].event.key for at in log.time_us[event]], [vars(step) for step in steps]


def computed_by_spark(
    spark: SparkSession, known: list[Known], rules: DatasetSettings
) -> tuple[list[str], Steps]:
    frame = spark.createDataFrame(pa.table(columns(known)).to_pandas())
    remaining, steps = by_spark.filter_support(spark, frame, rules)
    return [row.event_key for row in remaining.collect()], [vars(step) for step in steps]


def sessions(*told: str) -> list[Known]:
    """``"ann 1: a b"`` is Ann's session 1, with events on items a and b."""
    found = []
    for text in told:
        name, _, items = text.partition(":")
        user = name.split()[0]
        found += [
            Known(Event(place, f"{name} {place} {item}", user, item), name, None)
            for place, item in enumerate(items.split())
        ]
    return found


@pytest.mark.parametrize(
    ("passes", "left", "events"),
    [
        # c goes, so Bob's session is too short, and item b keeps but one of its two events.
        ("single", ["a", "b", "a", "a"], [6, 5, 4, 4]),
        # Then b goes too, so Ann's first session is too short, and she has only one other.
        ("fixed_point", [], [6, 5, 4, 4, 3, 2, 0, 0, 0, 0]),
    ],
)
def test_what_one_pass_leaves_behind_a_fixed_point_removes(
    passes: str, left: list[str], events: list[int]
) -> None:
    known = sessions("ann 1: a b", "ann 2: a a", "bob 1: b c")
    rules = DatasetSettings(
        min_item_events=2, min_session_events=2, min_user_sessions=2, support_passes=passes
    )
    kept, steps = in_process(known, rules)
    assert sorted(key.split()[-1] for key in kept) == sorted(left)
    assert [step["events"] for step in steps] == events


def a_random_log() -> list[Known]:
    rng = random.Random(3)
    return [
        Known(Event(nth, str(nth), user, f"i{int(rng.paretovariate(0.6)) % 60}"), session, None)
        for nth in range(700)
        for user in [f"u{rng.randrange(40)}"]
        for session in [f"{user}-{rng.randrange(6)}"]
    ]


@pytest.mark.parametrize("passes", ["single", "fixed_point"])
def test_random_logs_are_filtered_as_by_loops(passes: str) -> None:
    known = a_random_log()
    rules = DatasetSettings(
        min_item_events=4, min_session_events=3, min_user_sessions=3, support_passes=passes
    )
    kept, steps = in_process(known, rules)
    expected, expected_steps = supported(known, 4, 3, 3, passes == "fixed_point")
    assert steps == expected_steps
    assert 0 < len(expected) < len(known)
    assert len(steps) == 4 if passes == "single" else len(steps) > 4
    assert sorted(kept) == sorted(one.event.key for one in expected)


@pytest.mark.nightly
def test_spark_filters_alike(spark: SparkSession) -> None:
    """By day whole data sets are compared, whose filter comes to a fixed point as well."""
    known = a_random_log()
    rules = DatasetSettings(
        min_item_events=4, min_session_events=2, min_user_sessions=2, support_passes="fixed_point"
    )
    kept, steps = computed_by_spark(spark, known, rules)
    expected, expected_steps = in_process(known, rules)
    assert steps == expected_steps
    assert len(steps) > 4
    assert sorted(kept) == sorted(expected)
