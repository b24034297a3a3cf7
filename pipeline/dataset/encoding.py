"""The terms of a data set: which number stands for which item, event type, context value.

All of them are fitted on the window and only ever append to those of a data set that is extended.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from pipeline.errors import HourglassError
from pipeline.lake.sql import query
from pipeline.sessions.dwell import Moments
from pipeline.settings.settings import DatasetSettings

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

VOCABULARY = pa.schema(
    [
        pa.field("item", pa.int32()),
        pa.field("item_id", pa.string()),
        pa.field("events", pa.int64()),
    ]
)
Field = dict[str, Any]  # name: str, values: list[str]


def extended_vocabulary(
    base: Sequence[dict[str, Any]], kept: DataFrame, available: Sequence[str] = ()
) -> pa.Table:
    """The base's items first, then the new ones, most frequent first, then cold ones.

    ``available`` are the items that may join without an event in the window.
    """
    counts = {row["item_id"]: row["count"] for row in kept.groupBy("item_id").count().collect()}
    old = [row["item_id"] for row in base]
    new = sorted(counts.keys() - set(old), key=lambda item_id: (-counts[item_id], item_id))
    cold = sorted(set(available) - counts.keys() - set(old)) if counts else []
    item_ids = [*old, *new, *cold]
    events = [counts.get(item_id, 0) for item_id in item_ids]
    return pa.Table.from_arrays(
        [
            pa.array(range(1, len(item_ids) + 1), pa.int32()),
            pa.array(item_ids, pa.string()),
            pa.array(events, pa.int64()),
        ],
        schema=VOCABULARY,
    )


def event_types(known: Sequence[str], events: DataFrame) -> list[str]:
    """The types known before, in their order, then those that are met for the first time."""
    met = {row.event_type for row in events.select("event_type").distinct().collect()}
    return [*known, *sorted(met.difference(known))]


def dwell_bins(moments: Moments, rules: DatasetSettings) -> dict[str, Any]:
    """Scott's bins of the dwell times (ASARS eq. 8)."""
    return {
        "n": moments.n,
        "mean_s": moments.mean_s,
        "m2_s2": moments.m2_s2,
        "width_s": moments.scott_width_s,
        "bins": rules.max_dwell_bins,
    }


def context_fields(
    spark: SparkSession,
    rules: DatasetSettings,
    base: Sequence[Field],
    kept: DataFrame,
    sessions: dict[str, DataFrame],
) -> list[Field]:
    """Name and values of each field of ``dataset.context``, most frequent first.

    What ``base`` knows keeps its code; a value past ``dataset.max_context_values`` has none.

    Args:
        spark: the session.
        rules: which fields, and how many values.
        base: fields of the data set that is extended.
        kept: events to learn from; ``told`` lists their values.
        sessions: the frames ``closed`` and ``opened`` that the events came from.

    Raises:
        HourglassError: no event has a field of that name; those that occur are named.
    """
    if not rules.context:
        return []
    before = {field["name"]: list(field["values"]) for field in base}
    most = rules.max_context_values + max((len(values) for values in before.values()), default=0)
    found = query(spark, "context_values", {"kept_events": kept}, most=most).collect()
    found.sort(key=lambda row: (-row.events, row.value))
    fields: list[Field] = []
    for place, name in enumerate(rules.context):
        old = before.get(name, [])
        known = set(old)
        new = [row.value for row in found if row.field == place and row.value not in known]
        room = max(0, rules.max_context_values - len(old))
        fields.append({"name": name, "values": [*old, *new[:room]]})
    unseen = [field["name"] for field in fields if not field["values"]]
    if unseen:
        occurring = {row.name for row in query(spark, "context_names", sessions).collect()}
        missing = [name for name in unseen if name not in occurring]
        if missing:
            raise HourglassError(
                f"dataset.context: no event has the context field {missing[0]!r}: those that occur "
                f"are {', '.join(sorted(occurring)) or 'none'}: see source.columns.context"
            )
    return fields


def with_codes(spark: SparkSession, events: DataFrame, fields: Sequence[Field]) -> DataFrame:
    """Events with ``codes``: of each context field the code of the event's value, 0 = unknown."""
    coded = events.selectExpr("*", "CAST(ARRAY() AS ARRAY<INT>) AS codes")
    for place, values in enumerate(field["values"] for field in fields):
        codes = [(value, code) for code, value in enumerate(values, start=1)]
        views = {
            "told_events": coded,
            "value_codes": spark.createDataFrame(codes, "value string, code int"),
        }
        coded = query(spark, "context_codes", views, field=place)
    return coded
