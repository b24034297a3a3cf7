"""Traffic lights of model health: one sentence each, with what to do where something is wrong."""

from __future__ import annotations

from collections.abc import Sequence

from pipeline.hours import HOUR_S, Hour, HourRange
from pipeline.report.format import Colour, StatusLight, duration, stamp
from pipeline.text.wording import counted
from training.deployment.monitor_record import MonitorOutcome, MonitorResult
from training.evaluation.evaluate import Evaluation
from training.gate.reasons import reason_text, reason_texts
from training.report.champion import CurrentChampion
from training.report.decisions import DecisionRow
from training.report.files import judged_hours

_REMEDIES = {
    "data_quality_failed": "see Failed expectations, and mend or accept those hours",
    "data_quality_unknown": "run hourglass validate, then evaluate and gate again",
    "missing_ranks": "run hourglass evaluate and gate again",
    "different_targets": "run hourglass evaluate and gate again",
    "missing_threshold": "set it in the settings",
    "trained_on_the_future": "judge the model on later hours",
}

# Reasons of the monitor for not judging that no one can mend.
_NOBODY_TO_BLAME = ("few_users", "not_live_any_more")
# What to do about an hour that it could not judge.
_UNJUDGED = {
    "few_users": "nothing to do, its users count together with those of the next hours",
    "not_live_any_more": "nothing to do, the model that is live now is judged on its own hours",
    "bad_data": "mend or accept those hours (see Expectations), then run hourglass monitor again",
    "data_not_validated": "run hourglass validate {hours}, then hourglass monitor again",
    "learned_from_the_hour": "nothing to do, hours that it did not learn from will tell",
    "not_evaluated": "after that run hourglass monitor again",
}


def champion_light(live: CurrentChampion | None, failure: str | None, judged: bool) -> StatusLight:
    """Red where the registry cannot be read or nothing serves although models were judged."""
    name = "Live model"
    if failure is not None:
        return StatusLight(name, "red", f"{failure.rstrip('.')}.")
    if live is None:
        return StatusLight(
            name,
            "red" if judged else "grey",
            "No model is live: run hourglass gate, which installs the baseline, then promote.",
        )
    period = live.period
    clock = stamp(period.since_at) if period.since_at else "a time that was not recorded"
    sentence = (
        f"{period.name} (version {period.version}) is live since {period.since_hour or clock}"
    )
    if live.as_of is None:
        remedy = live.rollback or "hourglass promote --decision FILE with an older decision"
        return StatusLight(
            name, "red", f"{sentence}, but its artefact {period.model_id} cannot be read: {remedy}."
        )
    back = f"{live.previous} is there to go back to" if live.previous else "nothing to go back to"
    return StatusLight(name, "green", f"{sentence}: {reason_text(period.reason)}; {back}.")


def age_light(
    live: CurrentChampion | None,
    max_age_h: int,
    looked_back_h: int,
    decisions: Sequence[DecisionRow],
    hours: HourRange,
) -> StatusLight:
    """Amber for a model older than ``retrain.max_age``, red where nothing tried to replace it.

    Of a log that ended longer ago than the report looks back the age runs to its end.
    """
    name = "Model age"
    if live is None or live.age_h is None or live.behind_h is None:
        return StatusLight(name, "grey", "There is no live model whose age could be told.")
    ended = live.age_h - live.behind_h > looked_back_h
    age_h = live.behind_h if ended else live.age_h
    until = f"the log's end ({hours.stop})" if ended else "now"
    sentence = (
        f"The live model knows what happened before {live.as_of}, "
        f"{duration(age_h * HOUR_S)} before {until}; "
        f"{duration(max_age_h * HOUR_S)} is the limit (retrain.max_age)"
    )
    if age_h <= max_age_h:
        return StatusLight(name, "green", f"{sentence}.")
    stop = hours.stop if ended else hours.first + (len(hours) + round(live.age_h - live.behind_h))
    tried = sum(stop.index - decision.hour.index <= max_age_h for decision in decisions)
    if tried:
        none = f"none of the last {counted(tried, 'decision')} replaced it"
        return StatusLight(name, "amber", f"{sentence}, and {none}: see why below.")
    return StatusLight(
        name,
        "red",
        f"{sentence}, and no decision was made since then: see whether the retrain DAG runs.",
    )


def baseline_light(
    results: Sequence[MonitorResult], live: CurrentChampion | None = None, stop: Hour | None = None
) -> StatusLight:
    """What the monitor found of the last hour that it looked at.

    Red where the live model was surely below the baseline and stayed, amber where it was replaced,
    could not be judged, or is not above; grey where too few people came to tell.

    Args:
        results: of the monitor, the newest first.
        live: the live model, which the monitor judges on the hours after it went live.
        stop: end of the hours that it could be judged on.
    """
    name = "Baseline"
    if not results:
        since = live.period.since_hour if live else None
        nothing = "No live model was compared with the baseline yet"
        if live is None:
            why = "since none is live: run hourglass gate, which makes the baseline live."
        elif stop and since and since >= stop:
            why = (
                f"and {live.period.name} is live from {since} on: nothing to do, the monitor "
                "judges it when that hour is over and has events."
            )
        else:
            why = "so nobody knows whether it is better: run hourglass monitor."
        return StatusLight(name, "grey", f"{nothing}, {why}")
    last = results[0]
    gain = last.numbers
    replaced = sum(result.outcome is MonitorOutcome.REPLACED for result in results)
    colour: Colour = "amber"
    if last.outcome is MonitorOutcome.REPLACED:
        remedy = "So it was rolled back: find out why before that model is promoted again."
    elif last.outcome is MonitorOutcome.UNJUDGED:
        colour = "grey" if last.reason in _NOBODY_TO_BLAME else "amber"
        hours = f"--from {last.first} --to {last.stop}"
        to_do = _UNJUDGED.get(last.reason, "look at the next hours").format(hours=hours)
        remedy = f"So nobody knows how well the model did: {to_do}."
    elif gain is not None and gain.upper < 0:
        colour = "red"
        remedy = "It is surely below the baseline and still live: run hourglass rollback."
    elif gain is not None and gain.difference < 0:
        remedy = (
            "It is below the baseline, though not surely, so it stays live: look at the next "
            "hours; if that lasts, the monitor rolls it back."
        )
    elif replaced:
        remedy = (
            f"So it stays live, but the monitor rolled a model back {counted(replaced, 'time')} in "
            "these hours: see which under Live model."
        )
    elif gain is None:
        colour = "green"
        remedy = "It stays live until the gate finds a better model: nothing to do."
    else:
        colour, remedy = "green", "So it stays live: nothing to do."
    when = "" if str(last.first) in last.sentence else f" on {last.first}"
    return StatusLight(
        name,
        colour,
        f"The live model against the baseline{when}: {last.sentence.rstrip('.')}. {remedy}",
    )


def decision_light(decisions: Sequence[DecisionRow]) -> StatusLight:
    """Red where the gate blocked every candidate of the last hour, amber where it blocked some.

    A hold is how most hours end.
    """
    name = "Gate"
    if not decisions:
        return StatusLight(name, "grey", "The gate has not decided yet.")
    hour = decisions[0].hour
    last = [decision for decision in decisions if decision.hour == hour]
    blocked = [decision for decision in last if decision.outcome == "block"]
    if blocked:
        codes = [code for decision in blocked for code in decision.reasons]
        remedy = next((_REMEDIES[c] for c in codes if c in _REMEDIES), "see the checks below")
        others = len(last) - len(blocked)
        more = f"; {counted(others, 'candidate')} not" if others else ""
        which = ", ".join(f"{each.name} ({reason_texts(each.reasons)})" for each in blocked)
        return StatusLight(
            name,
            "amber" if others else "red",
            f"{hour}: {which} blocked{more}: {blocked[0].sentence.rstrip('.')}. To do: {remedy}.",
        )
    # Of several candidates the nearest to its proof tells most; a promotion has the best.
    best = max(last, key=lambda decision: (decision.outcome == "promote", decision.odds or 0.0))
    why = reason_texts(best.reasons)
    if best.outcome == "promote":
        return StatusLight(name, "green", f"{hour}: {best.name} may go live ({why}).")
    return StatusLight(
        name,
        "green",
        f"{hour}: nothing was proven better, the live model stays (nearest: {best.name}, {why}).",
    )


def evaluation_light(last: Evaluation | None, expected: Hour, max_age_h: int) -> StatusLight:
    """Amber where the last evaluation is old or a model failed, red for champion or baseline.

    Args:
        last: the newest evaluation.
        expected: first hour after those of the report.
        max_age_h: how old the last evaluation may be.
    """
    name = "Evaluation"
    if last is None:
        return StatusLight(name, "grey", "No model was evaluated yet: run hourglass evaluate.")
    sentence = f"The last evaluation is of {judged_hours(last)}"
    failed = [model_id for model_id in last.names if model_id in last.failures]
    if failed:
        grave = [m for m in failed if {"champion", "floor"} & set(last.roles.get(m, []))]
        first = (grave or failed)[0]
        roles = ", ".join(last.roles.get(first, ())).replace("floor", "baseline")
        which = f" ({roles})" if roles else ""
        why = last.failures[first].rstrip(".")
        return StatusLight(
            name,
            "red" if grave else "amber",
            f"{sentence}; {len(failed)} of {counted(len(last.names), 'model')} failed, "
            f"first{which} {why}.",
        )
    behind_h = expected.index - judged_hours(last).stop.index
    if behind_h > max_age_h:
        return StatusLight(
            name,
            "amber",
            f"{sentence}, {duration(behind_h * HOUR_S)} before the newest data: see whether the "
            "retrain DAG runs.",
        )
    models = counted(len(last.names), "model")
    return StatusLight(name, "green", f"{sentence}: {models} answered.")


def records_light(damaged: Sequence[str]) -> StatusLight:
    """What could not be read: decisions, results of the monitor, evaluations."""
    more = f" ({len(damaged) - 1} more below.)" if len(damaged) > 1 else ""
    return StatusLight("Records", "amber", f"{damaged[0].rstrip('.')}.{more}")
