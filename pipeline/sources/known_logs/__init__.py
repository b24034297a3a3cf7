"""Logs whose format is known by name: tables of what their files are and how they read."""

from __future__ import annotations

from pipeline.sources.known_logs.collectors import COLLECTORS
from pipeline.sources.known_logs.known_log import KnownLog
from pipeline.sources.known_logs.media import MEDIA, WIKIPEDIA_EPOCH
from pipeline.sources.known_logs.ratings import RATINGS
from pipeline.sources.known_logs.shops import SHOPS

__all__ = ["KNOWN_LOGS", "WIKIPEDIA_EPOCH", "KnownLog"]

KNOWN_LOGS: dict[str, KnownLog] = {**COLLECTORS, **MEDIA, **RATINGS, **SHOPS}
