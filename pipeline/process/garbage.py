"""How often Python looks for garbage in circles."""

from __future__ import annotations

import gc

_THRESHOLDS = (10_000, 20, 50)


def look_rarely() -> None:
    """Look for it less often than at every 700 new objects, as Python does by default.

    While libraries are imported there is none, and to look took a sixth of a command's time.
    """
    gc.set_threshold(*_THRESHOLDS)
