"""What is said of a table that is replaced by what its file says, and recorded with it."""

from __future__ import annotations

from dataclasses import dataclass

# Properties of the table's snapshot: of the files' bytes, of lines that do not count, and of the
# settings that decide what a line says.
DIGEST = "hourglass.source_sha256"
FAULTS = "hourglass.source_faults"
READ_BY = "hourglass.source_read_by"
# More faults are counted, not named.
MOST_NAMED = 5


@dataclass(frozen=True)
class LoadedTable:
    """How many rows of a table were loaded now, and what there is to say of it.

    ``faults`` are of lines that do not count; they are no news where ``is_new`` is false.  ``note``
    says what follows from the new rows.
    """

    rows: int
    faults: tuple[str, ...] = ()
    is_new: bool = True
    note: str | None = None
