"""Parts of the targets that are looked at apart, so that a gain for most hides no loss for some.

Shapes: ``n`` targets, ``V`` items.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pipeline.array_types import Bools, Ints
from pipeline.hours import US_PER_HOUR
from training.data.reader import DataSet
from training.metrics.metrics import (
    OLD_ITEM_H,
    hour_of_day_slices,
    item_age_slices,
    item_support_slices,
    session_length_slices,
    session_place_slices,
    session_position_slices,
)
from training.metrics.ranks import Ranks
from training.metrics.vocabulary_alignment import sessions

NEW_ITEM_H = 24
MOST_VALUES = 20  # of a context field, the most frequent
# Every session has a first event and every day a morning: these tell of times, not of users or
# items that could be harmed for the good of others.  What is young is judged as ``item/new``.
_REPORTED_ONLY = ("session_place/", "session_position/", "item_age/", "hour_of_day/")
_NEVER = np.iinfo(np.int64).max


@dataclass(frozen=True)
class FirstSeen:
    """When each item first occurs in the data set that a frozen part follows."""

    first_us: Ints  # (V,); of items that do not occur there (cold ones) the largest time there is
    reaches_to_us: int  # what happened earlier is not known

    @classmethod
    def of(cls, learned: DataSet) -> FirstSeen:
        """Of what models learned from."""
        histories = learned.histories
        first_us = np.full(learned.item_ids.size, _NEVER, dtype=np.int64)
        np.minimum.at(first_us, histories.item - 1, histories.time_us)
        return cls(first_us, int(histories.time_us.min(initial=_NEVER)))

    def reaches(self, test_set: DataSet, hours: int) -> bool:
        """Whether it goes further back than so many hours before a test set."""
        return self.reaches_to_us < (test_set.manifest.window_start.index - hours) * US_PER_HOUR

    def new_items(self, test_set: DataSet) -> Bools | None:
        """Items first seen within the ``NEW_ITEM_H`` hours before a test set, or never, (V,).

        None where the data set reaches no further back.
        """
        if not self.reaches(test_set, NEW_ITEM_H):
            return None
        begins_us = (test_set.manifest.window_start.index - NEW_ITEM_H) * US_PER_HOUR
        return self.first_us >= begins_us

    def with_events_of(self, test_set: DataSet) -> Ints:
        """The first event of each item here or in a test set, (V,).

        If it comes before a request it was known then; if it does not, none was.
        """
        first_us = self.first_us.copy()
        np.minimum.at(first_us, test_set.histories.item - 1, test_set.histories.time_us)
        return first_us


def slice_masks(
    test_set: DataSet, ranks: Ranks, first_seen: FirstSeen | None = None
) -> dict[str, Bools]:
    """Masks over the targets by session, user, item, hour of the day and each context field.

    A new user has no event before the frozen part; a new item was first seen within the
    ``NEW_ITEM_H`` hours before it.  An item's age counts from the first event on it that was known
    at the request; it is told only where the data set is longer than what counts as old.

    Args:
        test_set: the test set.
        ranks: of any model, for its targets.
        first_seen: of the data set it follows; without it, no item is told to be new or old.

    Returns:
        ``session_length/2-5``, ``session_place/first``, ``session_position/4-5``, ``item/head``,
        ``item_age/1-6h``, ``user/new``, ``hour_of_day/06-12 UTC``, ``device=mobile`` ... ->
        (n,) mask.
    """
    histories = test_set.histories
    session = sessions(histories)
    length = np.bincount(session)  # of each session, and where it begins:
    begins = np.cumsum(length) - length
    items = item_support_slices(ranks.item, test_set.item_events)
    ages: dict[str, Bools] = {}
    is_new = None if first_seen is None else first_seen.new_items(test_set)
    if is_new is not None:
        items["new"] = is_new[ranks.item - 1]
    if first_seen is not None and first_seen.reaches(test_set, OLD_ITEM_H):
        first_us = first_seen.with_events_of(test_set)
        ages = item_age_slices(first_us[ranks.item - 1], ranks.time_us)
    new_user = histories.n_context[ranks.user] == 0
    breakdowns = {
        "session_length": session_length_slices(length[ranks.session]),
        "session_place": session_place_slices(histories.session_start[ranks.position]),
        "session_position": session_position_slices(ranks.position - begins[ranks.session] + 1),
        "item": items,
        "item_age": ages,
        "user": {"new": new_user, "known": ~new_user},
        "hour_of_day": hour_of_day_slices(ranks.time_us),
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
