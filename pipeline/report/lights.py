"""The traffic lights: one sentence each that a person can act on."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline.hours import DAY_H, HOUR_S, Hour, HourRange
from pipeline.quality.drift import MIN_DAYS, Comparison
from pipeline.report.failures import Failure
from pipeline.report.intake import Rate, Volume
from pipeline.report.sessions import DwellTimes, SessionLengths
from pipeline.report.text import counted, percent, plain
from pipeline.report.values import Colour, Light

if TYPE_CHECKING:
    import pandas as pd

# A rate has risen when it is surely above half as much again as before, and by a half per cent.
_RISE, _LEAST_RISE = 1.5, 0.005
_MANY_REFUSED = 0.05
# Events that a day may be off the median of the days before without a word.
_VOLUME_SLACK = 0.3
# Where the same weekday before had this many, half or double of it is worth a look.
_WEEKDAY_EVENTS = 50
_WEEK_D = 7
_FEW_EVENTS, _FEWEST_EVENTS = 0.5, 0.1


def freshness_light(newest: datetime | None, at: datetime, hours: pd.DataFrame) -> Light:
    """How old the newest event is, beside the longest silence of the range.

    Grey for a log that ended longer ago than the report looks back: nothing is expected of it.
    """
    name = "Freshness"
    if newest is None:
        return Light(name, "grey", "There is no event in these hours.")
    busy = np.flatnonzero(hours["events"].to_numpy())
    silence_h = int(np.diff(busy).max(initial=1))
    age_h = (at - newest).total_seconds() / HOUR_S
    stamp = newest.strftime("%Y-%m-%d %H:%M")
    if age_h > len(hours):
        return Light(
            name,
            "grey",
            f"The log ended on {stamp}, {age_h / DAY_H:,.0f} days ago: no new event is expected.",
        )
    usual_h = max(2, silence_h)
    said = f"The newest event is of {stamp}, {_long(age_h)} old"
    if age_h <= usual_h:
        return Light(name, "green", f"{said}; up to {usual_h} h is usual here.")
    return Light(
        name,
        "amber" if age_h <= 2 * usual_h else "red",
        f"{said}, and {usual_h} h is the longest so far: see whether files still arrive and "
        "whether ingest runs.",
    )


def intake_light(rates: Sequence[Rate], files: Mapping[str, int]) -> Light:
    """Late, duplicate and quarantined records of the last day beside the days before.

    ``files`` sums the columns of ``source_files``, for a log that came in one piece.
    """
    name = "Intake"
    if not rates:
        refused, records = files["quarantined"], files["records"]
        return Light(
            name,
            "amber" if refused > _MANY_REFUSED * records else "green",
            "No file arrived in these hours, the log came in one piece: of its "
            f"{records:,} records {percent(files['duplicates'], records)} were duplicates and "
            f"{percent(refused, records)} quarantined.",
        )
    risen = [rate for rate in rates if rate.low > _RISE * rate.before + _LEAST_RISE]
    refused_now = next(rate for rate in rates if rate.name == "quarantined")
    said = ", ".join(
        f"{percent(rate.last)} {rate.name} ({percent(rate.before)} before)" for rate in rates
    )
    if not risen and refused_now.low < _MANY_REFUSED:
        return Light(name, "green", f"Of the last day's records {said}.")
    worst = max(risen or [refused_now], key=lambda rate: rate.low - rate.before)
    mends = {
        "late": "ask why files arrive late",
        "duplicates": "look for a file that was delivered twice",
        "quarantined": "look at the reasons below",
    }
    red = refused_now.low >= _MANY_REFUSED
    return Light(name, "red" if red else "amber", f"Last day: {said}; {mends[worst.name]}.")


def expectations_light(
    hours: HourRange, verdicts: Mapping[Hour, str], failed: Sequence[Failure]
) -> Light:
    """Red where critical hours stand, amber for accepted ones, warnings, and unjudged hours."""
    name = "Expectations"
    if not verdicts:
        return Light(name, "grey", "No hour of the report was validated: run hourglass validate.")
    by_verdict: dict[str, list[Hour]] = {}
    for hour, verdict in sorted(verdicts.items()):
        by_verdict.setdefault(verdict, []).append(hour)
    judged = f"{len(verdicts):,} of {counted(len(hours), 'hour')} validated"
    if critical := by_verdict.get("critical"):
        why = [f for f in failed if f.severity == "critical" and f.open]
        sentence = f": {why[0].sentence}" if why else " (validate again to see why)"
        return Light(
            name,
            "red",
            f"{counted(len(critical), 'hour')} broke a critical promise, last {critical[-1]}"
            f"{sentence}.",
        )
    parts = []
    if accepted := by_verdict.get("accepted"):
        reasons = [reason for f in failed for reason in f.accepted]
        why_not = f' because "{reasons[0]}"' if reasons else ""
        parts.append(f"{counted(len(accepted), 'critical hour')} accepted{why_not}")
    if warned := by_verdict.get("warning"):
        often = max(
            (f for f in failed if f.severity != "critical"), key=lambda f: f.hours, default=None
        )
        which = f", most often {often.suite}.{often.expectation}" if often else ""
        parts.append(f"{counted(len(warned), 'hour')} warned{which}, last {warned[-1]}")
    whole = len(verdicts) == len(hours)
    if not parts:
        more = "." if whole else ": run hourglass validate for the others."
        said = f"{judged}, every promise was kept there{more}"
        return Light(name, "green" if whole else "amber", said)
    return Light(name, "amber", f"{judged}: {'; '.join(parts)}.")


def volume_light(found: Volume | None) -> Light:
    """The last 24 h beside each of the 24 h before."""
    name = "Volume"
    if found is None:
        return Light(name, "grey", "Less than two days to compare.")
    low, high = min(found.days), max(found.days)
    said = f"{found.events:,} events in the last 24 h; " + (
        f"the {len(found.days)} days before had {low:,} to {high:,}, median {found.usual:,.0f}"
        if len(found.days) > 1
        else f"the day before had {low:,}"
    )
    if found.silent:
        return Light(
            name,
            "red" if found.events < low else "amber",
            f"{said}. {counted(len(found.silent), 'hour')} without an event that always had some, "
            f"first {found.silent[0]}: see whether a producer stopped.",
        )
    alike = found.days[_WEEK_D - 1 :: _WEEK_D]
    if (
        alike
        and max(alike) >= _WEEKDAY_EVENTS
        and not (min(alike) / 2 <= found.events <= 2 * max(alike))
    ):
        return Light(
            name,
            "amber",
            f"{said}. The same day a week before had {alike[0]:,}: a holiday, or look for a "
            "producer that stopped or a delivery that came twice.",
        )
    slack = _VOLUME_SLACK * found.usual
    if low <= found.events <= high or abs(found.events - found.usual) <= slack:
        return Light(name, "green", f"{said}.")
    if found.events < low:
        colour: Colour = "red" if found.events < low / 2 else "amber"
        return Light(name, colour, f"{said}: look for a producer or a file that is missing.")
    return Light(name, "amber", f"{said}: look for a robot, a doubled delivery, or real interest.")


def sessions_light(lengths: SessionLengths | None, dwell: DwellTimes | None) -> Light:
    """How long sessions are and how long people stay; drift tells whether that is new."""
    if lengths is None:
        return Light("Sessions", "grey", "No session closed in these hours.")
    single = lengths.counts[0] / lengths.sessions
    stay = f", median dwell time {dwell.median_s:,.0f} s" if dwell else ""
    said = (
        f"{lengths.sessions:,} sessions, median {lengths.median:.3g} and mean {lengths.mean:.3g} "
        f"events{stay}; {percent(single)} have a single event"
    )
    if single > 0.5:  # noqa: PLR2004 - most
        return Light("Sessions", "amber", f"{said}, from which no next item can be learnt.")
    return Light("Sessions", "green", f"{said}.")


def drift_light(found: Comparison | None) -> Light:
    """Amber where a distribution drifted."""
    name = "Drift"
    if found is None:
        return Light(name, "grey", "No hour has a profile: run hourglass validate.")
    if not found.drifts:
        return Light(
            name,
            "grey",
            f"Too little to compare: {counted(found.days, 'day')} of profiles before the last, "
            f"{MIN_DAYS} are needed.",
        )
    looked = f"{counted(len(found.drifts), 'distribution')} of the last day"
    if not found.drifted:
        return Light(name, "green", f"None of {looked} is further off than days usually are.")
    worst = max(found.drifted, key=lambda drift: drift.distance)
    names = ", ".join(plain(drift.distribution) for drift in found.drifted)
    return Light(
        name,
        "amber",
        f"{len(found.drifted)} of {looked} drifted ({names}): the distance of "
        f"{plain(worst.distribution)} is {percent(worst.distance)}, up to {percent(worst.usual)} "
        "is usual; see the charts below.",
    )


def support_light(steps: Sequence[Mapping[str, Any]]) -> Light:
    """What share of the events and items the last data set kept."""
    name = "Support filter"
    if not steps or not steps[0]["events"]:
        return Light(name, "grey", "No data set has been made yet.")
    first, last = steps[0], steps[-1]
    kept = last["events"] / first["events"]
    said = (
        f"The last data set kept {percent(kept)} of the events and "
        f"{percent(last['items'], first['items'])} of the items ({last['items']:,})"
    )
    if kept >= _FEW_EVENTS:
        return Light(name, "green", f"{said}.")
    lost = Counter({b["step"]: a["events"] - b["events"] for a, b in pairwise(steps)})
    step, events = lost.most_common(1)[0]
    return Light(
        name,
        "amber" if kept >= _FEWEST_EVENTS else "red",
        f'{said}; "{step}" took {events:,}: a longer dataset.window would leave more.',
    )


def conservation_light(files: Mapping[str, int]) -> Light:
    """Records of all files = accepted + duplicates + quarantined + removed by other programs."""
    removed = files.get("removed", 0)
    accounted = files["accepted"] + files["duplicates"] + files["quarantined"] + removed
    held = files["records"] == accounted
    said = (
        f"{files['records']:,} records {'=' if held else 'are not'} {files['accepted']:,} accepted "
        f"+ {files['duplicates']:,} duplicates + {files['quarantined']:,} quarantined"
        + (f" + {removed:,} removed by another program (see source_files)" if removed else "")
    )
    mend = "." if held else ": ingest again, and report the file that does not add up."
    return Light("Conservation", "green" if held else "red", said + mend)


def dataset_light(quality: Mapping[str, Any] | None) -> Light:
    """The verdict that a data set carries with it (``quality.json``)."""
    if quality is None:
        return Light("Data set", "grey", "The last data set was not judged.")
    colours: dict[str, Colour] = {"ok": "green", "warning": "amber", "critical": "red"}
    failed = [str(sentence).rstrip(".") for sentence in quality.get("failed", ())]
    if not failed:
        said = "The last data set keeps all its promises."
    else:
        more = f" ({len(failed) - 1} more failed.)" if len(failed) > 1 else ""
        said = f"{failed[0]}.{more}"
    return Light("Data set", colours.get(str(quality.get("verdict")), "grey"), said)


def _long(hours: float) -> str:
    return f"{hours * 60:.0f} min" if hours < 1 else f"{hours:.1f} h"
