"""Which tables were read and written, noted where that happens, so that no list can be wrong."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class TableUse:
    """Names of tables, since the last `clear`."""

    read: set[str] = field(default_factory=set)
    written: set[str] = field(default_factory=set)

    def clear(self) -> None:
        """Begin anew, for the next step."""
        self.read.clear()
        self.written.clear()
