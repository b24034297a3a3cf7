"""Which hours a run of `sessions_hourly` works on, whatever started it.

Of these, the first that there is:

1. the hour that `conf` names, `{"hour": "2016-03-14T13"}`; any other key is refused;
2. the data interval, where a person chose one;
3. the hour in which the logical date lies;
4. the last hour that was over when the run was due: without a logical date, or with one in the hour
   that still runs, which is what Airflow's form and `dags test` put in unasked.

Airflow's own interval will not do.  Of a run by hand it is the hour *before* the logical date, of
one by `dags trigger` the hour before now whatever its date, and without a date there is none.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol

from airflow.sdk.exceptions import AirflowFailException

_HOUR = timedelta(hours=1)
_TICK = timedelta(microseconds=1)
_FORMAT = "%Y-%m-%dT%H"
_KEY = "hour"


class Run(Protocol):
    """What Airflow says of a run, to a task and in its database."""

    conf: Mapping[str, Any] | None
    logical_date: datetime | None
    data_interval_start: datetime | None
    data_interval_end: datetime | None
    run_after: datetime


def hours_of(run: Run) -> tuple[datetime, datetime]:
    """Start of the first hour, and end of the last, in UTC.

    Raises:
        AirflowFailException: no such hour, one that was not over when the run was due, or a key of
            `conf` that means nothing; to try again would change nothing.
    """
    first, stop = _named(run)
    if not first < stop <= _start_of_hour(run.run_after):
        raise AirflowFailException(
            f"{first:{_FORMAT}} to {stop:{_FORMAT}}: not hours that were over at"
            f" {run.run_after:%Y-%m-%dT%H:%M} UTC, when this run was due; name a past hour"
        )
    return first, stop


def first_hour(run: Run) -> str:
    """Start of the first hour, as commands take it."""
    return hours_of(run)[0].strftime(_FORMAT)


def end_hour(run: Run) -> str:
    """End of the last hour, as commands take it."""
    return hours_of(run)[1].strftime(_FORMAT)


def named_hour(run: Run) -> str | None:
    """Start of the first hour, also where it is not over and refused; None: no hour is named."""
    with suppress(AirflowFailException):
        return _named(run)[0].strftime(_FORMAT)
    return None


def _named(run: Run) -> tuple[datetime, datetime]:
    conf = run.conf or {}
    # Airflow takes any key: one that is misspelt would be the last hour, in silence.
    if unknown := sorted(set(conf) - {_KEY}):
        raise AirflowFailException(
            f"conf: unknown key{'s' * (len(unknown) > 1)} {', '.join(map(repr, unknown))}; the"
            f" only one is '{_KEY}', as in"
            f' {{"{_KEY}": "2016-03-14T13"}}'
        )
    if written := conf.get(_KEY):
        first = _parsed(written)
    elif chosen := _chosen_interval(run):
        return chosen
    else:
        now = _start_of_hour(run.run_after)
        named = run.logical_date and _start_of_hour(run.logical_date)
        first = now - _HOUR if named is None or named == now else named
    return first, first + _HOUR


def _chosen_interval(run: Run) -> tuple[datetime, datetime] | None:
    """The whole hours of an interval that Airflow did not make up."""
    if not (run.logical_date and run.data_interval_start and run.data_interval_end):
        return None
    first, stop = run.data_interval_start.astimezone(UTC), run.data_interval_end.astimezone(UTC)
    # An hour that ends at the logical date, or at the time of the call, is Airflow's own.
    made_up = {_start_of_hour(run.logical_date), _start_of_hour(run.run_after)}
    if stop in made_up and stop - first == _HOUR:
        return None
    # An hour of which a minute was chosen is done as a whole.
    return _start_of_hour(first), _start_of_hour(stop + _HOUR - _TICK)


def _start_of_hour(time: datetime) -> datetime:
    return time.astimezone(UTC).replace(minute=0, second=0, microsecond=0)


def _parsed(text: object) -> datetime:
    with suppress(ValueError):
        hour = datetime.fromisoformat(f"{text}:00:00+00:00")
        if hour.strftime(_FORMAT) == text:
            return hour
    raise AirflowFailException(f"hour: {text!r} is no hour such as 2016-03-14T13")
