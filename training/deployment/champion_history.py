"""Who was live when: the history of the champion as tenures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pipeline.hours import Hour
from training.registry.champion_record import ChampionChange, ModelRef, history
from training.registry.mlflow_registry import Registry, champion, model_ref


@dataclass(frozen=True)
class ChampionPeriod:
    """The time in which one model was live; ``until_*`` is None while it is.

    ``*_at`` are times of the clock, ``*_hour`` those of the log, None where a change by hand or an
    old registry does not say.  ``record`` is None where the beginning was never recorded or its
    record is lost.
    """

    model_id: str
    version: str
    name: str
    since_at: str | None
    since_hour: Hour | None
    until_at: str | None
    until_hour: Hour | None
    reason: str
    sentence: str
    record: Path | None


def champion_periods(
    registry: Registry, records: Path, since: Hour | None = None
) -> list[ChampionPeriod]:
    """Every tenure that leads to the champion's, first to last.

    Args:
        registry: says who is live.
        records: ``<work>/decisions``.
        since: an hour; of what was before the tenure that it fell into nothing is read.

    Raises:
        HourglassError: MLflow cannot be read.
    """
    live = champion(registry)
    if live is None:
        return []
    periods: list[ChampionPeriod] = []
    until_at: str | None = None
    until_hour: Hour | None = None
    event: ChampionChange | None = None
    for path, event in history(records, live.champion_record):
        periods.append(
            ChampionPeriod(
                *(event.champion.model_id, event.champion.version, event.champion.name),
                since_at=event.at,
                since_hour=event.as_of,
                until_at=until_at,
                until_hour=until_hour,
                reason=event.reason,
                sentence=event.sentence,
                record=path,
            )
        )
        until_at, until_hour = event.at, event.as_of
        if since is not None and event.as_of is not None and event.as_of <= since:
            return periods[::-1]
    first = model_ref(registry, live.version) if event is None else event.before
    if first is not None:
        periods.append(_unrecorded(first, until_at, until_hour))
    return periods[::-1]


def champion_during(periods: Sequence[ChampionPeriod], hour: Hour) -> ChampionPeriod | None:
    """The tenure that an hour of the log fell into; None where nothing was live yet.

    Of a change by hand the hour is not known: it counts from the hour of the change before, so
    that the model which people chose is judged from then on.
    """
    current: ChampionPeriod | None = None
    since: Hour | None = None
    for tenure in periods:
        since = tenure.since_hour or since
        if since is not None and since > hour:
            break
        current = tenure
    return current


def _unrecorded(model: ModelRef, until_at: str | None, until_hour: Hour | None) -> ChampionPeriod:
    return ChampionPeriod(
        *(model.model_id, model.version, model.name),
        since_at=None,
        since_hour=None,
        until_at=until_at,
        until_hour=until_hour,
        reason="unknown",
        sentence=f"{model.model_id} was live; when it became so was not recorded or is lost.",
        record=None,
    )
