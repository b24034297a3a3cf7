"""Which hours' sessions are missing, or were made from other events or by other rules."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import islice

from pipeline.hours import Hour, HourRange
from pipeline.lake.lake import FilledHour, Lake, State
from pipeline.lake.steps import EMPTY_DIGEST, INGEST, SESSIONIZE, VALIDATE
from pipeline.settings.section import keys_as_before
from pipeline.settings.settings import Settings

# Of the way in which sessions are made, whatever the settings: a new one makes all hours anew.
_RULES_VERSION = "2"
# In place of an hour's input digest where another program changed what was made from it.
CHANGED_BY_OTHERS = "changed by others"
# So too where ids of its events are other persons since then.
PEOPLE_CHANGED = "people changed"
# Why an hour is stale whose events are others than those its sessions were made from.
_INPUTS_CHANGED = "inputs changed"
# Commits of a few hours: what has been stale for longer is for people to look at.
_MOST_STATES = 12


@dataclass(frozen=True)
class FilledState:
    """What is recorded from some hour on: hours with events, and hours that are sessionized."""

    since: Hour | None
    arrived: Mapping[Hour, FilledHour]
    filled: Mapping[Hour, FilledHour]


def rules_digest(settings: Settings) -> str:
    """Digest of all that decides how events become sessions."""
    sessions = settings.sessions
    text = sessions.model_dump_json(exclude=keys_as_before(sessions))
    rules = f"{_RULES_VERSION}\n{text}"
    return hashlib.sha256(rules.encode()).hexdigest()[:16]


def filled_state(
    lake: Lake, settings: Settings, hours: HourRange | None = None, state: State | None = None
) -> FilledState:
    """What the lake has recorded of hours that may be stale, and of the given ones.

    Hours before the one until which all was found settled need not be read again.
    """
    since = lake.stable_from(rules_digest(settings), state)
    if since is not None and hours is not None:
        since = min(since, hours.first)
    # One hour more: what is carried out of it.
    rows = lake.filled_steps(None if since is None else since - 1, state)
    return FilledState(since, rows.get(INGEST, {}), rows.get(SESSIONIZE, {}))


def stale_hours(
    lake: Lake, settings: Settings, stop: Hour, state: State | None = None
) -> list[Hour]:
    """Hours before ``stop`` that need to be sessionized, as far as that is known by now.

    An hour in which nothing happened and into which nothing is carried needs nothing.  ``state``
    asks it of the tables as they stood then.
    """
    return stale_hours_of(filled_state(lake, settings, state=state), rules_digest(settings), stop)


def stale_hours_of(now: FilledState, rules: str, stop: Hour) -> list[Hour]:
    """As :func:`stale_hours`, of what was read before."""
    carried_into = {
        hour + 1 for hour in now.filled if state_digest(now.filled, hour) != EMPTY_DIGEST
    }
    hours = set(now.arrived) | set(now.filled) | carried_into
    return sorted(
        hour
        for hour in hours
        if hour < stop
        and (now.since is None or hour >= now.since)
        and why_stale(now, rules, hour) is not None
    )


def why_stale(now: FilledState, rules: str, hour: Hour) -> str | None:
    """Why an hour with events, or with sessions carried into it, is to be filled; None if not."""
    filled = now.filled.get(hour)
    if filled is None:
        return "not filled"
    if filled.config_digest != rules:
        return "other settings"
    if filled.input_digest == CHANGED_BY_OTHERS:
        return "changed by another program"
    if filled.input_digest == PEOPLE_CHANGED:
        return "people changed"
    carried = state_digest(now.filled, hour - 1)
    if filled.input_digest != input_digest(now.arrived, hour, carried):
        return _INPUTS_CHANGED
    return None


def settled_state(lake: Lake, settings: Settings, stop: Hour) -> State:
    """The newest state in which every hour before ``stop`` was right, if only late events undid it.

    Between an ingest and the sessionize that follows, hours that late events belong to are stale.
    Who reads the state before that ingest knows what was known a minute ago: each of its hours is
    whole.  Where an hour is missing then or now, is stale for another reason, or was sessionized
    since, it is the present state, which whoever needs the hours refuses.
    """
    state, rules = lake.state(), rules_digest(settings)
    now = filled_state(lake, settings, state=state)
    stale = stale_hours_of(now, rules, stop)
    if not stale or any(why_stale(now, rules, hour) != _INPUTS_CHANGED for hour in stale):
        return state
    hours = HourRange(stale[0], stop)
    known_now = {hour for hour in (*now.arrived, *now.filled) if hour in hours}
    for former in islice(lake.states_before((INGEST, VALIDATE)), _MOST_STATES):
        before = filled_state(lake, settings, hours, former)
        is_whole = known_now <= before.arrived.keys() | before.filled.keys()
        was_filled = set(stale) <= before.filled.keys()
        if is_whole and was_filled and not stale_hours_of(before, rules, stop):
            return former
    return state


def state_digest(filled: Mapping[Hour, FilledHour | str], hour: Hour) -> str:
    """Digest of the sessions open at the end of an hour; of nothing where it is not filled."""
    hour_state = filled.get(hour, EMPTY_DIGEST)
    return hour_state if isinstance(hour_state, str) else hour_state.state_digest


def input_digest(arrived: Mapping[Hour, FilledHour], hour: Hour, carried_state: str) -> str:
    """Digest of all that an hour's step reads: its events and what was carried into it."""
    events = arrived[hour].output_digest if hour in arrived else EMPTY_DIGEST
    return hashlib.sha256(f"{events}|{carried_state}".encode()).hexdigest()[:16]
