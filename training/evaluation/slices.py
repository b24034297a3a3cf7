"""Parts of the targets that are looked at apart, so that a gain for most hides no loss for some.

Shapes: ``n`` targets, ``V`` items.
"""

from __future__ import annotations

import numpy as np

from pipeline.array_types import Bools, Ints
from pipeline.hours import US_PER_HOUR
from training.data.reader import DataSet
from training.metrics.metrics import (
    item_support_slices,
    session_length_slices,
    session_place_slices,
)
from training.metrics.ranks import Ranks
from training.metrics.vocabulary_alignment import sessions

NEW_ITEM_H = 24
MOST_VALUES = 20  # of a context field, the most frequent
# Every session has a first event, so this tells of sessions, not of users or items.
_REPORTED_ONLY = "session_place/"


def first_seen_us(learned: DataSet) -> Ints | None:
    """When each item first occurs in the data set that a frozen part follows, (V,).

    Items that do not occur there (cold ones) were never seen, which is the largest time there is.
    None where the data set does not reach back far enough to tell what is new.
    """
    histories, manifest = learned.histories, learned.manifest
    first_us = np.full(learned.item_ids.size, np.iinfo(np.int64).max, dtype=np.int64)
    np.minimum.at(first_us, histories.item - 1, histories.time_us)
    reach_us = manifest.as_of.index * US_PER_HOUR - NEW_ITEM_H * US_PER_HOUR
    return first_us if histories.time_us.size and histories.time_us.min() < reach_us else None


def slice_masks(test_set: DataSet, ranks: Ranks, seen_us: Ints | None = None) -> dict[str, Bools]:
    """Masks over the targets by session, user, item and each context field.

    A new user has no event before the frozen part; a new item was first seen within the
    ``NEW_ITEM_H`` hours before it.

    Args:
        test_set: the test set.
        ranks: of any model, for its targets.
        seen_us: (V,) from :func:`first_seen_us`; without it, no item is told to be new.

    Returns:
        ``session_length/2-5``, ``session_place/first``, ``item/head``, ``user/new``,
        ``device=mobile`` ... -> (n,) mask.
    """
    histories = test_set.histories
    session = sessions(histories)
    length = np.bincount(session)[ranks.session]  # (n,) events in the target's session
    items = item_support_slices(ranks.item, test_set.item_events)
    if seen_us is not None:
        begins_us = (test_set.manifest.window_start.index - NEW_ITEM_H) * US_PER_HOUR
        items["new"] = seen_us[ranks.item - 1] >= begins_us
    new_user = histories.n_context[ranks.user] == 0
    breakdowns = {
        "session_length": session_length_slices(length),
        "session_place": session_place_slices(histories.session_start[ranks.position]),
        "item": items,
        "user": {"new": new_user, "known": ~new_user},
    }
    masks = {
        f"{breakdown}/{name}": mask
        for breakdown, slices in breakdowns.items()
        for name, mask in slices.items()
    }
    return masks | _context_masks(test_set, ranks)


def judged_slices(masks: dict[str, Bools]) -> dict[str, Bools]:
    """Those in which a candidate must do no harm."""
    return {name: mask for name, mask in masks.items() if not name.startswith(_REPORTED_ONLY)}


def _context_masks(test_set: DataSet, ranks: Ranks) -> dict[str, Bools]:
    masks: dict[str, Bools] = {}
    for number, field in enumerate(test_set.histories.context_fields):
        code = test_set.histories.context[ranks.position, number]  # (n,)
        events = np.bincount(code, minlength=len(field.values) + 1)
        frequent = np.argsort(-events, kind="stable")[:MOST_VALUES]
        for value in frequent[events[frequent] > 0]:
            name = field.values[value - 1] if value else "(unknown)"
            masks[f"{field.name}={name}"] = code == value
    return masks
