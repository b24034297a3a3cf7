"""The support filter against loops, once as published and to a fixed point."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import pytest
from dataset_oracle import Known, supported
from session_oracle import Event

from pipeline.dataset.support_filter import filter_support
from pipeline.settings.settings import DatasetSettings

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession


def frame(spark: SparkSession, known: list[Known]) -> DataFrame:
    rows = [(one.event.key, one.event.user, one.session, one.event.item) for one in known]
    return spark.createDataFrame(
        rows, "event_key string, user_id string, session_id string, item_id string"
    )


def sessions(*told: str) -> list[Known]:
    """``"ann 1: a b"`` is Ann's session 1, with events on items a and b."""
    found = []
    for text in told:
        name, _, items = text.partition(":")
        user = name.split()[0]
        found += [
            Known(Event(place, f"{name} {place}", user, item), name, None)
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
    spark: SparkSession, passes: str, left: list[str], events: list[int]
) -> None:
    known = sessions("ann 1: a b", "ann 2: a a", "bob 1: b c")
    rules = DatasetSettings(
        min_item_events=2, min_session_events=2, min_user_sessions=2, support_passes=passes
    )
    kept, steps = filter_support(spark, frame(spark, known), rules)
    assert sorted(row.item_id for row in kept.collect()) == sorted(left)
    assert [step["events"] for step in steps] == events


@pytest.mark.parametrize("passes", ["single", "fixed_point"])
def test_random_logs_are_filtered_as_by_loops(spark: SparkSession, passes: str) -> None:
    rng = random.Random(3)
    known = [
        Known(Event(nth, str(nth), user, f"i{int(rng.paretovariate(0.6)) % 60}"), session, None)
        for nth in range(700)
        for user in [f"u{rng.randrange(40)}"]
        for session in [f"{user}-{rng.randrange(6)}"]
    ]
    rules = DatasetSettings(
        min_item_events=4, min_session_events=3, min_user_sessions=3, support_passes=passes
    )
    kept, steps = filter_support(spark, frame(spark, known), rules)
    expected, expected_steps = supported(known, 4, 3, 3, passes == "fixed_point")
    assert steps == expected_steps
    assert 0 < len(expected) < len(known)
    assert len(steps) == 4 if passes == "single" else len(steps) > 4
    assert sorted(row.event_key for row in kept.collect()) == sorted(
        one.event.key for one in expected
    )
