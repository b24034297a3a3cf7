"""Is retraining worth it?  Cheap signs that little changed since the live model was made.

Three signs, none of which needs Spark or a fit: events on items that the model does not know, how
far popularity has moved since the model's time, and how the model's own figures have developed
since it went live.  Shapes: ``V`` items.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from pipeline.array_types import Ints
from pipeline.hours import parse_duration_h
from pipeline.settings.learning import RetrainSettings
from pipeline.text.numbers import significant

_DRAWS = 20  # of how far two samples of one distribution are apart
_FEWEST = 2  # looks at each end that a development needs


@dataclass(frozen=True)
class RetrainSignals:
    """What is known of a model at an hour; None where it cannot be told."""

    age_h: int | None  # None: nothing is live, or only the baseline
    unseen_share: float | None
    shift: float | None
    metric_drop: float | None


@dataclass(frozen=True)
class RetrainDecision:
    """Whether to retrain: stable codes and one sentence."""

    retrain: bool
    reasons: tuple[str, ...]
    sentence: str
    signs: RetrainSignals


def unseen_share(recent: Mapping[str, int], vocabulary: set[str]) -> float:
    """The part of recent events that are on items outside a vocabulary; 0 without events.

    Args:
        recent: events by item.
        vocabulary: items of the model.
    """
    events = sum(recent.values())
    unknown = sum(count for item, count in recent.items() if item not in vocabulary)
    return unknown / events if events else 0.0


def popularity_shift(then: Mapping[str, int], now: Mapping[str, int], seed: int) -> float | None:
    """How far two distributions over items are apart beyond chance, 0 to 1.

    Total variation, half the sum over items of |p - q|, less what two samples of these sizes from
    their common distribution are apart on average: small samples differ by chance alone.  Of a
    large shift a little too much is taken off.

    Args:
        then: events by item when the model was made.
        now: events by item since.
        seed: of the samples.
    """
    items = sorted(then.keys() | now.keys())
    before = np.array([then.get(item, 0) for item in items], dtype=np.int64)  # (V,)
    after = np.array([now.get(item, 0) for item in items], dtype=np.int64)  # (V,)
    if not before.sum() or not after.sum():
        return None
    rng = np.random.default_rng(seed)
    common = (before + after) / (before + after).sum()
    by_chance = np.mean(
        [
            _total_variation(
                rng.multinomial(int(before.sum()), common),
                rng.multinomial(int(after.sum()), common),
            )
            for _ in range(_DRAWS)
        ]
    )
    return max(0.0, _total_variation(before, after) - float(by_chance))


def _total_variation(first: Ints, other: Ints) -> float:
    return float(np.abs(first / first.sum() - other / other.sum()).sum() / 2)


def metric_drop(looks: Sequence[tuple[float, int]]) -> float | None:
    """The part of its first figures that a model has lost; negative where it gained.

    The first and the last third of the looks are compared, each hour weighted by its targets.

    Args:
        looks: (mean metric, targets) of each judged hour since the model went live, in order.
    """
    third = len(looks) // 3
    if third < _FEWEST:
        return None
    first, last = _mean(looks[:third]), _mean(looks[-third:])
    return 1.0 - last / first if first > 0 else None


def _mean(looks: Sequence[tuple[float, int]]) -> float:
    targets = sum(n for _, n in looks)
    return sum(mean * n for mean, n in looks) / targets if targets else 0.0


def should_retrain(signs: RetrainSignals, rule: RetrainSettings) -> RetrainDecision:
    """Whether any sign speaks for a new model; what cannot be told speaks for it too.

    The development of the metric is the exception: a model that is new has none yet.
    """
    max_age_h = parse_duration_h(rule.max_age)
    reasons: list[str] = []
    texts: list[str] = []
    if signs.age_h is None:
        reasons.append("no_model")
        texts.append("no trained model is live")
    elif signs.age_h >= max_age_h:
        reasons.append("old")
        texts.append(f"the live model is {signs.age_h} h old (retrain.max_age {max_age_h} h)")
    limits = (
        ("unseen_items", signs.unseen_share, rule.max_unseen_share, "events on unknown items"),
        ("popularity_moved", signs.shift, rule.max_shift, "shift of popularity"),
    )
    for reason, value, limit, what in limits:
        if signs.age_h is None:
            continue
        if value is None:
            reasons.append(f"{reason}_unknown")
            texts.append(f"the {what} cannot be told")
        elif value > limit:
            reasons.append(reason)
            texts.append(f"{what} {value:.3f} (more than {significant(limit)})")
    if signs.metric_drop is not None and signs.metric_drop > rule.max_metric_drop:
        reasons.append("metric_fell")
        texts.append(
            f"its figures fell by {signs.metric_drop:.1%} (more than {rule.max_metric_drop:.0%})"
        )
    if reasons:
        return RetrainDecision(True, tuple(reasons), f"worth it: {'; '.join(texts)}", signs)
    return RetrainDecision(False, ("little_changed",), f"not worth it: {_quiet(signs)}", signs)


def _quiet(signals: RetrainSignals) -> str:
    return (
        f"the live model is {signals.age_h} h old, {signals.unseen_share or 0:.1%} of the events "
        f"are on items it does not know, popularity moved by {signals.shift or 0:.3f}"
    )
