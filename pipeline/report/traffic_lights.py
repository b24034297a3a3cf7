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
from pipeline.report.format import Colour, StatusLight, duration, percent, plain, significant, words
from pipeline.report.incidents import Incident
from pipeline.report.intake import LaterFiles, Rate, Volume
from pipeline.report.sessions import DwellTimes, SessionLengths
from pipeline.text.wording import counted, verb

if TYPE_CHECKING:
    import pandas as pd

# A rate has risen when it is surely above half as much again as before, and by a half per cent.
_RISE, _LEAST_RISE = 1.5, 0.005
_MANY_REFUSED = 0.05
# As the suite of hours has it.
_MANY_DOUBLED = 0.2
# What each rate is a share of.
_OF = {"late": "events", "duplicates": "records", "quarantined": "records"}
# Where no day came before the last, rates above these have risen.
_UNSEEN = {"late": 0.1, "duplicates": _MANY_DOUBLED / 2, "quarantined": 0.02}
# Events that a day may be off the median of the days before without a word.
_VOLUME_SLACK = 0.3
# Where the same weekday before had this many, half or double of it is worth a look.
_WEEKDAY_EVENTS = 50
_WEEK_D = 7
_FEW_EVENTS, _FEWEST_EVENTS = 0.5, 0.1


def freshness_light(newest: datetime | None, at: datetime, hours: pd.DataFrame) -> StatusLight:
    """How old the newest event is, beside the longest silence of the range.

    Grey for a log that ended longer ago than a week and than the report looks back: nothing is
    expected of it.
    """
    name = "Freshness"
    if newest is None:
        return StatusLight(name, "grey", "There is no event in these hours.")
    busy = np.flatnonzero(hours["events"].to_numpy())
    silence_h = int(np.diff(busy).max(initial=1))
    age_h = (at - newest).total_seconds() / HOUR_S
    stamp = newest.strftime("%Y-%m-%d %H:%M")
    if age_h > max(len(hours), _WEEK_D * DAY_H):
        return StatusLight(
            name,
            "grey",
            f"The log ended on {stamp}, {_long(age_h)} ago: no new event is expected.",
        )
    usual_h = max(2, silence_h)
    newest_is = f"The newest event is of {stamp}, {_long(age_h)} old"
    if age_h <= usual_h:
        return StatusLight(name, "green", f"{newest_is}; up to {usual_h} h is usual here.")
    return StatusLight(
        name,
        "amber" if age_h <= 2 * usual_h else "red",
        f"{newest_is}, and {usual_h} h is the longest so far: see whether files still arrive and "
        "whether ingest runs.",
    )


def intake_light(
    rates: Sequence[Rate], later: LaterFiles, doubled: str | None = None
) -> StatusLight:
    """Late, duplicate and quarantined records of the last day beside the days before.

    Args:
        rates: of the hours; none where no file arrived in them.
        later: of the files that arrived after the hours, as all of a log do that came in one piece.
        doubled: what is known of the duplicates, as a sentence.
    """
    name = "Intake"
    records, refused, duplicates = later.ours, later.quarantined, later.duplicates
    remedies = {
        "late": "ask why files arrive late",
        "duplicates": doubled or "look at the files that have duplicates",
        "quarantined": "look at the reasons below",
    }
    odd_later = [
        *(["quarantined"] if refused > _MANY_REFUSED * records else []),
        *(["duplicates"] if duplicates > _MANY_DOUBLED * records else []),
    ]
    shares = (
        f"{counted(records, 'record')} {percent(duplicates, records)} were duplicates and "
        f"{percent(refused, records)} quarantined"
    )
    if not rates:
        if not records:
            return StatusLight(name, "grey", "No file arrived in these hours or after them.")
        to_do = "".join(f"; {remedies[odd]}" for odd in odd_later)
        return StatusLight(
            name,
            "amber" if odd_later else "green",
            f"No file arrived in these hours, the log came in one piece: of its {shares}{to_do}.",
        )
    risen = [rate for rate in rates if rate.low > _RISE * _usual_rate(rate) + _LEAST_RISE]
    refused_now = next(rate for rate in rates if rate.name == "quarantined")
    shares_now = ", ".join(
        f"{percent(rate.last)} of {_OF[rate.name]} {rate.name}{_before(rate)}" for rate in rates
    )
    after = f"; of those that came after these hours, {shares}" if records else ""
    if not risen and refused_now.low < _MANY_REFUSED and not odd_later:
        return StatusLight(name, "green", f"Last day: {shares_now}{after}.")
    odd = [max(risen, key=lambda rate: rate.low - _usual_rate(rate)).name] if risen else []
    red = refused_now.low >= _MANY_REFUSED
    to_do = remedies[(odd or (["quarantined"] if red else odd_later))[0]]
    return StatusLight(name, "red" if red else "amber", f"Last day: {shares_now}{after}; {to_do}.")


def _usual_rate(rate: Rate) -> float:
    """The rate of the days before; where there are none, what may be without a word."""
    return _UNSEEN[rate.name] if rate.before is None else rate.before


def _before(rate: Rate) -> str:
    return "" if rate.before is None else f" ({percent(rate.before)} before)"


def expectations_light(
    hours: HourRange,
    verdicts: Mapping[Hour, str],
    failed: Sequence[Failure],
    incidents: Sequence[Incident] = (),
) -> StatusLight:
    """Red where critical hours stand, amber for accepted ones, warnings, and unjudged hours.

    Args:
        hours: that are to be validated.
        verdicts: as they stand, also on later hours of the report.
        failed: what was broken.
        incidents: what was critical in these hours, even if it no longer is.
    """
    name = "Expectations"
    if not verdicts:
        run = f"run hourglass validate --from {hours.first} --to {hours.stop}"
        return StatusLight(
            name,
            "grey",
            "None of these hours was checked against its expectations, so nobody knows whether "
            f"their data can be used: {run}.",
        )
    by_verdict: dict[str, list[Hour]] = {}
    for hour, verdict in sorted(verdicts.items()):
        by_verdict.setdefault(verdict, []).append(hour)
    wanted = {*hours, *verdicts}
    checked = (
        f"{len(verdicts):,} of {counted(len(wanted), 'hour')} "
        f"{verb(len(verdicts), 'was', 'were')} checked against their expectations"
    )
    missing = sorted(wanted - set(verdicts))
    others = (
        f"run hourglass validate --from {missing[0]} --to {missing[-1] + 1} for the others"
        if missing
        else ""
    )
    if critical := by_verdict.get("critical"):
        why = [f for f in failed if f.severity == "critical" and f.open]
        sentence = f": {why[0].sentence.rstrip('.')}" if why else " (validate again to see why)"
        return StatusLight(
            name,
            "red",
            f"{checked}; {counted(len(critical), 'hour')} failed a critical one, last "
            f"{critical[-1]}{sentence}. Such hours are used for nothing until you mend their data "
            "and validate them again, or accept them with hourglass validate --accept.",
        )
    findings, to_do = [], []
    if accepted := by_verdict.get("accepted"):
        reasons = [reason for f in failed for reason in f.accepted]
        why_not = f' because "{reasons[0]}"' if reasons else ""
        findings.append(f"{counted(len(accepted), 'critical hour')} accepted{why_not}")
        to_do.append("accepted hours are used as they are")
    if warned := by_verdict.get("warning"):
        often = max(
            (f for f in failed if f.severity != "critical"), key=lambda f: f.hours, default=None
        )
        which = f", most often “{words(often.expectation)}” ({words(often.suite)})" if often else ""
        findings.append(
            f"{counted(len(warned), 'hour')} passed with warnings{which}, last {warned[-1]}"
        )
        to_do.append("warnings stop nothing, but look at Failed expectations")
    mended = sum(incident.hours for incident in incidents if incident.state == "mended")
    history = [f"{counted(mended, 'critical hour')} mended since (see Incidents)"] if mended else []
    if findings:
        next_steps = "; ".join([*to_do, *([others] if others else [])])
        return StatusLight(
            name,
            "amber",
            f"{checked}: {'; '.join([*findings, *history])}. "
            f"{next_steps[:1].upper()}{next_steps[1:]}.",
        )
    passed = f"all of those pass, {history[0]}" if history else "all of those passed"
    if not missing:
        return StatusLight(
            name, "green", f"{checked}, and {passed}. Their data can be used: nothing to do."
        )
    return StatusLight(
        name, "amber", f"{checked}, and {passed}. Nobody knows about the rest: {others}."
    )


def volume_light(volume: Volume | None) -> StatusLight:
    """The last 24 h beside each of the 24 h before."""
    name = "Volume"
    if volume is None:
        return StatusLight(name, "grey", "Less than two days to compare.")
    low, high = min(volume.days), max(volume.days)
    sentence = f"{counted(volume.events, 'event')} in the last 24 h; " + (
        f"the {len(volume.days)} days before had {low:,} to {high:,}, median {volume.expected:,.0f}"
        if len(volume.days) > 1
        else f"the day before had {low:,}"
    )
    if volume.silent:
        return StatusLight(
            name,
            "red" if volume.events < low else "amber",
            f"{sentence}. {counted(len(volume.silent), 'hour')} without an event that always had "
            f"some, first {volume.silent[0]}: see whether a producer stopped.",
        )
    alike = volume.days[_WEEK_D - 1 :: _WEEK_D]
    if (
        alike
        and max(alike) >= _WEEKDAY_EVENTS
        and not (min(alike) / 2 <= volume.events <= 2 * max(alike))
    ):
        return StatusLight(
            name,
            "amber",
            f"{sentence}. The same day a week before had {alike[0]:,}: a holiday, or look for a "
            "producer that stopped or records that came twice with other keys.",
        )
    slack = _VOLUME_SLACK * volume.expected
    if low <= volume.events <= high or abs(volume.events - volume.expected) <= slack:
        return StatusLight(name, "green", f"{sentence}.")
    if volume.events < low:
        colour: Colour = "red" if volume.events < low / 2 else "amber"
        return StatusLight(
            name, colour, f"{sentence}: look for a producer or a file that is missing."
        )
    return StatusLight(
        name,
        "amber",
        f"{sentence}: look for a robot, a doubled delivery with other keys, or real interest.",
    )


def sessions_light(lengths: SessionLengths | None, dwell: DwellTimes | None) -> StatusLight:
    """How long sessions are and how long people stay; drift tells whether that is new."""
    if lengths is None:
        return StatusLight("Sessions", "grey", "No session closed in these hours.")
    single = lengths.counts[0] / lengths.sessions
    stay = f", median dwell time {duration(dwell.median_s)}" if dwell else ""
    sentence = (
        f"{counted(lengths.sessions, 'session')}, median {significant(lengths.median)} and "
        f"mean {significant(lengths.mean)} events{stay}; {percent(single)} have a single event"
    )
    if single > 0.5:  # noqa: PLR2004 - most
        return StatusLight(
            "Sessions", "amber", f"{sentence}, from which no next item can be learnt."
        )
    return StatusLight("Sessions", "green", f"{sentence}.")


def drift_light(comparison: Comparison | None) -> StatusLight:
    """Amber where a distribution drifted."""
    name = "Drift"
    if comparison is None:
        return StatusLight(name, "grey", "No hour has a profile: run hourglass validate.")
    if not comparison.drifts:
        return StatusLight(
            name,
            "grey",
            f"Too little to compare: fewer than {counted(MIN_DAYS, 'day')} before the last have "
            "profiles of half of its hours.",
        )
    compared = f"{counted(len(comparison.drifts), 'distribution')} of the last day"
    if not comparison.drifted:
        return StatusLight(
            name, "green", f"None of {compared} is further off than days usually are."
        )
    worst = max(comparison.drifted, key=lambda drift: drift.distance)
    names = ", ".join(plain(drift.distribution) for drift in comparison.drifted)
    return StatusLight(
        name,
        "amber",
        f"{len(comparison.drifted)} of {compared} drifted ({names}): the distance of "
        f"{plain(worst.distribution)} is {percent(worst.distance)}, up to "
        f"{percent(worst.expected)} is usual; see the charts below.",
    )


def support_light(steps: Sequence[Mapping[str, Any]]) -> StatusLight:
    """What share of the events and items the last data set kept."""
    name = "Support filter"
    if not steps or not steps[0]["events"]:
        return StatusLight(name, "grey", "No data set has been made yet.")
    first, last = steps[0], steps[-1]
    share = last["events"] / first["events"]
    sentence = (
        f"The last data set kept {percent(share)} of the events and "
        f"{percent(last['items'], first['items'])} of the items ({last['items']:,})"
    )
    if share >= _FEW_EVENTS:
        return StatusLight(name, "green", f"{sentence}.")
    lost = Counter({b["step"]: a["events"] - b["events"] for a, b in pairwise(steps)})
    step, events = lost.most_common(1)[0]
    return StatusLight(
        name,
        "amber" if share >= _FEWEST_EVENTS else "red",
        f'{sentence}; "{step}" took {events:,}: a longer dataset.window would leave more.',
    )


def conservation_light(files: Mapping[str, int]) -> StatusLight:
    """Records of all files = accepted + duplicates + quarantined + ignored + removed by others."""
    removed, ignored = files.get("removed", 0), files.get("ignored", 0)
    left_out = files["quarantined"] + ignored + removed
    accounted = files["accepted"] + files["duplicates"] + left_out
    adds_up = files["records"] == accounted
    sentence = (
        f"In all files, {counted(files['records'], 'record')} {'=' if adds_up else 'are not'} "
        f"{files['accepted']:,} accepted "
        f"+ {counted(files['duplicates'], 'duplicate')} + {files['quarantined']:,} quarantined"
        + (f" + {ignored:,} ignored" if ignored else "")
        + (f" + {removed:,} removed by another program (see source_files)" if removed else "")
    )
    remedy = "." if adds_up else ": ingest again, and report the file that does not add up."
    return StatusLight("Conservation", "green" if adds_up else "red", sentence + remedy)


def dataset_light(quality: Mapping[str, Any] | None, exists: bool = True) -> StatusLight:
    """The verdict that a data set carries with it (``quality.json``), if one was made."""
    if not exists:
        return StatusLight("Data set", "grey", "No data set has been made yet.")
    if quality is None:
        return StatusLight("Data set", "grey", "The last data set was not judged.")
    colours: dict[str, Colour] = {"ok": "green", "warning": "amber", "critical": "red"}
    failed = [str(sentence).rstrip(".") for sentence in quality.get("failed", ())]
    if not failed:
        sentence = "The last data set keeps all its promises."
    else:
        more = f" ({len(failed) - 1} more failed.)" if len(failed) > 1 else ""
        sentence = f"{failed[0]}.{more}"
    return StatusLight("Data set", colours.get(str(quality.get("verdict")), "grey"), sentence)


def _long(hours: float) -> str:
    if hours >= 2 * DAY_H:
        return duration(hours * HOUR_S)
    return f"{hours * 60:.0f} min" if hours < 1 else f"{hours:.1f} h"
