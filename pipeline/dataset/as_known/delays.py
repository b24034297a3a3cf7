"""How much of a log came late, and of how much nobody can say when it came."""

from __future__ import annotations

from dataclasses import dataclass

from pipeline.text.wording import counted, verb

#: An hour most of whose events came later than this after its end was loaded afterwards.
LOADED_AFTER_H = 24


@dataclass(frozen=True)
class Delays:
    """How many events of some hours came late, and how many no arrival can be told of."""

    events: int
    late: int
    loaded_events: int
    loaded_hours: int

    @property
    def sentences(self) -> list[str]:
        """What is said of it; of hours that were loaded afterwards only where there are any."""
        share = self.late / max(1, self.events)
        late = f"{self.late:,} of {counted(self.events, 'event')} ({share:.2%}) came late."
        if not self.loaded_hours:
            return [late]
        return [
            late,
            f"{counted(self.loaded_hours, 'hour')} {verb(self.loaded_hours, 'was', 'were')} "
            f"loaded afterwards, with {counted(self.loaded_events, 'event')}: most of what "
            f"happened in such an hour arrived more than {LOADED_AFTER_H} h after it. Nothing says "
            "when it was first there, so it counts as known when it happened.",
        ]
