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


def item_hours(hour: Ints, events: pa.Table, is_robot: Bools) -> pa.Table:
    """Rows of ``item_hours``, by hour and item.

    Args:
        hour: of each event (N,), as ``Hour.index``.
        events: user_id and item_id.
        is_robot: whether it is a robot's, and counts apart.
    """
    user, n_users = _codes_of(events["user_id"])
    item, items = _ordered_codes(events["item_id"])
    first = int(hour.min()) if len(hour) else 0
    pair_of_event = (hour - first) * len(items) + item
    # One number for hour, item and user, so that one sort brings all that is counted together.
    combined = np.sort((pair_of_event * n_users + user)[~is_robot])
    of_people = combined // max(n_users, 1)
    pairs = np.unique(np.concatenate([of_people, pair_of_event[is_robot]]))
    new_user = np.diff(combined, prepend=-1) != 0
    bounds = np.searchsorted(of_people, np.append(pairs, np.iinfo(np.int64).max))
    users_before = np.append(0, np.cumsum(new_user))
    robot_pairs, robot_counts = np.unique(pair_of_event[is_robot], return_counts=True)
    robot_events = np.zeros(len(pairs), np.int64)
    robot_events[np.searchsorted(pairs, robot_pairs)] = robot_counts
    width = max(len(items), 1)
    return pa.table(
        {
            "hour": pa.array((pairs // width + first) * US_PER_HOUR, pa.int64()).cast(TIMESTAMP),
            "item_id": items.take(pa.array(pairs % width)),
            "events": np.diff(bounds),
            "users": np.diff(users_before[bounds]),
            "robot_events": pa.array(robot_events, mask=robot_events == 0),
        },
        schema=ITEM_HOURS.schema,
    )


def _codes_of(values: pa.ChunkedArray) -> tuple[Ints, int]:
    encoded = values.combine_chunks().dictionary_encode()
    return encoded.indices.to_numpy().astype(np.int64), len(encoded.dictionary)


def _ordered_codes(values: pa.ChunkedArray) -> tuple[Ints, pa.Array]:
    """Code of each value, and the values, in the order of their characters' numbers."""
    encoded = values.combine_chunks().dictionary_encode()
    names = np.array(encoded.dictionary.to_pylist(), object)
    by_name = np.argsort(names, kind="stable")
    rank = np.empty(len(names), np.int64)
    rank[by_name] = np.arange(len(names))
    return rank[encoded.indices.to_numpy()], pa.array(names[by_name], pa.string())
