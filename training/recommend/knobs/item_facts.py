"""What the knobs ask of items: how popular they are just now, how old, and of which categories.

M items of a catalogue, C categories, G the most that an item has.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.array_types import Floats, Ints, Objects
from pipeline.errors import UsageError
from pipeline.hours import US_PER_HOUR
from pipeline.settings.learning import RecommendSettings
from training.data.reader import Histories

FACT_COLUMNS = ("item_id", "categories", "available_from")
_NAMES_SHOWN = 10
_UNTIL_KNOWN_US = 1  # a request sees what happened before it, not what happens at its own time


@dataclass(frozen=True)
class ItemFacts:
    """Of each item of a catalogue."""

    log_events: Floats  # (M,) ln(1 + recent events)
    born_us: Floats  # (M,) since 1970, from when on there is an age; NaN = not known
    categories: Ints  # (M, G) numbers below C; -1 = no further one
    n_categories: int  # C


def item_facts(
    rules: RecommendSettings,
    metadata: pa.Table,
    item_ids: Objects,
    events: Ints,
    first_us: Floats,
) -> ItemFacts:
    """What the knobs that are on ask of the items of a catalogue.

    Args:
        rules: which are on.
        metadata: `FACT_COLUMNS` of the table `items`.
        item_ids: (M,).
        events: (M,) recent events.
        first_us: (M,) the first event of each; NaN = none.

    Raises:
        UsageError: categories are asked for, and no item has one.
    """
    n_items = len(item_ids)
    categories, names = np.full((n_items, 1), -1, np.int64), np.empty(0, object)
    if rules.max_per_category is not None:
        categories, names = category_numbers(metadata, item_ids, rules.category)
    born_us = births(metadata, item_ids, first_us) if rules.freshness else np.full(n_items, np.nan)
    return ItemFacts(np.log1p(events), born_us, categories, len(names))


def first_events(histories: Histories, n_items: int) -> Floats:
    """When each item first occurs in histories, (V,); NaN where it does not."""
    first_us = np.full(n_items, np.inf)
    np.minimum.at(first_us, histories.item - 1, histories.time_us.astype(np.float64))
    return np.where(np.isfinite(first_us), first_us, np.nan)


def freshness(born_us: Floats, now_us: Ints | int, half_life_h: float) -> Floats:
    """2 to the power of -age / half-life; 0 of what has no known age, or is not born yet.

    Args:
        born_us: when each item was born; NaN = not known.
        now_us: of the request, of a shape that fits.
        half_life_h: hours after which 1 has become 1/2.
    """
    age_h = (now_us - born_us) / US_PER_HOUR
    has_age = age_h >= 0  # of NaN it is false
    return np.where(has_age, np.exp2(-np.where(has_age, age_h, 0.0) / half_life_h), 0.0)


def births(metadata: pa.Table, item_ids: Objects, first_us: Floats) -> Floats:
    """When items were born: ``available_from``, else just after the first event on them.

    The event itself may be what a request is answered by, so to that request it must tell nothing;
    ``available_from`` is told beforehand.

    Args:
        metadata: `item_id` and `available_from`, as the table `items`.
        item_ids: (M,).
        first_us: (M,) the first event of each; NaN where there is none.
    """
    position = pc.index_in(pa.array(item_ids, pa.string()), value_set=metadata["item_id"])
    since = pc.take(metadata["available_from"].combine_chunks(), position).cast(pa.int64())
    available_us = since.cast(pa.float64()).to_numpy(zero_copy_only=False)
    return np.where(np.isnan(available_us), first_us + _UNTIL_KNOWN_US, available_us)


def category_numbers(
    metadata: pa.Table, item_ids: Objects, column: str | None
) -> tuple[Ints, Objects]:
    """The categories of items, (M, G) numbers with -1 for none, and their names (C,).

    Args:
        metadata: `item_id` and `categories`, as the table `items`: an entry is `name=value` of a
            column of the items file, or a text that stands alone.
        item_ids: (M,).
        column: only entries of this column; None: every entry.

    Raises:
        UsageError: no item has a category, or none has one of that column.
    """
    lists = metadata["categories"].combine_chunks()
    parent = pc.list_parent_indices(lists)
    entries = pc.list_flatten(lists)
    present = pc.is_valid(entries)
    parent, entries = parent.filter(present), entries.filter(present)
    if not len(entries):
        raise UsageError(
            "recommend.max_per_category: the table items tells no category of any item: set "
            "source.items_path, or leave the key out"
        )
    if column is not None:
        chosen = pc.starts_with(entries, f"{column}=")
        if not pc.any(chosen).as_py():
            raise UsageError(_unknown_column(column, entries))
        parent, entries = parent.filter(chosen), entries.filter(chosen)
    coded = entries.dictionary_encode()
    row, code = parent.to_numpy().astype(np.int64), coded.indices.to_numpy().astype(np.int64)
    row, code = np.unique(np.column_stack([row, code]), axis=0).T
    n_of_row = np.bincount(row, minlength=metadata.num_rows)
    within = np.arange(len(row)) - (np.cumsum(n_of_row) - n_of_row)[row]
    table = np.full((metadata.num_rows + 1, int(n_of_row.max())), -1, np.int64)
    table[row, within] = code
    position = pc.index_in(pa.array(item_ids, pa.string()), value_set=metadata["item_id"])
    # The last row is that of items of which the table says nothing.
    position = pc.fill_null(position, metadata.num_rows).to_numpy(zero_copy_only=False)
    return table[position], coded.dictionary.to_numpy(zero_copy_only=False)


def _unknown_column(column: str, entries: pa.Array) -> str:
    has_name = entries.filter(pc.greater(pc.find_substring(entries, "="), 0))
    names = sorted({text.split("=", 1)[0] for text in has_name.unique().to_pylist()})
    if not names:
        return (
            f"recommend.category: no item has a column {column!r}: the categories of the table "
            "items have no names: leave the key out, and all of them count"
        )
    more = ", ..." if len(names) > _NAMES_SHOWN else ""
    return (
        f"recommend.category: no item has a column {column!r}: use one of "
        f"{', '.join(names[:_NAMES_SHOWN])}{more}"
    )
