"""Is retraining worth it, and how much of it?  Cheap signs, none of which needs Spark or a fit.

Of the live model: events on items that it does not know, how far popularity has moved since its
time, and how its own figures have developed since it went live.  Of each entry that goes on from an
earlier fit: how old the latest whole fit behind that is, what the entry has lost since of its lead
over the baseline, how many events are on items that the whole fit did not know, and whether
sessions and data sets are made otherwise by now.  These choose whether the entry takes a step or is
made anew.  Shapes: ``V`` items.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from pipeline.array_types import Ints
from pipeline.hours import parse_duration_h
from pipeline.settings.learning import RetrainSettings
from pipeline.text.numbers import significant

_DRAWS = 20  # of how far two samples of one distribution are apart
_FEWEST = 2  # looks at each end that a development needs
_LEAD_TARGETS = 1000  # at each end that a lead needs: by chance alone it differs by a twentieth


@dataclass(frozen=True)
class RetrainSignals:
    """What is known of a model at an hour; None where it cannot be told."""

    age_h: int | None  # None: nothing is live, or only the baseline
    unseen_share: float | None
    shift: float | None
    metric_drop: float | None


@dataclass(frozen=True)
class LineSignals:
    """What is known of the fit that an entry would go on from; None where it cannot be told."""

    name: str  # of the entry
    parent: str  # id of that fit
    whole_fit_age_h: int | None  # of the latest fit from nothing behind it
    anew_h: int  # the entry's parameter; 0: it is never made anew by that
    lead_drop: float | None  # `lead_drop` since that fit
    new_share: float | None  # of recent events, those on items that that fit did not know
    rules_changed: bool  # sessions or data sets are made by other settings since


@dataclass(frozen=True)
class LineChoice:
    """Whether an entry is made anew: where a reason speaks for it, as stable codes."""

    name: str
    reasons: tuple[str, ...]
    signs: LineSignals

    @property
    def anew(self) -> bool:
        """Else it takes a step on from its earlier fit, as its parameters say."""
        return bool(self.reasons)


class Choice(StrEnum):
    """What an hour needs."""

    NOTHING = "nothing"
    STEP = "step"
    ANEW = "anew"


@dataclass(frozen=True)
class RetrainDecision:
    """Whether to retrain, and how: stable codes and one sentence."""

    retrain: bool
    reasons: tuple[str, ...]
    sentence: str
    signs: RetrainSignals
    lines: tuple[LineChoice, ...] = ()

    @property
    def anew(self) -> tuple[str, ...]:
        """Names of the entries that are to be made anew."""
        return tuple(self.reasons_by_entry)

    @property
    def reasons_by_entry(self) -> dict[str, tuple[str, ...]]:
        """Codes of why entries are to be made anew; the others are left out."""
        return {line.name: line.reasons for line in self.lines if line.anew}

    @property
    def choice(self) -> Choice:
        """Of the hour: anew where one of its entries is."""
        if not self.retrain:
            return Choice.NOTHING
        return Choice.ANEW if self.anew else Choice.STEP


@dataclass(frozen=True)
class Look:
    """What an entry and the best baseline reached on the same hours."""

    mean: float
    baseline: float
    n_targets: int


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


def lead_drop(looks: Sequence[Look]) -> float | None:
    """The part of its lead over the baseline that an entry has lost; negative where it gained.

    What the entry reached as times of what the best baseline did, in the first third of the looks
    and in the last: hours that are hard for both count against none.  Example: 0.3 against 0.2 at
    first and 0.24 against 0.2 at last is a drop of 1 - 1.2 / 1.5 = 0.2.  Of too few targets nothing
    is told.

    Args:
        looks: in order of time.
    """
    third = len(looks) // 3
    if third < _FEWEST:
        return None
    ends = (looks[:third], looks[-third:])
    if min(sum(look.n_targets for look in end) for end in ends) < _LEAD_TARGETS:
        return None
    own = [_mean([(look.mean, look.n_targets) for look in end]) for end in ends]
    floor = [_mean([(look.baseline, look.n_targets) for look in end]) for end in ends]
    if min(own[0], *floor) <= 0:
        return None
    return 1.0 - (own[1] / floor[1]) / (own[0] / floor[0])


def choice_of_line(signs: LineSignals, rule: RetrainSettings) -> LineChoice:
    """Whether any sign speaks for making an entry anew; what cannot be told does not."""
    age_h, drop, new = signs.whole_fit_age_h, signs.lead_drop, signs.new_share
    speaks = {
        "whole_fit_old": 0 < signs.anew_h <= (age_h or 0),
        "lead_fell": drop is not None and drop > rule.max_lead_drop,
        "vocabulary_changed": new is not None and new > rule.max_new_share,
        "rules_changed": signs.rules_changed,
    }
    return LineChoice(signs.name, tuple(code for code, is_so in speaks.items() if is_so), signs)


def _line_text(line: LineChoice, rule: RetrainSettings) -> str:
    signs = line.signs
    drop, new = signs.lead_drop or 0.0, signs.new_share or 0.0
    texts = {
        "whole_fit_old": f"its whole fit is {signs.whole_fit_age_h} h old (anew_h {signs.anew_h})",
        "lead_fell": f"its lead over the baseline fell by {drop:.1%} since its whole fit (more "
        f"than {rule.max_lead_drop:.0%})",
        "vocabulary_changed": f"{new:.1%} of the events are on items that its whole fit did not "
        f"know (more than {rule.max_new_share:.0%})",
        "rules_changed": "sessions or data sets are made by other settings since",
    }
    return f"{line.name} anew, since {' and '.join(texts[code] for code in line.reasons)}"


def should_retrain(
    signs: RetrainSignals, rule: RetrainSettings, lines: Sequence[LineSignals] = ()
) -> RetrainDecision:
    """Whether any sign speaks for a new model; what cannot be told of what is live does too.

    The development of the metric is the exception: a model that is new has none yet.

    Args:
        signs: of the live model.
        rule: the limits.
        lines: of the entries that would go on from an earlier fit.
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
    choices = tuple(choice_of_line(line, rule) for line in lines)
    for line in choices:
        reasons += [code for code in line.reasons if code not in reasons]
        texts += [_line_text(line, rule)] if line.anew else []
    if not reasons:
        quiet = f"not worth it: {_quiet(signs)}"
        return RetrainDecision(False, ("little_changed",), quiet, signs, choices)
    return RetrainDecision(True, tuple(reasons), f"worth it: {'; '.join(texts)}", signs, choices)


def _quiet(signals: RetrainSignals) -> str:
    return (
        f"the live model is {signals.age_h} h old, {signals.unseen_share or 0:.1%} of the events "
        f"are on items it does not know, popularity moved by {signals.shift or 0:.3f}"
    )
