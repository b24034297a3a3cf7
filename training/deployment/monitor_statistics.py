"""Whether the live model is surely worse than a baseline.

Two questions, which share the risk ``1 - confidence`` of taking back, at any hour of one period of
the gate, a model that is as good as the baseline:

- the latest ``monitor.hours`` hours together: a one-sided limit of the mean difference, with its
  half of the risk divided by the looks that a period may hold, one an hour (Bonferroni), so that a
  crash is seen at once;
- all looks of the period at the model since it went live: the sequential test of the gate with the
  roles exchanged, so that a small loss is seen in the end.

Of several baselines each may take it back, so they divide that risk: a model that is as good as all
of them stays as surely as one beside a single baseline.

Looks of several hours, taken every hour, overlap.  Only looks that lie a multiple of their own
length apart count together, so each event counts once; there are as many such chains as a look has
hours, and they divide the sequential test's half of the risk.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pipeline.array_types import Objects
from pipeline.hours import HourRange, parse_duration_h
from pipeline.sealed_json import folder_of
from pipeline.settings.settings import Settings
from training.deployment.monitor_record import (
    MonitorNumbers,
    MonitorResult,
    UsersFile,
    monitor_results_between,
)
from training.gate.past_looks import period_start
from training.gate.roles import FLOOR
from training.gate.sequential_test import (
    Sums,
    contrast,
    first_informative_look,
    scale_of,
    sequential,
)
from training.gate.user_sums import UserSums, merge_user_sums, read_user_sums, write_user_sums
from training.metrics.metrics import target_values
from training.metrics.ranks import Ranks, check_same_targets


@dataclass(frozen=True)
class MonitorLook:
    """What was seen of baseline minus live in some hours, user by user."""

    hours: HourRange
    user_sums: UserSums

    @property
    def sums(self) -> Sums:
        """Over the users of this look."""
        return sums_of(self.user_sums)


@dataclass(frozen=True)
class MonitorEvidence:
    """A look, and the means of the two models over its targets."""

    look: MonitorLook
    live: float
    baseline: float


def monitor_evidence(
    settings: Settings, hours: HourRange, live: Ranks, baseline: Ranks, user_ids: Objects
) -> MonitorEvidence:
    """Look at the live model and the baseline, paired by target.

    Args:
        settings: ``gate`` and ``evaluation``.
        hours: that are judged.
        live: ranks of the live model on them.
        baseline: those of the baseline on the same events.
        user_ids: of all rows of the frozen part.

    Raises:
        HourglassError: the two have different targets.
    """
    check_same_targets({"live": live, "floor": baseline})
    metric, k = settings.gate.metric, settings.evaluation.k
    ours, theirs = (target_values(metric, ranks.rank, k) for ranks in (live, baseline))
    # The gate with roles swapped: here the baseline is the one to be proven better.
    people = UserSums.of(user_ids, live.user, theirs, None, {FLOOR: ours})
    means = (float(ours.mean()), float(theirs.mean())) if ours.size else (0.0, 0.0)
    return MonitorEvidence(MonitorLook(hours, people), *means)


def sums_of(user_sums: UserSums) -> Sums:
    """Sums over users of baseline minus live."""
    return user_sums.sums(FLOOR)


def monitor_numbers(
    settings: Settings, now: MonitorEvidence, earlier: Sequence[MonitorLook], n_baselines: int = 1
) -> MonitorNumbers:
    """What the looks at a model, each of baseline minus live, say together.

    Args:
        settings: ``monitor`` and ``gate``.
        now: the look at the hours that are judged.
        earlier: of the period, in order; none overlaps another or those hours.
        n_baselines: that divide the risk.
    """
    monitor, gate = settings.monitor, settings.gate
    half = (1.0 - monitor.confidence) / 2.0 / n_baselines
    looks = [*earlier, now.look]
    hours = now.look.hours
    confidence = 1.0 - half / max(1, parse_duration_h(gate.period))
    latest = [
        look for look in looks if look is now.look or look.hours.first >= hours.stop - monitor.hours
    ]
    whole = sums_of(merge_user_sums([look.user_sums for look in latest]))
    loss = contrast(whole, confidence)
    each = [look.sums for look in looks]
    worse = sequential(
        each,
        alpha=half / len(hours),
        common_shock=gate.hour_swing,
        scale=scale_of(first_informative_look(each), gate.min_targets),
        user_sums=sums_of(merge_user_sums([look.user_sums for look in looks])),
    )
    return MonitorNumbers(
        sums=each[-1],
        looks=len(latest),
        users=whole.users,
        targets=round(whole.n),
        live=now.live,
        floor=now.baseline,
        difference=-loss.mean,
        lower=-loss.upper,
        upper=-loss.lower,
        confidence=confidence,
        statistic=worse.statistic,
        bound=worse.bound,
        chain=len(looks),
    )


def is_below(numbers: MonitorNumbers, min_users: int) -> bool:
    """Whether the model is surely worse; what is not known (NaN) is not sure."""
    sure_now = numbers.upper < 0.0
    # A model that has recovered stays, however poor it was.
    sure_so_far = numbers.statistic >= numbers.bound and numbers.difference < 0.0
    return numbers.users >= min_users and (sure_now or sure_so_far)


# The looks of the monitor before: which of them count together with the one at hand.


def earlier_looks(
    folder: Path, result: MonitorResult, period_h: int, baseline: str
) -> list[MonitorLook]:
    """The looks of this period at the same models since one went live, by the same rule, in order.

    Only those that lie a multiple of their length apart: no event counts twice, and of the chains
    that there are none ever changes into another.

    Args:
        folder: of the records of the monitor.
        result: of the hours that are judged.
        period_h: hours of a period.
        baseline: name of the one that it was compared with.

    Raises:
        HourglassError: a record, or what users added to it, is gone or was changed.
    """
    results = monitor_results_between(folder, period_start(result.first, period_h), result.first)
    length = result.stop.index - result.first.index
    return [
        MonitorLook(
            HourRange(earlier.first, earlier.stop),
            read_user_sums(folder_of(path), users.file, users.sha256),
        )
        for path, earlier in results
        if (users := earlier.users_against(baseline)) is not None
        and (result.first.index - earlier.first.index) % length == 0
        and (earlier.model, earlier.since_record, earlier.rule)
        == (result.model, result.since_record, result.rule)
    ]


def write_users(folder: Path, result: MonitorResult, user_sums: UserSums) -> UsersFile:
    """Keep what each user added to a look."""
    return UsersFile(*write_user_sums(user_sums, folder, f"{result.first}-{result.model.model_id}"))
