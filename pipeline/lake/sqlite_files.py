"""SQLite files that are looked at without the libraries that keep them, which take long to load."""

from __future__ import annotations

import re
import sqlite3
from pathlib import Path
from urllib.parse import quote

BUSY_S = 60  # a file that another process writes is waited for; SQLite's own limit is 5
# An address without a query or escapes: what stands after the third slash is the path as it is.
_PLAIN = re.compile(r"sqlite:///([^?%]+)")


def plain_file(uri: str) -> Path | None:
    """The file of a plain SQLAlchemy address of SQLite; None where more is to be known of it."""
    plain = _PLAIN.fullmatch(uri)
    if plain is None or plain[1] == ":memory:" or plain[1].startswith("file:"):
        return None
    return Path(plain[1])


def connected(database: Path) -> sqlite3.Connection:
    """A connection to a file that is there; it may finish what a killed writer left in it."""
    address = f"file:{quote(str(database.absolute()))}?mode=rw"
    return sqlite3.connect(address, timeout=BUSY_S, uri=True)
