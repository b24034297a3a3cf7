"""What was refused of the files of one run, and why, for the sentence that ends it."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from pipeline.engine.engine import Engine, Frame
from pipeline.sources.fields import UNKNOWN_TYPE
from pipeline.sources.lines import is_damage

_MOST_TYPES = 6
Reasons = dict[str, int]


@dataclass(frozen=True)
class Refusals:
    """How many records were refused for each reason, the most frequent first.

    ``by_file`` has the same of each file of which no record became an event.  ``types`` are the
    most frequent event types that are none of the known ones.  ``damaged`` says of files how they
    end before all of them was read.
    """

    reasons: Reasons = field(default_factory=dict)
    by_file: dict[str, Reasons] = field(default_factory=dict)
    types: dict[str, int] = field(default_factory=dict)
    damaged: dict[str, str] = field(default_factory=dict)


def count_refusals(engine: Engine, refused: Frame, without_events: set[str]) -> Refusals:
    """Count refused records (columns source_file, reason, event_type).

    ``without_events`` names the files of which no record became an event.
    """
    total: Counter[str] = Counter()
    by_file: dict[str, Counter[str]] = {}
    damaged = {}
    for row in engine.query("count_refusals", {"refused": refused}).collect():
        total[row.reason] += row.records
        if is_damage(row.reason):
            damaged[row.source_file] = row.reason
        if row.source_file in without_events:
            by_file.setdefault(row.source_file, Counter())[row.reason] += row.records
    types: dict[str, int] = {}
    if UNKNOWN_TYPE.reason in total:
        views = {"refused": refused.select("event_type")}
        rows = engine.query("refused_types", views, most=_MOST_TYPES).collect()
        types = by_frequency(Counter({row.event_type: row.records for row in rows}))
    by_name = {name: by_frequency(by_file[name]) for name in sorted(by_file)}
    return Refusals(by_frequency(total), by_name, types, dict(sorted(damaged.items())))


def by_frequency(counts: Counter[str]) -> Reasons:
    """The counts, the greatest first, equal ones by reason."""
    return dict(sorted(counts.items(), key=lambda reason: (-reason[1], reason[0])))
