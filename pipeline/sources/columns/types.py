"""What a column reader takes and what it gives."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import pyarrow as pa

from pipeline.array_types import Ints


class TextColumns(NamedTuple):
    """The texts of the fields of some lines, each column (n,), "" where a line has none.

    ``line`` is the index of each line within its block, ascending.  ``fields`` go by the names of
    :data:`pipeline.sources.fields.FIELD_ORDER`; one that the log does not have is left out.
    ``columns`` are those that rules look at to leave records out.
    """

    line: Ints
    fields: dict[str, pa.Array]
    context: dict[str, pa.Array]
    columns: dict[str, pa.Array]


class EventColumns(NamedTuple):
    """Events of some lines as columns, (n,) each; ``line`` is the index within the block.

    ``event_time_us`` is microseconds since 1970.  ``event_key`` and ``given_session`` are null
    where the log has none; ``context`` is a map of text to text, its keys in order.
    """

    line: Ints
    event_time_us: Ints
    user_id: pa.Array
    item_id: pa.Array
    event_type: pa.Array
    value: pa.Array
    given_session: pa.Array
    event_key: pa.Array
    context: pa.Array


class LineBlock(NamedTuple):
    """Some lines in UTF-8, each ended by a newline, and where those that may be plain lie.

    ``start`` and ``stop`` (n,) are offsets of each line's bytes without its newline.  A line of a
    delimited log may have further newlines within quotes.
    """

    content: bytes
    start: Ints
    stop: Ints


#: The events of those lines of a block that are certain, of lines that may be plain.
ReadColumns = Callable[[LineBlock], EventColumns]
