"""The support filter: rare items, short sessions and passing users are left out (ASARS 3.1)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pipeline.lake.sql import query
from pipeline.settings.settings import DatasetSettings

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession


def filter_support(
    spark: SparkSession, events: DataFrame, rules: DatasetSettings
) -> tuple[DataFrame, list[dict[str, Any]]]:
    """Apply items, sessions, users in that order, once as published or until nothing changes.

    Returns the rows that stay, and after each step how many events, items, users and sessions
    were left; the first row counts what came in.
    """
    thresholds = (
        ("items", rules.min_item_events),
        ("sessions", rules.min_session_events),
        ("users", rules.min_user_sessions),
    )
    steps = [_counted(spark, "window", events)]
    kept = events
    while True:
        before = steps[-1]["events"]
        for what, least in thresholds:
            kept = query(spark, f"support_{what}", {"kept_events": kept}, least=least)
            # Cut the lineage: a fixed point may take many passes, each a join upon the last.
            kept = kept.localCheckpoint()
            steps.append(_counted(spark, f"{what} >= {least}", kept))
        if rules.support_passes == "single" or steps[-1]["events"] == before:
            return kept, steps


def _counted(spark: SparkSession, step: str, events: DataFrame) -> dict[str, Any]:
    counts = query(spark, "support_counts", {"kept_events": events}).collect()[0]
    return {"step": step, **counts.asDict()}
