"""Traffic lights of model health: one sentence each, with what to do where something is wrong."""

from __future__ import annotations

from collections.abc import Sequence

from pipeline.hours import HOUR_S, Hour, HourRange
from pipeline.report.format import Colour, Light, duration, stamp
from pipeline.text.wording import counted
from training.deployment.monitor_record import Watched, WatchOutcome
from training.evaluation.evaluate import Evaluation
from training.gate.reasons import reason_texts
from training.report.files import judged_hours
from training.report.model_values import Decided, Live

_MENDS = {
    "data_quality_failed": "see what failed above, and accept or mend those hours",
    "data_quality_unknown": "run hourglass validate, then evaluate and gate again",
    "missing_ranks": "run hourglass evaluate and gate again",
    "different_targets": "run hourglass evaluate and gate again",
    "missing_threshold": "set it in the settings",
    "trained_on_the_future": "judge the model on later hours",
}

# Reasons of the watch for not judging that no one can mend.
_NOBODY_TO_BLAME = ("few_users", "not_live_any_more")


def live_light(live: Live | None, failure: str | None, judged: bool) -> Light:
    """Red where the registry cannot be read or nothing serves although models were judged."""
    name = "Live model"
    if failure is not None:
        return Light(name, "red", f"{failure.rstrip('.')}.")
    if live is None:
        return Light(
            name,
            "red" if judged else "grey",
            "No model is live: run hourglass gate, which installs the floor, then promote.",
        )
    since = live.since_hour or (stamp(live.since) if live.since else "a time that was not recorded")
    said = f"{live.name} (version {live.version}) is live since {since}"
    if live.as_of is None:
        mend = live.rollback or "hourglass promote --decision FILE with an older decision"
        return Light(
            name, "red", f"{said}, but its artefact {live.model_id} cannot be read: {mend}."
        )
    back = f"{live.previous} is there to go back to" if live.previous else "nothing to go back to"
    return Light(name, "green", f"{said}: {live.reason}; {back}.")


def age_light(
    live: Live | None,
    max_age_h: int,
    looked_back_h: int,
    decisions: Sequence[Decided],
    hours: HourRange,
) -> Light:
    """Amber for a model older than ``retrain.max_age``, red where nothing tried to replace it.

    Of a log that ended longer ago than the report looks back the age runs to its end.
    """
    name = "Model age"
    if live is None or live.age_h is None or live.behind_h is None:
        return Light(name, "grey", "There is no live model whose age could be told.")
    ended = live.age_h - live.behind_h > looked_back_h
    age_h = live.behind_h if ended else live.age_h
    until = f"the log's end ({hours.stop})" if ended else "now"
    said = (
        f"The live model knows what happened before {live.as_of}, "
        f"{duration(age_h * HOUR_S)} before {until}"
    )
    limit = f"{duration(max_age_h * HOUR_S)} is the limit (retrain.max_age)"
    if age_h <= max_age_h:
        return Light(name, "green", f"{said}; {limit}.")
    stop = hours.stop if ended else hours.first + (len(hours) + round(live.age_h - live.behind_h))
    tried = [one for one in decisions if stop.index - Hour.parse(one.hour).index <= max_age_h]
    if tried:
        held = counted(len(tried), "decision")
        return Light(
            name,
            "amber",
            f"{said}; {limit}, and none of the last {held} replaced it: see why below.",
        )
    return Light(
        name,
        "red",
        f"{said}; {limit}, and no decision was made since then: see whether the retrain DAG runs.",
    )


def floor_light(
    watch: Sequence[Watched], live: Live | None = None, stop: Hour | None = None
) -> Light:
    """What the watch found of the last hour that it looked at.

    Red where the live model was surely below its floor and stayed, amber where it was replaced,
    could not be judged, or is not above; grey where too few people came to tell.

    Args:
        watch: its findings, the newest first.
        live: the live model, which the watch judges on the hours after it went live.
        stop: end of the hours that it could be judged on.
    """
    name = "Live against floor"
    if not watch and live is None:
        return Light(name, "grey", "The watch has judged no hour yet: it needs a live model.")
    if not watch and live and stop and live.since_hour and Hour.parse(live.since_hour) >= stop:
        return Light(
            name,
            "grey",
            f"{live.name} is live from {live.since_hour} on: the watch judges it when that hour "
            "has events.",
        )
    if not watch:
        return Light(name, "grey", "The watch has judged no hour yet: run hourglass watch.")
    last = watch[0]
    gain = last.numbers
    replaced = sum(one.outcome is WatchOutcome.REPLACED for one in watch)
    colour: Colour = "amber"
    if last.outcome is WatchOutcome.REPLACED:
        mend = " Find out why before that line is promoted again."
    elif last.outcome is WatchOutcome.UNJUDGED:
        colour = "grey" if last.reason in _NOBODY_TO_BLAME else "amber"
        mend = " Nobody knows how well the live model did."
    elif gain is not None and gain.upper < 0:
        colour, mend = "red", " It is below its floor and still live: hourglass rollback."
    elif gain is not None and gain.difference < 0:
        mend = " It is below its floor, though not surely."
    elif replaced:
        mend = f" The watch replaced a model {counted(replaced, 'time')} in these hours."
    else:
        colour, mend = "green", ""
    when = "" if str(last.first) in last.sentence else f"{last.first}: "
    return Light(name, colour, f"{when}{last.sentence.rstrip('.')}.{mend}")


def decision_light(decisions: Sequence[Decided]) -> Light:
    """Red where the gate blocked every line in the last hour, amber where it blocked some.

    A hold is how most hours end.
    """
    name = "Gate"
    if not decisions:
        return Light(name, "grey", "The gate has not decided yet.")
    hour = decisions[0].hour
    last = [one for one in decisions if one.hour == hour]
    blocked = [one for one in last if one.outcome == "block"]
    if blocked:
        codes = [code for one in blocked for code in one.reasons]
        mend = next((_MENDS[code] for code in codes if code in _MENDS), "see the checks below")
        others = len(last) - len(blocked)
        more = f"; {counted(others, 'line')} not" if others else ""
        which = ", ".join(f"{one.line} ({reason_texts(one.reasons)})" for one in blocked)
        return Light(
            name,
            "amber" if others else "red",
            f"{hour}: {which} blocked{more}: {blocked[0].sentence.rstrip('.')}. To do: {mend}.",
        )
    # Of several lines the nearest to its proof tells most; a promotion has the best.
    one = max(last, key=lambda one: (one.outcome == "promote", one.odds or 0.0))
    why = reason_texts(one.reasons)
    if one.outcome == "promote":
        return Light(name, "green", f"{hour}: {one.line} may go live ({why}).")
    return Light(
        name,
        "green",
        f"{hour}: nothing was proven better, the live model stays (nearest: {one.line}, {why}).",
    )


def evaluation_light(last: Evaluation | None, expected: Hour, max_age_h: int) -> Light:
    """Amber where the last evaluation is old or a model failed in it, red for champion or floor.

    Args:
        last: the newest evaluation.
        expected: first hour after those of the report.
        max_age_h: how old the last evaluation may be.
    """
    name = "Evaluation"
    if last is None:
        return Light(name, "grey", "No model was evaluated yet: run hourglass evaluate.")
    said = f"The last evaluation is of {judged_hours(last)}"
    failed = [model_id for model_id in last.names if model_id in last.failures]
    if failed:
        grave = [m for m in failed if {"champion", "floor"} & set(last.roles.get(m, []))]
        first = (grave or failed)[0]
        roles = f" ({', '.join(last.roles[first])})" if last.roles.get(first) else ""
        why = last.failures[first].rstrip(".")
        return Light(
            name,
            "red" if grave else "amber",
            f"{said}; {len(failed)} of {counted(len(last.names), 'model')} failed, "
            f"first{roles} {why}.",
        )
    behind_h = expected.index - judged_hours(last).stop.index
    if behind_h > max_age_h:
        return Light(
            name,
            "amber",
            f"{said}, {duration(behind_h * HOUR_S)} before the newest data: see whether the "
            "retrain DAG runs.",
        )
    models = counted(len(last.names), "model")
    return Light(name, "green", f"{said}: {models} answered.")


def records_light(damaged: Sequence[str]) -> Light:
    """Whether every record could be read."""
    name = "Records"
    if not damaged:
        return Light(name, "green", "Every decision, watch record and evaluation could be read.")
    more = f" ({len(damaged) - 1} more below.)" if len(damaged) > 1 else ""
    return Light(name, "amber", f"{damaged[0].rstrip('.')}.{more}")
