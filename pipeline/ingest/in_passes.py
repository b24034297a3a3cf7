"""Queries that group by what nearly each row has for itself, in so many passes as memory asks for.

DuckDB spills what it groups, but some share of it must be held at once: sixty million keys took
more than the engine on disk may have.
"""

from __future__ import annotations

import functools
from typing import Any

from pipeline.engine.engine import Engine, Frame


def shared_key_ends(engine: Engine, keys: Frame) -> Frame:
    """Ends of the keys that more than one record may have, see ``sql/shared_keys.sql``."""
    passes = engine.passes(keys)
    return functools.reduce(
        lambda ends, more: ends.union(more),
        (
            engine.query("shared_keys", {"records": keys}, passes=passes, nth=nth)
            for nth in range(passes)
        ),
    )


def digests_of(engine: Engine, events: Frame) -> list[Any]:
    """A fingerprint of each hour's events, see ``sql/digest_events.sql``."""
    passes = engine.passes(events)
    return [
        row
        for nth in range(passes)
        for row in engine.query("digest_events", {"kept": events}, passes=passes, nth=nth).collect()
    ]
