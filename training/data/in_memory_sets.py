"""Cuts that several arms share: of each step every one is made once."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from pipeline.hours import Hour
from pipeline.settings.settings import DatasetSettings, Settings
from training.data.event_log import FlatLog
from training.data.in_memory import Cut, train_cut
from training.data.in_memory_encoding import Terms


@dataclass
class Cuts:
    """Training cuts of a log; those of the latest hour are kept."""

    log: FlatLog
    settings: Settings
    _as_of: Hour | None = None
    _kept: dict[str, tuple[Cut, float]] = field(default_factory=dict)

    def train(
        self, rules: DatasetSettings, as_of: Hour, before: Terms | None = None
    ) -> tuple[Cut, float]:
        """A cut by these rules, and the seconds that it took when it was made.

        Raises:
            HourglassError: no event is left by the support filter.
        """
        if as_of != self._as_of:
            self._as_of = as_of
            self._kept.clear()
        # What extends an arm's own terms is no other arm's.
        key = rules.model_dump_json() if before is None else ""
        if key in self._kept:
            return self._kept[key]
        began_s = time.perf_counter()
        own = self.settings.model_copy(update={"dataset": rules})
        made = train_cut(self.log, own, as_of, before), time.perf_counter() - began_s
        if key:
            self._kept[key] = made
        return made
