"""Ranking metrics of next-item prediction, from the rank each target received.

Shapes: ``n`` targets, ``V`` items.  Ranks are 1-based: rank 1 means no other item scored as high.
"""

from __future__ import annotations

from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from pipeline.array_types import Bools, Floats, Ints, Ints32
from pipeline.errors import UsageError
from pipeline.hours import DAY_H, US_PER_HOUR

Metric = Literal["recall", "mrr", "ndcg"]
METRICS: tuple[Metric, ...] = get_args(Metric)

HEAD_SHARE = 0.2
# Names of slices, and the whole numbers that are in each.
_Ranges = tuple[tuple[str, int, int | None], ...]
_SESSION_LENGTHS: _Ranges = (("1", 1, 1), ("2-5", 2, 5), ("6-25", 6, 25), ("26+", 26, None))
_SESSION_POSITIONS: _Ranges = (
    ("1", 1, 1),
    ("2", 2, 2),
    ("3", 3, 3),
    ("4-5", 4, 5),
    ("6+", 6, None),
)
OLD_ITEM_H = 72
_ITEM_AGES_H: _Ranges = (
    ("under 1h", 0, 0),
    ("1-6h", 1, 5),
    ("6-24h", 6, 23),
    ("1-3d", 24, OLD_ITEM_H - 1),
    ("3d+", OLD_ITEM_H, None),
)
_HOURS_OF_DAY: _Ranges = (
    ("00-06 UTC", 0, 5),
    ("06-12 UTC", 6, 11),
    ("12-18 UTC", 12, 17),
    ("18-24 UTC", 18, 23),
)


def target_values(metric: Metric, rank: Ints32, k: int) -> Floats:
    """What each target adds to a metric; the metric is the mean of these values.

    With one target per request: recall@k is 1 for a rank within k, mrr@k is 1 / rank, ndcg@k is
    1 / log2(1 + rank) (the ideal gain is 1); all three are 0 beyond k.

    Args:
        metric: recall, mrr or ndcg.
        rank: (n,) 1-based.
        k: length of the list that is shown.

    Returns:
        (n,) values in [0, 1].

    Raises:
        UsageError: the metric is unknown, k is below 1, or a rank is below 1.
    """
    if k < 1:
        raise UsageError(f"k = {k}: a list must hold at least 1 item")
    if rank.size and int(rank.min()) < 1:
        raise UsageError(f"rank {int(rank.min())} is not a rank: ranks start at 1")
    within = rank <= k
    if metric == "recall":
        return within.astype(np.float64)
    if metric == "mrr":
        return np.where(within, 1.0 / rank, 0.0)
    if metric == "ndcg":
        return np.where(within, 1.0 / np.log2(1.0 + rank), 0.0)
    raise UsageError(f"metric {metric!r} is unknown: use one of {', '.join(METRICS)}")


def mean_metric(metric: Metric, rank: Ints32, k: int) -> float:
    """The metric over all targets; NaN where there are none."""
    values = target_values(metric, rank, k)
    return float(values.mean()) if values.size else float("nan")


def session_length_slices(length: Ints) -> dict[str, Bools]:
    """Targets by the number of events of their session: ``1``, ``2-5``, ``6-25``, ``26+``.

    Args:
        length: (n,) events in the session of each target.

    Returns:
        One (n,) mask per slice; each target is in exactly one.
    """
    return _by_range(length, _SESSION_LENGTHS)


def session_position_slices(position: Ints) -> dict[str, Bools]:
    """Targets by which event of their session they are, 1-based: ``1``, ``2``, ``3``, ``4-5``,
    ``6+``; each target (n,) is in exactly one.
    """
    return _by_range(position, _SESSION_POSITIONS)


def item_age_slices(first_us: Ints, time_us: Ints) -> dict[str, Bools]:
    """Targets by how long before the request their item was first met, in whole hours.

    Args:
        first_us: (n,) the first event on the item, whenever that was.
        time_us: (n,) of the request.

    Returns:
        One (n,) mask per slice; each target is in exactly one.  Where nothing was known of the
        item before the request it is ``unseen``.
    """
    is_known = first_us < time_us
    # What comes first at the request or after it may be as late as the largest number there is.
    hours = (time_us - np.minimum(first_us, time_us)) // US_PER_HOUR
    masks = {name: mask & is_known for name, mask in _by_range(hours, _ITEM_AGES_H).items()}
    return {"unseen": ~is_known, **masks}


def hour_of_day_slices(time_us: Ints) -> dict[str, Bools]:
    """Targets (n,) by the quarter of the day they fall into: 24 hours would be too many rows."""
    return _by_range(time_us // US_PER_HOUR % DAY_H, _HOURS_OF_DAY)


def _by_range(numbers: Ints, ranges: _Ranges) -> dict[str, Bools]:
    """Which of the numbers (n,) lie in each range, ends and all."""
    return {
        name: (numbers >= low) & ((numbers <= high) if high is not None else True)
        for name, low, high in ranges
    }


def session_place_slices(starts: Bools) -> dict[str, Bools]:
    """Targets by their place: the ``first`` event of a session, or ``within`` one."""
    return {"first": starts.copy(), "within": ~starts}


def item_support_slices(item: Ints32, item_events: Ints) -> dict[str, Bools]:
    """Targets by their item's support in the training window: ``head`` and ``tail``.

    The head is the `HEAD_SHARE` of the vocabulary with the most events, at least one item; of
    items with equal support the lower index is the more popular, so the head has a fixed size.

    Args:
        item: (n,) 1-based targets.
        item_events: (V,) events of each item in the window.

    Returns:
        One (n,) mask per slice; each target is in exactly one.
    """
    n_head = max(1, round(HEAD_SHARE * item_events.size))
    order = np.argsort(-item_events, kind="stable")
    in_head: NDArray[Any] = np.zeros(item_events.size, dtype=bool)  # (V,)
    in_head[order[:n_head]] = True
    head = in_head[item - 1]  # (n,)
    return {"head": head, "tail": ~head}
