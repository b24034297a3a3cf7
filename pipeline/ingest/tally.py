"""What is counted of a file beside its events and refused records."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from pipeline.ingest.refusals import Reasons, by_frequency


@dataclass(frozen=True)
class Tally:
    """Records left out by each rule of ``source.ignore``, and fields left out of events, by why.

    An event that comes twice counts its dropped fields twice: they are counted as they are read.
    """

    ignored: Counter[str] = field(default_factory=Counter)
    dropped: Counter[str] = field(default_factory=Counter)

    def text(self) -> str | None:
        """As JSON; None where nothing is counted."""
        counts = {"ignored": self.ignored, "dropped": self.dropped}
        return json.dumps(counts) if self.ignored or self.dropped else None

    @staticmethod
    def of_text(text: str) -> Tally:
        """What :meth:`text` wrote."""
        counts = json.loads(text)
        return Tally(Counter(counts["ignored"]), Counter(counts["dropped"]))

    @property
    def n_ignored(self) -> int:
        """Records that are none of our business."""
        return self.ignored.total()


def ignored_and_dropped(tallies: Iterable[Tally]) -> tuple[Reasons, Reasons]:
    """Of all files together, the most frequent first."""
    ignored: Counter[str] = Counter()
    dropped: Counter[str] = Counter()
    for tally in tallies:
        ignored += tally.ignored
        dropped += tally.dropped
    return by_frequency(ignored), by_frequency(dropped)
