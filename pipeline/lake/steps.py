"""Names of the steps that fill hours, and the digest of an hour in which nothing is."""

from __future__ import annotations

INGEST = "ingest"
SESSIONIZE = "sessionize"
EMPTY_DIGEST = "0-0"
