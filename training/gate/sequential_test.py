"""How sure one may be that one model is better than another, looked at as often as one likes.

A look compares two models on the events of some hours.  Its unit is a user: ``d`` is the sum over
the user's targets of candidate minus other, ``c`` that of the other alone, ``n`` the number of
targets.  All that later questions need are sums of these and of their products, which add up over
looks, so a decision file can hold them.

The sequential test is Robbins' normal mixture (Robbins 1970; Howard et al. 2021, "Time-uniform,
nonparametric, nonasymptotic confidence sequences", prop. 5): with S the sum of all ``d`` and V
their uncertainty, ``exp(lambda S - lambda**2 V / 2)`` is a supermartingale for every lambda, and so
is its mean over a half-normal lambda.  With V a sum of squares this is exact wherever a difference
is as likely as its negative (de la Pena 1999), as between two equal models; no sample is too small.
Ville's inequality bounds the chance that the mean ever reaches 1 / alpha, at whatever look, by
alpha.

That much needs luck that is independent from look to look.  Luck that lasts for hours, and what
comes back every day, is met by a further term of V, which is an estimate: see below.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, fields, replace
from statistics import NormalDist
from typing import Any

import numpy as np

from pipeline.array_types import Floats, Ints32
from pipeline.errors import HourglassError

_FIRST_LOOKS = 2.0
_LASTING_LOOKS = 3.0  # that luck is presumed to last for at least
_USUAL_SQUARE = 0.05  # of a target's difference in MRR@20, of two decent models on real logs
_USUAL_TARGETS = 100.0  # that a first look must hold to weigh as much as what is usual
_HALVINGS = 50
_PRESUMED = 3.0  # as many days what is presumed weighs


@dataclass(frozen=True)
class Sums:
    """Sums over users of d, c and n, and of their products; see the module."""

    users: int = 0
    n: float = 0.0
    d: float = 0.0
    c: float = 0.0
    dd: float = 0.0
    dc: float = 0.0
    dn: float = 0.0
    cc: float = 0.0
    cn: float = 0.0
    nn: float = 0.0

    @classmethod
    def of(cls, candidate: Floats, other: Floats, user: Ints32) -> Sums:
        """Add up what two models scored at the same targets, (n,) each, by the target's user."""
        if not user.size:
            return cls()
        _, row = np.unique(user, return_inverse=True)
        columns = (candidate - other, other, np.ones(user.size))
        d, c, n = (np.bincount(row, column).astype(np.float64) for column in columns)  # (U,)
        return cls.of_users(d, c, n)

    @classmethod
    def of_users(cls, d: Floats, c: Floats, n: Floats) -> Sums:
        """Add up users, of whom d, c and n are known, (U,) each."""
        return cls(
            users=n.size,
            n=float(n.sum()),
            d=float(d.sum()),
            c=float(c.sum()),
            dd=float(d @ d),
            dc=float(d @ c),
            dn=float(d @ n),
            cc=float(c @ c),
            cn=float(c @ n),
            nn=float(n @ n),
        )

    @classmethod
    def read(cls, content: dict[str, Any]) -> Sums:
        """What :func:`dataclasses.asdict` made.

        Raises:
            HourglassError: a number is missing or not finite.
        """
        names = [field.name for field in fields(cls)]
        values = [content.get(name) for name in names]
        for name, value in zip(names, values, strict=True):
            if not isinstance(value, int | float) or not math.isfinite(value):
                raise HourglassError(f"the sum {name} of a look is {value!r}: judge its hour again")
        return cls(*values)  # type: ignore[arg-type]

    def shifted(self, *, c: float = 0.0, n: float = 0.0) -> Sums:
        """The sums where each user's d is ``d + c * other + n * targets``."""
        return replace(
            self,
            d=self.d + c * self.c + n * self.n,
            dd=self.dd
            + c * c * self.cc
            + n * n * self.nn
            + 2.0 * (c * self.dc + n * self.dn + c * n * self.cn),
            dc=self.dc + c * self.cc + n * self.cn,
            dn=self.dn + c * self.cn + n * self.nn,
        )

    def __add__(self, other: Sums) -> Sums:
        both = (getattr(self, f.name) + getattr(other, f.name) for f in fields(self))
        return Sums(*both)


@dataclass(frozen=True)
class Range:
    """A mean over targets with the limits around it; NaN where nothing can be said."""

    mean: float
    lower: float
    upper: float


@dataclass(frozen=True)
class Sequential:
    """What all looks together say; better where ``statistic`` has reached ``bound``."""

    looks: int
    users: int  # where people are not known, a user counts once a look
    targets: int
    gain_sum: float  # S
    uncertainty: float  # V
    scale: float  # rho of the mixture
    alpha: float
    statistic: float  # log of the mixture: how much likelier what was seen is, were there a gain
    bound: float  # log(1 / alpha)
    mean: float  # difference per target
    lower: float  # of the difference, with confidence 1 - alpha at all looks together

    @property
    def proven(self) -> bool:
        """Whether the candidate is better."""
        return self.statistic >= self.bound


def total(looks: Iterable[Sums]) -> Sums:
    """The looks as one."""
    whole = Sums()
    for look in looks:
        whole = whole + look
    return whole


def contrast(sums: Sums, confidence: float, *, c: float = 0.0, n: float = 0.0) -> Range:
    """Mean per target of ``d + c * other + n``, with limits of one side each.

    Users are drawn, so the mean is a ratio of sums; its variance is the linearised one, which
    resampling of users comes to in a large sample (Cochran, "Sampling Techniques", 6.3).

    Args:
        sums: of one or many looks.
        confidence: of either limit alone.
        c: weight of the other model's own figure.
        n: what is added for each target.
    """
    if not sums.n:
        return Range(math.nan, math.nan, math.nan)
    mean = (sums.d + c * sums.c + n * sums.n) / sums.n
    if sums.users < 2:  # noqa: PLR2004 - one user has no spread
        return Range(mean, math.nan, math.nan)
    square = sums.shifted(c=c, n=n - mean).dd
    variance = max(square, 0.0) * sums.users / (sums.users - 1) / sums.n**2
    reach = NormalDist().inv_cdf(confidence) * math.sqrt(variance)
    return Range(mean, mean - reach, mean + reach)


def uncertainty(
    looks: Sequence[Sums],
    common_shock: float,
    mean: float = 0.0,
    user_sums: Sums | None = None,
    by_day: float = 0.0,
) -> float:
    """V for the hypothesis that the mean difference per target is ``mean``.

    It is the sum of the squares of all users' differences, look by look; or that of the squares of
    the looks' sums where it is more, since what happens in an hour, and the luck of an hour's fit,
    moves all its users together; or that of the squares of the sums of users who came in many
    looks; or the variance of whole days.  The largest keeps the promise of the test whichever
    holds.  A common move counts as noise only up to ``common_shock`` times the other model's own
    figure: a larger one is no luck, and without that limit no model could be proven better within a
    look.

    Args:
        looks: one each.
        common_shock: a share, 0 takes users for independent.
        mean: of the hypothesis.
        user_sums: all looks added up user by user, where that is known.
        by_day: variance of the sum of days, where luck may last for hours: see below.
    """
    both = [squares(look, common_shock, mean) for look in looks]
    by_user = squares(user_sums, 0.0, mean)[0] if user_sums else 0.0
    return max(sum(apart for apart, _ in both), sum(move for _, move in both), by_user, by_day)


def squares(look: Sums, common_shock: float, mean: float = 0.0) -> tuple[float, float]:
    """What one look adds to either sum of :func:`uncertainty`: its users apart, and together."""
    apart = look.dd - 2.0 * mean * look.dn + mean * mean * look.nn
    together = (look.d - mean * look.n) ** 2
    return max(apart, 0.0), min(together, (common_shock * look.c) ** 2)


def log_evidence(gain_sum: float, variance: float, scale: float) -> float:
    """Log of the mixture: ``2 sqrt(r/(V+r)) exp(S^2 / (2(V+r))) Phi(S / sqrt(V+r))``.

    Args:
        gain_sum: S.
        variance: V.
        scale: r > 0; the test is sharpest where V is a few times that.
    """
    spread = variance + scale
    z = gain_sum / math.sqrt(spread)
    below = 0.5 * math.erfc(-z / math.sqrt(2.0))
    # exp(z^2 / 2) Phi(z) tends to 0 only as 1 / |z|, long after Phi alone is 0 in a float.
    tail = math.log(below) + z * z / 2 if below > 0 else -math.log(-z * math.sqrt(2 * math.pi))
    return math.log(2.0) + 0.5 * math.log(scale / spread) + tail


def first_informative_look(looks: Sequence[Sums]) -> Sums:
    """The first look at which the models differed at all: the one that may set the scale."""
    return next((look for look in looks if look.dd > 0), looks[0])


def scale_of(first: Sums, min_targets: int, day_variance: float = 0.0) -> float:
    """The mixture's scale: some looks like the first, or the least sample to decide on.

    Where luck lasts it is at least the square of what that would move in three looks.

    The test is sharpest where V is a few times the scale; ten times off costs about 1.1 of the 3.0
    that the statistic needs at 95 %.  The first look may set it, because squares tell nothing of
    who was better: given all of them, the signs of two equal models are still a fair coin's.

    Args:
        first: :func:`first_informative_look`, of all looks that count together.
        min_targets: of the least sample.
        day_variance: presumed luck of a day, a share of the figure: see below.
    """
    # A first look in the dead of night may hold one target with next to no difference.
    usual = _USUAL_SQUARE * _USUAL_TARGETS
    per_target = (first.dd + usual) / (first.n + _USUAL_TARGETS)
    by_user = _FIRST_LOOKS * per_target * max(first.n, min_targets, 1.0)
    # Of the mean of both models, which does not tell them apart either.
    lasting = day_variance * _LASTING_LOOKS * (first.c + first.d / 2.0)
    return max(by_user, lasting * lasting)


def sequential(
    looks: Sequence[Sums],
    *,
    alpha: float,
    common_shock: float,
    scale: float,
    user_sums: Sums | None = None,
    by_day: float = 0.0,
) -> Sequential:
    """What the looks say together, at all times.

    Args:
        looks: of one pair of lines, the latest last.
        alpha: risk of ever calling a model better that is not, over all looks.
        common_shock: see :func:`uncertainty`.
        scale: see :func:`scale_of`.
        user_sums: all looks added up user by user, where that is known.
        by_day: variance of the sum of days, where luck may last for hours: see below.
    """
    whole = total(looks)
    variance = uncertainty(looks, common_shock, 0.0, user_sums, by_day)
    return Sequential(
        looks=len(looks),
        users=user_sums.users if user_sums else whole.users,
        targets=round(whole.n),
        gain_sum=whole.d,
        uncertainty=variance,
        scale=scale,
        alpha=alpha,
        statistic=log_evidence(whole.d, variance, scale),
        bound=math.log(1.0 / alpha),
        mean=whole.d / whole.n if whole.n else math.nan,
        lower=_lower(
            whole,
            alpha,
            scale,
            lambda mean: uncertainty(looks, common_shock, mean, user_sums, by_day),
        ),
    )


def _lower(whole: Sums, alpha: float, scale: float, variance_at: Callable[[float], float]) -> float:
    """The largest difference per target below the mean that the test refutes; NaN for none.

    Differences lie within -1 and 1, where all metrics do.
    """
    if not whole.n:
        return math.nan
    bound = math.log(1.0 / alpha)

    def refuted(mean: float) -> bool:
        return log_evidence(whole.d - mean * whole.n, variance_at(mean), scale) >= bound

    observed, step = whole.d / whole.n, 1e-4
    while not refuted(observed - step):
        step *= 2
        if step > 4:  # noqa: PLR2004 - past any difference that there can be
            return math.nan
    low, high = observed - step, observed
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        low, high = (middle, high) if refuted(middle) else (low, middle)
    return low


# How uncertain a sum is if luck lasts for hours, so that only whole days are a fair coin's.
#
# Hours of a line are not independent: a fit that goes on from the last one inherits its luck, and
# users of the evening are not those of the morning.  The sums of days are much nearer to being
# independent, but a week has too few of them for their squares alone to prove anything, so their
# variance is estimated, as if some days of a presumed luck had been seen besides the real ones.  No
# theorem holds for that, only simulations (``benchmarks/gate.py lasting``).  It can but add to the
# uncertainty: what holds without it holds with it.


def variance_by_day(looks: Sequence[Sums], days: Sequence[int], common_shock: float) -> float:
    """Variance of the sum of all ``d`` of looks, by the days on which they fell.

    Args:
        looks: of one pair of lines.
        days: which day each look fell on.
        common_shock: presumed standard deviation of a day, a share of the other model's own figure.
    """
    _, day = np.unique(np.array(days), return_inverse=True)
    d, c, n = (
        np.bincount(day, [getattr(look, name) for look in looks]).astype(np.float64)
        for name in ("d", "c", "n")
    )  # (days,) each
    return variance_of_days(d, c, n, common_shock)


def variance_of_days(d: Floats, c: Floats, n: Floats, common_shock: float) -> float:
    """Variance of the sum of days, of which d, c and n are known, (days,) each.

    With K days, as many as weigh the same: the presumed square and the squares of what a day is off
    their common mean, ``(3 swing**2 sum(c**2) + K sum((d - mean n)**2)) / (3 + K - 1)``.
    """
    of_c = float(c @ c)
    if not n.sum():
        return 0.0
    off = d - d.sum() / n.sum() * n
    days = float(c.sum()) ** 2 / of_c if of_c else 1.0
    presumed = _PRESUMED * common_shock * common_shock * of_c
    return (presumed + days * float(off @ off)) / (_PRESUMED + days - 1.0)
