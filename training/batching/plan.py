"""Plans of batches: how histories are laid out for training, and what of it is wasted.

All orders are pure functions of the seed and the epoch's number.  N events of all histories.
"""

from __future__ import annotations

import numpy as np

from pipeline.array_types import Bools
from training.batching.lanes import LanesPlan, fill_lanes
from training.batching.segments import Segments, cut_segments, histories_around, sessions_around
from training.batching.windows import WindowsPlan
from training.data.reader import Histories

_FEWEST_EVENTS = 64  # in a batch; fewer give a gradient of mere chance
_WARM_UP = 100
_SEGMENTS = {"users": histories_around, "sessions": sessions_around}


def lanes_plan(
    histories: Histories,
    learned: Bools,
    *,
    unit: str,
    batch_events: int,
    bptt_steps: int,
    min_batches: int,
    seed: int,
    warm_up: int = _WARM_UP,
) -> LanesPlan:
    """User-parallel (ASARS 2.2) or session-parallel (ASARS 2.1) mini-batches.

    Whole histories or sessions are laid end to end on lanes, and a batch is the next steps of all
    lanes.  What follows a segment's last target is left out, as are segments without one.  A
    segment that is longer than a fair lane, a robot's say, is cut: a later piece begins with an
    empty state and up to ``warm_up`` of the steps before its first target, so a state may have
    forgotten what came earlier.

    Args:
        histories: what happened.
        learned: (N,) events to learn from.
        unit: ``users`` or ``sessions``: where the state is forgotten.
        batch_events: about how many steps are computed together, on all ranks.
        bptt_steps: steps of a lane in a batch, through which gradients flow back.
        min_batches: an epoch has at least about as many, by having fewer lanes, where these still
            give batches of 64 events.
        seed: of all orders.
        warm_up: steps before a later piece of a segment; at most a quarter of a fair lane.
    """
    targets = np.flatnonzero(learned)
    segments = _SEGMENTS[unit](histories, targets)
    return fill_lanes(
        segments,
        targets,
        learned,
        batch_events=_batch_events(segments, batch_events, min_batches),
        steps=bptt_steps,
        warm_up=warm_up,
        seed=seed,
    )


def windows_plan(
    histories: Histories,
    learned: Bools,
    *,
    unit: str,
    max_len: int,
    batch_events: int,
    min_batches: int,
    seed: int,
) -> WindowsPlan:
    """Separate windows of segments, each of at most ``max_len`` events; no state is carried.

    In a segment that is longer, a window's targets are preceded by at least half of ``max_len``
    events, or by all there are.  The other arguments are those of `lanes_plan`.
    """
    targets = np.flatnonzero(learned)
    own = max(1, max_len // 2)
    segments = _SEGMENTS[unit](histories, targets)
    windows = cut_segments(segments, max_len, own, max_len, targets)
    size = _batch_events(windows, batch_events, min_batches)
    return WindowsPlan(windows, learned, size, seed, len(targets))


def _batch_events(segments: Segments, batch_events: int, min_batches: int) -> int:
    fair = int(segments.length.sum()) // min_batches
    return min(batch_events, max(_FEWEST_EVENTS, fair))
