"""What the spans of files say together of each file."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from pipeline.contained_files import open_inside
from pipeline.ingest.landing.zone import Arrival, Unreadable
from pipeline.ingest.spans.plan import CutFile, FileState
from pipeline.ingest.tally import Tally
from pipeline.sources.lines import CHANGED, NOT_BY_SPANS


@dataclass
class Closing:
    """The ends of files: those not read to their end, those that are no log, and what is counted.

    Each of the lists has a file once.
    """

    unreadable: list[Unreadable] = field(default_factory=list)
    unfit: list[Unreadable] = field(default_factory=list)
    tallies: dict[str, Tally] = field(default_factory=dict)

    @property
    def not_by_spans(self) -> list[str]:
        """The files of which spans do not tell what all of each says."""
        return [file.source_file for file in self.unreadable if file.reason == NOT_BY_SPANS]

    def with_whole(self, whole: Closing) -> Closing:
        """The same, of those files what was said when they were read whole."""
        by_spans = (file for file in self.unreadable if file.reason != NOT_BY_SPANS)
        return Closing(
            sorted([*by_spans, *whole.unreadable]),
            sorted([*self.unfit, *whole.unfit]),
            self.tallies | whole.tallies,
        )


def closing_of(ends: Iterable[Any]) -> Closing:
    """What rows of PARSED of the kinds "file" and "unreadable" say, one or more of each file."""
    of_file: dict[str, list[Any]] = {}
    for row in ends:
        of_file.setdefault(row.source_file, []).append(row)
    closing = Closing()
    for name in sorted(of_file):
        rows = sorted(of_file[name], key=lambda row: row.line or 0)
        stopped = [row.reason for row in rows if row.kind == "unreadable"]
        if stopped:
            closing.unreadable.append(Unreadable(name, stopped[0]))
            continue
        if fault := _fault(rows):
            closing.unfit.append(Unreadable(name, fault))
        tally = _sum(Tally.of_text(row.tally) for row in rows if row.tally is not None)
        if tally.text() is not None:
            closing.tallies[name] = tally
    return closing


def _fault(rows: list[Any]) -> str | None:
    """What is wrong with a file as a whole: what is wrong with all of it that has records.

    A span of which no line can be read names the reason of its last one; so does a file.
    """
    faults = [row.reason for row in rows if row.records]
    return None if not faults or None in faults else str(faults[-1])


def _sum(tallies: Iterable[Tally]) -> Tally:
    total = Tally(Counter(), Counter())
    for tally in tallies:
        total.ignored.update(tally.ignored)
        total.dropped.update(tally.dropped)
    return total


def changed_files(arrivals: Iterable[Arrival], cut: Mapping[str, CutFile]) -> list[Unreadable]:
    """The files that were read in spans and are no longer what they were: no span belies another.

    One that has grown since is none of them: what was read is what it begins with.
    """
    return [
        Unreadable(arrival.file.source_file, CHANGED)
        for arrival in arrivals
        if arrival.file.source_file in cut
        and not _is_unchanged(arrival, cut[arrival.file.source_file].state)
    ]


def _is_unchanged(arrival: Arrival, state: FileState) -> bool:
    file = arrival.file
    try:
        with open_inside(file.root, file.path) as raw:
            if FileState.of(raw) == state:
                return True
        _, beginnings = file.sha256([file.bytes])
    except OSError:
        return False
    return beginnings.get(file.bytes) == arrival.sha256
