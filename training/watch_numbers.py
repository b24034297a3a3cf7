"""Whether the live model is surely worse than the floor.

Two questions, which share the risk ``1 - confidence`` of taking back, at any hour of one period of
the gate, a model that is as good as the floor:

- the latest ``hours`` looks together: a one-sided limit of the mean difference, with its half of
  the risk divided by the looks of a period (Bonferroni), so that a crash is seen at once;
- all looks of the period at the model since it went live: the sequential test of the gate with the
  roles exchanged, so that a small loss is seen in the end.
"""

from __future__ import annotations

from collections.abc import Sequence

from pipeline.settings import Settings
from training.metrics import target_values
from training.ranks import Ranks, check_same_targets
from training.sequential import Sums, contrast, scale_of, sequential, total
from training.watch_record import WatchNumbers


def against_floor(
    settings: Settings, live: Ranks, floor: Ranks, earlier: Sequence[Sums], period_looks: int
) -> WatchNumbers:
    """Compare the live model with the floor, paired by target.

    Args:
        settings: ``watch``, ``gate`` and ``evaluation``.
        live: ranks of the live model on the hours that are judged.
        floor: those of the floor on the same events.
        earlier: sums of the period's looks before at the same model, in order.
        period_looks: how many looks share the risk.

    Raises:
        HourglassError: the two have different targets.
    """
    check_same_targets({"live": live, "floor": floor})
    metric, k = settings.gate.metric, settings.evaluation.k
    ours, theirs = (target_values(metric, one.rank, k) for one in (live, floor))
    return judged(
        settings,
        [*earlier, Sums.of(theirs, ours, live.user)],
        period_looks,
        float(ours.mean()) if ours.size else 0.0,
        float(theirs.mean()) if ours.size else 0.0,
    )


def judged(
    settings: Settings, looks: Sequence[Sums], period_looks: int, live: float, floor: float
) -> WatchNumbers:
    """What the looks at a model, each the sums of floor minus live, say together.

    Args:
        settings: ``watch`` and ``gate``.
        looks: of the period so far; the hour that is judged is the last.
        period_looks: how many looks share the risk.
        live: mean of the live model in this hour.
        floor: that of the floor.
    """
    watch, gate = settings.watch, settings.gate
    half = (1.0 - watch.confidence) / 2.0
    confidence = 1.0 - half / period_looks
    latest = looks[-watch.hours :]
    whole = total(latest)
    loss = contrast(whole, confidence)
    worse = sequential(
        looks, alpha=half, swing=gate.hour_swing, scale=scale_of(looks[0], gate.min_targets)
    )
    return WatchNumbers(
        sums=looks[-1],
        looks=len(latest),
        users=whole.users,
        targets=round(whole.n),
        live=live,
        floor=floor,
        difference=-loss.mean,
        lower=-loss.upper,
        upper=-loss.lower,
        confidence=confidence,
        statistic=worse.statistic,
        bound=worse.bound,
    )


def is_below(numbers: WatchNumbers, min_users: int) -> bool:
    """Whether the model is surely worse; what is not known (NaN) is not sure."""
    sure_now = numbers.upper < 0.0
    # A model that has recovered stays, however poor it was.
    sure_so_far = numbers.statistic >= numbers.bound and numbers.difference < 0.0
    return numbers.users >= min_users and (sure_now or sure_so_far)
