"""How often each item was met in each hour, and by how many; and who meets too many."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from pipeline.array_types import Bools, Ints
from pipeline.hours import US_PER_HOUR
from pipeline.lake.tables import ITEM_HOURS, TIMESTAMP


def robots_by_number(event_us: Ints, user: Ints, counts: Bools, most: int | None) -> Bools:
    """Whether each event (N,) is of a user who has more than ``most`` in its hour.

    Args:
        event_us: when they were; of each hour that occurs all of the user's events are there.
        user: codes of the users.
        counts: whether an event is one that counts; others are no robot's.
        most: how many are a person's; None: any number.
    """
    nothing = np.zeros(len(user), np.bool_)
    # Few logs have anybody so busy, and this is quick to see.
    if most is None or not len(user) or np.bincount(user).max() <= most:
        return nothing
    hour = event_us // US_PER_HOUR
    n_users = int(user.max()) + 1
    combined = (hour - hour.min()) * n_users + user
    _, pair, events = np.unique(combined[counts], return_inverse=True, return_counts=True)
    nothing[counts] = (events > most)[pair]
    return nothing


def item_hours(hour: Ints, events: pa.Table) -> pa.Table:
    """Rows of ``item_hours``, by hour and item.

    Args:
        hour: of each event (N,), as ``Hour.index``.
        events: user_id and item_id of those that count.
    """
    user = events["user_id"].combine_chunks().dictionary_encode()
    item = events["item_id"].combine_chunks().dictionary_encode()
    names = np.array(item.dictionary.to_pylist(), object)
    by_name = np.argsort(names, kind="stable")
    rank = np.empty(len(names), np.int64)
    rank[by_name] = np.arange(len(names))
    first = int(hour.min()) if len(hour) else 0
    users = len(user.dictionary)
    # One number for hour, item and user, so that one sort brings all that is counted together.
    pair_of_event = (hour - first) * len(names) + rank[item.indices.to_numpy()]
    combined = np.sort(pair_of_event * users + user.indices.to_numpy())
    pair = combined // max(users, 1)
    starts = np.flatnonzero(np.diff(pair, prepend=-1))
    new_user = np.diff(combined, prepend=-1) != 0
    hours = (pair[starts] // max(len(names), 1) + first) * US_PER_HOUR
    items = pa.array(names, pa.string()).take(pa.array(by_name[pair[starts] % max(len(names), 1)]))
    return pa.table(
        {
            "hour": pa.array(hours, pa.int64()).cast(TIMESTAMP),
            "item_id": items,
            "events": np.diff(starts, append=len(pair)),
            "users": np.add.reduceat(new_user.astype(np.int64), starts) if len(starts) else starts,
        },
        schema=ITEM_HOURS.schema,
    )
