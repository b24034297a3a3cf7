"""Reads what the hours left behind; a file that cannot be read is named, not hidden."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TypeVar

from pipeline.errors import HourglassError
from pipeline.hours import Hour, HourRange
from pipeline.sealed_json import Record, dated_records, folder_of, read_record, where_filed
from training.deployment.monitor_record import (
    MonitorResult,
    folders_with_records,
    read_monitor_result,
)
from training.evaluation.evaluate import (
    INDEX_NAME,
    Evaluation,
    evaluations_after,
    read_evaluation,
)

T = TypeVar("T")


def decisions(folder: Path, hours: HourRange, at_least: int) -> tuple[list[Record], list[str]]:
    """Decisions on the hours, newest first, and older ones where these are few.

    Args:
        folder: of the decisions.
        hours: of the report.
        at_least: how many there should be, even of hours before those.

    Returns:
        The records, and one sentence for each file that is damaged.
    """
    records, damaged = _read_all(_files_of([folder], hours, at_least), read_record)
    return [record for record in records if record.content.get("kind") == "decision"], damaged


def monitored(folder: Path, hours: HourRange) -> tuple[list[MonitorResult], list[str]]:
    """What the monitor found of the hours, newest first, at least the last; and what is damaged.

    Of several findings about an hour the one made last comes first.
    """
    results, damaged = _read_all(
        _files_of(folders_with_records(folder), hours, 1), read_monitor_result
    )
    results.sort(key=lambda result: (result.first, result.at or ""), reverse=True)
    return results, damaged


def _read_all(paths: list[Path], read: Callable[[Path], T]) -> tuple[list[T], list[str]]:
    records: list[T] = []
    damaged: list[str] = []
    for path in paths:
        try:
            records.append(read(path))
        except HourglassError as error:
            # The file's name alone: where the folder lies is the reader's own.  It may have been
            # filed away since it was listed.
            sentence, name = str(error), f"{folder_of(path).name}/{path.name}"
            for lies in (path, where_filed(path)):
                sentence = sentence.replace(str(lies), name)
            damaged.append(sentence)
    return records, damaged


def _files_of(folders: Iterable[Path], hours: HourRange, at_least: int) -> list[Path]:
    """Records by the hour in their name, the newest first; of one hour, the last written."""
    paths: list[tuple[Hour, Path]] = []
    dated = heapq.merge(
        *(dated_records(folder, stop=hours.stop, newest_first=True) for folder in folders),
        key=lambda entry: entry[1].name,
        reverse=True,
    )
    for hour, path in dated:
        if hour < hours.first and len(paths) >= at_least and hour != paths[-1][0]:
            break
        paths.append((hour, path))
    paths.sort(
        key=lambda entry: (entry[0], entry[1].stat().st_mtime_ns, entry[1].name), reverse=True
    )
    within = sum(hour >= hours.first for hour, _ in paths)
    return [path for _, path in paths[: max(within, at_least)]]


def evaluations(folder: Path, hours: HourRange) -> tuple[list[Evaluation], list[str]]:
    """The evaluations of the hours in their order, at least the last, and what is damaged.

    Of several on the same hours the one made last comes last.  Those of an older format, which do
    not tell their hours, are counted in one sentence.
    """
    readable, older, damaged = _evaluations_after(folder, hours.first)
    if not readable:
        readable, older, damaged = _evaluations_after(folder, Hour(0))
    if older:
        several = f"{len(older)} evaluations, such as" if len(older) > 1 else "the evaluation"
        damaged.append(
            f"{several} evaluations/{older[-1]}, made by an older version: evaluate again to see "
            "it here"
        )
    ordered = [evaluation for *_, evaluation in sorted(readable, key=lambda entry: entry[:3])]
    within = [each for each in ordered if judged_hours(each).intersect(hours)]
    return within or ordered[-1:], damaged


def _evaluations_after(
    folder: Path, first: Hour
) -> tuple[list[tuple[Hour, int, int, Evaluation]], list[str], list[str]]:
    """Evaluations with what they are sorted by, names of older ones, and what is damaged."""
    readable: list[tuple[Hour, int, int, Evaluation]] = []
    older: list[str] = []
    damaged: list[str] = []
    for each in evaluations_after(folder, first):
        try:
            evaluation = read_evaluation(each)
            judged = judged_hours(evaluation)
            changed_ns = (each / INDEX_NAME).stat().st_mtime_ns
            readable.append((judged.first, len(judged), changed_ns, evaluation))
        except KeyError:
            older.append(each.name)
        except FileNotFoundError:
            continue
        except (OSError, ValueError, TypeError, AttributeError, HourglassError):
            damaged.append(
                f"evaluations/{each.name}: the evaluation cannot be read: "
                "run hourglass evaluate for its data set again"
            )
    return readable, older, damaged


def judged_hours(evaluation: Evaluation) -> HourRange:
    """The hours whose events an evaluation asked for."""
    first = Hour.parse(evaluation.start)
    return HourRange(first, first + evaluation.hours)


def models_as(evaluation: Evaluation, *roles: str) -> list[str]:
    """The models of an evaluation in any of the roles, in their order."""
    wanted, by_model = set(roles), evaluation.roles
    return [model_id for model_id in evaluation.names if wanted & set(by_model.get(model_id, ()))]
